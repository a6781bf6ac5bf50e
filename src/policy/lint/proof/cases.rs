//! A condition as the cases in which it holds: in each, what every value that it is about can be.
//!
//! The cases together say exactly what the condition says; what is not understood stands for itself, as a value that is true
//! or false. So "every case is empty" proves that nothing matches, and "each case of this lies inside one of that" proves that
//! one condition covers another. Neither needs the values to be independent of each other. What is not proven is not said.

use std::{collections::BTreeMap, sync::Arc};

use super::domain::Domain;

/// A value that conditions are about, as the expression language writes it.
pub(in crate::policy::lint) type Subject = Arc<str>;

/// What values can be in one case; of one that is not named, anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::policy::lint) struct Case(pub(in crate::policy::lint) BTreeMap<Subject, Domain>);

impl Case {
    pub(in crate::policy::lint) fn about(subject: Subject, domain: Domain) -> Self {
        Self(BTreeMap::from([(subject, domain)]))
    }

    /// Whether it is proven that no request is such a case.
    pub(in crate::policy::lint) fn is_empty(&self) -> bool {
        self.0.values().any(Domain::is_empty)
    }

    pub(in crate::policy::lint) fn intersection(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (subject, domain) in &other.0 {
            match both.0.get_mut(subject) {
                Some(own) => *own = own.intersection(domain),
                None => {
                    both.0.insert(Arc::clone(subject), domain.clone());
                }
            }
        }
        both
    }

    /// Whether it is proven that every request of this case is one of the other.
    pub(in crate::policy::lint) fn is_within(&self, other: &Self) -> bool {
        let inside =
            |(subject, domain): (&Subject, &Domain)| self.0.get(subject).is_some_and(|own| own.is_within(domain));
        other.0.iter().all(inside)
    }

    /// The same case in parts, by what the value that leaves least open can be; `None`: it has no parts, or too many.
    pub(in crate::policy::lint) fn parts(&self) -> Option<Vec<Self>> {
        let splits = self
            .0
            .iter()
            .filter_map(|(subject, domain)| Some((subject, domain.parts()?)));
        let (subject, parts) = splits.min_by_key(|(_, parts)| parts.len())?;
        let with = |part: Domain| {
            let mut case = self.clone();
            case.0.insert(Arc::clone(subject), part);
            case
        };
        Some(parts.into_iter().map(with).collect())
    }

    /// The only value that it is about.
    fn only(&self) -> Option<(&Subject, &Domain)> {
        let mut subjects = self.0.iter();
        subjects.next().filter(|_| subjects.next().is_none())
    }
}

/// How many cases a condition may come to and still be spelled out; what comes to more stands for itself.
const MAX_CASES: usize = 256;

/// The cases in which a condition holds. None: it never does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::policy::lint) struct Cases(pub(in crate::policy::lint) Vec<Case>);

impl Cases {
    pub(in crate::policy::lint) fn always() -> Self {
        Self(vec![Case::default()])
    }

    pub(in crate::policy::lint) fn never() -> Self {
        Self(Vec::new())
    }

    /// Whether it is proven that it never holds.
    pub(in crate::policy::lint) fn is_never(&self) -> bool {
        self.0.iter().all(Case::is_empty)
    }

    /// Both hold. `None`: that comes to too many cases.
    pub(in crate::policy::lint) fn and(&self, other: &Self) -> Option<Self> {
        if self.0.len().saturating_mul(other.0.len()) > MAX_CASES {
            return None;
        }
        let pairs = self
            .0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| a.intersection(b)));
        Some(Self(pairs.filter(|case| !case.is_empty()).collect()))
    }

    /// One of them holds. `None`: that comes to too many cases.
    pub(in crate::policy::lint) fn any(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut joined: Vec<Case> = Vec::new();
        let mut singles: BTreeMap<Subject, Vec<Domain>> = BTreeMap::new();
        for case in all.into_iter().flat_map(|cases| cases.0) {
            match case.only() {
                Some((subject, domain)) => {
                    let known = singles.entry(Arc::clone(subject)).or_default();
                    let last = known.last_mut();
                    match last.and_then(|last| Some((last.union(domain)?, last))) {
                        Some((both, last)) => *last = both,
                        None => known.push(domain.clone()),
                    }
                }
                None if case.0.is_empty() => return Some(Self::always()),
                None if joined.contains(&case) => {}
                None => joined.push(case),
            }
            if joined.len() > MAX_CASES {
                return None;
            }
        }
        if singles.values().flatten().any(Domain::is_all) {
            return Some(Self::always());
        }
        for (subject, domains) in singles {
            joined.extend(
                domains
                    .into_iter()
                    .map(|domain| Case::about(Arc::clone(&subject), domain)),
            );
        }
        (joined.len() <= MAX_CASES).then_some(Self(joined))
    }

    /// Whether it is proven that the other holds whenever this does.
    pub(in crate::policy::lint) fn is_within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .filter(|case| !case.is_empty())
            .all(|case| other.0.iter().any(|outer| case.is_within(outer)))
    }

    /// Whether it is proven that the two never hold together.
    pub(in crate::policy::lint) fn excludes(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|a| other.0.iter().all(|b| a.intersection(b).is_empty()))
    }
}
