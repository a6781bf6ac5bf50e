//! Finds the rules that could cover a case, so that ten thousand rules need not be compared each with every other.
//!
//! Each case of a rule that could stand in another's way is filed under one value that it is about. A case inside it must be
//! about that value too, and say no more of it; so it is looked up by what it says of its values.

use std::collections::{BTreeSet, HashMap};

use super::proof::{Case, Domain, OneOf, Pattern, Subject, Values};
use crate::policy::phases::Position;

/// A case of a rule: the rule's position, and which case.
type Entry = (Position, usize);

/// How many comparisons are made in all: some seconds' worth at most, which only thousands of rules alike come to.
const MAX_COMPARISONS: usize = 4_000_000;

/// Cases by what they are about.
#[derive(Debug, Default)]
pub(super) struct Index {
    texts: HashMap<(Subject, Box<[u8]>), Vec<Entry>>,
    pieces: HashMap<Subject, Pieces>,
    v4: HashMap<Subject, Stab<u32>>,
    v6: HashMap<Subject, Stab<u128>>,
    numbers: HashMap<Subject, Stab<i64>>,
    /// About this value, in some other way.
    about: HashMap<Subject, Vec<Entry>>,
    /// About nothing.
    always: Vec<Entry>,
}

/// Parts of patterns, by length.
#[derive(Debug, Default)]
struct Pieces {
    by_text: HashMap<Box<[u8]>, Vec<Entry>>,
    lengths: BTreeSet<usize>,
}

/// What a case can be filed under, by one value that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// It is this text.
    Text(Subject, Box<[u8]>),
    /// It holds this part, in lower case.
    Part(Subject, Box<[u8]>),
    /// It is one of some addresses, or numbers.
    Interval(Subject),
    /// Anything else is said of it.
    About(Subject),
}

/// What a value can be, and the keys that it gives.
type Filed<'c> = (&'c Domain, Vec<Key>);

impl Index {
    /// Files the cases of some rules, each under the value that fewest others share.
    pub(super) fn of<'c>(rules: impl IntoIterator<Item = (Position, &'c [Case])>) -> Self {
        let mut all: Vec<(Entry, Vec<Filed<'_>>)> = Vec::new();
        let mut counts: HashMap<Key, usize> = HashMap::new();
        for (at, cases) in rules {
            for (nth, case) in cases.iter().enumerate() {
                let keys: Vec<_> = case
                    .0
                    .iter()
                    .map(|(subject, domain)| (domain, keys(subject, domain)))
                    .collect();
                for key in keys.iter().flat_map(|(_, keys)| keys) {
                    *counts.entry(key.clone()).or_default() += 1;
                }
                all.push(((at, nth), keys));
            }
        }
        let crowd = |key: &Key| match key {
            // Those that hold a point are few, however many there are.
            Key::Interval(_) => 1,
            Key::Text(..) | Key::Part(..) | Key::About(_) => counts.get(key).copied().unwrap_or(0),
        };
        let mut index = Self::default();
        for (entry, keys) in all {
            let least = keys.into_iter().min_by_key(|(_, keys)| keys.iter().map(crowd).max());
            match least {
                Some((domain, keys)) => index.add(domain, keys, entry),
                None => index.always.push(entry),
            }
        }
        index.v4.values_mut().for_each(Stab::sort);
        index.v6.values_mut().for_each(Stab::sort);
        index.numbers.values_mut().for_each(Stab::sort);
        index
    }

    fn add(&mut self, domain: &Domain, keys: Vec<Key>, entry: Entry) {
        for key in keys {
            match key {
                Key::Text(subject, text) => self.texts.entry((subject, text)).or_default().push(entry),
                Key::Part(subject, part) => {
                    let pieces = self.pieces.entry(subject).or_default();
                    pieces.lengths.insert(part.len());
                    pieces.by_text.entry(part).or_default().push(entry);
                }
                Key::Interval(subject) => match &domain.values {
                    Values::Addresses(addresses) => {
                        self.v4
                            .entry(subject.clone())
                            .or_default()
                            .add(addresses.v4.iter(), entry);
                        self.v6.entry(subject).or_default().add(addresses.v6.iter(), entry);
                    }
                    Values::Numbers(numbers) => self.numbers.entry(subject).or_default().add(numbers.iter(), entry),
                    Values::Texts(_) | Values::Truth { .. } => {}
                },
                Key::About(subject) => self.about.entry(subject).or_default().push(entry),
            }
        }
    }

    /// The entries that a case could lie inside of, each once, in order.
    pub(super) fn candidates(&self, case: &Case) -> BTreeSet<Entry> {
        let mut found: BTreeSet<Entry> = self.always.iter().copied().collect();
        for (subject, domain) in &case.0 {
            found.extend(self.about.get(subject).into_iter().flatten());
            match &domain.values {
                Values::Addresses(addresses) => {
                    if let Some((first, _)) = addresses.v4.iter().next() {
                        self.v4
                            .get(subject)
                            .into_iter()
                            .for_each(|stab| stab.find(first, &mut found));
                    } else if let Some((first, _)) = addresses.v6.iter().next() {
                        self.v6
                            .get(subject)
                            .into_iter()
                            .for_each(|stab| stab.find(first, &mut found));
                    }
                }
                Values::Numbers(numbers) => {
                    if let (Some((first, _)), Some(stab)) = (numbers.iter().next(), self.numbers.get(subject)) {
                        stab.find(first, &mut found);
                    }
                }
                Values::Texts(texts) => {
                    for choice in texts.choices() {
                        if let Some(text) = choice.exact.first() {
                            found.extend(self.texts.get(&(subject.clone(), text.clone())).into_iter().flatten());
                            self.find_pieces(subject, [&**text].into_iter(), &mut found);
                        } else if let Some(Pattern::Glob(glob)) = choice.others.first() {
                            self.find_pieces(subject, glob.pieces(), &mut found);
                        }
                    }
                }
                Values::Truth { .. } => {}
            }
        }
        found
    }

    fn find_pieces<'t>(&self, subject: &Subject, texts: impl Iterator<Item = &'t [u8]>, found: &mut BTreeSet<Entry>) {
        let Some(pieces) = self.pieces.get(subject) else { return };
        for text in texts {
            let text = text.to_ascii_lowercase();
            for length in pieces
                .lengths
                .range(1..=text.len().max(1))
                .filter(|length| **length <= text.len())
            {
                for window in text.windows(*length) {
                    found.extend(pieces.by_text.get(window).into_iter().flatten());
                }
            }
        }
    }
}

