//! The single tests of an expression, with what they are about and where they stand.

use crate::policy::{
    fault::Place,
    lang::{
        Wildcard,
        ast::{Base, Comparison, Elementwise, Literal, Predicate, Relation, Set, Step, Test, Value},
        located::{Located, Shape},
    },
    plan::about,
};

use super::written::Expression;

/// A single test.
pub(super) struct Leaf<'e> {
    pub(super) predicate: &'e Predicate,
    /// Whether the expression wants it to hold; `false`: under a `not`.
    pub(super) wanted: bool,
    /// Where it stands.
    pub(super) place: Place,
    /// Where what it compares with stands.
    pub(super) right: Place,
}

/// What a text is tested for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Looks<'e> {
    /// It is one of these.
    Equals(&'e [u8]),
    OneOf(&'e [Box<[u8]>]),
    Not(&'e [u8]),
    Contains(&'e [u8]),
    Starts(&'e [u8]),
    Ends(&'e [u8]),
    Matches(&'e str),
    Wildcard(&'e Wildcard),
}

/// Every single test of an expression.
pub(super) fn leaves<'e>(expression: &'e Expression) -> Vec<Leaf<'e>> {
    let mut found = Vec::new();
    gather(expression, &expression.root, true, &mut found);
    found
}

fn gather<'e>(expression: &'e Expression, part: &'e Located, wanted: bool, found: &mut Vec<Leaf<'e>>) {
    match &part.shape {
        Shape::Not(inner) => gather(expression, inner, !wanted, found),
        Shape::Group(_, parts) => parts.iter().for_each(|part| gather(expression, part, wanted, found)),
        Shape::Test { right } => found.push(Leaf {
            predicate: &part.predicate,
            wanted,
            place: expression.place(&part.span),
            right: expression.place(right.as_ref().unwrap_or(&part.span)),
        }),
    }
}

impl<'e> Leaf<'e> {
    /// The value that it is about, without a `lower(…)` around it.
    pub(super) fn value(&self) -> Option<&'e Value> {
        let mut value = match self.predicate {
            Predicate::Holds(Value {
                base: Base::Call(call), ..
            }) if matches!(call.function.name, "starts_with" | "ends_with") => call.arguments.first()?,
            // `any(… or …)` is several of them, all about one value in all that matters here.
            Predicate::Group(_, parts) => about(parts.first()?)?,
            predicate => about(predicate)?,
        };
        while let Base::Call(call) = &value.base
            && matches!(call.function.name, "lower" | "upper")
            && let [inner] = call.arguments.as_slice()
        {
            value = inner;
        }
        Some(value)
    }

    /// The field that it is about, with the name in brackets behind it.
    pub(super) fn field(&self) -> Option<(&'static str, Option<&'e str>)> {
        let value = self.value()?;
        let Base::Field(field) = &value.base else { return None };
        let key = value.steps.iter().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) | Step::Each => None,
        });
        Some((field.name, key))
    }

    /// What it looks for in a text.
    pub(super) fn looks(&self) -> Option<Looks<'e>> {
        match self.predicate {
            Predicate::Compare(comparison) | Predicate::Quantified(_, Elementwise::Compare(comparison)) => {
                of(comparison)
            }
            Predicate::Holds(Value {
                base: Base::Call(call), ..
            }) => match (call.function.name, call.arguments.as_slice()) {
                ("starts_with", [_, text]) => Some(Looks::Starts(text_of(text)?)),
                ("ends_with", [_, text]) => Some(Looks::Ends(text_of(text)?)),
                _ => None,
            },
            Predicate::Holds(_)
            | Predicate::Quantified(..)
            | Predicate::Constant(_)
            | Predicate::Not(_)
            | Predicate::Group(..) => None,
        }
    }
}

fn text_of(value: &Value) -> Option<&[u8]> {
    match &value.base {
        Base::Literal(Literal::Text(text)) => Some(text),
        Base::Literal(_) | Base::Field(_) | Base::Call(_) => None,
    }
}

fn of(comparison: &Comparison) -> Option<Looks<'_>> {
    Some(match &comparison.test {
        Test::Relation(Relation::Equal, Literal::Text(text)) => Looks::Equals(text),
        Test::Relation(Relation::NotEqual, Literal::Text(text)) => Looks::Not(text),
        Test::Contains(needle) => Looks::Contains(needle.text()),
        Test::Matches(regex) => Looks::Matches(regex.as_str()),
        Test::Wildcard(wildcard) => Looks::Wildcard(wildcard),
        Test::In(Set::Text { written, .. }) => Looks::OneOf(written),
        Test::Relation(..) | Test::In(_) | Test::InList(_) => return None,
    })
}
