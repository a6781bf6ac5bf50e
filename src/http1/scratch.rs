//! A buffer that all connections of a thread read into.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// How much is read at once: more than heads have.
const SIZE: usize = 16 * 1024;

/// Reads for connections that expect little and do not know when: none of them holds room for it, and what comes takes no
/// more than it needs.
#[derive(Debug)]
pub struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Self(RefCell::new(vec![0; SIZE].into()))
    }
}

impl Scratch {
    /// Reads from the stream and appends it. 0: the stream has ended.
    ///
    /// # Errors
    /// The stream's.
    pub fn poll_read(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
        onto: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = self.0.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
        let read = buffer.filled();
        match onto.is_empty() {
            true => *onto = BytesMut::from(read),
            false => onto.extend_from_slice(read),
        }
        Poll::Ready(Ok(read.len()))
    }
}
