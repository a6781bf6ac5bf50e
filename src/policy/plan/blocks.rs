//! Which blocks is a number in? Addresses in networks, and any other numbers in ranges of them.
//!
//! A block is `2^n` consecutive numbers that begin at a multiple of `2^n`, as a network is. So two blocks are disjoint, or
//! one holds the other, and all blocks that hold a number form one chain from the narrowest to the widest. The table
//! keeps, over the sorted edges of all blocks, the narrowest one between two edges; a look-up is one search and a walk up
//! the chain, whose length is what there is to tell. Memory grows with the blocks, however deep they nest.

use std::{collections::HashMap, hash::Hash, ops::RangeInclusive};

use super::atoms::AtomId;
use crate::policy::sorted::{Key, SortedKeys};

/// Blocks of numbers, each with the atoms that hold in it.
#[derive(Debug)]
pub(super) struct BlockTable<K> {
    edges: SortedKeys<K>,
    /// For each edge the narrowest block from there to the next edge.
    narrowest: Box<[Option<BlockIndex>]>,
    blocks: Box<[Block]>,
    atoms: Box<[AtomId]>,
}

type BlockIndex = u32;

#[derive(Debug)]
struct Block {
    /// The next wider block that holds it.
    wider: Option<BlockIndex>,
    /// Its first place in `atoms`; the next block's is its end.
    atoms_from: u32,
}

impl<K: Key> BlockTable<K> {
    /// The atoms of all blocks that hold the number, narrowest first.
    pub(super) fn holding(&self, number: K) -> impl Iterator<Item = AtomId> {
        let edge = self.edges.last_at_or_below(number);
        let narrowest = edge.and_then(|edge| *self.narrowest.get(edge)?);
        let chain = std::iter::successors(narrowest, |block| self.blocks.get(*block as usize)?.wider);
        chain.flat_map(|block| self.atoms_of(block)).copied()
    }

    fn atoms_of(&self, block: BlockIndex) -> &[AtomId] {
        let from = |block: usize| {
            self.blocks
                .get(block)
                .map_or(self.atoms.len(), |block| block.atoms_from as usize)
        };
        let block = block as usize;
        self.atoms.get(from(block)..from(block + 1)).unwrap_or_default()
    }

    /// How many blocks there are.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The bytes that it takes.
    pub(super) fn memory(&self) -> usize {
        self.edges.memory() + size_of_val(&*self.narrowest) + size_of_val(&*self.blocks) + size_of_val(&*self.atoms)
    }
}

/// Gathers blocks for a table.
#[derive(Debug)]
pub(super) struct BlockTableBuilder<K> {
    blocks: HashMap<(K, u32), Vec<AtomId>>,
}

impl<K> Default for BlockTableBuilder<K> {
    fn default() -> Self {
        Self { blocks: HashMap::new() }
    }
}

impl<K: Number> BlockTableBuilder<K> {
    /// The atom holds for these numbers. Any range falls into at most twice as many blocks as the number has bits.
    pub(super) fn add(&mut self, range: RangeInclusive<K>, atom: AtomId) {
        let (mut first, last) = range.into_inner();
        loop {
            let size = first.largest_block_up_to(last);
            let atoms = self.blocks.entry((first, size)).or_default();
            // The same number twice in one set.
            if atoms.last() != Some(&atom) {
                atoms.push(atom);
            }
            match first.block_end(size).successor() {
                Some(next) if next <= last => first = next,
                Some(_) | None => return,
            }
        }
    }

    /// The table of all that was added; `None` if nothing was.
    pub(super) fn build(self) -> Option<BlockTable<K>> {
        if self.blocks.is_empty() {
            return None;
        }
        let mut written: Vec<((K, u32), Vec<AtomId>)> = self.blocks.into_iter().collect();
        // Wider blocks come before those inside them.
        written.sort_unstable_by_key(|((first, size), _)| (*first, std::cmp::Reverse(*size)));
        let mut sweep = Sweep::default();
        let mut atoms = Vec::new();
        for ((first, size), own) in written {
            sweep.begin(first, first.block_end(size), atoms.len());
            atoms.extend(own);
        }
        sweep.end();
        let (keys, narrowest): (Vec<K>, Vec<_>) = sweep.edges.into_iter().unzip();
        Some(BlockTable {
            edges: SortedKeys::new(keys.into_boxed_slice()),
            narrowest: narrowest.into_boxed_slice(),
            blocks: sweep.blocks.into_boxed_slice(),
            atoms: atoms.into_boxed_slice(),
        })
    }
}

