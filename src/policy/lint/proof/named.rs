//! Values by their names, what they are made of before they are tested, and what a test leaves of them.

use std::sync::Arc;

use super::{
    cases::{Case, Cases, Subject},
    domain::{Domain, Values},
    intervals::Intervals,
    pattern::{Glob, Pattern},
    regexes::globs_of_regex,
    texts::{OneOf, Texts},
};
use crate::policy::{
    facts::Country,
    lang::{
        Case as Letters,
        ast::{Base, Call, Literal, Relation, Set, Test, Value},
        fields::Sort,
        types::Type,
    },
    list::ListKind,
};

/// Lists of more strings are not spelled out.
const MAX_SPELLED_LIST: usize = 4_096;

/// What was made of a text before it is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    AsSent,
    Lower,
    Upper,
}

impl Made {
    /// How the text itself is compared, if what is looked for fits.
    pub(super) fn letters(self) -> Letters {
        match self {
            Self::AsSent => Letters::Sensitive,
            Self::Lower | Self::Upper => Letters::Insensitive,
        }
    }

    /// Whether a text can be found in what was made, so that it can be looked for in the text itself, letter case aside.
    pub(super) fn fits(self, text: &[u8]) -> bool {
        match self {
            Self::AsSent => true,
            Self::Lower => !text.iter().any(u8::is_ascii_uppercase),
            Self::Upper => !text.iter().any(u8::is_ascii_lowercase),
        }
    }
}

/// A value with what is known of it.
pub(super) struct Named<'v> {
    subject: Subject,
    /// The value that is tested.
    value: &'v Value,
    pub(super) made: Made,
    /// Whether it may be absent.
    maybe: bool,
}

impl<'v> Named<'v> {
    pub(super) fn plain(value: &'v Value) -> Self {
        Self {
            subject: subject(value),
            value,
            made: Made::AsSent,
            maybe: may_be_absent(value),
        }
    }

    /// The text itself, without the `lower(…)` around it.
    pub(super) fn of(value: &'v Value) -> Self {
        match &value.base {
            Base::Call(Call { function, arguments }) if matches!(function.name, "lower" | "upper") => {
                match arguments.as_slice() {
                    [text] if text.ty == Type::STRING && value.steps.is_empty() => Self {
                        made: if function.name == "lower" {
                            Made::Lower
                        } else {
                            Made::Upper
                        },
                        ..Self::plain(text)
                    },
                    _ => Self::plain(value),
                }
            }
            Base::Call(_) | Base::Field(_) | Base::Literal(_) => Self::plain(value),
        }
    }

    /// The value is one of these texts, or (not `within`) none of them. What holds, holds of a value that is there.
    pub(super) fn texts(&self, one_of: OneOf, within: bool, holds: bool) -> Cases {
        let one_of = match fold(self.value) {
            Some(fold) => folded(one_of, fold),
            None => one_of,
        };
        let texts = if within {
            Texts::one_of(one_of)
        } else {
            Texts::none_of(one_of)
        };
        self.cases(Values::Texts(texts), holds)
    }

    pub(super) fn cases(&self, values: Values, holds: bool) -> Cases {
        let domain = Domain {
            values,
            absent: self.maybe && !holds,
            optional: self.maybe,
        };
        if domain.is_all() {
            Cases::always()
        } else if domain.is_empty() {
            Cases::never()
        } else {
            Cases(vec![Case::about(Arc::clone(&self.subject), domain)])
        }
    }
}

/// As the language writes it; two names of one value are one.
pub(super) fn subject(value: &Value) -> Subject {
    let written = value.to_string();
    match written.strip_prefix("raw.http.request.uri.args") {
        // The names as sent are another field.
        Some(rest) if !rest.starts_with(".names") => format!("http.request.uri.args{rest}").into(),
        _ if written == "http.request.timestamp.sec" => "portcullis.now".into(),
        _ => written.into(),
    }
}

/// Whether a request may lack the value.
fn may_be_absent(value: &Value) -> bool {
    match &value.base {
        Base::Field(_) => !value.steps.is_empty(),
        Base::Call(Call { function, arguments }) => {
            let always = matches!(function.name, "lower" | "upper" | "len" | "to_string");
            !always || !value.steps.is_empty() || arguments.iter().any(may_be_absent)
        }
        Base::Literal(_) => false,
    }
}

/// Puts letters into one case.
type Fold = fn(&[u8]) -> Vec<u8>;

/// How texts of a field that has letters of one case only are compared: byte by byte, in that case.
fn fold(value: &Value) -> Option<Fold> {
    let Base::Field(field) = &value.base else { return None };
    match field.sort {
        Sort::Host | Sort::Extension | Sort::Lower => Some(<[u8]>::to_ascii_lowercase),
        Sort::Country | Sort::Continent | Sort::Upper => Some(<[u8]>::to_ascii_uppercase),
        Sort::Any
        | Sort::Asn
        | Sort::Method
        | Sort::Version
        | Sort::Path
        | Sort::Target
        | Sort::Site
        | Sort::Category => None,
    }
}

