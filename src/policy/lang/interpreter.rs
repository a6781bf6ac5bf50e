//! Asks a checked expression about a request. Total: it cannot fail, and its depth is bounded by the parser's.
//!
//! What the language means is written here, as plainly as it can be. The compiled plan must come to the same outcomes, and
//! asks here for whatever it has no index for.

use bumpalo::collections::Vec;

use super::{
    ast::{Base, Call, Comparison, Elementwise, Literal, Logic, Predicate, Quantifier, Set, Step, Test, Value},
    fields::Read,
    functions::Body,
    request::Input,
    truth::Truth,
    types::{Datum, Type},
};
use crate::policy::{
    facts::Country,
    list::{List, ListKind},
};

/// Whether it holds.
pub(in crate::policy) fn holds<'a, T: Truth>(predicate: &'a Predicate, input: &Input<'a>) -> T {
    match predicate {
        Predicate::Constant(value) => T::known(*value),
        Predicate::Not(inner) => holds::<T>(inner, input).negated(),
        Predicate::Group(Logic::And, parts) => T::all(parts.iter().map(|part| holds(part, input))),
        Predicate::Group(Logic::Or, parts) => T::any(parts.iter().map(|part| holds(part, input))),
        Predicate::Group(Logic::Xor, parts) => {
            let parts = parts.iter().map(|part| holds::<T>(part, input));
            parts.fold(T::known(false), T::xor)
        }
        Predicate::Compare(Comparison { value, .. }) | Predicate::Holds(value) => tell(value, predicate, input),
        Predicate::Quantified(_, each) => tell(subject(each), predicate, input),
    }
}

/// The truth of a predicate about one value.
fn tell<'a, T: Truth>(value: &Value, predicate: &'a Predicate, input: &Input<'a>) -> T {
    if T::MAY_BE_UNKNOWN && input.unknown.touches(value) {
        return T::unknown();
    }
    T::known(match predicate {
        Predicate::Compare(comparison) => passes(comparison, input),
        Predicate::Holds(value) => is_true(self::value(value, input)),
        Predicate::Quantified(quantifier, each) => quantified(*quantifier, each, input),
        Predicate::Constant(_) | Predicate::Not(_) | Predicate::Group(..) => false,
    })
}

pub(super) fn passes<'a>(comparison: &'a Comparison, input: &Input<'a>) -> bool {
    // `lower(text) contains "part"`: the most common test of user agents, and the text need not be copied for it.
    if let Test::Contains(needle) = &comparison.test
        && let Some(any_case) = needle.any_case()
        && let Base::Call(lower) = &comparison.value.base
        && let [text] = lower.arguments.as_slice()
    {
        return matches!(value(text, input), Some(Datum::Text(text)) if any_case.is_match(text));
    }
    value(&comparison.value, input).is_some_and(|datum| test(&comparison.test, &datum))
}

fn is_true(datum: Option<Datum<'_>>) -> bool {
    matches!(datum, Some(Datum::Bool(true)))
}

/// Of an absent array, nothing holds.
pub(super) fn quantified<'a>(quantifier: Quantifier, each: &'a Elementwise, input: &Input<'a>) -> bool {
    let Some(Datum::Array(elements)) = value(subject(each), input) else {
        return false;
    };
    let mut elements = elements.iter();
    match quantifier {
        Quantifier::Any => elements.any(|element| holds_of(each, element)),
        Quantifier::All => elements.all(|element| holds_of(each, element)),
    }
}

/// The array that the elements come from.
pub(in crate::policy) fn subject(each: &Elementwise) -> &Value {
    match each {
        Elementwise::Not(inner) => subject(inner),
        Elementwise::Compare(comparison) => &comparison.value,
        Elementwise::Holds(value) => value,
    }
}

fn holds_of(each: &Elementwise, element: &Datum<'_>) -> bool {
    match each {
        Elementwise::Not(inner) => !holds_of(inner, element),
        Elementwise::Compare(comparison) => test(&comparison.test, element),
        Elementwise::Holds(_) => is_true(Some(*element)),
    }
}

