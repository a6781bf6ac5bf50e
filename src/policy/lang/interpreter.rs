//! Asks a checked expression about a request. Total: it cannot fail, and its depth is bounded by the parser's.

use std::borrow::Cow;

use super::{
    ast::{Base, Call, Comparison, Elementwise, Literal, Logic, Predicate, Quantifier, Set, Step, Test, Value},
    functions::Body,
    request::Input,
    types::{Datum, Type},
};
use crate::policy::{
    facts::Country,
    list::{List, ListKind},
};

/// Whether it holds.
pub(super) fn holds<'a>(predicate: &'a Predicate, input: &Input<'a>) -> bool {
    match predicate {
        Predicate::Constant(value) => *value,
        Predicate::Not(inner) => !holds(inner, input),
        Predicate::Group(Logic::And, parts) => parts.iter().all(|part| holds(part, input)),
        Predicate::Group(Logic::Or, parts) => parts.iter().any(|part| holds(part, input)),
        Predicate::Group(Logic::Xor, parts) => parts.iter().fold(false, |odd, part| odd ^ holds(part, input)),
        Predicate::Compare(comparison) => passes(comparison, input),
        Predicate::Holds(value) => is_true(self::value(value, input).as_ref()),
        Predicate::Quantified(quantifier, each) => quantified(*quantifier, outcomes(each, input).as_deref()),
    }
}

pub(super) fn passes<'a>(comparison: &'a Comparison, input: &Input<'a>) -> bool {
    // `lower(text) contains "part"`: the most common test of user agents, and the text need not be copied for it.
    if let Test::Contains(needle) = &comparison.test
        && let Some(any_case) = needle.any_case()
        && let Base::Call(lower) = &comparison.value.base
        && let [text] = lower.arguments.as_slice()
    {
        return matches!(value(text, input), Some(Datum::Text(text)) if any_case.is_match(&text[..]));
    }
    value(&comparison.value, input).is_some_and(|datum| test(&comparison.test, &datum))
}

pub(super) fn is_true(datum: Option<&Datum<'_>>) -> bool {
    matches!(datum, Some(Datum::Bool(true)))
}

/// Of an absent array, nothing holds.
pub(super) fn quantified(quantifier: Quantifier, outcomes: Option<&[bool]>) -> bool {
    outcomes.is_some_and(|outcomes| match quantifier {
        Quantifier::Any => outcomes.contains(&true),
        Quantifier::All => !outcomes.contains(&false),
    })
}

/// The outcome for each element; `None` when the array is absent.
pub(super) fn outcomes<'a>(each: &'a Elementwise, input: &Input<'a>) -> Option<Vec<bool>> {
    match each {
        Elementwise::Not(inner) => Some(outcomes(inner, input)?.into_iter().map(|outcome| !outcome).collect()),
        Elementwise::Compare(comparison) => {
            let elements = elements(value(&comparison.value, input)?)?;
            Some(elements.iter().map(|element| test(&comparison.test, element)).collect())
        }
        Elementwise::Holds(array) => {
            let elements = elements(value(array, input)?)?;
            Some(elements.iter().map(|element| is_true(Some(element))).collect())
        }
    }
}

fn elements(datum: Datum<'_>) -> Option<Vec<Datum<'_>>> {
    match datum {
        Datum::Array(elements) => Some(elements),
        Datum::Bool(_) | Datum::Int(_) | Datum::Text(_) | Datum::Ip(_) | Datum::Map(..) | Datum::Absent => None,
    }
}

/// What a value is for this request; `None` when it is absent.
pub(super) fn value<'a>(value: &'a Value, input: &Input<'a>) -> Option<Datum<'a>> {
    let base = match &value.base {
        Base::Field(field) => field.value(input),
        Base::Call(call) => self::call(call, input)?,
        Base::Literal(literal) => written(literal),
    };
    value.steps.iter().try_fold(base, step)
}

fn written(literal: &Literal) -> Datum<'_> {
    match literal {
        Literal::Int(value) => Datum::Int(*value),
        Literal::Text(text) => Datum::Text(Cow::Borrowed(text)),
        Literal::Ip(address) => Datum::Ip(*address),
        Literal::Bool(value) => Datum::Bool(*value),
    }
}

