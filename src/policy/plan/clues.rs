//! How an atom can be found without asking for it: what it is about, and what must be there for it to hold.

use std::{ops::RangeInclusive, sync::Arc};

use super::literals::{self, Alternative};
use crate::policy::{
    lang::{
        Case,
        ast::{Base, Call, Comparison, Elementwise, Literal, Predicate, Quantifier, Relation, Set, Step, Test, Value},
        fields::Field,
        types::{Scalar, Type},
    },
    list::List,
    network::IpRange,
};

/// What an atom is about, and what must be there for it to hold.
#[derive(Debug)]
pub(super) enum Clue {
    /// `ip.src` is one of these.
    Address(Among<IpRange>),
    /// The value, of type Int, is one of these.
    Number(Value, Among<RangeInclusive<i64>>),
    /// The string, or some string of the array, is or holds one of these.
    Text(Value, Sought, Confirm),
    /// Some string under the name is or holds one of these; `None`: the name is there.
    Key(Map, String, Option<Sought>, Confirm),
}

/// What a value is one of.
#[derive(Debug)]
pub(super) enum Among<R> {
    /// Values in these ranges.
    Ranges(Vec<R>),
    /// The elements of a list.
    List(Arc<List>),
}

/// A field whose names are looked up in a table of those that rules ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Map {
    Headers,
    Cookies,
    Arguments,
}

impl Map {
    pub(super) const ALL: [Self; 3] = [Self::Headers, Self::Cookies, Self::Arguments];

    /// The field's name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "http.request.headers",
            Self::Cookies => "http.request.cookies",
            Self::Arguments => "http.request.uri.args",
        }
    }

    fn of(field: &Field) -> Option<Self> {
        match field.name {
            // Queries are never rewritten: both fields say the same.
            "raw.http.request.uri.args" => Some(Self::Arguments),
            name => Self::ALL.into_iter().find(|map| map.as_str() == name),
        }
    }
}

/// What must be found in a string for an atom to hold.
#[derive(Debug)]
pub(super) enum Sought {
    /// It is an element of the list.
    Listed(Arc<List>),
    /// It is one of these.
    Exactly(Vec<Box<[u8]>>),
    /// It holds one of these parts, and that is all there is to ask.
    Parts(Vec<Part>),
    /// Each alternative is a set of literals of which it must hold one, letter case aside.
    OneOf(Vec<Alternative>, Pattern),
}

/// A part of a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: Vec<u8>,
    /// Whether ASCII letters may stand there in either case.
    pub(super) case: Case,
}

/// A pattern as a regular expression, for when no literal of its own leads to it.
#[derive(Debug)]
pub(super) struct Pattern(pub(super) Option<String>);

/// What remains to be asked of a string in which a literal was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirm {
    /// Nothing: the find is the proof.
    Sure,
    /// Whether the string passes the atom's test.
    Test,
    /// The whole atom.
    Atom,
}

impl Clue {
    /// Whether it is found in a scan that is made anyway, so that it costs nothing where it is not found.
    pub(super) fn is_scanned(&self) -> bool {
        match self {
            Self::Text(_, sought, _) | Self::Key(_, _, Some(sought), _) => match sought {
                Sought::Parts(_) | Sought::OneOf(..) => true,
                Sought::Listed(_) | Sought::Exactly(_) => false,
            },
            Self::Address(_) | Self::Number(..) | Self::Key(_, _, None, _) => false,
        }
    }

    /// What leads to an atom; `None`: it holds too often, or of too much, for an index to help.
    pub(super) fn of(predicate: &Predicate) -> Option<Self> {
        let clue = match predicate {
            Predicate::Compare(comparison) => of_comparison(comparison),
            Predicate::Quantified(Quantifier::Any, Elementwise::Compare(comparison)) => of_comparison(comparison),
            Predicate::Holds(value) | Predicate::Quantified(Quantifier::Any, Elementwise::Holds(value)) => {
                of_condition(value)
            }
            Predicate::Quantified(Quantifier::Any, Elementwise::Not(_))
            | Predicate::Quantified(Quantifier::All, _)
            | Predicate::Constant(_)
            | Predicate::Not(_)
            | Predicate::Group(..) => None,
        };
        clue.or_else(|| of_presence(about(predicate)?))
    }
}

/// The value that an atom is about.
pub(in crate::policy) fn about(predicate: &Predicate) -> Option<&Value> {
    match predicate {
        Predicate::Compare(comparison) => Some(&comparison.value),
        Predicate::Holds(value) => Some(value),
        Predicate::Quantified(_, each) => Some(crate::policy::lang::interpreter::subject(each)),
        Predicate::Constant(_) | Predicate::Not(_) | Predicate::Group(..) => None,
    }
}

