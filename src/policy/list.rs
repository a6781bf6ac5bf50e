//! Named sets that expressions refer to as `$name`, compiled for lookup.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use aws_lc_rs::digest::{self, SHA256};

use super::{
    facts::Country,
    ip_set::{IpSet, IpSetBuilder},
    network::IpRange,
    sorted::SortedKeys,
    strings::{Strings, StringsBuilder},
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
#[derive(Debug, Clone)]
pub struct List {
    name: String,
    entries: usize,
    folded: usize,
    written: Option<Digest>,
    contents: Contents,
}

/// Lists are equal that hold the same under the same name, however it is written.
impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.contents == other.contents
    }
}

impl Eq for List {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Contents {
    Ip(IpSet),
    Asn(SortedKeys<u32>),
    Country(Box<[Country]>),
    String(Strings),
}

impl List {
    /// A list of addresses.
    pub fn ip(name: impl Into<String>, ranges: impl IntoIterator<Item = IpRange>) -> Self {
        let mut builder = IpSetBuilder::default();
        ranges.into_iter().for_each(|range| builder.push(range));
        Entries::Ip(builder).named(name)
    }

    /// A list of autonomous systems.
    pub fn asn(name: impl Into<String>, numbers: impl IntoIterator<Item = u32>) -> Self {
        Entries::Asn(numbers.into_iter().collect()).named(name)
    }

    /// A list of countries.
    pub fn country(name: impl Into<String>, countries: impl IntoIterator<Item = Country>) -> Self {
        Entries::Country(countries.into_iter().collect()).named(name)
    }

    /// A list of strings.
    ///
    /// # Panics
    /// When they are 4 GiB together.
    pub fn string(name: impl Into<String>, strings: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let mut builder = StringsBuilder::default();
        for string in strings {
            builder.push(string.as_ref()).expect("less than 4 GiB of strings");
        }
        Entries::String(builder).named(name)
    }

    /// The same list, which remembers as what it was written.
    #[must_use]
    pub(super) fn written_as(mut self, digest: Digest) -> Self {
        self.written = Some(digest);
        self
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

    /// How many entries were written.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// How many of the entries add nothing, since an equal or a wider one is among the others.
    pub fn folded(&self) -> usize {
        self.folded
    }

    /// How many bytes its contents take on the heap.
    pub fn memory(&self) -> usize {
        match &self.contents {
            Contents::Ip(set) => set.memory(),
            Contents::Asn(numbers) => numbers.memory(),
            Contents::Country(countries) => size_of_val(&**countries),
            Contents::String(strings) => strings.memory(),
        }
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

    /// The numbers of a list of autonomous systems, sorted; `None` for any other kind.
    pub fn systems(&self) -> Option<impl Iterator<Item = u32>> {
        match &self.contents {
            Contents::Asn(numbers) => Some(numbers.keys().iter().copied()),
            Contents::Ip(_) | Contents::Country(_) | Contents::String(_) => None,
        }
    }

    /// The strings of a list of strings, sorted; none for any other kind.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let strings = match &self.contents {
            Contents::String(set) => Some(set),
            Contents::Ip(_) | Contents::Asn(_) | Contents::Country(_) => None,
        };
        strings.into_iter().flat_map(Strings::iter)
    }

    /// What it holds, in words: each entry once.
    pub fn entries(&self) -> BTreeSet<String> {
        match &self.contents {
            Contents::Ip(set) => set.iter().map(|range| range.to_string()).collect(),
            Contents::Asn(numbers) => numbers.keys().iter().map(u32::to_string).collect(),
            Contents::Country(countries) => countries.iter().map(|code| code.as_str().to_owned()).collect(),
            Contents::String(strings) => strings
                .iter()
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect(),
        }
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
            Contents::Asn(numbers) => {
                let near = numbers.last_at_or_below(asn).and_then(|at| numbers.keys().get(at));
                near == Some(&asn)
            }
            Contents::Ip(_) | Contents::Country(_) | Contents::String(_) => false,
        }
    }