/// What a case can be filed under by this value: under all of these.
fn keys(subject: &Subject, domain: &Domain) -> Vec<Key> {
    let about = || vec![Key::About(subject.clone())];
    match &domain.values {
        // A case of a request without the value is looked up by nothing.
        _ if domain.absent => about(),
        Values::Addresses(_) | Values::Numbers(_) => vec![Key::Interval(subject.clone())],
        Values::Texts(texts) => match (texts.spelled(), texts.choices()) {
            (Some(spelled), _) => spelled
                .iter()
                .map(|text| Key::Text(subject.clone(), text.clone()))
                .collect(),
            (None, [choice]) => parts(subject, choice).unwrap_or_else(about),
            (None, _) => about(),
        },
        Values::Truth { .. } => about(),
    }
}

/// The longest part of each alternative; `None`: one of them has none.
fn parts(subject: &Subject, choice: &OneOf) -> Option<Vec<Key>> {
    let exact = choice.exact.iter().map(|text| Some(&**text));
    let others = choice.others.iter().map(|pattern| match pattern {
        Pattern::Glob(glob) => glob.pieces().max_by_key(|piece| piece.len()),
        Pattern::Regex(_) | Pattern::List(_) | Pattern::Order(..) => None,
    });
    let parts = exact.chain(others).map(|part| {
        let part = part.filter(|part| !part.is_empty())?;
        Some(Key::Part(subject.clone(), part.to_ascii_lowercase().into()))
    });
    parts.collect()
}

/// Intervals that can be asked which of them hold a point.
#[derive(Debug)]
struct Stab<T> {
    sorted: Vec<(T, T, Entry)>,
    /// The greatest end of all intervals up to this one.
    ends: Vec<T>,
}

impl<T> Default for Stab<T> {
    fn default() -> Self {
        Self {
            sorted: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl<T: Copy + Ord> Stab<T> {
    fn add(&mut self, intervals: impl Iterator<Item = (T, T)>, entry: Entry) {
        self.sorted.extend(intervals.map(|(first, last)| (first, last, entry)));
    }

    fn sort(&mut self) {
        self.sorted.sort_unstable();
        let mut greatest = None;
        for (_, last, _) in &self.sorted {
            let end = greatest.map_or(*last, |end: T| end.max(*last));
            greatest = Some(end);
            self.ends.push(end);
        }
    }

    fn find(&self, point: T, found: &mut BTreeSet<Entry>) {
        let after = self.sorted.partition_point(|(first, _, _)| *first <= point);
        for at in (0..after).rev() {
            if self.ends.get(at).is_none_or(|end| *end < point) {
                return;
            }
            if let Some((_, last, entry)) = self.sorted.get(at)
                && point <= *last
            {
                found.insert(*entry);
            }
        }
    }
}

/// What comparing may cost in all.
#[derive(Debug)]
pub(super) struct Budget(std::cell::Cell<usize>);

impl Default for Budget {
    fn default() -> Self {
        Self(std::cell::Cell::new(MAX_COMPARISONS))
    }
}

impl Budget {
    /// Whether one more comparison may be made.
    pub(super) fn spend(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether there was enough.
    pub(super) fn is_spent(&self) -> bool {
        self.0.get() == 0
    }
}