fn of_comparison(comparison: &Comparison) -> Option<Clue> {
    let value = &comparison.value;
    match value.ty {
        Type::One(Scalar::Ip) if is_field(value, "ip.src") => of_addresses(&comparison.test),
        Type::One(Scalar::Int) => of_numbers(value, &comparison.test),
        Type::One(Scalar::String) | Type::Each(Scalar::String) => {
            let text = Text::of(value);
            let (sought, confirm) = sought_text(&comparison.test, text.is_changed)?;
            Some(text.clue(sought, confirm))
        }
        Type::One(Scalar::Ip | Scalar::Bool) | Type::Array(_) | Type::Each(_) | Type::Map => None,
    }
}

fn is_field(value: &Value, name: &str) -> bool {
    matches!(&value.base, Base::Field(field) if field.name == name) && value.steps.is_empty()
}

fn of_addresses(test: &Test) -> Option<Clue> {
    let among = match test {
        Test::Relation(Relation::Equal, Literal::Ip(address)) => {
            Among::Ranges(IpRange::new(*address, *address).into_iter().collect())
        }
        Test::In(Set::Ip { set, .. }) => Among::Ranges(set.iter().collect()),
        Test::InList(list) => Among::List(list.clone()),
        _ => return None,
    };
    Some(Clue::Address(among))
}

fn of_numbers(value: &Value, test: &Test) -> Option<Clue> {
    let among = match test {
        Test::Relation(Relation::Equal, Literal::Int(number)) => Among::Ranges(vec![*number..=*number]),
        Test::In(Set::Int { written, .. }) => {
            Among::Ranges(written.iter().map(|(first, last)| *first..=*last).collect())
        }
        Test::InList(list) => Among::List(list.clone()),
        // Orders hold of half the numbers: an index would find nearly every rule that expires.
        _ => return None,
    };
    Some(of_presence(value).unwrap_or_else(|| Clue::Number(value.clone(), among)))
}

/// A string that is compared, without the `lower(…)` around it: what is found in it letter case aside is found in both.
struct Text<'v> {
    value: &'v Value,
    is_changed: bool,
}

impl<'v> Text<'v> {
    fn of(value: &'v Value) -> Self {
        let steps_are_plain = value.steps.iter().all(|step| *step == Step::Each);
        match &value.base {
            Base::Call(Call { function, arguments }) if steps_are_plain => {
                match (function.name, arguments.as_slice()) {
                    ("lower" | "upper", [inner]) => Self {
                        is_changed: true,
                        ..Self::of(inner)
                    },
                    _ => Self::unchanged(value),
                }
            }
            Base::Call(_) | Base::Field(_) | Base::Literal(_) => Self::unchanged(value),
        }
    }

    fn unchanged(value: &'v Value) -> Self {
        Self {
            value,
            is_changed: false,
        }
    }

    fn clue(&self, sought: Sought, confirm: Confirm) -> Clue {
        match keyed(self.value) {
            // With an index behind the key, another string may have been found than the one that counts.
            Some((map, key, rest)) => {
                let confirm = if rest == [Step::Each] { confirm } else { Confirm::Atom };
                Clue::Key(map, key.to_owned(), Some(sought), confirm)
            }
            None => of_presence(self.value).unwrap_or_else(|| Clue::Text(self.value.clone(), sought, confirm)),
        }
    }
}

/// `map["key"]…`: the map, the key, and what follows.
fn keyed(value: &Value) -> Option<(Map, &str, &[Step])> {
    let Base::Field(field) = &value.base else {
        return None;
    };
    match value.steps.split_first()? {
        (Step::Key(key), rest) => Some((Map::of(field)?, key, rest)),
        (Step::Index(_) | Step::Each, _) => None,
    }
}