/// What a value is for this request; `None` when it is absent.
pub(in crate::policy) fn value<'a>(value: &'a Value, input: &Input<'a>) -> Option<Datum<'a>> {
    let (base, steps) = match (&value.base, value.steps.as_slice()) {
        // A name in a map is looked up at once: the map itself is only for functions.
        (Base::Field(field), [Step::Key(key), steps @ ..]) => match field.read {
            Read::Map(map) => ((map.lookup)(input, key)?, steps),
            Read::Bool(_) | Read::Int(_) | Read::String(_) | Read::Ip(_) | Read::Strings(_) => return None,
        },
        (Base::Field(field), steps) => (field.value(input), steps),
        (Base::Call(call), steps) => (self::call(call, input)?, steps),
        (Base::Literal(literal), steps) => (written(literal), steps),
    };
    steps.iter().try_fold(base, step)
}

fn written(literal: &Literal) -> Datum<'_> {
    match literal {
        Literal::Int(value) => Datum::Int(*value),
        Literal::Text(text) => Datum::Text(text),
        Literal::Ip(address) => Datum::Ip(*address),
        Literal::Bool(value) => Datum::Bool(*value),
    }
}

fn step<'a>(datum: Datum<'a>, step: &Step) -> Option<Datum<'a>> {
    match (step, datum) {
        (Step::Key(key), Datum::Map(map, input)) => (map.lookup)(input, key),
        (Step::Index(index), Datum::Array(elements)) => match elements.get(*index) {
            Some(Datum::Absent) | None => None,
            Some(present) => Some(*present),
        },
        (Step::Each, array @ Datum::Array(_)) => Some(array),
        (Step::Key(_) | Step::Index(_) | Step::Each, _) => None,
    }
}

fn call<'a>(call: &'a Call, input: &Input<'a>) -> Option<Datum<'a>> {
    let Body::Of { call: function, .. } = call.function.body else {
        return None;
    };
    let mut arguments = Vec::with_capacity_in(call.arguments.len(), input.arena);
    for argument in &call.arguments {
        arguments.push(value(argument, input)?);
    }
    if !matches!(call.arguments.first().map(|first| first.ty), Some(Type::Each(_))) {
        return function(&arguments, input.arena);
    }
    let Some(Datum::Array(elements)) = arguments.first().copied() else {
        return None;
    };
    let results = elements.iter().map(|element| {
        if let (Some(first), false) = (arguments.first_mut(), matches!(element, Datum::Absent)) {
            *first = *element;
            function(&arguments, input.arena).unwrap_or(Datum::Absent)
        } else {
            Datum::Absent
        }
    });
    Some(Datum::array(results, input.arena))
}

/// Whether a value passes. One of another type than the test is for passes none; the checker rules that out.
pub(in crate::policy) fn test(test: &Test, datum: &Datum<'_>) -> bool {
    match (test, datum) {
        (Test::Relation(relation, Literal::Text(right)), Datum::Text(left)) => relation.holds((*left).cmp(right)),
        (Test::Relation(relation, Literal::Int(right)), Datum::Int(left)) => relation.holds(left.cmp(right)),
        (Test::Relation(relation, Literal::Ip(right)), Datum::Ip(left)) => relation.holds(left.cmp(right)),
        (Test::Contains(needle), Datum::Text(text)) => needle.is_in(text),
        (Test::Matches(regex), Datum::Text(text)) => regex.is_match(text),
        (Test::Wildcard(wildcard), Datum::Text(text)) => wildcard.matches(text),
        (Test::In(Set::Text { set, .. }), Datum::Text(text)) => set.contains(*text),
        (Test::In(set @ Set::Int { .. }), Datum::Int(value)) => set.contains_int(*value),
        (Test::In(Set::Ip { set, .. }), Datum::Ip(address)) => set.contains(*address),
        (Test::InList(list), datum) => is_listed(list, datum),
        (Test::Relation(..) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard(_) | Test::In(_), _) => false,
    }
}

/// Whether the list, of whichever kind, holds the value.
pub(in crate::policy) fn is_listed(list: &List, datum: &Datum<'_>) -> bool {
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
