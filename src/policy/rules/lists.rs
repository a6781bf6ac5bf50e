//! `[list.NAME]`: named sets that rules refer to as `$NAME`.
//!
//! ```toml
//! [list.partners]
//! kind = "ip"                       # or "asn", "country", "string"
//! items = ["198.51.100.0/24"]
//!
//! [list.office]
//! kind = "ip"
//! file = "lists/office.txt"         # one a line, "#" begins a comment; or CSV: value,description
//! may_be_empty = true               # otherwise a list without entries is a fault
//! ```
//!
//! Two entries on a line are a fault, and so is what follows the closing quote of a CSV field.
//! A list of strings in a file that does not end in `.csv` holds whole lines: only a line that begins with `#` is a comment.

use std::{borrow::Cow, ops::Range, sync::Arc};

use toml::de::DeValue;

use crate::policy::{
    countries,
    fault::{Fault, Faults, Place, Source},
    list::{Digest, Entries, List, ListKind, Lists},
    network::IpRange,
    policy::{ListFiles, PolicyEnvironment},
    table::{FromToml, Placed, Table, Value},
};

use super::targets::parse_asn;

/// Reads the list called `name`. One that is written as in the policy in force is taken from there.
pub(crate) fn read(
    name: &str,
    mut table: Table<'_>,
    env: &PolicyEnvironment<'_>,
    faults: &mut Faults,
) -> Option<Arc<List>> {
    let kind: Option<ListKind> = table.required("kind", "kind = \"ip\"", faults);
    let items = table.value("items");
    let file: Option<Placed<String>> = table.optional("file", faults);
    let may_be_empty = table.or("may_be_empty", false, faults);
    let Some(kind) = kind else {
        table.finish(faults);
        return None;
    };
    let written = match (items, file) {
        (Some(items), None) => Some(Written::Items(items)),
        (None, Some(file)) => Written::file(kind, &file, env.files, faults),
        (Some(_), Some(file)) => {
            faults.push(
                Fault::error(file.place, format!("{} has `items` and `file`", table.name()))
                    .expected("expected one of the two"),
            );
            None
        }
        (None, None) => {
            if table.key_place("file").is_none() {
                faults.push(
                    Fault::error(table.place(), format!("{} has no entries", table.name()))
                        .expected("expected `items` or `file`")
                        .help("write `items = […]` or `file = \"lists/name.txt\"`"),
                );
            }
            None
        }
    };
    let list = written.and_then(|written| written.list(name, kind, env.previous, faults));
    if let Some(list) = &list
        && list.is_empty()
        && !may_be_empty
    {
        let place = table.key_place("items").or(table.key_place("file"));
        faults.push(
            Fault::error(
                place.unwrap_or_else(|| table.place()),
                format!("{} is empty", table.name()),
            )
            .expected("expected at least one entry")
            .help("write `may_be_empty = true` if that is meant"),
        );
    }
    table.finish(faults);
    // What refers to a faulty list is no further fault; the load stops anyway.
    Some(list.unwrap_or_else(|| Arc::new(Entries::new(kind).named(name))))
}

impl FromToml for ListKind {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        if kind.is_none() {
            faults.push(
                value
                    .invalid(
                        format!("`{text}` is no kind of list"),
                        "\"ip\", \"asn\", \"country\" or \"string\"",
                    )
                    .suggest(&text, Self::ALL.map(Self::as_str)),
            );
        }
        kind
    }
}

/// The entries of a list, as they are written.
enum Written<'t> {
    Items(Value<'t>),
    File(Arc<Source>, Format),
}

impl Written<'_> {
    fn file(kind: ListKind, file: &Placed<String>, files: &dyn ListFiles, faults: &mut Faults) -> Option<Self> {
        match files.read(&file.value) {
            Ok(source) => Some(Self::File(source, Format::of(kind, &file.value))),
            Err(error) => {
                faults.push(
                    Fault::error(
                        file.place.clone(),
                        format!("cannot read list file `{}`: {error}", file.value),
                    )
                    .help("relative paths are relative to the directory of portcullis.toml"),
                );
                None
            }
        }
    }

    /// The list, from the lists in force if it is written as there. `None` with a fault for every entry that is none.
    fn list(self, name: &str, kind: ListKind, previous: Option<&Lists>, faults: &mut Faults) -> Option<Arc<List>> {
        let digest = self.digest(kind);
        if let Some(same) = previous.and_then(|lists| lists.unchanged(name, digest)) {
            return Some(Arc::clone(same));
        }
        let mut found = EntryFaults::default();
        let entries = match self {
            Self::Items(items) => from_items(kind, items, &mut found, faults)?,
            Self::File(source, format) => from_file(kind, &source, format, &mut found),
        };
        let is_faulty = found.told(faults);
        (!is_faulty).then(|| Arc::new(entries.named(name).written_as(digest)))
    }

    /// Of all that the list's contents depend on.
    fn digest(&self, kind: ListKind) -> Digest {
        match self {
            Self::Items(items) => {
                let place = items.place();
                let text = place.source.text.get(place.span).unwrap_or_default();
                Digest::of(&[kind.as_str(), "items", text])
            }
            Self::File(source, format) => Digest::of(&[kind.as_str(), format.as_str(), &source.text]),
        }
    }
}

