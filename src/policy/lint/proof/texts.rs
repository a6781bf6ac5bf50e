//! Sets of texts, as far as they can be reasoned about: what they are one of, and what they are none of.

use std::collections::BTreeSet;

use super::pattern::Pattern;

/// Texts that are one of these, or pass one of these tests.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::policy::lint) struct OneOf {
    pub(in crate::policy::lint) exact: BTreeSet<Box<[u8]>>,
    pub(in crate::policy::lint) others: Vec<Pattern>,
}

/// How many pairs of tests are compared before the answer is "not proven": two long lists of patterns.
const MAX_PAIRS: usize = 40_000;

impl OneOf {
    pub(in crate::policy::lint) fn patterns(patterns: impl IntoIterator<Item = Pattern>) -> Self {
        let mut all = Self::default();
        patterns.into_iter().for_each(|pattern| all.add(pattern));
        all
    }

    pub(in crate::policy::lint) fn texts(texts: impl IntoIterator<Item = Box<[u8]>>) -> Self {
        Self {
            exact: texts.into_iter().collect(),
            others: Vec::new(),
        }
    }

    fn add(&mut self, pattern: Pattern) {
        match &pattern {
            Pattern::Glob(glob) => match glob.exact() {
                Some(text) => {
                    self.exact.insert(text.into());
                }
                None if !self.others.contains(&pattern) => self.others.push(pattern),
                None => {}
            },
            Pattern::Regex(_) | Pattern::List(_) | Pattern::Order(..) => self.others.push(pattern),
        }
    }

    fn join(&mut self, other: Self) {
        self.exact.extend(other.exact);
        other.others.into_iter().for_each(|pattern| self.add(pattern));
    }

    pub(in crate::policy::lint) fn holds(&self, text: &[u8]) -> bool {
        self.exact.contains(text) || self.others.iter().any(|pattern| pattern.holds(text))
    }

    fn is_nothing(&self) -> bool {
        self.exact.is_empty() && self.others.is_empty()
    }

    /// Whether it is spelled out.
    fn is_finite(&self) -> bool {
        self.others.is_empty()
    }

    fn is_everything(&self) -> bool {
        let everything = |pattern: &Pattern| matches!(pattern, Pattern::Glob(glob) if glob.is_everything());
        self.others.iter().any(everything)
    }

    fn is_implied_by(&self, pattern: &Pattern) -> bool {
        self.others.iter().any(|own| pattern.implies(own))
    }

    /// Whether it is proven that each of its texts is one of the other's.
    fn implies(&self, other: &Self) -> bool {
        if other.is_everything() {
            return true;
        }
        if (self.others.len() + self.exact.len()).saturating_mul(other.others.len()) > MAX_PAIRS {
            return self == other;
        }
        self.exact.iter().all(|text| other.holds(text)) && self.others.iter().all(|own| other.is_implied_by(own))
    }

    /// Whether it is proven that none of its texts passes the test.
    fn excludes(&self, pattern: &Pattern) -> bool {
        !self.exact.iter().any(|text| pattern.holds(text)) && self.others.iter().all(|own| own.excludes(pattern))
    }
}

/// Texts that are one of each, and none of the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::policy::lint) struct Texts {
    within: Vec<OneOf>,
    outside: OneOf,
}

impl Texts {
    /// Every text.
    pub(in crate::policy::lint) fn all() -> Self {
        Self::default()
    }

    pub(in crate::policy::lint) fn one_of(one_of: OneOf) -> Self {
        if one_of.is_everything() {
            return Self::all();
        }
        Self {
            within: vec![one_of],
            outside: OneOf::default(),
        }
    }

    pub(in crate::policy::lint) fn none_of(outside: OneOf) -> Self {
        if outside.is_everything() {
            return Self::one_of(OneOf::default());
        }
        Self {
            within: Vec::new(),
            outside,
        }
    }

    pub(in crate::policy::lint) fn is_all(&self) -> bool {
        self.within.is_empty() && self.outside.is_nothing()
    }

    /// Whether the text is one of them.
    pub(in crate::policy::lint) fn holds(&self, text: &[u8]) -> bool {
        self.within.iter().all(|one_of| one_of.holds(text)) && !self.outside.holds(text)
    }

    /// What they are one of, each a choice that must hold.
    pub(in crate::policy::lint) fn choices(&self) -> &[OneOf] {
        &self.within
    }

    /// All of them, if they are spelled out.
    pub(in crate::policy::lint) fn spelled(&self) -> Option<&BTreeSet<Box<[u8]>>> {
        match self.within.as_slice() {
            [only] if only.is_finite() => Some(&only.exact),
            _ => None,
        }
    }

    pub(in crate::policy::lint) fn intersection(mut self, other: Self) -> Self {
        for one_of in other.within {
            if !self.within.contains(&one_of) {
                self.within.push(one_of);
            }
        }
        self.outside.join(other.outside);
        self.simplified()
    }

