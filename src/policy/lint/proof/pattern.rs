//! What a text can be tested for, and what one test says of another. "No" always means "not proven".

use std::sync::Arc;

use crate::policy::{
    lang::{Case, Wildcard, ast::Relation},
    list::List,
};

/// A test of one text.
#[derive(Debug, Clone)]
pub(in crate::policy::lint) enum Pattern {
    /// The whole text is made of these pieces.
    Glob(Glob),
    /// The regular expression matches somewhere.
    Regex(regex::bytes::Regex),
    /// It is in a list that is too long to be spelled out.
    List(Arc<List>),
    /// It comes so in the order of bytes.
    Order(Relation, Box<[u8]>),
}

/// Pieces with anything between them: one piece is the whole text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::policy::lint) struct Glob {
    pieces: Vec<Box<[u8]>>,
    any_case: bool,
}

/// Equal when they are the same test, as far as is known.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob(a), Self::Glob(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            (Self::List(a), Self::List(b)) => Arc::ptr_eq(a, b),
            (Self::Order(a, x), Self::Order(b, y)) => a == b && x == y,
            (Self::Glob(_) | Self::Regex(_) | Self::List(_) | Self::Order(..), _) => false,
        }
    }
}

impl Pattern {
    /// Whether the text passes.
    pub(in crate::policy::lint) fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Glob(glob) => glob.holds(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::List(list) => list.contains_string(text),
            Self::Order(relation, than) => relation.holds(text.cmp(than)),
        }
    }

    /// Whether it is proven that every text that passes it passes the other.
    pub(in crate::policy::lint) fn implies(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob(a), Self::Glob(b)) => a.implies(b),
            (a, b) => a == b,
        }
    }

    /// Whether it is proven that no text passes both.
    pub(in crate::policy::lint) fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob(a), Self::Glob(b)) => a.excludes(b),
            (_, _) => false,
        }
    }
}

impl Glob {
    pub(in crate::policy::lint) fn new(pieces: impl IntoIterator<Item = impl Into<Box<[u8]>>>, case: Case) -> Self {
        let pieces: Vec<Box<[u8]>> = pieces.into_iter().map(Into::into).collect();
        let letters = pieces.iter().flatten().any(u8::is_ascii_alphabetic);
        let any_case = case == Case::Insensitive && letters;
        let fold = |piece: Box<[u8]>| {
            if any_case {
                piece.to_ascii_lowercase().into()
            } else {
                piece
            }
        };
        Self {
            pieces: pieces.into_iter().map(fold).collect(),
            any_case,
        }
    }

    pub(in crate::policy::lint) fn of(wildcard: &Wildcard) -> Self {
        Self::new(wildcard.pieces(), wildcard.case())
    }

    /// The text holds this.
    pub(in crate::policy::lint) fn containing(text: &[u8], case: Case) -> Self {
        Self::new([b"" as &[u8], text, b""], case)
    }

    /// The text begins so.
    pub(in crate::policy::lint) fn starting(text: &[u8], case: Case) -> Self {
        Self::new([text, b""], case)
    }

    /// The text ends so.
    pub(in crate::policy::lint) fn ending(text: &[u8], case: Case) -> Self {
        Self::new([b"" as &[u8], text], case)
    }

    /// The one text that it stands for.
    pub(in crate::policy::lint) fn exact(&self) -> Option<&[u8]> {
        match self.pieces.as_slice() {
            [only] if !self.any_case => Some(only),
            _ => None,
        }
    }

    /// Whether every text passes.
    pub(in crate::policy::lint) fn is_everything(&self) -> bool {
        self.pieces.len() > 1 && self.pieces.iter().all(|piece| piece.is_empty())
    }

