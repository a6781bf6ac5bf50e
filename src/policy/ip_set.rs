//! Sets of addresses that are asked about on every request, small and fast with a million entries.
//!
//! Everything is in canonical form, as in [`super::network`].

use std::{cmp::Reverse, fmt, net::IpAddr};

use super::{
    network::IpRange,
    sorted::{Key, SortedKeys},
};

/// A set of addresses: disjoint ranges that do not touch, the families apart.
///
/// Takes about 12 bytes for an IPv4 network and under 48 for an IPv6 one. Measured with random addresses: among a million
/// entries, half of them IPv6 and most in a few hundred networks, a look-up takes one and a half to two and a half times
/// what it takes among a thousand; addresses near the entries, as many of each, up to seven times, for they miss the caches.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IpSet {
    v4: Boundaries<u32>,
    v6: Boundaries<u128>,
}

impl IpSet {
    /// Whether the address, in either form, is in the set.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.contain(u32::from(v4)),
            IpAddr::V6(v6) => self.v6.contain(u128::from(v6)),
        }
    }

    /// Its disjoint ranges, IPv4 first, each family in order.
    pub fn iter(&self) -> impl Iterator<Item = IpRange> {
        self.v4
            .ranges()
            .map(IpRange::v4)
            .chain(self.v6.ranges().map(IpRange::v6))
    }

    /// Whether no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.ranges() == 0
    }

    /// How many disjoint ranges it holds.
    pub fn ranges(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// How many bytes it takes on the heap.
    pub fn memory(&self) -> usize {
        self.v4.0.memory() + self.v6.0.memory()
    }
}

/// As its ranges.
impl fmt::Debug for IpSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|range| range.to_string()))
            .finish()
    }
}

impl FromIterator<IpRange> for IpSet {
    fn from_iter<I: IntoIterator<Item = IpRange>>(ranges: I) -> Self {
        let mut builder = IpSetBuilder::default();
        ranges.into_iter().for_each(|range| builder.push(range));
        builder.finish().0
    }
}

/// Gathers ranges in any order, with nothing beside their two ends.
#[derive(Debug, Default)]
pub(super) struct IpSetBuilder {
    v4: Vec<[u32; 2]>,
    v6: Vec<[u128; 2]>,
}

impl IpSetBuilder {
    /// Adds the addresses of a range.
    pub(super) fn push(&mut self, range: IpRange) {
        match (range.first(), range.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => self.v4.push([first.into(), last.into()]),
            (IpAddr::V6(first), IpAddr::V6(last)) => self.v6.push([first.into(), last.into()]),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("both ends of a range are of one family")
            }
        }
    }

    /// How many ranges were added.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// The set; and how many of the ranges add nothing to it, since an equal or a wider one is among the others.
    pub(super) fn finish(self) -> (IpSet, usize) {
        let (v4, folded_v4) = Boundaries::of(self.v4);
        let (v6, folded_v6) = Boundaries::of(self.v6);
        (IpSet { v4, v6 }, folded_v4 + folded_v6)
    }
}

/// Where ranges begin and end, in turns: the first address of one, the address after its last, the first of the next, and so
/// on. An address is in a range when the last boundary not above it is one where a range begins: one search in one array
/// says it, with no further look for the range's end.
#[derive(Clone, Default, PartialEq, Eq)]
struct Boundaries<K: Key>(SortedKeys<K>);

impl<K: Address> Boundaries<K> {
    fn of(mut ranges: Vec<[K; 2]>) -> (Self, usize) {
        // Of those with one beginning the widest comes first, so that the others show that they add nothing.
        ranges.sort_unstable_by_key(|[first, last]| (*first, Reverse(*last)));
        let mut folded = 0;
        ranges.dedup_by(|[first, last], [_, end]| {
            let is_inside = *last <= *end;
            let touches = is_inside || end.next().is_some_and(|next| *first <= next);
            if touches {
                folded += usize::from(is_inside);
                *end = *last.max(end);
            }
            touches
        });
        let is_open = ranges.last().is_some_and(|[_, last]| last.next().is_none());
        for [_, last] in &mut ranges {
            *last = last.next().unwrap_or(*last);
        }
        let mut boundaries = ranges.into_flattened();
        if is_open {
            // No address comes after the last range.
            boundaries.pop();
        }
        (Self(SortedKeys::new(boundaries.into_boxed_slice())), folded)
    }

