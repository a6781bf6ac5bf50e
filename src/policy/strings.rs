//! Sets of strings that are asked about on every request: one text for all of them, and a hash table of their numbers.

use std::{fmt, hash::BuildHasher};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Strings, compared byte for byte.
///
/// The hash is a fast one that does not promise to withstand chosen keys. It need not: what is in the table comes from the
/// operator, and what a client sends is only looked up, so nobody can fill it with what collides.
#[derive(Clone, Default)]
pub(super) struct Strings {
    texts: Texts,
    numbers: HashTable<u32>,
    hash: DefaultHashBuilder,
}

impl Strings {
    /// Whether the string is in the set.
    pub(super) fn contains(&self, string: &[u8]) -> bool {
        let is_it = |number: &u32| self.texts.numbered(*number as usize) == string;
        self.numbers.find(self.hash.hash_one(string), is_it).is_some()
    }

    /// All of them, sorted.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.texts.iter()
    }

    /// How many bytes they take on the heap.
    pub(super) fn memory(&self) -> usize {
        self.texts.bytes.capacity() + self.texts.ends.capacity() * size_of::<u32>() + self.numbers.allocation_size()
    }
}

/// The same strings are the same set, however their tables came about.
impl PartialEq for Strings {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Strings {}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(<[u8]>::escape_ascii).map(|text| text.to_string()))
            .finish()
    }
}

/// Gathers strings in any order.
#[derive(Debug, Default)]
pub(super) struct StringsBuilder(Texts);

/// The strings' bytes outgrew what a set can number. No file of a configuration is that large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

impl StringsBuilder {
    /// Adds one.
    ///
    /// # Errors
    /// All of them together would be longer than 4 GiB.
    pub(super) fn push(&mut self, string: &[u8]) -> Result<(), TooLarge> {
        self.0.push(string)
    }

    /// How many were added.
    pub(super) fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// The set; and how many of the strings were there already.
    pub(super) fn finish(self) -> (Strings, usize) {
        let all = self.0;
        let mut order: Vec<&[u8]> = all.iter().collect();
        order.sort_unstable();
        order.dedup();
        let mut texts = Texts::default();
        for string in &order {
            texts.push(string).expect("no longer than what it is copied from");
        }
        let folded = all.ends.len() - order.len();
        texts.bytes.shrink_to_fit();
        texts.ends.shrink_to_fit();
        let hash = DefaultHashBuilder::default();
        let mut numbers = HashTable::with_capacity(texts.ends.len());
        for (number, string) in (0_u32..).zip(texts.iter()) {
            let hash_of = |number: &u32| hash.hash_one(texts.numbered(*number as usize));
            numbers.insert_unique(hash.hash_one(string), number, hash_of);
        }
        (Strings { texts, numbers, hash }, folded)
    }
}

/// Strings in one text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    fn push(&mut self, string: &[u8]) -> Result<(), TooLarge> {
        let end = u32::try_from(self.bytes.len() + string.len()).map_err(|_| TooLarge)?;
        self.bytes.extend_from_slice(string);
        self.ends.push(end);
        Ok(())
    }

    fn numbered(&self, number: usize) -> &[u8] {
        let end = |number: usize| self.ends.get(number).map_or(0, |end| *end as usize);
        let start = number.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(number)).unwrap_or_default()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|number| self.numbered(number))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set<'a>(strings: impl IntoIterator<Item = &'a [u8]>) -> (Strings, usize) {
        let mut builder = StringsBuilder::default();
        for string in strings {
            builder.push(string).expect("a short one");
        }
        builder.finish()
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_added(
            strings in proptest::collection::vec("[ab]{0,4}|\\PC{0,20}", 0..100),
            asked in proptest::collection::vec("[ab]{0,4}", 0..50),
        ) {
            let bytes = || strings.iter().map(String::as_bytes);
            let (found, folded) = set(bytes());
            let expected: BTreeSet<&[u8]> = bytes().collect();
            prop_assert_eq!(folded, strings.len() - expected.len());
            prop_assert!(found.iter().eq(expected.iter().copied()));
            for string in asked.iter().map(String::as_bytes).chain(bytes()) {
                prop_assert_eq!(found.contains(string), expected.contains(string));
            }
            let mut other_order: Vec<_> = bytes().collect();
            other_order.reverse();
            prop_assert_eq!(found, set(other_order).0);
        }
    }

    #[test]
    fn an_entry_takes_little_more_than_its_text() {
        let hosts: Vec<String> = (0..20_000).map(|n| format!("host{n}.example.com")).collect();
        let text: usize = hosts.iter().map(String::len).sum();
        let (set, _) = set(hosts.iter().map(String::as_bytes));
        assert!(
            set.memory() < text + 20 * hosts.len(),
            "{} bytes for {text}",
            set.memory()
        );
    }
}
