//! Sorted numbers, and which of them is the last at or below another: what sets of addresses come down to.
//!
//! Real lists are clustered: every IPv6 address in use begins with the same three bits, and a blocklist has hundreds of
//! thousands of addresses in a few hundred networks. So no part of a key is a good index for all lists. Here each
//! directory divides the span of *its own* keys, from the first to the last, into equal slots, about one for every few
//! keys; a slot that still holds many gets a directory of its own. Few keys are left to compare, however they lie.
//!
//! Measured against a binary search over the same keys, random look-ups: a quarter of the time in 100,000 random IPv4
//! networks and in 100,000 IPv6 addresses of 300 networks, a third in 500,000 of those. An index over the upper 16 bits of
//! IPv4 addresses is as fast where they are random, half as fast where they are clustered, and takes 256 KiB even for ten of
//! them. A tree with a sample of the keys on each level took two to three times as long.

/// Ascending numbers, each once, that are searched on every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortedKeys<K> {
    keys: Box<[K]>,
    index: Index<K>,
}

impl<K: Key> SortedKeys<K> {
    /// Makes the index. The keys must ascend; where two are equal there is no index, only a slower search.
    pub(crate) fn new(keys: Box<[K]>) -> Self {
        let index = Index::of(&keys).unwrap_or_default();
        Self { keys, index }
    }

    /// Where the last key stands that is not above `x`. `None`: all are above it.
    #[inline]
    pub(crate) fn last_at_or_below(&self, x: K) -> Option<usize> {
        let from = match self.index.first_candidate(x) {
            Some(from) => from,
            None => self.keys.partition_point(|key| *key <= x).saturating_sub(1),
        };
        let rest = self.keys.get(from..)?;
        // A fixed number of keys is compared at once, without a branch.
        let counted = match rest.get(..K::WINDOW) {
            Some(window) => not_above(window, x),
            None => not_above(rest, x),
        };
        (from + counted).checked_sub(1)
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &[K] {
        &self.keys
    }

    /// How many bytes it takes, the index included.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&*self.keys) + size_of_val(&*self.index.directories) + size_of_val(&*self.index.slots)
    }
}

impl<K: Key> Default for SortedKeys<K> {
    fn default() -> Self {
        Self::new(Box::default())
    }
}

#[inline]
fn not_above<K: Key>(keys: &[K], x: K) -> usize {
    keys.iter().map(|key| usize::from(*key <= x)).sum()
}

/// A number that an address, or a part of one, is.
pub(crate) trait Key: Copy + Ord {
    /// How many keys are compared at the end of a search: about two lines of the cache.
    const WINDOW: usize;

    /// How many times `1 << shift` this is above `base`, which it is not below.
    fn slot(self, base: Self, shift: u32) -> usize;

    /// How many bits the distance from `base` has.
    fn bits_from(self, base: Self) -> u32;
}

macro_rules! key {
    ($number:ty, $window:literal) => {
        impl Key for $number {
            const WINDOW: usize = $window;

            #[inline]
            fn slot(self, base: Self, shift: u32) -> usize {
                usize::try_from(self.wrapping_sub(base) >> shift).unwrap_or(usize::MAX)
            }

            fn bits_from(self, base: Self) -> u32 {
                Self::BITS - self.wrapping_sub(base).leading_zeros()
            }
        }
    };
}

key!(u32, 16);
key!(u64, 8);
key!(u128, 8);

/// Directories, the outermost first. None at all where the keys are few.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Index<K> {
    directories: Box<[Directory<K>]>,
    slots: Box<[Slot]>,
}

/// Equal slots over the span of some neighbouring keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Directory<K> {
    /// Its first key.
    base: K,
    /// Where that key stands.
    from: u32,
    /// A slot spans `1 << shift` numbers.
    shift: u32,
    first_slot: u32,
    /// How many slots follow the first.
    more_slots: u32,
}

/// Where the first key stands that is not below the slot's numbers; or, marked, which directory divides the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot(u32);

/// The bit that marks a slot with a directory of its own.
const DIVIDED: u32 = 1 << 31;

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self {
            directories: Box::default(),
            slots: Box::default(),
        }
    }
}

impl<K: Key> Index<K> {
    /// From where on at most [`Key::WINDOW`] keys are not above `x`, all before them being so. `None` without an index.
    #[inline]
    fn first_candidate(&self, x: K) -> Option<usize> {
        let mut directory = self.directories.first()?;
        loop {
            if x < directory.base {
                return Some(directory.from as usize);
            }
            let at = x
                .slot(directory.base, directory.shift)
                .min(directory.more_slots as usize);
            let Slot(slot) = *self.slots.get(directory.first_slot as usize + at)?;
            if slot & DIVIDED == 0 {
                return Some(slot as usize);
            }
            directory = self.directories.get((slot & !DIVIDED) as usize)?;
        }
    }

    /// The index of these keys. `None` where they are few enough to be compared one by one, or more than it can number.
    fn of(keys: &[K]) -> Option<Self> {
        if keys.len() <= K::WINDOW || !keys.is_sorted_by(|a, b| a < b) {
            return None;
        }
        let mut building = Building::default();
        building.directory(keys, 0..keys.len())?;
        while let Some((slot, span)) = building.crowded.pop() {
            let number = u32::try_from(building.directories.len()).ok()?;
            building.slots.get_mut(slot)?.0 = DIVIDED | number;
            building.directory(keys, span)?;
        }
        Some(Self {
            directories: building.directories.into_boxed_slice(),
            slots: building.slots.into_boxed_slice(),
        })
    }
}

