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

use std::{ops::Range, sync::Arc};

use toml::de::DeValue;

use crate::policy::{
    countries,
    facts::Country,
    fault::{Fault, Faults, Place, Source},
    list::{List, ListKind},
    network::IpRange,
    policy::ListFiles,
    table::{FromToml, Placed, Table, Value},
};

use super::targets::parse_asn;

/// Reads the list called `name`.
pub(crate) fn read(name: &str, mut table: Table<'_>, files: &dyn ListFiles, faults: &mut Faults) -> Option<List> {
    let kind: Option<ListKind> = table.required("kind", "kind = \"ip\"", faults);
    let items = table.value("items");
    let file: Option<Placed<String>> = table.optional("file", faults);
    let may_be_empty = table.or("may_be_empty", false, faults);
    let Some(kind) = kind else {
        table.finish(faults);
        return None;
    };
    let contents = match (items, file) {
        (Some(items), None) => from_items(kind, items, faults),
        (None, Some(file)) => from_file(kind, &file, files, faults),
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
    if let Some(contents) = &contents
        && contents.is_empty()
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
    Some(contents.unwrap_or_else(|| Contents::new(kind)).named(name))
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

/// What is wrong with an entry, and maybe what to write.
type EntryError = (String, Option<String>);

/// Entries of one kind, on their way into a list.
enum Contents {
    Ip(Vec<IpRange>),
    Asn(Vec<u32>),
    Country(Vec<Country>),
    String(Vec<String>),
}

impl Contents {
    fn new(kind: ListKind) -> Self {
        match kind {
            ListKind::Ip => Self::Ip(Vec::new()),
            ListKind::Asn => Self::Asn(Vec::new()),
            ListKind::Country => Self::Country(Vec::new()),
            ListKind::String => Self::String(Vec::new()),
        }
    }

    /// Adds an entry; the error says what is wrong with it, and maybe what to write.
    fn add(&mut self, text: &str) -> Result<(), EntryError> {
        match self {
            Self::Ip(ranges) => ranges.push(IpRange::parse(text).map_err(|error| (error.to_string(), None))?),
            Self::Asn(numbers) => {
                let fault = || {
                    (
                        format!("`{text}` is no autonomous system: a number such as 64496"),
                        None,
                    )
                };
                numbers.push(parse_asn(text).ok_or_else(fault)?);
            }
            Self::Country(codes) => {
                codes.push(countries::country(text).map_err(|error| (error.message, Some(error.help)))?);
            }
            Self::String(_) if text.is_empty() => return Err(("an empty text".to_owned(), None)),
            Self::String(texts) => texts.push(text.to_owned()),
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Ip(entries) => entries.is_empty(),
            Self::Asn(entries) => entries.is_empty(),
            Self::Country(entries) => entries.is_empty(),
            Self::String(entries) => entries.is_empty(),
        }
    }

    fn named(self, name: &str) -> List {
        match self {
            Self::Ip(entries) => List::ip(name, entries),
            Self::Asn(entries) => List::asn(name, entries),
            Self::Country(entries) => List::country(name, entries),
            Self::String(entries) => List::string(name, entries),
        }
    }
}

fn from_items(kind: ListKind, items: Value<'_>, faults: &mut Faults) -> Option<Contents> {
    let mut contents = Contents::new(kind);
    let mut all_read = true;
    for item in items.array(faults)? {
        let text = match (kind, item.raw()) {
            (ListKind::Asn, DeValue::Integer(_)) => u32::from_toml(item, faults).map(|number| number.to_string()),
            _ => String::from_toml(item, faults),
        };
        let added = text.map(|text| contents.add(&text));
        all_read &= matches!(added, Some(Ok(())));
        if let Some(Err(error)) = added {
            faults.push(entry_fault(item.place(), error));
        }
    }
    all_read.then_some(contents)
}

fn from_file(kind: ListKind, file: &Placed<String>, files: &dyn ListFiles, faults: &mut Faults) -> Option<Contents> {
    let source = match files.read(&file.value) {
        Ok(source) => source,
        Err(error) => {
            faults.push(
                Fault::error(
                    file.place.clone(),
                    format!("cannot read list file `{}`: {error}", file.value),
                )
                .help("relative paths are relative to the directory of portcullis.toml"),
            );
            return None;
        }
    };
    let format = Format::of(kind, &file.value);
    let mut contents = Contents::new(kind);
    let mut all_read = true;
    for line in lines(&source) {
        let whole = line.clone();
        let read = match format.entry(&source, line) {
            Ok(None) => Ok(()),
            Ok(Some(entry)) => contents
                .add(&entry.value)
                .map_err(|error| (entry.span, error))
                .and_then(|()| one_entry(kind, entry.description).map_err(|error| (whole, error))),
            Err(error) => Err((whole, error)),
        };
        if let Err((span, error)) = read {
            all_read = false;
            faults.push(entry_fault(Place::new(&source, span), error));
        }
    }
    all_read.then_some(contents)
}

/// `10.0.0.1,10.0.0.2` would be one address, described by another.
fn one_entry(kind: ListKind, description: &str) -> Result<(), EntryError> {
    let is_entry = |text: &str| Contents::new(kind).add(text.trim().trim_matches('"')).is_ok();
    if kind != ListKind::String && description.split([',', ';']).any(is_entry) {
        let help = "write each on its own line; after a comma comes a description";
        return Err(("two entries on a line".to_owned(), Some(help.to_owned())));
    }
    Ok(())
}

fn entry_fault(place: Place, (message, help): EntryError) -> Fault {
    let fault = Fault::error(place, message);
    match help {
        Some(help) => fault.help(help),
        None => fault,
    }
}

/// The bytes of each line, without its end; a byte order mark belongs to none.
fn lines(source: &Arc<Source>) -> Vec<Range<usize>> {
    let text = &source.text;
    let mut start = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut lines = Vec::new();
    for line in text.get(start..).unwrap_or_default().split_inclusive('\n') {
        lines.push(start..start + line.trim_end_matches(['\n', '\r']).len());
        start += line.len();
    }
    lines
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

    /// The entry on a line; `None` for a blank line, a comment, and the heading of a CSV file.
    fn entry(self, source: &Source, line: Range<usize>) -> Result<Option<LineEntry<'_>>, EntryError> {
        let text = source.text.get(line.clone()).unwrap_or_default();
        let start = line.start + text.len() - text.trim_start().len();
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(None);
        }
        let entry = |value: &str, description| LineEntry {
            span: start..start + value.len(),
            value: value.to_owned(),
            description,
        };
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
    value: String,
    /// All that follows the value and its comma.
    description: &'s str,
}

/// The first field of a CSV line, in quotes; quotes inside it are doubled (RFC 4180).
fn quoted_field(text: &str, start: usize) -> Result<LineEntry<'_>, EntryError> {
    let mut value = String::new();
    let mut rest = text.get(1..).unwrap_or_default();
    loop {
        let Some((inside, after)) = rest.split_once('"') else {
            let help = "close it with `\"`; a quote inside is doubled";
            return Err(("this quote is never closed".to_owned(), Some(help.to_owned())));
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
                Err(("text after the closing quote".to_owned(), Some(help.to_owned())))
            }
            description => Ok(LineEntry {
                span: start..start + text.len() - after.len(),
                value,
                description: description.unwrap_or_default(),
            }),
        };
    }
}
