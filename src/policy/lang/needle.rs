//! What `contains` looks for, prepared once.

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;

/// A part that a text may contain.
#[derive(Debug, Clone)]
pub struct Needle {
    finder: Finder<'static>,
    any_case: Option<AhoCorasick>,
}

impl Needle {
    /// Looks for these bytes.
    pub fn new(text: &[u8]) -> Self {
        Self {
            finder: Finder::new(text).into_owned(),
            any_case: None,
        }
    }

    /// Can also be found in a text that was not made lower-case yet, if these bytes are lower-case.
    pub(super) fn in_any_case(self) -> Self {
        let any_case = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build([self.text()])
            .ok()
            .filter(|_| !self.text().iter().any(u8::is_ascii_uppercase));
        Self { any_case, ..self }
    }

    /// The bytes.
    pub fn text(&self) -> &[u8] {
        self.finder.needle()
    }

    /// Whether the text holds them.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.finder.find(text).is_some()
    }

    /// What finds them in ASCII letters of either case, if it was prepared.
    pub(in crate::policy) fn any_case(&self) -> Option<&AhoCorasick> {
        self.any_case.as_ref()
    }
}
