//! What is wrong with an expression: where in its text, what was expected there, what to do.

use std::{fmt, ops::Range};

use crate::policy::fault::nearest;

/// One fault of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The bytes of the expression's text that are at fault.
    pub span: Range<usize>,
    /// What is wrong, in one lower-case sentence without a full stop.
    pub message: String,
    /// What stands under the caret: what was expected here; may be empty.
    pub expected: String,
    /// What to do about it, one sentence each.
    pub help: Vec<String>,
}

impl Diagnostic {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            expected: String::new(),
            help: Vec::new(),
        }
    }

    pub(super) fn expected(mut self, label: impl Into<String>) -> Self {
        self.expected = label.into();
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    pub(super) fn suggest<'k>(self, typed: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        match nearest(typed, known) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// Message, label and help on one line.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.expected.is_empty() {
            write!(f, ": {}", self.expected)?;
        }
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}
