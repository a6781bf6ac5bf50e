//! Regular expressions that say no more than globs: texts with anchors, and a few alternatives.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind, Look},
};

use super::pattern::Glob;
use crate::policy::lang::{Case, literals::is_unicode};

/// How many texts a regular expression may stand for and still be spelled out.
const MAX_SPELLED: usize = 64;

/// Globs of which one holds exactly when the regular expression matches; `None` if it says what globs cannot.
pub(in crate::policy::lint) fn globs_of_regex(pattern: &str) -> Option<Vec<Glob>> {
    let mut builder = ParserBuilder::new();
    builder.unicode(is_unicode(pattern)).utf8(false);
    let hir = builder.build().parse(pattern).ok()?;
    let spelled = spell(&hir)?;
    spelled.into_iter().map(Spelled::glob).collect()
}

/// A text with what is known of its ends and of its letters' case.
#[derive(Debug, Clone, Default)]
struct Spelled {
    starts: bool,
    ends: bool,
    text: Vec<u8>,
    /// Letters that stand in this case only, and in either.
    one_case: bool,
    any_case: bool,
}

impl Spelled {
    fn then(&self, next: &Self) -> Option<Self> {
        // An anchor in the middle, after or before letters, matches nothing: leave that to others.
        let fits = (!self.ends || next.text.is_empty()) && (!next.starts || self.text.is_empty());
        fits.then(|| Self {
            starts: self.starts || next.starts,
            ends: self.ends || next.ends,
            text: [self.text.as_slice(), &next.text].concat(),
            one_case: self.one_case || next.one_case,
            any_case: self.any_case || next.any_case,
        })
    }

    fn glob(self) -> Option<Glob> {
        if self.one_case && self.any_case {
            return None;
        }
        let case = if self.any_case {
            Case::Insensitive
        } else {
            Case::Sensitive
        };
        let before = (!self.starts).then_some(Vec::new());
        let after = (!self.ends).then_some(Vec::new());
        Some(Glob::new(before.into_iter().chain([self.text]).chain(after), case))
    }
}

fn spell(hir: &Hir) -> Option<Vec<Spelled>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![Spelled::default()]),
        HirKind::Literal(literal) => Some(vec![Spelled {
            text: literal.0.to_vec(),
            one_case: literal.0.iter().any(u8::is_ascii_alphabetic),
            ..Spelled::default()
        }]),
        HirKind::Look(Look::Start) => Some(vec![Spelled {
            starts: true,
            ..Spelled::default()
        }]),
        HirKind::Look(Look::End) => Some(vec![Spelled {
            ends: true,
            ..Spelled::default()
        }]),
        HirKind::Capture(capture) => spell(&capture.sub),
        HirKind::Class(class) => letter(class),
        HirKind::Concat(parts) => {
            let mut all = vec![Spelled::default()];
            for part in parts {
                let next = spell(part)?;
                if all.len() * next.len() > MAX_SPELLED {
                    return None;
                }
                let joined = all.iter().flat_map(|a| next.iter().map(move |b| a.then(b)));
                all = joined.collect::<Option<_>>()?;
            }
            Some(all)
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(spell(part)?);
            }
            (all.len() <= MAX_SPELLED).then_some(all)
        }
        HirKind::Repetition(_) | HirKind::Look(_) => None,
    }
}

/// `[Aa]`, which `(?i)a` comes to, is one letter in either case; a few others are spelled out.
fn letter(class: &Class) -> Option<Vec<Spelled>> {
    let bytes: Vec<u8> = match class {
        Class::Bytes(class) => {
            let ranges = class.iter().map(|range| range.start()..=range.end());
            ranges.flatten().take(MAX_SPELLED).collect()
        }
        Class::Unicode(class) => {
            let ranges = class.iter().map(|range| range.start()..=range.end());
            let characters: Vec<char> = ranges.flatten().take(MAX_SPELLED).collect();
            let bytes = characters.iter().map(|c| c.is_ascii().then_some(*c as u8));
            bytes.collect::<Option<_>>()?
        }
    };
    match bytes.as_slice() {
        [upper, lower] if upper.is_ascii_uppercase() && upper.to_ascii_lowercase() == *lower => Some(vec![Spelled {
            text: vec![*lower],
            any_case: true,
            ..Spelled::default()
        }]),
        few if few.len() < 16 => {
            let spelled = few.iter().map(|byte| Spelled {
                text: vec![*byte],
                one_case: byte.is_ascii_alphabetic(),
                ..Spelled::default()
            });
            Some(spelled.collect())
        }
        _ => None,
    }
}