/// What is wrong with an entry, and maybe what to write.
type EntryError = (Cow<'static, str>, Option<Cow<'static, str>>);

/// Parses an entry and adds it; the error says what is wrong with it, and maybe what to write.
fn add(entries: &mut Entries, text: &str) -> Result<(), EntryError> {
    match entries {
        Entries::Ip(ranges) => {
            ranges.push(IpRange::parse(text).map_err(|error| (error.to_string().into(), None))?);
        }
        Entries::Asn(numbers) => {
            let fault = || format!("`{text}` is no autonomous system: a number such as 64496");
            numbers.push(parse_asn(text).ok_or_else(|| (fault().into(), None))?);
        }
        Entries::Country(codes) => {
            let code = countries::country(text);
            codes.push(code.map_err(|error| (error.message.into(), Some(error.help.into())))?);
        }
        Entries::String(_) if text.is_empty() => return Err(("an empty text".into(), None)),
        Entries::String(texts) => {
            let fault = |_| ("the texts of this list are longer than 4 GiB".into(), None);
            texts.push(text.as_bytes()).map_err(fault)?;
        }
    }
    Ok(())
}

fn from_items(kind: ListKind, items: Value<'_>, found: &mut EntryFaults, faults: &mut Faults) -> Option<Entries> {
    let mut entries = Entries::new(kind);
    for item in items.array(faults)? {
        let mut own = Faults::new();
        let text = match (kind, item.raw()) {
            (ListKind::Asn, DeValue::Integer(_)) => u32::from_toml(item, &mut own).map(|number| number.to_string()),
            _ => String::from_toml(item, &mut own),
        };
        if let Some(Err(error)) = text.map(|text| add(&mut entries, &text)) {
            own.push(entry_fault(item.place(), error));
        }
        own.into_iter().for_each(|fault| found.push(fault));
    }
    Some(entries)
}

fn from_file(kind: ListKind, source: &Arc<Source>, format: Format, found: &mut EntryFaults) -> Entries {
    let mut entries = Entries::new(kind);
    for line in lines(source) {
        let read = match format.entry(source, line.clone()) {
            Ok(None) => Ok(()),
            Ok(Some(entry)) => add(&mut entries, &entry.value)
                .map_err(|error| (entry.span, error))
                .and_then(|()| one_entry(kind, entry.description).map_err(|error| (line, error))),
            Err(error) => Err((line, error)),
        };
        if let Err((span, error)) = read {
            found.push(entry_fault(Place::new(source, span), error));
        }
    }
    entries
}

/// `10.0.0.1,10.0.0.2` would be one address, described by another.
fn one_entry(kind: ListKind, description: &str) -> Result<(), EntryError> {
    if kind == ListKind::String || description.is_empty() {
        return Ok(());
    }
    let is_entry = |text: &str| {
        let text = text.trim().trim_matches('"');
        // A glance at most descriptions is enough: to be told what is wrong with them takes longer than the entry itself.
        let may_be = match kind {
            ListKind::Ip => text.contains(['.', ':']) && !text.contains(' '),
            ListKind::Asn | ListKind::Country | ListKind::String => !text.is_empty(),
        };
        may_be && add(&mut Entries::new(kind), text).is_ok()
    };
    if description.split([',', ';']).any(is_entry) {
        let help = "write each on its own line; after a comma comes a description";
        return Err(("two entries on a line".into(), Some(help.into())));
    }
    Ok(())
}

/// More faults of one list are counted and not told: the wrong file has a million.
const MOST_FAULTS: usize = 100;

/// The faults of a list's entries.
#[derive(Default)]
struct EntryFaults {
    told: Vec<Fault>,
    /// How many more there are, and where the first of them is.
    more: Option<(usize, Option<Place>)>,
}

impl EntryFaults {
    fn push(&mut self, fault: Fault) {
        match &mut self.more {
            Some((number, _)) => *number += 1,
            None if self.told.len() < MOST_FAULTS => self.told.push(fault),
            None => self.more = Some((1, fault.place)),
        }
    }

