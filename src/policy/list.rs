//! Named sets that expressions refer to as `$name`, compiled for lookup.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    facts::Country,
    network::{IpRange, IpSet},
};

/// What a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListKind {
    /// Addresses, networks and ranges.
    Ip,
    /// Autonomous system numbers.
    Asn,
    /// Country codes.
    Country,
    /// Strings, compared byte for byte.
    String,
}

impl ListKind {
    /// All of them, as `kind` spells them.
    pub const ALL: [Self; 4] = [Self::Ip, Self::Asn, Self::Country, Self::String];

    /// As `kind` in a list's table spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Asn => "asn",
            Self::Country => "country",
            Self::String => "string",
        }
    }
}

/// A named set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    name: String,
    entries: usize,
    contents: Contents,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Contents {
    Ip(IpSet),
    Asn(HashSet<u32>),
    Country(HashSet<Country>),
    String(HashSet<Box<[u8]>>),
}

impl List {
    /// A list of addresses.
    pub fn ip(name: impl Into<String>, ranges: impl IntoIterator<Item = IpRange>) -> Self {
        let mut entries = 0;
        let set = ranges.into_iter().inspect(|_| entries += 1).collect();
        Self::new(name, entries, Contents::Ip(set))
    }

    /// A list of autonomous systems.
    pub fn asn(name: impl Into<String>, numbers: impl IntoIterator<Item = u32>) -> Self {
        let set: HashSet<_> = numbers.into_iter().collect();
        Self::new(name, set.len(), Contents::Asn(set))
    }

    /// A list of countries.
    pub fn country(name: impl Into<String>, countries: impl IntoIterator<Item = Country>) -> Self {
        let set: HashSet<_> = countries.into_iter().collect();
        Self::new(name, set.len(), Contents::Country(set))
    }

    /// A list of strings.
    pub fn string(name: impl Into<String>, strings: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let set: HashSet<_> = strings.into_iter().map(|text| text.into().into_boxed_slice()).collect();
        Self::new(name, set.len(), Contents::String(set))
    }

    fn new(name: impl Into<String>, entries: usize, contents: Contents) -> Self {
        Self {
            name: name.into(),
            entries,
            contents,
        }
    }

    /// The name, without the `$`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it holds.
    pub fn kind(&self) -> ListKind {
        match &self.contents {
            Contents::Ip(_) => ListKind::Ip,
            Contents::Asn(_) => ListKind::Asn,
            Contents::Country(_) => ListKind::Country,
            Contents::String(_) => ListKind::String,
        }
    }

    /// How many entries it was made of; equal ones count once, except addresses.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The addresses of a list of addresses; `None` for any other kind.
    pub fn addresses(&self) -> Option<&IpSet> {
        match &self.contents {
            Contents::Ip(set) => Some(set),
            Contents::Asn(_) | Contents::Country(_) | Contents::String(_) => None,
        }
    }

    /// The strings of a list of strings, in no order; none for any other kind.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let strings = match &self.contents {
            Contents::String(set) => Some(set),
            Contents::Ip(_) | Contents::Asn(_) | Contents::Country(_) => None,
        };
        strings.into_iter().flatten().map(|text| &**text)
    }

    /// Whether a list of addresses holds this one.
    pub fn contains_ip(&self, address: IpAddr) -> bool {
        match &self.contents {
            Contents::Ip(set) => set.contains(address),
            Contents::Asn(_) | Contents::Country(_) | Contents::String(_) => false,
        }
    }

    /// Whether a list of autonomous systems holds this one.
    pub fn contains_asn(&self, asn: u32) -> bool {
        match &self.contents {
            Contents::Asn(set) => set.contains(&asn),
            Contents::Ip(_) | Contents::Country(_) | Contents::String(_) => false,
        }
    }

    /// Whether a list of countries holds this one.
    pub fn contains_country(&self, country: Country) -> bool {
        match &self.contents {
            Contents::Country(set) => set.contains(&country),
            Contents::Ip(_) | Contents::Asn(_) | Contents::String(_) => false,
        }
    }

    /// Whether a list of strings holds this one.
    pub fn contains_string(&self, text: &[u8]) -> bool {
        match &self.contents {
            Contents::String(set) => set.contains(text),
            Contents::Ip(_) | Contents::Asn(_) | Contents::Country(_) => false,
        }
    }
}

/// All named lists of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Lists(BTreeMap<String, Arc<List>>);

impl Lists {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a list; returns the one that had its name.
    pub fn insert(&mut self, list: impl Into<Arc<List>>) -> Option<Arc<List>> {
        let list = list.into();
        self.0.insert(list.name.clone(), list)
    }

    /// The list of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<List>> {
        self.0.get(name)
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<List>> {
        self.0.values()
    }
}

impl<L: Into<Arc<List>>> FromIterator<L> for Lists {
    fn from_iter<I: IntoIterator<Item = L>>(lists: I) -> Self {
        let mut all = Self::new();
        for list in lists {
            all.insert(list);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_answers_only_for_what_it_holds() {
        let range = IpRange::parse("10.0.0.0/8").expect("it is a network");
        let list = List::ip("office", [range]);
        assert!(list.contains_ip(IpAddr::from([10, 9, 8, 7])));
        assert!(!list.contains_string(b"10.9.8.7"));
        assert_eq!((list.kind(), list.len()), (ListKind::Ip, 1));
    }

    #[test]
    fn strings_are_compared_byte_for_byte() {
        let list = List::string("tokens", ["Abc"]);
        assert!(list.contains_string(b"Abc"));
        assert!(!list.contains_string(b"abc"));
    }
}
