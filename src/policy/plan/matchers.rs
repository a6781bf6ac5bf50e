//! One matcher for all atoms about one thing: it is asked once a request, and tells all that hold.

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc};

use hashbrown::HashMap;

use super::{
    atoms::AtomId,
    blocks::{BlockTable, BlockTableBuilder},
    clues::{Among, Clue, Map},
    keys::{KeyScratch, KeyTable, KeyTableBuilder},
    stats::Held,
    text::{Find, Lead, TextMatcher, TextMatcherBuilder},
};
use crate::policy::{
    lang::{ast::Value, interpreter, request::Input, types::Datum},
    list::List,
    network::IpRange,
};

/// A matcher's place among those of its plan.
pub(super) type MatcherId = usize;

/// Everything that is looked up of a request to find atoms.
#[derive(Debug)]
pub(super) struct Matcher {
    /// What it is about, for people.
    pub(super) subject: String,
    kind: MatcherKind,
}

#[derive(Debug)]
enum MatcherKind {
    Addresses(Addresses),
    Numbers(Numbers),
    Text(Value, Box<TextMatcher>),
    Keys(KeyTable),
}

/// All networks of all rules in one table per family; lists that are large by themselves.
#[derive(Debug)]
struct Addresses {
    v4: Option<BlockTable<u32>>,
    v6: Option<BlockTable<u128>>,
    lists: Box<[(Arc<List>, AtomId)]>,
}

/// A list of more ranges than this is not taken apart: a reload that leaves it as it is need not touch it, and its
/// addresses are in memory once.
const LARGE_LIST: usize = 65_536;

#[derive(Debug)]
struct Numbers {
    value: Value,
    blocks: Option<BlockTable<u64>>,
    lists: Box<[(Arc<List>, AtomId)]>,
}

/// What a matcher tells.
#[derive(Debug, Clone, Copy)]
pub(super) enum Told<'t> {
    /// The atom holds.
    Holds(AtomId),
    /// The atom may hold.
    Found(Find<'t>),
}

impl Matcher {
    /// Tells every atom that this request leads to; some of them more than once.
    pub(super) fn find(&self, input: &Input<'_>, scratch: &mut KeyScratch, mut tell: impl FnMut(Told<'_>)) {
        match &self.kind {
            MatcherKind::Addresses(addresses) => {
                addresses.find(input.facts.client.ip.addr(), |atom| tell(Told::Holds(atom)));
            }
            MatcherKind::Numbers(numbers) => {
                if let Some(Datum::Int(number)) = interpreter::value(&numbers.value, input) {
                    numbers.find(number, |atom| tell(Told::Holds(atom)));
                }
            }
            MatcherKind::Text(value, matcher) => {
                let mut search = |text| matcher.find(text, &mut scratch.text, |find| tell(Told::Found(find)));
                match interpreter::value(value, input) {
                    Some(Datum::Text(text)) => search(text),
                    Some(Datum::Array(elements)) => elements.iter().filter_map(Datum::as_text).for_each(search),
                    Some(_) | None => {}
                }
            }
            MatcherKind::Keys(keys) => keys.find(input, scratch, |find| tell(Told::Found(find))),
        }
    }

    /// What it holds, for people.
    pub(super) fn holds(&self) -> Vec<Held> {
        let held: Vec<(&'static str, usize)> = match &self.kind {
            MatcherKind::Addresses(Addresses { v4, v6, lists }) => vec![
                ("IPv4 networks", v4.as_ref().map_or(0, BlockTable::len)),
                ("IPv6 networks", v6.as_ref().map_or(0, BlockTable::len)),
                ("large lists", lists.len()),
            ],
            MatcherKind::Numbers(numbers) => vec![
                ("numbers", numbers.blocks.as_ref().map_or(0, BlockTable::len)),
                ("lists", numbers.lists.len()),
            ],
            MatcherKind::Text(_, matcher) => matcher.counts().to_vec(),
            MatcherKind::Keys(keys) => vec![("names", keys.len())],
        };
        held.into_iter().map(|(what, count)| Held { what, count }).collect()
    }

    /// The bytes that it takes, large lists aside.
    pub(super) fn memory(&self) -> usize {
        match &self.kind {
            MatcherKind::Addresses(Addresses { v4, v6, .. }) => {
                v4.as_ref().map_or(0, BlockTable::memory) + v6.as_ref().map_or(0, BlockTable::memory)
            }
            MatcherKind::Numbers(numbers) => numbers.blocks.as_ref().map_or(0, BlockTable::memory),
            MatcherKind::Text(_, matcher) => matcher.memory(),
            MatcherKind::Keys(keys) => keys.memory(),
        }
    }
}

impl Addresses {
    fn find(&self, address: IpAddr, mut found: impl FnMut(AtomId)) {
        match address {
            IpAddr::V4(v4) => {
                let table = self.v4.iter();
                table.flat_map(|table| table.holding(v4.into())).for_each(&mut found);
            }
            IpAddr::V6(v6) => {
                let table = self.v6.iter();
                table.flat_map(|table| table.holding(v6.into())).for_each(&mut found);
            }
        }
        let listed = self.lists.iter().filter(|(list, _)| list.contains_ip(address));
        listed.for_each(|(_, atom)| found(*atom));
    }
}