/// What a string must hold to pass, and what is to be asked when it does.
fn sought_text(test: &Test, is_changed: bool) -> Option<(Sought, Confirm)> {
    let asked = if is_changed { Confirm::Atom } else { Confirm::Test };
    let sought = match test {
        Test::Relation(Relation::Equal, Literal::Text(text)) if !is_changed => {
            (Sought::Exactly(vec![text.clone()]), Confirm::Sure)
        }
        Test::In(Set::Text { written, .. }) if !is_changed => (Sought::Exactly(written.clone()), Confirm::Sure),
        Test::InList(list) if !is_changed => (Sought::Listed(list.clone()), Confirm::Sure),
        Test::Relation(Relation::Equal, Literal::Text(text)) => (one_literal(text)?, asked),
        Test::In(Set::Text { written, .. }) if written.iter().all(|text| !text.is_empty()) => {
            let alternative = Alternative::new(written.iter().map(|text| text.to_vec()));
            (Sought::OneOf(vec![alternative], Pattern(None)), asked)
        }
        // Lower-case in a lowered text is there in any case.
        Test::Contains(needle) if needle.any_case().is_some() => parts([Part::of(needle.text(), Case::Insensitive)])?,
        Test::Contains(needle) if is_changed => (one_literal(needle.text())?, asked),
        Test::Contains(needle) => parts([Part::of(needle.text(), Case::Sensitive)])?,
        Test::Matches(regex) if is_changed => (Sought::OneOf(literals::of_regex(regex.as_str()), Pattern(None)), asked),
        Test::Matches(regex) => match literals::parts(regex.as_str()).and_then(parts) {
            Some(parts) => parts,
            None => {
                let pattern = literals::is_scannable(regex.as_str()).then(|| literals::in_its_mode(regex.as_str()));
                (
                    Sought::OneOf(literals::of_regex(regex.as_str()), Pattern(pattern)),
                    asked,
                )
            }
        },
        Test::Wildcard(wildcard) => {
            let pieces = wildcard.pieces().filter(|piece| !piece.is_empty());
            let alternatives = pieces.map(|piece| Alternative::new([piece.to_vec()])).collect();
            let pattern = (!is_changed).then(|| as_regex(wildcard));
            (Sought::OneOf(alternatives, Pattern(pattern)), asked)
        }
        Test::In(_) | Test::InList(_) | Test::Relation(..) => return None,
    };
    // Without a literal and an automaton nothing leads to it.
    let is_found = !matches!(&sought.0, Sought::OneOf(alternatives, Pattern(None)) if alternatives.is_empty());
    is_found.then_some(sought)
}

/// Parts whose find is the proof. The empty one is everywhere, and leads nowhere.
fn parts(parts: impl IntoIterator<Item = Part>) -> Option<(Sought, Confirm)> {
    let parts: Vec<Part> = parts.into_iter().collect();
    let all_tell = parts.iter().all(|part| !part.text.is_empty());
    all_tell.then_some((Sought::Parts(parts), Confirm::Sure))
}

impl Part {
    fn of(text: &[u8], case: Case) -> Self {
        Self {
            text: text.to_vec(),
            case,
        }
    }
}

fn one_literal(text: &[u8]) -> Option<Sought> {
    let alternative = (!text.is_empty()).then(|| Alternative::new([text.to_vec()]))?;
    Some(Sought::OneOf(vec![alternative], Pattern(None)))
}

/// The same pattern as a regular expression over bytes.
fn as_regex(wildcard: &crate::policy::lang::Wildcard) -> String {
    let flags = match wildcard.case() {
        Case::Insensitive => "(?is-u)",
        Case::Sensitive => "(?s-u)",
    };
    let pieces: Vec<String> = wildcard.pieces().map(literals::escaped).collect();
    format!("{flags}^{}$", pieces.join(".*"))
}

/// `starts_with(text, "literal")` and its like.
fn of_condition(value: &Value) -> Option<Clue> {
    let Base::Call(Call { function, arguments }) = &value.base else {
        return None;
    };
    match (function.name, arguments.as_slice()) {
        ("starts_with" | "ends_with", [text, literal]) => {
            let Base::Literal(Literal::Text(literal)) = &literal.base else {
                return None;
            };
            Some(Text::of(text).clue(one_literal(literal)?, Confirm::Atom))
        }
        ("has_key", [map, key]) => match (&map.base, &key.base) {
            (Base::Field(field), Base::Literal(Literal::Text(key))) => {
                Some(present(Map::of(field)?, std::str::from_utf8(key).ok()?))
            }
            _ => None,
        },
        _ => None,
    }
}

/// What is made of a missing name is missing, and nothing holds of it.
fn of_presence(value: &Value) -> Option<Clue> {
    if let Some((map, key, _)) = keyed(value) {
        return Some(present(map, key));
    }
    match &value.base {
        Base::Call(call) => call.arguments.iter().find_map(of_presence),
        Base::Field(_) | Base::Literal(_) => None,
    }
}

fn present(map: Map, key: &str) -> Clue {
    let key = match map {
        // Header names are the same in any case; requests hold them in lower case.
        Map::Headers => key.to_ascii_lowercase(),
        Map::Cookies | Map::Arguments => key.to_owned(),
    };
    Clue::Key(map, key, None, Confirm::Atom)
}