    /// Tells them; whether there are any.
    fn told(self, faults: &mut Faults) -> bool {
        let is_faulty = !self.told.is_empty();
        faults.extend(self.told);
        if let Some((number, place)) = self.more {
            let message = format!("{number} more entries of this list are faulty");
            let fault = match place {
                Some(place) => Fault::error(place, message).expected("the next of them"),
                None => Fault::without_place(message),
            };
            faults.push(fault.help("is this the right file, and `kind` the right one?"));
        }
        is_faulty
    }
}

fn entry_fault(place: Place, (message, help): EntryError) -> Fault {
    let fault = Fault::error(place, message);
    match help {
        Some(help) => fault.help(help),
        None => fault,
    }
}

/// The bytes of each line, without its end; a byte order mark belongs to none.
fn lines(source: &Source) -> impl Iterator<Item = Range<usize>> {
    let text = source.text.strip_prefix('\u{feff}').unwrap_or(&source.text);
    let mut end = source.text.len() - text.len();
    text.split_inclusive('\n').map(move |line| {
        let start = end;
        end += line.len();
        start..start + line.trim_end_matches(['\n', '\r']).len()
    })
}

/// How a line of a list file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `value # comment` or `value,description`
    Words,
    /// The whole line.
    Lines,
    /// `value,description` with optional quotes.
    Csv,
}

impl Format {
    fn of(kind: ListKind, path: &str) -> Self {
        match kind {
            _ if path.to_ascii_lowercase().ends_with(".csv") => Self::Csv,
            ListKind::Ip | ListKind::Asn | ListKind::Country => Self::Words,
            ListKind::String => Self::Lines,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Lines => "lines",
            Self::Csv => "csv",
        }
    }

    /// The entry on a line; `None` for a blank line, a comment, and the heading of a CSV file.
    fn entry<'s>(self, source: &'s Source, line: Range<usize>) -> Result<Option<LineEntry<'s>>, EntryError> {
        let text = source.text.get(line.clone()).unwrap_or_default();
        let start = line.start + text.len() - text.trim_start().len();
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let entry = |value, description| LineEntry::new(start, value, description);
        Ok(match self {
            Self::Lines => Some(entry(text, "")),
            Self::Words => {
                let said = text.split('#').next().unwrap_or(text);
                let (value, description) = said.split_once([',', ';']).unwrap_or((said, ""));
                Some(entry(value.trim_end(), description))
            }
            Self::Csv if text.starts_with('"') => Some(quoted_field(text, start)?),
            Self::Csv => {
                let (value, description) = text.split_once(',').unwrap_or((text, ""));
                let is_heading = line.start == 0 && value.trim_end().eq_ignore_ascii_case("value");
                (!is_heading).then(|| entry(value.trim_end(), description))
            }
        })
    }
}

/// What a line of a list file says.
struct LineEntry<'s> {
    /// Where the value stands.
    span: Range<usize>,
    value: Cow<'s, str>,
    /// All that follows the value and its comma.
    description: &'s str,
}

impl<'s> LineEntry<'s> {
    fn new(start: usize, value: &'s str, description: &'s str) -> Self {
        Self {
            span: start..start + value.len(),
            value: Cow::Borrowed(value),
            description,
        }
    }
}