    pub(in crate::policy::lint) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &**piece)
    }

    /// The same, where letters are known to be of one case: then it is a test byte by byte.
    pub(in crate::policy::lint) fn folded(self, fold: fn(&[u8]) -> Vec<u8>) -> Self {
        if !self.any_case {
            return self;
        }
        Self::new(self.pieces.iter().map(|piece| fold(piece)), Case::Sensitive)
    }

    fn holds(&self, text: &[u8]) -> bool {
        let [first, .., last] = self.pieces.as_slice() else {
            return self.pieces.first().is_some_and(|only| self.same(text, only));
        };
        if text.len() < first.len() + last.len() {
            return false;
        }
        let (start, rest) = text.split_at(first.len());
        let (mut middle, end) = rest.split_at(rest.len() - last.len());
        let between = self.pieces.get(1..self.pieces.len() - 1).unwrap_or_default();
        self.same(start, first)
            && self.same(end, last)
            && between.iter().all(
                |piece| match find(middle, |window| self.same(window, piece), piece.len()) {
                    Some(at) => {
                        middle = middle.get(at + piece.len()..).unwrap_or_default();
                        true
                    }
                    None => false,
                },
            )
    }

    fn same(&self, text: &[u8], piece: &[u8]) -> bool {
        if self.any_case {
            text.eq_ignore_ascii_case(piece)
        } else {
            text == piece
        }
    }

    /// Whether a stretch that passes as written of this one passes as a piece of the other.
    fn piece_implies(&self, own: &[u8], other: &Self, piece: &[u8]) -> bool {
        match (self.any_case, other.any_case) {
            (_, true) => own.eq_ignore_ascii_case(piece),
            (false, false) => own == piece,
            // In any case here, in one case there.
            (true, false) => own == piece && !own.iter().any(u8::is_ascii_alphabetic),
        }
    }

    /// Every text that passes this passes the other, if the other can be laid over this one's pieces: its first at the
    /// beginning, its last at the end, and the others each inside one piece, in order. What is between this one's pieces can
    /// be anything, so only what is between the other's can stand for it.
    fn implies(&self, other: &Self) -> bool {
        let ([first, .., last], Some(begin), Some(end)) =
            (other.pieces.as_slice(), self.pieces.first(), self.pieces.last())
        else {
            // The other is one whole text.
            return self.pieces.len() == 1
                && other.pieces.len() == 1
                && self.piece_implies(&self.pieces[0], other, &other.pieces[0]);
        };
        let whole = self.pieces.len() == 1;
        if begin.len() < first.len() || end.len() < last.len() || whole && begin.len() < first.len() + last.len() {
            return false;
        }
        let starts = self.piece_implies(&begin[..first.len()], other, first);
        let ends = self.piece_implies(&end[end.len() - last.len()..], other, last);
        if !starts || !ends {
            return false;
        }
        let count = self.pieces.len();
        let mut stretches = self.pieces.iter().enumerate().map(|(at, piece)| {
            let from = if at == 0 { first.len() } else { 0 };
            let to = piece.len() - if at + 1 == count { last.len() } else { 0 };
            piece.get(from..to).unwrap_or_default()
        });
        let mut here = stretches.next().unwrap_or_default();
        let between = &other.pieces[1..other.pieces.len() - 1];
        between.iter().all(|piece| {
            loop {
                if let Some(at) = find(here, |window| self.piece_implies(window, other, piece), piece.len()) {
                    here = &here[at + piece.len()..];
                    return true;
                }
                match stretches.next() {
                    Some(next) => here = next,
                    None => return false,
                }
            }
        })
    }

    /// Two that begin, or end, with different letters have no text in common; nor have a whole text and one that it does not
    /// pass, letter case aside when either leaves it open.
    fn excludes(&self, other: &Self) -> bool {
        let loose = Self::new(other.pieces.clone(), Case::Insensitive);
        let (Some(a), Some(b)) = (self.pieces.first(), other.pieces.first()) else {
            return false;
        };
        if self.pieces.len() == 1 {
            return if self.any_case {
                !loose.holds(a)
            } else {
                !other.holds(a)
            };
        }
        if other.pieces.len() == 1 {
            return other.excludes(self);
        }
        let differ = |a: &[u8], b: &[u8]| {
            if self.any_case || other.any_case {
                !a.eq_ignore_ascii_case(b)
            } else {
                a != b
            }
        };
        let common = a.len().min(b.len());
        let (Some(y), Some(z)) = (self.pieces.last(), other.pieces.last()) else {
            return false;
        };
        let tail = y.len().min(z.len());
        differ(&a[..common], &b[..common]) || differ(&y[y.len() - tail..], &z[z.len() - tail..])
    }
}

