//! What an expression looks at. Headers: what it decides by must not be said again after it was judged. Addresses: which of
//! them it tells apart. Lists; and which of the values that nobody recorded.

use std::sync::Arc;

use super::{
    ast::{Base, Comparison, Elementwise, Literal, Predicate, Set, Step, Test, Value},
    truth::Unknown,
};
use crate::policy::{list::List, network::IpRange};

/// What an expression reads of the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRead<'e> {
    /// Whether it is in this range.
    Range(IpRange),
    /// Whether it is in this list.
    List(&'e List),
    /// Where it is: its country, continent or autonomous system.
    Place,
    /// Something that is computed from it.
    Computed,
}

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
    /// Tells everything that it looks at of the client's address.
    pub fn addresses<'e>(&'e self, found: &mut dyn FnMut(AddressRead<'e>)) {
        match self {
            Self::Constant(_) => {}
            Self::Not(inner) => inner.addresses(found),
            Self::Group(_, parts) => parts.iter().for_each(|part| part.addresses(found)),
            Self::Compare(comparison) => comparison.addresses(found),
            Self::Holds(value) => value.addresses(found),
            Self::Quantified(_, each) => each.addresses(found),
        }
    }
}

impl Elementwise {
    fn addresses<'e>(&'e self, found: &mut dyn FnMut(AddressRead<'e>)) {
        match self {
            Self::Not(inner) => inner.addresses(found),
            Self::Compare(comparison) => comparison.addresses(found),
            Self::Holds(value) => value.addresses(found),
        }
    }
}

impl Comparison {
    fn addresses<'e>(&'e self, found: &mut dyn FnMut(AddressRead<'e>)) {
        if !matches!(&self.value.base, Base::Field(field) if field.name == ADDRESS) {
            return self.value.addresses(found);
        }
        match &self.test {
            Test::In(Set::Ip { written, .. }) => written.iter().for_each(|range| found(AddressRead::Range(*range))),
            Test::InList(list) => found(AddressRead::List(list)),
            Test::Relation(_, Literal::Ip(address)) => {
                found(IpRange::new(*address, *address).map_or(AddressRead::Computed, AddressRead::Range));
            }
            Test::Relation(_, _) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard(_) | Test::In(_) => {
                found(AddressRead::Computed);
            }
        }
    }
}

const ADDRESS: &str = "ip.src";

impl Value {
    fn addresses<'e>(&'e self, found: &mut dyn FnMut(AddressRead<'e>)) {
        match &self.base {
            Base::Literal(_) => {}
            Base::Call(call) => call.arguments.iter().for_each(|argument| argument.addresses(found)),
            Base::Field(field) if field.name == ADDRESS => found(AddressRead::Computed),
            Base::Field(field) if field.name.starts_with("ip.src.") => found(AddressRead::Place),
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
