//! What a part of an expression looks at, and which values would pass its test.

use crate::policy::{
    lang::{
        ast::{Base, Comparison, Elementwise, Literal, Predicate, Set, Step, Test, Value},
        fields::Field,
    },
    list::ListKind,
};

/// What a part looks at: a field, perhaps under a key, perhaps through functions.
pub(super) struct Subject<'p> {
    pub(super) field: &'static Field,
    pub(super) key: Option<&'p str>,
}

impl<'p> Subject<'p> {
    pub(super) fn of(part: &'p Predicate) -> Option<Self> {
        match part {
            Predicate::Compare(comparison) => Self::of_value(&comparison.value),
            Predicate::Holds(value) => Self::of_value(value),
            Predicate::Quantified(_, each) => Self::of_each(each),
            Predicate::Constant(_) | Predicate::Not(_) | Predicate::Group(..) => None,
        }
    }

    fn of_each(each: &'p Elementwise) -> Option<Self> {
        match each {
            Elementwise::Not(inner) => Self::of_each(inner),
            Elementwise::Compare(comparison) => Self::of_value(&comparison.value),
            Elementwise::Holds(value) => Self::of_value(value),
        }
    }

    fn of_value(value: &'p Value) -> Option<Self> {
        match &value.base {
            Base::Field(field) => Some(Self {
                field,
                key: value.steps.iter().find_map(|step| match step {
                    Step::Key(key) => Some(key.as_str()),
                    Step::Index(_) | Step::Each => None,
                }),
            }),
            Base::Call(call) => call.arguments.first().and_then(Self::of_value),
            Base::Literal(_) => None,
        }
    }
}

/// The test of a part that compares.
pub(super) fn test(part: &Predicate) -> Option<&Test> {
    fn of_each(each: &Elementwise) -> Option<&Test> {
        match each {
            Elementwise::Not(inner) => of_each(inner),
            Elementwise::Compare(Comparison { test, .. }) => Some(test),
            Elementwise::Holds(_) => None,
        }
    }
    match part {
        Predicate::Compare(comparison) => Some(&comparison.test),
        Predicate::Quantified(_, each) => of_each(each),
        Predicate::Constant(_) | Predicate::Not(_) | Predicate::Group(..) | Predicate::Holds(_) => None,
    }
}

/// The strings on a test's right side.
pub(super) fn texts(test: &Test) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match test {
        Test::Relation(_, Literal::Text(bytes)) => vec![text(bytes)],
        Test::In(Set::Text { written, .. }) => written.iter().map(|bytes| text(bytes)).collect(),
        Test::InList(list) if list.kind() == ListKind::String => list.strings().take(16).map(text).collect(),
        Test::InList(list) => vec![format!("${}", list.name())],
        Test::Contains(needle) => vec![text(needle.text())],
        Test::Wildcard(wildcard) => vec![text(&wildcard.pattern()).replace('*', "")],
        Test::Relation(..) | Test::In(_) | Test::Matches(_) => Vec::new(),
    }
}

/// Values of which one may pass: what a part's right side, or a function's argument, is made of.
pub(super) fn examples(part: &Predicate) -> Vec<String> {
    match part {
        Predicate::Holds(value) => match &value.base {
            Base::Call(call) => call.arguments.iter().skip(1).filter_map(literal).collect(),
            Base::Field(_) | Base::Literal(_) => Vec::new(),
        },
        Predicate::Compare(_) | Predicate::Quantified(..) => test(part).map(texts).unwrap_or_default(),
        Predicate::Constant(_) | Predicate::Not(_) | Predicate::Group(..) => Vec::new(),
    }
}

/// Those, and as parts of a path: `ends_with`, `contains`.
pub(super) fn paths(examples: Vec<String>) -> Vec<String> {
    let rooted = examples
        .iter()
        .filter(|text| !text.starts_with('/'))
        .map(|text| format!("/{text}"));
    let rooted: Vec<String> = rooted.collect();
    examples
        .into_iter()
        .filter(|text| text.starts_with('/'))
        .chain(rooted)
        .collect()
}

fn literal(value: &Value) -> Option<String> {
    match &value.base {
        Base::Literal(Literal::Text(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Base::Literal(_) | Base::Field(_) | Base::Call(_) => None,
    }
}