fn step<'a>(datum: Datum<'a>, step: &Step) -> Option<Datum<'a>> {
    match (step, datum) {
        (Step::Key(key), Datum::Map(map, input)) => {
            let strings = (map.lookup)(&input, key);
            (!strings.is_empty()).then(|| Datum::strings(strings))
        }
        (Step::Index(index), Datum::Array(elements)) => match elements.into_iter().nth(*index) {
            Some(Datum::Absent) | None => None,
            present => present,
        },
        (Step::Each, array @ Datum::Array(_)) => Some(array),
        (Step::Key(_) | Step::Index(_) | Step::Each, _) => None,
    }
}

fn call<'a>(call: &'a Call, input: &Input<'a>) -> Option<Datum<'a>> {
    let Body::Of { call: function, .. } = call.function.body else {
        return None;
    };
    let mut arguments = Vec::with_capacity(call.arguments.len());
    for argument in &call.arguments {
        arguments.push(value(argument, input)?);
    }
    if !matches!(call.arguments.first().map(|first| first.ty), Some(Type::Each(_))) {
        return function(&arguments);
    }
    let first = arguments
        .first_mut()
        .map(|first| std::mem::replace(first, Datum::Absent))?;
    let results = elements(first)?.into_iter().map(|element| {
        if let (Some(first), false) = (arguments.first_mut(), matches!(element, Datum::Absent)) {
            *first = element;
            function(&arguments).unwrap_or(Datum::Absent)
        } else {
            Datum::Absent
        }
    });
    Some(Datum::Array(results.collect()))
}

/// Whether a value passes. One of another type than the test is for passes none; the checker rules that out.
pub(super) fn test(test: &Test, datum: &Datum<'_>) -> bool {
    match (test, datum) {
        (Test::Relation(relation, Literal::Text(right)), Datum::Text(left)) => relation.holds(left[..].cmp(right)),
        (Test::Relation(relation, Literal::Int(right)), Datum::Int(left)) => relation.holds(left.cmp(right)),
        (Test::Relation(relation, Literal::Ip(right)), Datum::Ip(left)) => relation.holds(left.cmp(right)),
        (Test::Contains(needle), Datum::Text(text)) => needle.is_in(text),
        (Test::Matches(regex), Datum::Text(text)) => regex.is_match(text),
        (Test::Wildcard(wildcard), Datum::Text(text)) => wildcard.matches(text),
        (Test::In(Set::Text { set, .. }), Datum::Text(text)) => set.contains(&text[..]),
        (Test::In(set @ Set::Int { .. }), Datum::Int(value)) => set.contains_int(*value),
        (Test::In(Set::Ip { set, .. }), Datum::Ip(address)) => set.contains(*address),
        (Test::InList(list), datum) => is_listed(list, datum),
        (Test::Relation(..) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard(_) | Test::In(_), _) => false,
    }
}

fn is_listed(list: &List, datum: &Datum<'_>) -> bool {
    match (list.kind(), datum) {
        (ListKind::Ip, Datum::Ip(address)) => list.contains_ip(*address),
        (ListKind::Asn, Datum::Int(asn)) => u32::try_from(*asn).is_ok_and(|asn| list.contains_asn(asn)),
        (ListKind::Country, Datum::Text(code)) => {
            let country = std::str::from_utf8(code).ok().and_then(Country::new);
            country.is_some_and(|country| list.contains_country(country))
        }
        (ListKind::String, Datum::Text(text)) => list.contains_string(text),
        (ListKind::Ip | ListKind::Asn | ListKind::Country | ListKind::String, _) => false,
    }
}
