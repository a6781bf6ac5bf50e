//! Which headers an expression looks at: what it decides by must not be said again after it was judged.

use super::ast::{Base, Elementwise, Predicate, Step, Value};

/// What an expression reads of the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderRead<'e> {
    /// The one of this lower-case name.
    Named(&'e str),
    /// All of them, whatever their names.
    All,
}

impl Predicate {
    /// Tells every header that it looks at through `http.request.headers`.
    pub fn headers<'e>(&'e self, found: &mut dyn FnMut(HeaderRead<'e>)) {
        match self {
            Self::Constant(_) => {}
            Self::Not(inner) => inner.headers(found),
            Self::Group(_, parts) => parts.iter().for_each(|part| part.headers(found)),
            Self::Compare(comparison) => comparison.value.headers(found),
            Self::Holds(value) => value.headers(found),
            Self::Quantified(_, each) => each.headers(found),
        }
    }
}

impl Elementwise {
    fn headers<'e>(&'e self, found: &mut dyn FnMut(HeaderRead<'e>)) {
        match self {
            Self::Not(inner) => inner.headers(found),
            Self::Compare(comparison) => comparison.value.headers(found),
            Self::Holds(value) => value.headers(found),
        }
    }
}

impl Value {
    fn headers<'e>(&'e self, found: &mut dyn FnMut(HeaderRead<'e>)) {
        match &self.base {
            Base::Literal(_) => {}
            Base::Call(call) => call.arguments.iter().for_each(|argument| argument.headers(found)),
            Base::Field(field) if field.name.starts_with("http.request.headers") => found(match self.steps.first() {
                Some(Step::Key(name)) => HeaderRead::Named(name),
                Some(Step::Index(_) | Step::Each) | None => HeaderRead::All,
            }),
            Base::Field(_) => {}
        }
    }
}