fn folded(one_of: OneOf, fold: Fold) -> OneOf {
    let others = one_of.others.into_iter().map(|pattern| match pattern {
        Pattern::Glob(glob) => Pattern::Glob(glob.folded(fold)),
        other @ (Pattern::Regex(_) | Pattern::List(_) | Pattern::Order(..)) => other,
    });
    let mut folded = OneOf::patterns(others);
    folded.exact.extend(one_of.exact);
    folded
}

/// What a text must be for what was made of it to pass; `None`: that cannot be said.
pub(super) fn one_of(test: &Test, made: Made) -> Option<OneOf> {
    let letters = made.letters();
    let as_sent = made == Made::AsSent;
    let only = |glob: Glob| OneOf::patterns([Pattern::Glob(glob)]);
    Some(match test {
        Test::Relation(Relation::Equal, Literal::Text(text)) => only(whole(text, made)?),
        Test::Relation(relation, Literal::Text(text)) if as_sent => {
            OneOf::patterns([Pattern::Order(*relation, text.clone())])
        }
        Test::Contains(needle) if made.fits(needle.text()) => only(Glob::containing(needle.text(), letters)),
        Test::Matches(regex) => match globs_of_regex(regex.as_str()) {
            Some(globs) if globs.iter().all(|glob| glob.pieces().all(|piece| made.fits(piece))) => {
                let looser = |glob: Glob| {
                    if as_sent {
                        glob
                    } else {
                        Glob::new(glob.pieces(), letters)
                    }
                };
                OneOf::patterns(globs.into_iter().map(looser).map(Pattern::Glob))
            }
            Some(_) | None if as_sent => OneOf::patterns([Pattern::Regex(regex.clone())]),
            Some(_) | None => return None,
        },
        Test::Wildcard(wildcard) => {
            let glob = Glob::of(wildcard);
            match (as_sent, wildcard.case()) {
                (true, _) => only(glob),
                (false, Letters::Insensitive) => only(glob),
                (false, Letters::Sensitive) if glob.pieces().all(|piece| made.fits(piece)) => {
                    only(Glob::new(glob.pieces(), letters))
                }
                (false, Letters::Sensitive) => return None,
            }
        }
        Test::In(Set::Text { written, .. }) => wholes(written.iter().map(|text| &**text), made)?,
        Test::InList(list) => match list.kind() {
            ListKind::String if list.len() <= MAX_SPELLED_LIST => wholes(list.strings(), made)?,
            ListKind::String if as_sent => OneOf::patterns([Pattern::List(Arc::clone(list))]),
            ListKind::Country if as_sent => {
                let codes = countries().filter(|code| list.contains_country(*code));
                OneOf::texts(codes.map(|code| code.as_str().as_bytes().into()))
            }
            ListKind::String | ListKind::Country | ListKind::Ip | ListKind::Asn => return None,
        },
        Test::Relation(..) | Test::Contains(_) | Test::In(_) => return None,
    })
}

/// The whole text, as it can be before it was made lower-case or upper-case.
fn whole(text: &[u8], made: Made) -> Option<Glob> {
    made.fits(text).then(|| Glob::new([text], made.letters()))
}

fn wholes<'t>(texts: impl Iterator<Item = &'t [u8]>, made: Made) -> Option<OneOf> {
    let globs: Option<Vec<Glob>> = texts.map(|text| whole(text, made)).collect();
    Some(OneOf::patterns(globs?.into_iter().map(Pattern::Glob)))
}

/// Every code that could be a country's.
fn countries() -> impl Iterator<Item = Country> {
    const CHARACTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let pairs = CHARACTERS.iter().flat_map(|a| CHARACTERS.iter().map(move |b| [*a, *b]));
    pairs.filter_map(|pair| Country::new(std::str::from_utf8(&pair).ok()?))
}

pub(super) fn numbers(test: &Test) -> Option<Intervals<i64>> {
    Some(match test {
        Test::Relation(relation, Literal::Int(number)) => {
            let (min, max, number) = (i64::MIN, i64::MAX, *number);
            let below = number.checked_sub(1).map(|last| (min, last));
            let above = number.checked_add(1).map(|first| (first, max));
            match relation {
                Relation::Equal => Intervals::of([(number, number)]),
                Relation::NotEqual => Intervals::of(below.into_iter().chain(above)),
                Relation::Less => Intervals::of(below),
                Relation::LessEqual => Intervals::of([(min, number)]),
                Relation::Greater => Intervals::of(above),
                Relation::GreaterEqual => Intervals::of([(number, max)]),
            }
        }
        Test::In(Set::Int { written, .. }) => Intervals::of(written.iter().copied()),
        Test::InList(list) => Intervals::of(list.systems()?.map(|number| (i64::from(number), i64::from(number)))),
        Test::Relation(..) | Test::Contains(_) | Test::Matches(_) | Test::Wildcard(_) | Test::In(_) => return None,
    })
}