/// The first field of a CSV line, in quotes; quotes inside it are doubled (RFC 4180).
fn quoted_field(text: &str, start: usize) -> Result<LineEntry<'_>, EntryError> {
    let mut value = String::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let Some((inside, after)) = rest.split_once('"') else {
            let help = "close it with `\"`; a quote inside is doubled";
            return Err(("this quote is never closed".into(), Some(help.into())));
        };
        value.push_str(inside);
        if let Some(more) = after.strip_prefix('"') {
            value.push('"');
            rest = more;
            continue;
        }
        let description = after.trim_start();
        return match description.strip_prefix(',') {
            None if !description.is_empty() => {
                let help = "after the closing quote comes a comma or nothing; a quote inside is doubled";
                Err(("text after the closing quote".into(), Some(help.into())))
            }
            description => Ok(LineEntry {
                span: start..start + text.len() - after.len(),
                value: Cow::Owned(value),
                description: description.unwrap_or_default(),
            }),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::*;
    use crate::policy::{lang::GeoKnown, policy::Policy, rule::Timestamp};

    const RULES: &str = r#"
        [list.office]
        kind = "ip"
        items = ["192.0.2.0/24", "198.51.100.7"]
        [list.blocked]
        kind = "ip"
        file = "blocked.txt"
        [list.hosts]
        kind = "string"
        file = "hosts.csv"
    "#;

    /// Files that are texts, by name.
    struct Texts(RefCell<BTreeMap<&'static str, String>>);

    impl Texts {
        fn new() -> Self {
            let files = [("blocked.txt", "192.0.2.1\n2001:db8::/32\n"), ("hosts.csv", "a\nb\n")];
            Self(RefCell::new(files.map(|(name, text)| (name, text.to_owned())).into()))
        }

        fn write(&self, name: &'static str, text: &str) {
            self.0.borrow_mut().insert(name, text.to_owned());
        }

        fn load(&self, rules: &str, previous: Option<&Policy>) -> Result<Policy, Vec<String>> {
            let env = PolicyEnvironment {
                sites: &[],
                geo: GeoKnown::ALL,
                files: self,
                previous: previous.map(Policy::lists),
                now: Timestamp(0),
            };
            let mut faults = Faults::new();
            let policy = Policy::compile(&[Source::new("rules.toml", rules)], &env, &mut faults);
            policy.ok_or_else(|| faults.into_sorted().iter().map(ToString::to_string).collect())
        }
    }

    impl ListFiles for Texts {
        fn read(&self, path: &str) -> Result<Arc<Source>, String> {
            let files = self.0.borrow();
            let text = files.get(path).ok_or("no such file")?;
            Ok(Source::new(path, text.clone()))
        }
    }

    /// The lists that are the very same in both.
    fn same(old: &Policy, new: &Policy) -> Vec<String> {
        let lists = new.lists().iter();
        let same = lists.filter(|list| old.list(list.name()).is_some_and(|before| Arc::ptr_eq(before, list)));
        same.map(|list| list.name().to_owned()).collect()
    }

    #[test]
    fn a_list_that_is_written_as_before_is_the_same_one() {
        let files = Texts::new();
        let first = files.load(RULES, None).expect("it loads");
        let moved = format!("# a comment\n{RULES}");
        let second = files.load(&moved, Some(&first)).expect("it loads");
        assert_eq!(same(&first, &second), ["blocked", "hosts", "office"]);
        files.write("blocked.txt", "192.0.2.2\n");
        let third = files
            .load(&RULES.replace("192.0.2.0/24", "192.0.2.0/25"), Some(&second))
            .expect("it loads");
        assert_eq!(same(&second, &third), ["hosts"]);
        let blocked = third.list("blocked").expect("it is there");
        assert!(blocked.contains_ip([192, 0, 2, 2].into()) && !blocked.contains_ip([192, 0, 2, 1].into()));
    }

    #[test]
    fn what_else_a_list_depends_on_makes_another_one() {
        let files = Texts::new();
        files.write("numbers.txt", "64496\n");
        files.write("numbers.csv", "64496\n");
        let rules = |kind: &str, file: &str| format!("[list.a]\nkind = \"{kind}\"\nfile = \"{file}\"\n");
        let first = files.load(&rules("asn", "numbers.txt"), None).expect("it loads");
        for (kind, file) in [("string", "numbers.txt"), ("asn", "numbers.csv")] {
            let second = files.load(&rules(kind, file), Some(&first)).expect("it loads");
            assert_eq!(same(&first, &second), [] as [&str; 0], "{kind} {file}");
        }
        // Another name is another list; what it is called is in every message about it.
        let renamed = rules("asn", "numbers.txt").replace("list.a", "list.b");
        assert!(
            files
                .load(&renamed, Some(&first))
                .expect("it loads")
                .list("a")
                .is_none()
        );
    }

    #[test]
    fn a_list_that_came_up_empty_is_a_fault_also_when_it_was_empty_before() {
        let files = Texts::new();
        files.write("blocked.txt", "# none yet\n");
        let may = RULES.replace("file = \"blocked.txt\"", "file = \"blocked.txt\"\nmay_be_empty = true");
        let first = files.load(&may, None).expect("it loads");
        let faults = files
            .load(RULES, Some(&first))
            .expect_err("nobody says that it may be empty");
        assert!(faults[0].contains("[list.blocked] is empty"), "{faults:?}");
    }

    #[test]
    fn the_wrong_file_is_told_of_in_a_hundred_faults_and_a_number() {
        let files = Texts::new();
        files.write("blocked.txt", &"no address\n".repeat(1_000));
        let faults = files.load(RULES, None).expect_err("it is no list");
        assert_eq!(faults.len(), 101);
        assert_eq!(
            faults[99],
            "blocked.txt:100:1: error: \"no address\" is not an IP address"
        );
        assert_eq!(
            faults[100],
            "blocked.txt:101:1: error: 900 more entries of this list are faulty: the next of them; \
             is this the right file, and `kind` the right one?"
        );
    }
}