    #[inline]
    fn contain(&self, address: K) -> bool {
        self.0.last_at_or_below(address).is_some_and(|at| at % 2 == 0)
    }

    fn len(&self) -> usize {
        self.0.keys().len().div_ceil(2)
    }

    /// The first and last address of each range.
    fn ranges(&self) -> impl Iterator<Item = [K; 2]> {
        self.0.keys().chunks(2).filter_map(|range| {
            let last = range.get(1).map_or(K::LAST, |next| next.previous());
            Some([*range.first()?, last])
        })
    }
}

/// An address as a number.
trait Address: Key {
    const LAST: Self;

    fn next(self) -> Option<Self>;

    /// The one before, of an address that is not the first.
    fn previous(self) -> Self;
}

impl Address for u32 {
    const LAST: Self = Self::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn previous(self) -> Self {
        self.saturating_sub(1)
    }
}

impl Address for u128 {
    const LAST: Self = Self::MAX;

    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    fn previous(self) -> Self {
        self.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::policy::network::Network;

    fn range(text: &str) -> IpRange {
        IpRange::parse(text).expect("a range")
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// The set, its ranges as text, and how many entries were folded.
    fn set(entries: &[&str]) -> (IpSet, Vec<String>, usize) {
        let mut builder = IpSetBuilder::default();
        entries.iter().for_each(|entry| builder.push(range(entry)));
        let (set, folded) = builder.finish();
        let ranges = set.iter().map(|range| range.to_string()).collect();
        (set, ranges, folded)
    }

    #[test]
    fn neighbours_become_one_range_and_none_of_them_is_folded() {
        let (_, ranges, folded) = set(&["10.0.1.0/24", "10.0.0.0/24", "10.0.2.0", "::2", "::1"]);
        assert_eq!(ranges, ["10.0.0.0..10.0.2.0", "::1..::2"]);
        assert_eq!(folded, 0);
    }

    #[test]
    fn equal_and_contained_entries_are_folded_and_overlapping_ones_are_not() {
        let entries = ["10.0.0.0/8", "10.0.0.0/8", "10.1.0.0/16", "10.255.255.255", "10.0.0.0"];
        let (_, ranges, folded) = set(&entries);
        assert_eq!((ranges, folded), (vec!["10.0.0.0/8".to_owned()], 4));
        let (_, ranges, folded) = set(&["10.0.0.0..10.0.0.9", "10.0.0.5..10.0.0.15", "10.0.0.8..10.0.0.12"]);
        assert_eq!((ranges, folded), (vec!["10.0.0.0/28".to_owned()], 1));
    }

    #[test]
    fn a_mapped_entry_is_the_ipv4_entry() {
        let (set, ranges, folded) = set(&["::ffff:10.0.0.1", "10.0.0.1"]);
        assert_eq!((ranges, folded), (vec!["10.0.0.1".to_owned()], 1));
        assert!(set.contains(ip("::ffff:10.0.0.1")) && set.contains(ip("10.0.0.1")));
        assert!(!set.contains(ip("::10.0.0.1")));
    }

    #[test]
    fn a_range_that_ends_with_the_mapped_addresses_is_not_lost() {
        let entry = "::/80";
        let (_, ranges, _) = set(&[entry]);
        assert_eq!(ranges, [entry]);
        let (_, ranges, _) = set(&["::fffe:0:0/95"]);
        assert_eq!(ranges, ["::fffe:0:0/95"]);
    }

    #[test]
    fn the_ends_of_both_address_spaces_are_addresses_like_others() {
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let (ends, ranges, _) = set(&["0.0.0.0", "255.255.255.255", "::", last]);
        assert_eq!(ranges, ["0.0.0.0", "255.255.255.255", "::", last]);
        for address in ["0.0.0.0", "255.255.255.255", "::", last] {
            assert!(ends.contains(ip(address)), "{address}");
        }
        for address in [
            "0.0.0.1",
            "255.255.255.254",
            "::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
        ] {
            assert!(!ends.contains(ip(address)), "{address}");
        }
        let (all, ranges, folded) = set(&["0.0.0.0/0", "255.255.255.255", "::/0", last]);
        assert_eq!((ranges, folded), (vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()], 2));
        assert!(all.contains(ip("255.255.255.255")) && all.contains(ip(last)));
    }

    #[test]
    fn an_empty_set_holds_nothing_and_takes_nothing() {
        let (set, _, _) = set(&[]);
        assert!(set.is_empty() && !set.contains(ip("0.0.0.0")) && !set.contains(ip("::")));
        assert_eq!(set.memory(), 0);
    }

    #[test]
    fn an_entry_takes_few_bytes() {
        // Networks far and near, as many of each family.
        let scattered = |n: u32| n.wrapping_mul(0x9e37_79b9);
        let v4 = (0..20_000).map(|n| Network::new(Ipv4Addr::from(scattered(n)).into(), 20 + (n % 13) as u8));
        let (v4, _) = gathered(v4.map(IpRange::from));
        assert!(v4.memory() < v4.ranges() * 12, "{} for {}", v4.memory(), v4.ranges());
        let address = |n: u32| (0x2001_0db8_u128 + u128::from(n % 200)) << 96 | u128::from(scattered(n)) << 32 | 1;
        let v6 = (0..20_000).map(|n| Network::new(Ipv6Addr::from(address(n)).into(), 128));
        let (v6, _) = gathered(v6.map(IpRange::from));
        assert!(v6.memory() < v6.ranges() * 42, "{} for {}", v6.memory(), v6.ranges());
    }

    fn gathered(ranges: impl Iterator<Item = IpRange>) -> (IpSet, usize) {
        let mut builder = IpSetBuilder::default();
        ranges.for_each(|range| builder.push(range));
        builder.finish()
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        // Few high bits, so that ranges overlap and touch; both ends of each family, and mapped addresses.
        prop_oneof![
            (0..600u32).prop_map(|n| IpAddr::V4(Ipv4Addr::from(n + 0xffff_fda8))),
            (0..600u32).prop_map(|n| IpAddr::V4(Ipv4Addr::from(n))),
            (0..600u128).prop_map(|n| IpAddr::V6(Ipv6Addr::from(n))),
            (0..600u128).prop_map(|n| IpAddr::V6(Ipv6Addr::from(u128::MAX - n))),
            (0..600u128).prop_map(|n| IpAddr::V6(Ipv6Addr::from((0xffff_u128 << 32) + n))),
        ]
    }

    /// Mostly narrow ranges, so that many stay apart; and networks of any length.
    fn entry() -> impl Strategy<Value = IpRange> {
        let between = |(a, b): (IpAddr, IpAddr)| IpRange::new(a.min(b), a.max(b));
        prop_oneof![
            1 => (address(), address()).prop_filter_map("of one family", between),
            4 => (address(), 0..=128_u8).prop_map(|(address, prefix)| Network::new(address, prefix.max(119)).into()),
            4 => address().prop_map(|address| Network::from(address).into()),
            1 => (address(), 0..=128_u8).prop_map(|(address, prefix)| Network::new(address, prefix).into()),
        ]
    }

    proptest! {
        #[test]
        fn a_set_holds_what_one_of_its_ranges_holds(
            entries in proptest::collection::vec(entry(), 0..200),
            asked in proptest::collection::vec(address(), 1..100),
        ) {
            let (set, _) = gathered(entries.iter().copied());
            let ends = entries.iter().flat_map(|entry| [entry.first(), entry.last()]);
            for address in asked.into_iter().chain(ends) {
                prop_assert_eq!(set.contains(address), entries.iter().any(|entry| entry.contains(address)));
            }
        }

        #[test]
        fn an_entry_is_folded_when_another_holds_all_of_it(entries in proptest::collection::vec(entry(), 0..60)) {
            let (set, folded) = gathered(entries.iter().copied());
            let adds_nothing = |(at, entry): &(usize, &IpRange)| {
                let of_one_family = |other: &IpRange| other.first().is_ipv4() == entry.first().is_ipv4();
                let spans = |other: &IpRange| other.first() <= entry.first() && entry.last() <= other.last();
                let holds = |other: &IpRange| of_one_family(other) && spans(other);
                // Of equal ones the first counts.
                entries.iter().enumerate().any(|(n, other)| holds(other) && (other != *entry || n < *at))
            };
            prop_assert_eq!(folded, entries.iter().enumerate().filter(adds_nothing).count());
            let again: IpSet = set.iter().collect();
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), set.iter().collect::<Vec<_>>());
            prop_assert_eq!(&again, &set);
            let ranges: Vec<IpRange> = set.iter().collect();
            prop_assert!(ranges.is_sorted_by(|a, b| a.last() < b.first()));
        }
    }
}
