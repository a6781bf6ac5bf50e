//! A value for every address, as sorted starts of ranges: one search finds it.

use std::net::IpAddr;

use crate::policy::sorted::{Key, SortedKeys};

/// A value for every address; `V::default()` where nobody said anything.
#[derive(Debug)]
pub(super) struct RangeTable<V> {
    v4: Steps<u32, V>,
    v6: Steps<u128, V>,
}

impl<V: Copy + PartialEq + Default> RangeTable<V> {
    /// The value of an address. IPv4-mapped addresses are not looked through: the caller has made them canonical.
    pub(super) fn at(&self, address: IpAddr) -> V {
        match address {
            IpAddr::V4(v4) => self.v4.at(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.at(v6.to_bits()),
        }
    }

    /// How many ranges there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.v4.values.len() + self.v6.values.len()
    }

    /// Every value of some range; the same value may come several times.
    pub(super) fn values(&self) -> impl Iterator<Item = V> {
        self.v4.values.iter().chain(&self.v6.values).copied()
    }
}

/// `values[i]` holds from the start at `i` to before the next.
#[derive(Debug)]
struct Steps<A, V> {
    starts: SortedKeys<A>,
    values: Box<[V]>,
}

impl<A: Key, V: Copy + Default> Steps<A, V> {
    fn at(&self, address: A) -> V {
        let value = self
            .starts
            .last_at_or_below(address)
            .and_then(|last| self.values.get(last));
        value.copied().unwrap_or_default()
    }
}

/// Collects ranges, each family in ascending order, into a table.
#[derive(Debug)]
pub(super) struct Spans<V> {
    v4: Growing<u32, V>,
    v6: Growing<u128, V>,
}

impl<V: Copy + PartialEq + Default> Default for Spans<V> {
    fn default() -> Self {
        Self {
            v4: Growing::new(),
            v6: Growing::new(),
        }
    }
}

impl<V: Copy + PartialEq + Default> Spans<V> {
    /// Adds a range, both ends included. Ranges of one family must come in ascending order and not overlap; what lies
    /// below the end of an earlier one is ignored.
    pub(super) fn push(&mut self, first: IpAddr, last: IpAddr, value: V) {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => self.v4.push(first.to_bits(), last.to_bits(), value),
            (IpAddr::V6(first), IpAddr::V6(last)) => self.v6.push(first.to_bits(), last.to_bits(), value),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }

    /// The table.
    pub(super) fn finish(self) -> RangeTable<V> {
        RangeTable {
            v4: self.v4.finish(),
            v6: self.v6.finish(),
        }
    }
}

/// An address as a number that has a successor, except the last.
trait Address: Key {
    const FIRST: Self;
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    const FIRST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    const FIRST: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

#[derive(Debug)]
struct Growing<A, V> {
    starts: Vec<A>,
    values: Vec<V>,
    /// The first address not yet covered; `None` when all are.
    open: Option<A>,
}

impl<A: Address, V: Copy + PartialEq + Default> Growing<A, V> {
    fn new() -> Self {
        Self {
            starts: Vec::new(),
            values: Vec::new(),
            open: Some(A::FIRST),
        }
    }

    fn push(&mut self, first: A, last: A, value: V) {
        let Some(open) = self.open else { return };
        if last < open {
            return;
        }
        if first > open {
            self.step(open, V::default());
        }
        self.step(first.max(open), value);
        self.open = last.next();
    }

    /// Neighbours of one value become one range.
    fn step(&mut self, start: A, value: V) {
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    fn finish(mut self) -> Steps<A, V> {
        if let Some(open) = self.open {
            self.step(open, V::default());
        }
        Steps {
            starts: SortedKeys::new(self.starts.into_boxed_slice()),
            values: self.values.into_boxed_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn table(ranges: &[(&str, &str, u32)]) -> RangeTable<u32> {
        let mut spans = Spans::default();
        for (first, last, value) in ranges {
            spans.push(ip(first), ip(last), *value);
        }
        spans.finish()
    }

    #[test]
    fn both_ends_of_a_range_belong_to_it_and_their_neighbours_do_not() {
        let table = table(&[("10.0.0.5", "10.2.0.9", 7), ("2001:db8::", "2001:db8::ff", 8)]);
        for (address, value) in [
            ("10.0.0.4", 0),
            ("10.0.0.5", 7),
            ("10.1.0.0", 7),
            ("10.1.255.255", 7),
            ("10.2.0.9", 7),
            ("10.2.0.10", 0),
            ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", 0),
            ("2001:db8::", 8),
            ("2001:db8::ff", 8),
            ("2001:db8::100", 0),
        ] {
            assert_eq!(table.at(ip(address)), value, "{address}");
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_covered() {
        let table = table(&[
            ("0.0.0.0", "0.0.0.0", 1),
            ("255.255.255.255", "255.255.255.255", 2),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 3),
        ]);
        assert_eq!(table.at(ip("0.0.0.0")), 1);
        assert_eq!(table.at(ip("0.0.0.1")), 0);
        assert_eq!(table.at(ip("255.255.255.254")), 0);
        assert_eq!(table.at(ip("255.255.255.255")), 2);
        assert_eq!(table.at(ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), 3);
    }

    #[test]
    fn an_empty_table_knows_nothing() {
        assert_eq!(table(&[]).at(ip("192.0.2.1")), 0);
        assert_eq!(table(&[]).at(ip("::1")), 0);
    }

    #[test]
    fn neighbours_of_one_value_become_one_range() {
        let table = table(&[("1.0.0.0", "1.0.0.255", 1), ("1.0.1.0", "1.0.1.255", 1)]);
        // Nothing, the range, nothing; and one range of IPv6 addresses without a value.
        assert_eq!(table.len(), 4);
    }

    proptest::proptest! {
        #[test]
        fn the_table_agrees_with_a_linear_search(
            mut bounds in proptest::collection::btree_set(proptest::prelude::any::<u32>(), 2..40),
            probes in proptest::collection::vec(proptest::prelude::any::<u32>(), 20),
        ) {
            if bounds.len() % 2 == 1 {
                bounds.pop_last();
            }
            let bounds: Vec<u32> = bounds.into_iter().collect();
            let ranges: Vec<(u32, u32, u32)> =
                bounds.chunks(2).zip(1..).map(|(pair, value)| (pair[0], pair[1], value % 3)).collect();
            let mut spans = Spans::default();
            for (first, last, value) in &ranges {
                spans.push(IpAddr::V4((*first).into()), IpAddr::V4((*last).into()), *value);
            }
            let table = spans.finish();
            for probe in probes.into_iter().chain(bounds) {
                let expected = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&probe));
                let expected = expected.map_or(0, |(_, _, value)| *value);
                proptest::prop_assert_eq!(table.at(IpAddr::V4(probe.into())), expected);
            }
        }
    }
}
