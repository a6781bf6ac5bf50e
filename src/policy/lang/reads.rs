//! What an expression looks at: headers, since what it decides by must not be said again after it was judged; lists; and
//! which of the values that nobody recorded.

use std::sync::Arc;

use super::{
    ast::{Base, Comparison, Elementwise, Predicate, Step, Test, Value},
    truth::Unknown,
};
use crate::policy::list::List;

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

impl Predicate {
    /// Tells every list that it looks into.
    pub fn lists<'e>(&'e self, found: &mut dyn FnMut(&'e Arc<List>)) {
        self.comparisons(&mut |_, comparison| {
            if let Some(Comparison {
                test: Test::InList(list),
                ..
            }) = comparison
            {
                found(list);
            }
        });
    }

    /// Tells every value in it that depends on something unknown, as expressions write it: a field, or the one name in it
    /// that is asked for.
    pub fn unknown_values(&self, unknown: &Unknown<'_>, found: &mut dyn FnMut(String)) {
        self.comparisons(&mut |value, _| value.unknown_parts(unknown, found));
    }

    /// Every value that it asks about, with the comparison that it stands in, if it does.
    fn comparisons<'e>(&'e self, found: &mut dyn FnMut(&'e Value, Option<&'e Comparison>)) {
        match self {
            Self::Constant(_) => {}
            Self::Not(inner) => inner.comparisons(found),
            Self::Group(_, parts) => parts.iter().for_each(|part| part.comparisons(found)),
            Self::Compare(comparison) => found(&comparison.value, Some(comparison)),
            Self::Holds(value) => found(value, None),
            Self::Quantified(_, each) => each.comparisons(found),
        }
    }
}

impl Elementwise {
    fn comparisons<'e>(&'e self, found: &mut dyn FnMut(&'e Value, Option<&'e Comparison>)) {
        match self {
            Self::Not(inner) => inner.comparisons(found),
            Self::Compare(comparison) => found(&comparison.value, Some(comparison)),
            Self::Holds(value) => found(value, None),
        }
    }
}

impl Value {
    fn unknown_parts(&self, unknown: &Unknown<'_>, found: &mut dyn FnMut(String)) {
        match &self.base {
            Base::Literal(_) => {}
            Base::Call(call) => {
                let arguments = call.arguments.iter();
                arguments.for_each(|argument| argument.unknown_parts(unknown, found));
            }
            Base::Field(field) if unknown.touches(self) => found(match self.steps.first() {
                Some(Step::Key(key)) => format!("{}[\"{key}\"]", field.name),
                Some(Step::Index(_) | Step::Each) | None => field.name.to_owned(),
            }),
            Base::Field(_) => {}
        }
    }
}
