//! All names that rules ask for in headers, cookies and arguments. A request's own names are looked up among them, so the
//! cost is that of the request's names, however many the rules know.

use hashbrown::HashMap;

use super::{
    clues::{Map, Sought},
    text::{Find, Lead, TextMatcher, TextMatcherBuilder, TextScratch},
};
use crate::policy::lang::request::{Input, form_decoded, is_form_encoded};

/// The names of one map, each with the tests of its values.
#[derive(Debug)]
pub(super) struct KeyTable {
    map: Map,
    keys: HashMap<Box<[u8]>, Key>,
    filter: NameFilter,
}

/// Tells most names that no rule asks for by their first letter and their length.
#[derive(Debug)]
struct NameFilter([u64; 32]);

impl NameFilter {
    fn of<'n>(names: impl Iterator<Item = &'n [u8]>) -> Self {
        let mut filter = [0; 32];
        for name in names {
            filter[Self::row(name)] |= Self::bit(name);
        }
        Self(filter)
    }

    fn may_hold(&self, name: &[u8]) -> bool {
        self.0[Self::row(name)] & Self::bit(name) != 0
    }

    /// ASCII letters differ in their last five bits.
    fn row(name: &[u8]) -> usize {
        usize::from(name.first().copied().unwrap_or(0) & 31)
    }

    fn bit(name: &[u8]) -> u64 {
        1 << name.len().min(63)
    }
}

#[derive(Debug)]
struct Key {
    /// What the name alone leads to.
    present: Box<[Lead]>,
    values: TextMatcher,
}

/// What a look-up reuses from request to request.
#[derive(Debug, Default)]
pub(super) struct KeyScratch {
    pub(super) text: TextScratch,
    decoded: Vec<u8>,
}

impl KeyTable {
    /// Tells every atom that the request's names lead to; some of them more than once.
    pub(super) fn find(&self, input: &Input<'_>, scratch: &mut KeyScratch, mut found: impl FnMut(Find<'_>)) {
        match self.map {
            Map::Headers => {
                for (name, value) in input.facts.headers {
                    self.find_pair(name.as_str().as_bytes(), value.as_bytes(), scratch, &mut found);
                }
            }
            Map::Cookies => self.find_pairs(input.cookies(), scratch, &mut found),
            Map::Arguments => self.find_pairs(input.arguments(), scratch, &mut found),
        }
    }

    /// Names as sent, and as applications decode them.
    fn find_pairs<'a>(
        &self,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        scratch: &mut KeyScratch,
        found: &mut impl FnMut(Find<'_>),
    ) {
        for (name, value) in pairs {
            self.find_pair(name, value, scratch, found);
            if is_form_encoded(name) {
                let mut decoded = std::mem::take(&mut scratch.decoded);
                decoded.clear();
                decoded.extend(form_decoded(name));
                self.find_pair(&decoded, value, scratch, found);
                scratch.decoded = decoded;
            }
        }
    }

    fn find_pair(&self, name: &[u8], value: &[u8], scratch: &mut KeyScratch, found: &mut impl FnMut(Find<'_>)) {
        if !self.filter.may_hold(name) {
            return;
        }
        if let Some(key) = self.keys.get(name) {
            key.present.iter().for_each(|lead| found(Find::of_name(*lead)));
            key.values.find(value, &mut scratch.text, found);
        }
    }

    /// How many names there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The bytes that it takes, lists aside.
    pub(super) fn memory(&self) -> usize {
        let keys = self.keys.iter().map(|(name, key)| {
            size_of::<(Box<[u8]>, Key)>() + name.len() + size_of_val(&*key.present) + key.values.memory()
        });
        keys.sum()
    }
}

/// Gathers names for a table.
#[derive(Debug, Default)]
pub(super) struct KeyTableBuilder {
    keys: HashMap<Box<[u8]>, (Vec<Lead>, TextMatcherBuilder)>,
}

impl KeyTableBuilder {
    pub(super) fn add(&mut self, key: &str, sought: Option<Sought>, lead: Lead) {
        let (present, values) = self.keys.entry(key.as_bytes().into()).or_default();
        match sought {
            None => present.push(lead),
            Some(sought) => values.add(sought, lead),
        }
    }

    pub(super) fn build(self, map: Map, crowds: &mut usize) -> KeyTable {
        let keys = self.keys.into_iter().map(|(name, (present, values))| {
            let key = Key {
                present: present.into_boxed_slice(),
                values: values.build(crowds),
            };
            (name, key)
        });
        let keys: HashMap<Box<[u8]>, Key> = keys.collect();
        KeyTable {
            map,
            filter: NameFilter::of(keys.keys().map(|name| &**name)),
            keys,
        }
    }
}