    /// Whether a list of countries holds this one.
    pub fn contains_country(&self, country: Country) -> bool {
        match &self.contents {
            Contents::Country(countries) => countries.binary_search(&country).is_ok(),
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

/// Entries of one kind, on their way into a list.
#[derive(Debug)]
pub(super) enum Entries {
    Ip(IpSetBuilder),
    Asn(Vec<u32>),
    Country(Vec<Country>),
    String(StringsBuilder),
}

impl Entries {
    /// None yet.
    pub(super) fn new(kind: ListKind) -> Self {
        match kind {
            ListKind::Ip => Self::Ip(IpSetBuilder::default()),
            ListKind::Asn => Self::Asn(Vec::new()),
            ListKind::Country => Self::Country(Vec::new()),
            ListKind::String => Self::String(StringsBuilder::default()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Ip(ranges) => ranges.len(),
            Self::Asn(numbers) => numbers.len(),
            Self::Country(countries) => countries.len(),
            Self::String(strings) => strings.len(),
        }
    }

    /// The list of them.
    pub(super) fn named(self, name: impl Into<String>) -> List {
        let entries = self.len();
        let (contents, folded) = match self {
            Self::Ip(ranges) => {
                let (set, folded) = ranges.finish();
                (Contents::Ip(set), folded)
            }
            Self::Asn(numbers) => {
                let (numbers, folded) = distinct(numbers);
                (Contents::Asn(SortedKeys::new(numbers)), folded)
            }
            Self::Country(countries) => {
                let (countries, folded) = distinct(countries);
                (Contents::Country(countries), folded)
            }
            Self::String(strings) => {
                let (strings, folded) = strings.finish();
                (Contents::String(strings), folded)
            }
        };
        List {
            name: name.into(),
            entries,
            folded,
            written: None,
            contents,
        }
    }
}

/// Sorted, each once; and how many were there already.
fn distinct<T: Ord>(mut all: Vec<T>) -> (Box<[T]>, usize) {
    let written = all.len();
    all.sort_unstable();
    all.dedup();
    let folded = written - all.len();
    (all.into_boxed_slice(), folded)
}

/// As what a list is written: two that differ have different digests, as far as anyone knows (SHA-256). So a list need not
/// keep its text to be known again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// Of texts, whose borders count.
    pub(super) fn of(texts: &[&str]) -> Self {
        let mut hash = digest::Context::new(&SHA256);
        for text in texts {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        Self(bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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

    /// The list of this name, if it was written so.
    pub(super) fn unchanged(&self, name: &str, written: Digest) -> Option<&Arc<List>> {
        self.named(name).filter(|list| list.written == Some(written))
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
    fn entries_are_counted_as_written_and_folded_where_they_add_nothing() {
        let ranges = ["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/8"].map(|text| IpRange::parse(text).expect("a network"));
        let code = |code| Country::new(code).expect("a code");
        let lists = [
            List::ip("a", ranges),
            List::asn("b", [7, 8, 7, 7]),
            List::country("c", [code("DE"), code("DE"), code("AT")]),
            List::string("d", ["a", "b", "a"]),
        ];
        let counts = lists.each_ref().map(|list| (list.len(), list.folded()));
        assert_eq!(counts, [(3, 2), (4, 2), (3, 1), (3, 1)]);
        assert!(lists[1].contains_asn(7) && lists[1].contains_asn(8) && !lists[1].contains_asn(9));
        assert!(lists[2].contains_country(code("AT")) && !lists[2].contains_country(code("FR")));
    }

    #[test]
    fn lists_that_hold_the_same_are_equal() {
        assert_eq!(List::asn("a", [1, 2, 2]), List::asn("a", [2, 1]));
        assert_ne!(List::asn("a", [1]), List::asn("b", [1]));
    }

    #[test]
    fn borders_of_texts_make_a_difference() {
        assert_eq!(Digest::of(&["ab", "c"]), Digest::of(&["ab", "c"]));
        assert_ne!(Digest::of(&["ab", "c"]), Digest::of(&["a", "bc"]));
    }

    #[test]
    fn strings_are_compared_byte_for_byte() {
        let list = List::string("tokens", ["Abc"]);
        assert!(list.contains_string(b"Abc"));
        assert!(!list.contains_string(b"abc"));
    }
}