/// The first place where a window of this length is what is looked for.
fn find(text: &[u8], is_it: impl Fn(&[u8]) -> bool, length: usize) -> Option<usize> {
    if length == 0 {
        return Some(0);
    }
    text.windows(length).position(is_it)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::regexes::globs_of_regex, *};

    fn glob() -> impl Strategy<Value = Glob> {
        let case = prop_oneof![Just(Case::Sensitive), Just(Case::Insensitive)];
        (vec("[aAb/]{0,3}", 1..4), case)
            .prop_map(|(pieces, case)| Glob::new(pieces.into_iter().map(String::into_bytes), case))
    }

    fn regex() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[ab/]{1,2}",
            Just("(a|b)".to_owned()),
            Just("[ab]".to_owned()),
            Just("(?i)a".to_owned()),
            Just("a$|b".to_owned())
        ];
        ("\\^?", vec(piece, 1..3), "\\$?").prop_map(|(start, pieces, end)| format!("{start}{}{end}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_globs_say_of_each_other_holds_of_every_text(a in glob(), b in glob(), texts in vec("[aAbB/]{0,7}", 1..30)) {
            let (implies, excludes) = (a.implies(&b), a.excludes(&b));
            // Texts that pass the first are rare among random ones: fill its gaps.
            let filled = texts.iter().map(|text| a.pieces.join(text.as_bytes()));
            for text in texts.iter().map(|text| text.clone().into_bytes()).chain(filled) {
                if a.holds(&text) {
                    prop_assert!(!implies || b.holds(&text), "{:?} {:?} {:?}", a, b, text);
                    prop_assert!(!excludes || !b.holds(&text), "{:?} {:?} {:?}", a, b, text);
                }
            }
            prop_assert!(a.implies(&a));
        }

        #[test]
        fn globs_of_a_regex_hold_when_it_matches(pattern in regex(), texts in vec("[aAb/]{0,4}", 1..20)) {
            let compiled = regex::bytes::RegexBuilder::new(&pattern).unicode(false).build().expect("a regex");
            if let Some(globs) = globs_of_regex(&pattern) {
                for text in texts {
                    let held = globs.iter().any(|glob| glob.holds(text.as_bytes()));
                    prop_assert_eq!(held, compiled.is_match(text.as_bytes()), "{} {:?} {}", &pattern, &globs, &text);
                }
            }
        }
    }

    #[test]
    fn what_people_write_is_understood() {
        let wildcard = |text: &str| Glob::of(&Wildcard::new(text.as_bytes(), Case::Insensitive).expect("a pattern"));
        assert!(wildcard("/admin/x*").implies(&wildcard("/admin/*")));
        assert!(!wildcard("/admin*").implies(&wildcard("/admin/*")));
        assert!(wildcard("/a*.php").implies(&wildcard("*.php")));
        assert!(wildcard("/a/*").excludes(&wildcard("/b/*")));
        assert_eq!(
            globs_of_regex("^/admin").expect("a prefix"),
            [Glob::starting(b"/admin", Case::Sensitive)]
        );
        assert_eq!(
            globs_of_regex(r"(?i)\.php$").expect("a suffix"),
            [Glob::ending(b".php", Case::Insensitive)]
        );
        assert_eq!(globs_of_regex("^(a|b)$").map(|all| all.len()), Some(2));
        assert_eq!(globs_of_regex("a.*b"), None);
    }
}
