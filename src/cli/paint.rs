//! Colours on standard output, where it is a terminal that may have them.

use std::{
    env,
    io::{self, IsTerminal},
};

/// Whether to colour, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// As standard output and NO_COLOR want it.
    pub(super) fn of_stdout() -> Self {
        let asked_not_to = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            is_on: io::stdout().is_terminal() && !asked_not_to,
        }
    }

    /// Good news.
    pub(super) fn good(self, text: &str) -> String {
        self.with("1;32", text)
    }

    /// Bad news.
    pub(super) fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// What wants a look.
    pub(super) fn warn(self, text: &str) -> String {
        self.with("1;33", text)
    }

    /// A heading.
    pub(super) fn head(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What matters less.
    pub(super) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        match self.is_on {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}
