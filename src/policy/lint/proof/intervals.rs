//! Sets of points in order: integers, addresses of one family. Exact, and linear in what they hold.

use std::sync::Arc;

use crate::policy::{ip_set::IpSet, network::IpRange};

/// What intervals are made of.
pub(in crate::policy::lint) trait Point: Copy + Ord {
    /// The least of all.
    const FIRST: Self;
    /// The greatest of all.
    const LAST: Self;
    /// The one after it.
    fn next(self) -> Option<Self>;
    /// The one before it.
    fn previous(self) -> Option<Self>;
}

macro_rules! point {
    ($($number:ty),*) => {$(
        impl Point for $number {
            const FIRST: Self = <$number>::MIN;
            const LAST: Self = <$number>::MAX;
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }
        }
    )*};
}

point!(u32, u128, i64);

/// Disjoint intervals in order that do not touch, both ends included. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy::lint) struct Intervals<T>(Arc<[(T, T)]>);

impl<T: Point> Intervals<T> {
    /// Every point.
    pub(in crate::policy::lint) fn all() -> Self {
        Self(Arc::new([(T::FIRST, T::LAST)]))
    }

    /// The points of any intervals, in any order; one whose end is before its beginning has none.
    pub(in crate::policy::lint) fn of(intervals: impl IntoIterator<Item = (T, T)>) -> Self {
        let mut sorted: Vec<(T, T)> = intervals.into_iter().filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some((_, end)) if first <= end.next().unwrap_or(T::LAST) => *end = (*end).max(last),
                Some(_) | None => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    pub(in crate::policy::lint) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::policy::lint) fn is_all(&self) -> bool {
        matches!(*self.0, [(first, last)] if first == T::FIRST && last == T::LAST)
    }

    /// How many intervals it is.
    pub(in crate::policy::lint) fn count(&self) -> usize {
        self.0.len()
    }

    /// The intervals, in order.
    pub(in crate::policy::lint) fn iter(&self) -> impl Iterator<Item = (T, T)> {
        self.0.iter().copied()
    }

    /// The interval that holds the point.
    fn around(&self, point: T) -> Option<(T, T)> {
        let after = self.0.partition_point(|(first, _)| *first <= point);
        let (first, last) = *self.0.get(after.checked_sub(1)?)?;
        (point <= last).then_some((first, last))
    }

    /// Whether every point of it is one of the other's. Fast when it holds few intervals, however many the other has.
    pub(in crate::policy::lint) fn is_within(&self, other: &Self) -> bool {
        let inside = |(first, last): (T, T)| other.around(first).is_some_and(|(_, end)| last <= end);
        Arc::ptr_eq(&self.0, &other.0) || self.iter().all(inside)
    }

    pub(in crate::policy::lint) fn union(&self, other: &Self) -> Self {
        Self::of(self.iter().chain(other.iter()))
    }

    pub(in crate::policy::lint) fn intersection(&self, other: &Self) -> Self {
        let (few, many) = if self.0.len() <= other.0.len() {
            (self, other)
        } else {
            (other, self)
        };
        if many.is_all() {
            return few.clone();
        }
        let mut common = Vec::new();
        for (first, last) in few.iter() {
            let from = many.0.partition_point(|(_, end)| *end < first);
            let meeting = many.0.get(from..).unwrap_or_default().iter();
            let meeting = meeting.take_while(|(start, _)| *start <= last);
            common.extend(meeting.map(|(start, end)| (first.max(*start), last.min(*end))));
        }
        Self(common.into())
    }

    /// Every other point.
    pub(in crate::policy::lint) fn complement(&self) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(T::FIRST);
        for (first, last) in self.iter() {
            if let (Some(from), Some(to)) = (next, first.previous())
                && from <= to
            {
                gaps.push((from, to));
            }
            next = last.next();
        }
        gaps.extend(next.map(|from| (from, T::LAST)));
        Self(gaps.into())
    }
}

/// Addresses in canonical form, the families apart: an IPv4-mapped address is the IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::policy::lint) struct Addresses {
    pub(in crate::policy::lint) v4: Intervals<u32>,
    pub(in crate::policy::lint) v6: Intervals<u128>,
}

/// `::ffff:0:0/96`, where no canonical address lies.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);

impl Addresses {
    /// Every address.
    pub(in crate::policy::lint) fn all() -> Self {
        Self {
            v4: Intervals::all(),
            v6: Intervals::of([MAPPED]).complement(),
        }
    }