impl Numbers {
    fn find(&self, number: i64, mut found: impl FnMut(AtomId)) {
        let blocks = self.blocks.iter();
        blocks
            .flat_map(|blocks| blocks.holding(ascending(number)))
            .for_each(&mut found);
        let number = Datum::Int(number);
        let listed = self
            .lists
            .iter()
            .filter(|(list, _)| interpreter::is_listed(list, &number));
        listed.for_each(|(_, atom)| found(*atom));
    }
}

/// Signed numbers in the order of unsigned ones.
fn ascending(number: i64) -> u64 {
    number.cast_unsigned() ^ (1 << 63)
}

/// Gathers clues for the matchers. One matcher a subject, numbered as they come.
#[derive(Default)]
pub(super) struct MatchersBuilder {
    count: MatcherId,
    addresses: Option<(MatcherId, AddressesBuilder)>,
    numbers: HashMap<String, (MatcherId, Value, NumbersBuilder)>,
    texts: HashMap<String, (MatcherId, Value, TextMatcherBuilder)>,
    keys: HashMap<Map, (MatcherId, KeyTableBuilder)>,
}

impl MatchersBuilder {
    /// Adds what leads to an atom; returns the matcher that will tell it.
    pub(super) fn add(&mut self, atom: AtomId, clue: Clue) -> MatcherId {
        let count = &mut self.count;
        let mut next = || {
            *count += 1;
            *count - 1
        };
        match clue {
            Clue::Address(among) => {
                let (id, addresses) = self
                    .addresses
                    .get_or_insert_with(|| (next(), AddressesBuilder::default()));
                addresses.add(among, atom);
                *id
            }
            Clue::Number(value, among) => {
                let new = || (next(), value.clone(), NumbersBuilder::default());
                let (id, _, numbers) = self.numbers.entry(value.to_string()).or_insert_with(new);
                numbers.add(among, atom);
                *id
            }
            Clue::Text(value, sought, confirm) => {
                let new = || (next(), value.clone(), TextMatcherBuilder::default());
                let (id, _, text) = self.texts.entry(value.to_string()).or_insert_with(new);
                text.add(sought, Lead { atom, confirm });
                *id
            }
            Clue::Key(map, key, sought, confirm) => {
                let new = || (next(), KeyTableBuilder::default());
                let (id, keys) = self.keys.entry(map).or_insert_with(new);
                keys.add(&key, sought, Lead { atom, confirm });
                *id
            }
        }
    }

    /// The matchers, by their numbers.
    pub(super) fn build(self) -> Box<[Matcher]> {
        let mut crowds = 0;
        let mut all: Vec<(MatcherId, Matcher)> = Vec::with_capacity(self.count);
        let mut add = |id, subject, kind| all.push((id, Matcher { subject, kind }));
        if let Some((id, addresses)) = self.addresses {
            add(id, "ip.src".to_owned(), MatcherKind::Addresses(addresses.build()));
        }
        for (subject, (id, value, numbers)) in self.numbers {
            add(id, subject, MatcherKind::Numbers(numbers.build(value)));
        }
        for (subject, (id, value, text)) in self.texts {
            add(id, subject, MatcherKind::Text(value, Box::new(text.build(&mut crowds))));
        }
        for (map, (id, keys)) in self.keys {
            add(
                id,
                map.as_str().to_owned(),
                MatcherKind::Keys(keys.build(map, &mut crowds)),
            );
        }
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, matcher)| matcher).collect()
    }
}

#[derive(Default)]
struct AddressesBuilder {
    v4: BlockTableBuilder<u32>,
    v6: BlockTableBuilder<u128>,
    lists: Vec<(Arc<List>, AtomId)>,
}

impl AddressesBuilder {
    fn add(&mut self, among: Among<IpRange>, atom: AtomId) {
        match among {
            Among::Ranges(ranges) => ranges.into_iter().for_each(|range| self.add_range(range, atom)),
            Among::List(list) => match list.addresses() {
                Some(set) if set.ranges() <= LARGE_LIST => set.iter().for_each(|range| self.add_range(range, atom)),
                Some(_) | None => self.lists.push((list, atom)),
            },
        }
    }

    fn add_range(&mut self, range: IpRange, atom: AtomId) {
        match (range.first(), range.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => self.v4.add(first.into()..=last.into(), atom),
            (IpAddr::V6(first), IpAddr::V6(last)) => self.v6.add(first.into()..=last.into(), atom),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                unreachable!("both ends of a range are of one family")
            }
        }
    }

    fn build(self) -> Addresses {
        Addresses {
            v4: self.v4.build(),
            v6: self.v6.build(),
            lists: self.lists.into_boxed_slice(),
        }
    }
}

#[derive(Default)]
struct NumbersBuilder {
    blocks: BlockTableBuilder<u64>,
    lists: Vec<(Arc<List>, AtomId)>,
}

impl NumbersBuilder {
    fn add(&mut self, among: Among<RangeInclusive<i64>>, atom: AtomId) {
        match among {
            Among::Ranges(ranges) => {
                for range in ranges {
                    self.blocks
                        .add(ascending(*range.start())..=ascending(*range.end()), atom);
                }
            }
            Among::List(list) => self.lists.push((list, atom)),
        }
    }

    fn build(self, value: Value) -> Numbers {
        Numbers {
            value,
            blocks: self.blocks.build(),
            lists: self.lists.into_boxed_slice(),
        }
    }
}
