//! Buffers for the heads and bodies of answers.

use std::cell::RefCell;

/// Buffers that are kept; more of them come and go.
const KEPT: usize = 64;

/// Buffers that answers are gathered in, kept for the next ones.
#[derive(Debug, Default)]
pub(in crate::server) struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty one.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    /// Gives one back.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }
}
