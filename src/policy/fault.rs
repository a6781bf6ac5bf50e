//! What is wrong with an input, and where: the one shape of every message about configuration, rules and lists.
//!
//! A fault owns its place (file, byte span), so faults of many files gather in one [`Faults`] and are shown together.
//! How they look on a terminal is the business of whoever prints them.

use std::{ops::Range, sync::Arc};

/// A text that was read, with the name under which people know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the operator would type it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A shared source, ready to be pointed into.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
        })
    }
}

/// A stretch of a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The text that the span points into.
    pub source: Arc<Source>,
    /// Byte offsets into the text; never past its end.
    pub span: Range<usize>,
}

impl Place {
    /// The place of `span` in `source`.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let end = span.end.min(source.text.len());
        Self {
            source: Arc::clone(source),
            span: span.start.min(end)..end,
        }
    }

    /// Line and column of the first byte, both from 1; the column counts characters.
    pub fn line_column(&self) -> (usize, usize) {
        let before = self.source.text.as_bytes().get(..self.span.start).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |end| end + 1);
        let column = String::from_utf8_lossy(before.get(line_start..).unwrap_or_default())
            .chars()
            .count()
            + 1;
        (line, column)
    }
}

/// `file:line:column`, what editors and terminals make clickable.
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

/// Whether a fault stops the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The load stops; nothing is applied.
    Error,
    /// The load goes on; the operator should look.
    Warning,
}

/// One thing that is wrong: what, where, what was expected, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether it stops the load.
    pub severity: Severity,
    /// What is wrong, in one lower-case sentence without a full stop.
    pub message: String,
    /// Where; `None` only when no text is at fault (a file that is missing altogether).
    pub place: Option<Place>,
    /// What stands under the caret: what was expected here.
    pub label: String,
    /// What to do about it, one sentence each.
    pub help: Vec<String>,
}

impl Fault {
    /// An error at a place.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: Some(place),
            label: String::new(),
            help: Vec::new(),
        }
    }

    /// An error that no text is to blame for.
    pub fn without_place(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            label: String::new(),
            help: Vec::new(),
        }
    }

    /// A warning at a place.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(place, message)
        }
    }

    /// What was expected at the place.
    #[must_use]
    pub fn expected(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds "did you mean `x`?" when one of `known` is near `typed`.
    #[must_use]
    pub fn suggest<'k>(self, typed: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        match nearest(typed, known) {
            Some(name) => self.help(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// `file:line:column: error: message` on one line, for logs.
impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        if !self.label.is_empty() {
            write!(f, ": {}", self.label)?;
        }
        self.help.iter().try_for_each(|help| write!(f, "; {help}"))
    }
}

/// The known name nearest to what was typed, if any is near enough to be meant.
pub fn nearest<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let typed = typed.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&typed, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(typed.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Every fault found so far. Loading goes on past a fault to find the others, and stops at the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether the load must stop.
    pub fn has_errors(&self) -> bool {
        self.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// All of them, as found.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// All of them by file and position, each once.
    pub fn into_sorted(mut self) -> Vec<Fault> {
        self.0.sort_by(|a, b| key(a).cmp(&key(b)));
        self.0.dedup();
        self.0
    }
}

impl Extend<Fault> for Faults {
    fn extend<I: IntoIterator<Item = Fault>>(&mut self, faults: I) {
        self.0.extend(faults);
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

fn key(fault: &Fault) -> (&str, usize, &str) {
    match &fault.place {
        Some(place) => (&place.source.name, place.span.start, &fault.message),
        None => ("", 0, &fault.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_from_one() {
        let source = Source::new("a.toml", "x = 1\nä = ö!\n");
        let at = source.text.find('!').expect("it is there");
        assert_eq!(Place::new(&source, at..at + 1).to_string(), "a.toml:2:6");
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        assert_eq!(nearest("actoin", ["action", "ip"]), Some("action"));
        assert_eq!(nearest("colour", ["action", "ip"]), None);
    }
}