/// Goes over the blocks by their beginnings, with those under way on a stack, the narrowest on top.
struct Sweep<K> {
    edges: Vec<(K, Option<BlockIndex>)>,
    blocks: Vec<Block>,
    under_way: Vec<(BlockIndex, K)>,
}

impl<K> Default for Sweep<K> {
    fn default() -> Self {
        Self {
            edges: Vec::new(),
            blocks: Vec::new(),
            under_way: Vec::new(),
        }
    }
}

impl<K: Number> Sweep<K> {
    fn begin(&mut self, first: K, last: K, atoms_from: usize) {
        while let Some(ended) = self.under_way.pop_if(|(_, end)| *end < first) {
            self.after(ended.1);
        }
        let index = index(self.blocks.len());
        self.blocks.push(Block {
            wider: self.under_way.last().map(|(block, _)| *block),
            atoms_from: self::index(atoms_from),
        });
        self.edge(first, Some(index));
        self.under_way.push((index, last));
    }

    fn end(&mut self) {
        while let Some((_, end)) = self.under_way.pop() {
            self.after(end);
        }
    }

    /// What holds after the end of a block: the one around it.
    fn after(&mut self, end: K) {
        if let Some(next) = end.successor() {
            self.edge(next, self.under_way.last().map(|(block, _)| *block));
        }
    }

    /// Of several edges at one place the last one says what follows.
    fn edge(&mut self, at: K, narrowest: Option<BlockIndex>) {
        match self.edges.last_mut() {
            Some((last, block)) if *last == at => *block = narrowest,
            Some(_) | None => self.edges.push((at, narrowest)),
        }
    }
}

/// A number that blocks hold.
pub(super) trait Number: Key + Hash {
    /// The next number.
    fn successor(self) -> Option<Self>;
    /// The exponent of the largest block that begins here and does not reach beyond `last`, which is not below.
    fn largest_block_up_to(self, last: Self) -> u32;
    /// The last number of the block of `2^size` numbers that begins here.
    fn block_end(self, size: u32) -> Self;
}

macro_rules! number {
    ($($number:ty),*) => {$(
        impl Number for $number {
            fn successor(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn largest_block_up_to(self, last: Self) -> u32 {
                // All numbers together are one more than there are numbers to count them.
                let fitting = match (last - self).checked_add(1) {
                    Some(count) => count.ilog2(),
                    None => Self::BITS,
                };
                self.trailing_zeros().min(fitting)
            }

            fn block_end(self, size: u32) -> Self {
                self | Self::MAX.checked_shr(Self::BITS - size).unwrap_or(0)
            }
        }
    )*};
}

number!(u32, u64, u128);

/// Blocks are counted in 32 bits: a load with more would need more memory than an address space of their size has.
fn index(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn table(ranges: &[(u32, u32)]) -> Option<BlockTable<u32>> {
        let mut builder = BlockTableBuilder::default();
        for (at, (a, b)) in ranges.iter().enumerate() {
            builder.add(*a.min(b)..=*a.max(b), AtomId::new(at));
        }
        builder.build()
    }

    fn holding(table: Option<&BlockTable<u32>>, number: u32) -> Vec<AtomId> {
        let mut atoms: Vec<_> = table.into_iter().flat_map(|table| table.holding(number)).collect();
        atoms.sort_unstable();
        atoms
    }

    #[test]
    fn the_edges_of_the_numbers_are_looked_up() {
        let table = table(&[(0, u32::MAX), (0, 0), (u32::MAX, u32::MAX)]);
        assert_eq!(holding(table.as_ref(), 0), [AtomId::new(0), AtomId::new(1)]);
        assert_eq!(holding(table.as_ref(), 1), [AtomId::new(0)]);
        assert_eq!(holding(table.as_ref(), u32::MAX), [AtomId::new(0), AtomId::new(2)]);
    }

    /// Small numbers, so that ranges nest and touch, and large ones, so that they end where numbers do.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![0..300u32, (0..300u32).prop_map(|n| u32::MAX - n)]
    }

    proptest! {
        #[test]
        fn a_number_is_in_the_blocks_of_the_ranges_that_hold_it(
            ranges in vec((number(), number()), 0..24),
            asked in vec(number(), 1..40),
        ) {
            let table = table(&ranges);
            for number in asked {
                let holds = |(a, b): &(u32, u32)| (*a.min(b)..=*a.max(b)).contains(&number);
                let expected: Vec<AtomId> = ranges
                    .iter()
                    .enumerate()
                    .filter(|(_, range)| holds(range))
                    .map(|(at, _)| AtomId::new(at))
                    .collect();
                prop_assert_eq!(holding(table.as_ref(), number), expected);
            }
        }
    }
}