    /// The addresses of ranges, in any order.
    pub(in crate::policy::lint) fn of(ranges: impl IntoIterator<Item = IpRange>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match (range.first(), range.last()) {
                (std::net::IpAddr::V4(first), std::net::IpAddr::V4(last)) => v4.push((first.into(), last.into())),
                (std::net::IpAddr::V6(first), std::net::IpAddr::V6(last)) => v6.push((first.into(), last.into())),
                (_, _) => {}
            }
        }
        Self {
            v4: Intervals::of(v4),
            v6: Intervals::of(v6).intersection(&Self::all().v6),
        }
    }

    /// The addresses of a set.
    pub(in crate::policy::lint) fn of_set(set: &IpSet) -> Self {
        Self::of(set.iter())
    }

    pub(in crate::policy::lint) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    pub(in crate::policy::lint) fn is_all(&self) -> bool {
        *self == Self::all()
    }

    /// Its intervals, each by itself.
    pub(in crate::policy::lint) fn parts(&self) -> Vec<Self> {
        let v4 = self.v4.iter().map(|one| Self {
            v4: Intervals::of([one]),
            v6: Intervals::of([]),
        });
        let v6 = self.v6.iter().map(|one| Self {
            v4: Intervals::of([]),
            v6: Intervals::of([one]),
        });
        v4.chain(v6).collect()
    }

    /// Whether every address of a family is in it.
    pub(in crate::policy::lint) fn has_whole_family(&self) -> bool {
        self.v4.is_all() || Self::all().v6.is_within(&self.v6)
    }

    pub(in crate::policy::lint) fn is_within(&self, other: &Self) -> bool {
        self.v4.is_within(&other.v4) && self.v6.is_within(&other.v6)
    }

    /// The addresses of all of these.
    pub(in crate::policy::lint) fn any<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for one in all {
            v4.extend(one.v4.iter());
            v6.extend(one.v6.iter());
        }
        Self {
            v4: Intervals::of(v4),
            v6: Intervals::of(v6),
        }
    }

    pub(in crate::policy::lint) fn union(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.union(&other.v4),
            v6: self.v6.union(&other.v6),
        }
    }

    pub(in crate::policy::lint) fn intersection(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.intersection(&other.v4),
            v6: self.v6.intersection(&other.v6),
        }
    }

    pub(in crate::policy::lint) fn complement(&self) -> Self {
        Self {
            v4: self.v4.complement(),
            v6: self.v6.complement().intersection(&Self::all().v6),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn set() -> impl Strategy<Value = Vec<(u32, u32)>> {
        let edge = prop_oneof![0..20_u32, u32::MAX - 20..=u32::MAX];
        vec((edge.clone(), edge), 0..6)
    }

    fn points() -> impl Iterator<Item = u32> {
        (0..22).chain(u32::MAX - 22..=u32::MAX)
    }

    fn holds(set: &Intervals<u32>, point: u32) -> bool {
        set.around(point).is_some()
    }

    proptest! {
        #[test]
        fn intervals_do_what_sets_of_points_do(a in set(), b in set()) {
            let (x, y) = (Intervals::of(a.clone()), Intervals::of(b));
            for point in points() {
                let written = a.iter().any(|(first, last)| *first <= point && point <= *last);
                prop_assert_eq!(holds(&x, point), written);
                prop_assert_eq!(holds(&x.union(&y), point), holds(&x, point) || holds(&y, point));
                prop_assert_eq!(holds(&x.intersection(&y), point), holds(&x, point) && holds(&y, point));
                prop_assert_eq!(holds(&x.complement(), point), !holds(&x, point));
            }
            prop_assert_eq!(x.complement().complement(), x.clone());
            prop_assert_eq!(x.is_within(&y), x.intersection(&y.complement()).is_empty());
        }
    }

    #[test]
    fn mapped_addresses_are_no_ipv6_addresses() {
        let range = |text| IpRange::parse(text).expect("a range");
        let every_v6 = Addresses::of([range("::/0")]);
        assert!(every_v6.has_whole_family() && every_v6.v4.is_empty());
        assert!(every_v6.union(&Addresses::of([range("0.0.0.0/0")])).is_all());
        assert!(every_v6.complement().v6.is_empty() && every_v6.complement().v4.is_all());
    }
}