/// An index on its way.
struct Building<K> {
    directories: Vec<Directory<K>>,
    slots: Vec<Slot>,
    /// Slots that still hold too many keys, and where those stand.
    crowded: Vec<(usize, std::ops::Range<usize>)>,
}

impl<K> Default for Building<K> {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            slots: Vec::new(),
            crowded: Vec::new(),
        }
    }
}

impl<K: Key> Building<K> {
    /// Adds the directory of the keys in `span`. As they are different, no slot gets all of them: this comes to an end.
    fn directory(&mut self, keys: &[K], span: std::ops::Range<usize>) -> Option<()> {
        let own = keys.get(span.clone())?;
        let (base, last) = (*own.first()?, *own.last()?);
        let wanted_slots = own.len() / (K::WINDOW / 4);
        let shift = last.bits_from(base).saturating_sub(wanted_slots.max(2).ilog2());
        let more_slots = last.slot(base, shift);
        let first_slot = self.slots.len();
        let mut at = span.start;
        for number in 0..=more_slots {
            let from = at;
            while keys
                .get(at..span.end)?
                .first()
                .is_some_and(|key| key.slot(base, shift) == number)
            {
                at += 1;
            }
            self.slots
                .push(Slot(u32::try_from(from).ok().filter(|from| from & DIVIDED == 0)?));
            if at - from > K::WINDOW {
                self.crowded.push((first_slot + number, from..at));
            }
        }
        self.directories.push(Directory {
            base,
            from: u32::try_from(span.start).ok()?,
            shift,
            first_slot: u32::try_from(first_slot).ok()?,
            more_slots: u32::try_from(more_slots).ok()?,
        });
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Compares every key, its neighbours and `asked` with a search from the beginning.
    fn agrees<K: Key + std::fmt::Debug>(keys: &BTreeSet<K>, asked: &[K]) -> Result<(), TestCaseError> {
        let sorted = SortedKeys::new(keys.iter().copied().collect());
        prop_assert!(sorted.keys().iter().eq(keys));
        for x in asked {
            let expected = keys.range(..=*x).count().checked_sub(1);
            prop_assert_eq!(sorted.last_at_or_below(*x), expected, "{:?} among {:?}", x, keys);
        }
        Ok(())
    }

    /// Numbers in clusters within clusters, at both ends too.
    fn clustered() -> impl Strategy<Value = u128> {
        let scattered = (any::<u128>(), 0..128_u32).prop_map(|(number, shift)| number >> shift);
        let networks = (0..4_u128, 0..3_u128, 0..400_u128);
        prop_oneof![
            1 => scattered,
            4 => networks.prop_map(|(a, b, c)| 0x2000 << 112 | a << 100 | b << 60 | c),
            1 => (0..20_u128).prop_map(|n| u128::MAX - n),
            1 => 0..20_u128,
        ]
    }

    proptest! {
        #[test]
        fn the_last_key_at_or_below_is_found(
            keys in proptest::collection::btree_set(clustered(), 0..500),
            mut asked in proptest::collection::vec(clustered(), 50),
        ) {
            for key in &keys {
                asked.extend([key.saturating_sub(1), *key, key.saturating_add(1)]);
            }
            agrees(&keys, &asked)?;
            let upper = |numbers: &mut dyn Iterator<Item = u128>| numbers.map(|n| (n >> 64) as u64).collect::<Vec<_>>();
            let halves = upper(&mut keys.iter().copied());
            agrees(&halves.into_iter().collect(), &upper(&mut asked.iter().copied()))?;
            let lower: BTreeSet<u32> = keys.iter().map(|n| *n as u32).collect();
            agrees(&lower, &asked.iter().map(|n| *n as u32).collect::<Vec<_>>())?;
        }
    }

    #[test]
    fn no_keys_are_below_nothing() {
        let none = SortedKeys::<u32>::default();
        assert_eq!(none.last_at_or_below(u32::MAX), None);
        assert_eq!(none.memory(), 0);
    }

    #[test]
    fn keys_at_ever_wider_distances_are_found() {
        let keys: BTreeSet<u128> = (0..128).flat_map(|n| [1_u128 << n, (1 << n) + 1]).collect();
        let asked: Vec<u128> = keys.iter().flat_map(|key| [key - 1, *key, key + 1]).collect();
        agrees(&keys, &asked).expect("they agree");
    }

    #[test]
    fn equal_keys_cost_the_index_and_nothing_else() {
        let keys = vec![7_u32; 100].into_boxed_slice();
        let sorted = SortedKeys::new(keys);
        assert_eq!(sorted.last_at_or_below(6), None);
        assert_eq!(sorted.last_at_or_below(7), Some(99));
        assert_eq!(sorted.last_at_or_below(8), Some(99));
    }

    #[test]
    fn clustered_keys_take_little_more_than_themselves() {
        let keys: BTreeSet<u128> = (0..20_000_u128)
            .map(|n| 0x2000 << 112 | ((n % 30) * 0x1_2345) << 96 | (n * 0x9e37_79b9_7f4a_7c15 % (1 << 64)))
            .collect();
        let sorted = SortedKeys::new(keys.iter().copied().collect());
        assert!(sorted.memory() < keys.len() * 20, "{} bytes", sorted.memory());
    }
}
