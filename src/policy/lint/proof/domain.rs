//! What one value can be.

use super::{
    intervals::{Addresses, Intervals},
    texts::Texts,
};

/// What a value can be, if it is there, and whether it may be absent.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy::lint) struct Domain {
    pub(in crate::policy::lint) values: Values,
    /// Whether requests without the value belong to it.
    pub(in crate::policy::lint) absent: bool,
    /// Whether there are requests without the value.
    pub(in crate::policy::lint) optional: bool,
}

/// Values of one type.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::policy::lint) enum Values {
    Texts(Texts),
    Numbers(Intervals<i64>),
    Addresses(Addresses),
    /// Whether it may be true, and whether it may be false.
    Truth {
        yes: bool,
        no: bool,
    },
}

impl Domain {
    pub(in crate::policy::lint) fn of(values: Values) -> Self {
        Self {
            values,
            absent: false,
            optional: false,
        }
    }

    pub(in crate::policy::lint) fn truth(value: bool) -> Self {
        Self::of(Values::Truth { yes: value, no: !value })
    }

    /// Whether it is proven that no request belongs to it.
    pub(in crate::policy::lint) fn is_empty(&self) -> bool {
        let nothing = match &self.values {
            Values::Texts(texts) => texts.is_empty(),
            Values::Numbers(numbers) => numbers.is_empty(),
            Values::Addresses(addresses) => addresses.is_empty(),
            Values::Truth { yes, no } => !yes && !no,
        };
        nothing && !self.absent
    }

    /// Whether every request belongs to it.
    pub(in crate::policy::lint) fn is_all(&self) -> bool {
        let all = match &self.values {
            Values::Texts(texts) => texts.is_all(),
            Values::Numbers(numbers) => numbers.is_all(),
            Values::Addresses(addresses) => addresses.is_all(),
            Values::Truth { yes, no } => *yes && *no,
        };
        all && (self.absent || !self.optional)
    }

    pub(in crate::policy::lint) fn intersection(&self, other: &Self) -> Self {
        let values = match (&self.values, &other.values) {
            (Values::Texts(a), Values::Texts(b)) => Values::Texts(a.clone().intersection(b.clone())),
            (Values::Numbers(a), Values::Numbers(b)) => Values::Numbers(a.intersection(b)),
            (Values::Addresses(a), Values::Addresses(b)) => Values::Addresses(a.intersection(b)),
            (Values::Truth { yes: a, no: x }, Values::Truth { yes: b, no: y }) => Values::Truth {
                yes: *a && *b,
                no: *x && *y,
            },
            // One value has one type.
            (Values::Texts(_) | Values::Numbers(_) | Values::Addresses(_) | Values::Truth { .. }, _) => {
                return self.clone();
            }
        };
        Self {
            values,
            absent: self.absent && other.absent,
            optional: self.optional && other.optional,
        }
    }

    /// Both, if that can be said.
    pub(in crate::policy::lint) fn union(&self, other: &Self) -> Option<Self> {
        let values = match (&self.values, &other.values) {
            (Values::Texts(a), Values::Texts(b)) => Values::Texts(a.union(b)?),
            (Values::Numbers(a), Values::Numbers(b)) => Values::Numbers(a.union(b)),
            (Values::Addresses(a), Values::Addresses(b)) => Values::Addresses(a.union(b)),
            (Values::Truth { yes: a, no: x }, Values::Truth { yes: b, no: y }) => Values::Truth {
                yes: *a || *b,
                no: *x || *y,
            },
            (Values::Texts(_) | Values::Numbers(_) | Values::Addresses(_) | Values::Truth { .. }, _) => return None,
        };
        Some(Self {
            values,
            absent: self.absent || other.absent,
            optional: self.optional || other.optional,
        })
    }

    /// The same in parts, which together are all of it. `None`: it has none, or too many.
    pub(in crate::policy::lint) fn parts(&self) -> Option<Vec<Self>> {
        const MAX_PARTS: usize = 64;
        let count = match &self.values {
            Values::Texts(texts) => texts.alternatives(),
            Values::Numbers(numbers) => numbers.count(),
            Values::Addresses(addresses) => addresses.v4.count() + addresses.v6.count(),
            Values::Truth { .. } => 0,
        };
        if !(2..=MAX_PARTS).contains(&count) {
            return None;
        }
        let values: Vec<Values> = match &self.values {
            Values::Texts(texts) => texts.parts()?.into_iter().map(Values::Texts).collect(),
            Values::Numbers(numbers) => numbers
                .iter()
                .map(|one| Values::Numbers(Intervals::of([one])))
                .collect(),
            Values::Addresses(addresses) => addresses.parts().into_iter().map(Values::Addresses).collect(),
            Values::Truth { .. } => return None,
        };
        let with = |values| Self { values, ..self.clone() };
        Some(values.into_iter().map(with).collect())
    }

    /// Whether it is proven that every request of it belongs to the other.
    pub(in crate::policy::lint) fn is_within(&self, other: &Self) -> bool {
        let values = match (&self.values, &other.values) {
            (Values::Texts(a), Values::Texts(b)) => a.is_within(b),
            (Values::Numbers(a), Values::Numbers(b)) => a.is_within(b),
            (Values::Addresses(a), Values::Addresses(b)) => a.is_within(b),
            (Values::Truth { yes: a, no: x }, Values::Truth { yes: b, no: y }) => a <= b && x <= y,
            (Values::Texts(_) | Values::Numbers(_) | Values::Addresses(_) | Values::Truth { .. }, _) => false,
        };
        values && self.absent <= other.absent
    }
}