    /// Spelled-out texts are asked everything else at once; of others, what cannot be is left out.
    fn simplified(mut self) -> Self {
        if let Some(at) = self.within.iter().position(OneOf::is_finite) {
            let finite = self.within.swap_remove(at);
            let texts = finite.exact.into_iter().filter(|text| self.holds(text)).collect();
            return Self {
                within: vec![OneOf {
                    exact: texts,
                    others: Vec::new(),
                }],
                outside: OneOf::default(),
            };
        }
        for at in 0..self.within.len() {
            let mut choice = std::mem::take(&mut self.within[at]);
            let exact = std::mem::take(&mut choice.exact);
            let possible = |text: &[u8]| {
                let others = self.within.iter().enumerate().filter(|(other, _)| *other != at);
                !self.outside.holds(text) && others.into_iter().all(|(_, one_of)| one_of.holds(text))
            };
            choice.exact = exact.into_iter().filter(|text| possible(text)).collect();
            let rest: usize = self
                .within
                .iter()
                .map(|one_of| one_of.exact.len() + one_of.others.len())
                .sum();
            if choice.others.len().saturating_mul(rest + self.outside.others.len()) <= MAX_PAIRS {
                let others = self.within.iter().enumerate().filter(|(other, _)| *other != at);
                let others: Vec<&OneOf> = others.map(|(_, one_of)| one_of).collect();
                choice.others.retain(|pattern| {
                    !self.outside.is_implied_by(pattern) && !others.iter().any(|one_of| one_of.excludes(pattern))
                });
            }
            let became_finite = choice.is_finite();
            self.within[at] = choice;
            if became_finite {
                return self.simplified();
            }
        }
        self
    }

    /// How many alternatives the first choice has that has several.
    pub(in crate::policy::lint) fn alternatives(&self) -> usize {
        let mut several = self
            .within
            .iter()
            .map(|one_of| one_of.exact.len() + one_of.others.len());
        several.find(|count| *count > 1).unwrap_or(0)
    }

    /// The same in parts: the alternatives of a choice, one by one.
    pub(in crate::policy::lint) fn parts(&self) -> Option<Vec<Self>> {
        let at = self
            .within
            .iter()
            .position(|one_of| one_of.exact.len() + one_of.others.len() > 1)?;
        let choice = self.within.get(at)?;
        let exact = choice.exact.iter().map(|text| OneOf::texts([text.clone()]));
        let others = choice.others.iter().map(|pattern| OneOf::patterns([pattern.clone()]));
        let with = |one: OneOf| {
            let mut part = self.clone();
            part.within[at] = one;
            part
        };
        Some(exact.chain(others).map(with).collect())
    }

    /// Whether it is proven that there is no such text.
    pub(in crate::policy::lint) fn is_empty(&self) -> bool {
        self.within.iter().any(OneOf::is_nothing)
    }

    /// The texts of both, if that can be said.
    pub(in crate::policy::lint) fn union(&self, other: &Self) -> Option<Self> {
        if self.is_all() || other.is_all() {
            return Some(Self::all());
        }
        match (self.within.as_slice(), other.within.as_slice()) {
            ([a], [b]) if self.outside.is_nothing() && other.outside.is_nothing() => {
                let mut joined = a.clone();
                joined.join(b.clone());
                Some(Self::one_of(joined))
            }
            ([], []) if self.outside.is_finite() && other.outside.is_finite() => {
                let both = self.outside.exact.intersection(&other.outside.exact).cloned();
                Some(Self::none_of(OneOf::texts(both)))
            }
            ([], [a]) if self.outside.is_finite() && other.outside.is_nothing() => Some(self.none_but(a)),
            ([a], []) if other.outside.is_finite() && self.outside.is_nothing() => Some(other.none_but(a)),
            (_, _) => None,
        }
    }

    fn none_but(&self, one_of: &OneOf) -> Self {
        let left = self.outside.exact.iter().filter(|text| !one_of.holds(text)).cloned();
        Self::none_of(OneOf::texts(left))
    }

    /// Whether it is proven that each of them is one of the other's.
    pub(in crate::policy::lint) fn is_within(&self, other: &Self) -> bool {
        if let Some(texts) = self.spelled() {
            return texts.iter().all(|text| other.holds(text));
        }
        let chosen = |wanted: &OneOf| self.within.iter().any(|own| own.implies(wanted));
        let excluded = |pattern: &Pattern| {
            self.within.iter().any(|own| own.excludes(pattern)) || self.outside.is_implied_by(pattern)
        };
        let left_out = |text: &[u8]| self.outside.holds(text) || self.within.iter().any(|own| !own.holds(text));
        other.within.iter().all(chosen)
            && other.outside.exact.iter().all(|text| left_out(text))
            && other.outside.others.iter().all(excluded)
    }
}

/// Whether texts are all but some, of which this is none: nobody has named it.
pub(in crate::policy::lint) fn is_open_to(texts: &Texts, text: &[u8]) -> bool {
    texts.within.is_empty() && !texts.is_all() && texts.holds(text)
}
