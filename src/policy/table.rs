//! Reads TOML tables key by key, gathering every fault instead of stopping at the first.
//!
//! serde's derive reports one error a table and loses spans inside enums; a gate must name every mistake at its place.
//! A reader takes each key it knows; [`Table::finish`] makes a fault of what nobody took, so no key is ever ignored.

use std::{ops::Range, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::fault::{Fault, Faults, Place, Source};

/// One value with its place.
#[derive(Clone, Copy)]
pub struct Value<'s> {
    source: &'s Arc<Source>,
    node: &'s Spanned<DeValue<'s>>,
}

impl<'s> Value<'s> {
    /// The value at `node` of a document parsed from `source`.
    pub fn new(source: &'s Arc<Source>, node: &'s Spanned<DeValue<'s>>) -> Self {
        Self { source, node }
    }

    /// The raw TOML value.
    pub fn raw(&self) -> &'s DeValue<'s> {
        self.node.get_ref()
    }

    /// Where it stands, quotes included.
    pub fn place(&self) -> Place {
        Place::new(self.source, self.node.span())
    }

    /// The fault of a value of the wrong type, named by what was expected ("a string such as …").
    pub fn mismatch(&self, expected: &str) -> Fault {
        let found = match self.raw() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date-time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        Fault::error(self.place(), format!("wrong type: found {found}")).expected(format!("expected {expected}"))
    }

    /// The fault of a value of the right type that does not parse.
    pub fn invalid(&self, message: impl Into<String>, expected: &str) -> Fault {
        let fault = Fault::error(self.place(), message);
        if expected.is_empty() {
            fault
        } else {
            fault.expected(format!("expected {expected}"))
        }
    }

    /// The value as a table, or a fault. `name` is what messages call it.
    pub fn table(&self, name: &str, faults: &mut Faults) -> Option<Table<'s>> {
        match self.raw() {
            DeValue::Table(table) => Some(Table::new(self.source, name, self.node.span(), table)),
            _ => {
                faults.push(self.mismatch("a table"));
                None
            }
        }
    }

    /// The elements of an array, or a fault.
    pub fn array(&self, faults: &mut Faults) -> Option<Vec<Value<'s>>> {
        match self.raw() {
            DeValue::Array(items) => Some(items.iter().map(|node| Value::new(self.source, node)).collect()),
            DeValue::Table(_) | DeValue::Datetime(_) => {
                faults.push(self.mismatch("an array"));
                None
            }
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                let written = self.source.text.get(self.node.span()).unwrap_or("…");
                faults.push(self.mismatch("an array").help(format!("write `[{written}]`")));
                None
            }
        }
    }
}

/// What can be read from one TOML value. On a fault it is pushed and `None` comes back.
pub trait FromToml: Sized {
    /// Reads the value.
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self>;
}

/// A value that remembers where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// What was written.
    pub value: T,
    /// Where.
    pub place: Place,
}

impl<T: FromToml> FromToml for Placed<T> {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let place = value.place();
        T::from_toml(value, faults).map(|value| Self { value, place })
    }
}

impl FromToml for String {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        match value.raw() {
            DeValue::String(text) => Some(text.to_string()),
            _ => {
                faults.push(value.mismatch("a string"));
                None
            }
        }
    }
}

impl FromToml for bool {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        match value.raw() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => {
                faults.push(value.mismatch("true or false"));
                None
            }
        }
    }
}

impl FromToml for u64 {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let DeValue::Integer(integer) = value.raw() else {
            faults.push(value.mismatch("a whole number"));
            return None;
        };
        let digits = integer.as_str().replace('_', "");
        match u64::from_str_radix(digits.trim_start_matches('+'), integer.radix()) {
            Ok(number) => Some(number),
            Err(_) => {
                faults.push(value.invalid("number out of range", "a whole number, not negative"));
                None
            }
        }
    }
}

impl FromToml for u32 {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        bounded(value, u64::from(u32::MAX), faults).and_then(|number| number.try_into().ok())
    }
}

impl FromToml for u16 {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        bounded(value, u64::from(u16::MAX), faults).and_then(|number| number.try_into().ok())
    }
}

fn bounded(value: Value<'_>, most: u64, faults: &mut Faults) -> Option<u64> {
    let number = u64::from_toml(value, faults)?;
    if number > most {
        faults.push(value.invalid("number out of range", &format!("a whole number up to {most}")));
        return None;
    }
    Some(number)
}

/// All elements or none: an array with a faulty element is no array.
impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let items: Vec<Option<T>> = value
            .array(faults)?
            .into_iter()
            .map(|item| T::from_toml(item, faults))
            .collect();
        items.into_iter().collect()
    }
}

/// A TOML table being read.
pub struct Table<'s> {
    source: &'s Arc<Source>,
    name: String,
    span: Range<usize>,
    entries: &'s DeTable<'s>,
    taken: Vec<&'static str>,
}

impl<'s> Table<'s> {
    /// Starts to read `entries`; `name` is what messages call the table, such as `[[geo]]`.
    pub fn new(source: &'s Arc<Source>, name: &str, span: Range<usize>, entries: &'s DeTable<'s>) -> Self {
        Self {
            source,
            name: name.to_owned(),
            span,
            entries,
            taken: Vec::new(),
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it begins: its header, or its opening brace.
    pub fn place(&self) -> Place {
        Place::new(self.source, self.span.clone())
    }

    /// The text it stands in.
    pub fn source(&self) -> &'s Arc<Source> {
        self.source
    }

    /// The keys and values as parsed.
    pub fn entries(&self) -> &'s DeTable<'s> {
        self.entries
    }

    /// The value of a key, unread. Taking it makes the key known.
    pub fn value(&mut self, key: &'static str) -> Option<Value<'s>> {
        if !self.taken.contains(&key) {
            self.taken.push(key);
        }
        self.entries.get(key).map(|node| Value::new(self.source, node))
    }

    /// Where the key's name stands, if it is written.
    pub fn key_place(&self, key: &str) -> Option<Place> {
        let (name, _) = self.entries.get_key_value(key)?;
        Some(Place::new(self.source, name.span()))
    }

    /// A key that may be left out. `None` when it is, and when its value is a fault.
    pub fn optional<T: FromToml>(&mut self, key: &'static str, faults: &mut Faults) -> Option<T> {
        self.value(key).and_then(|value| T::from_toml(value, faults))
    }

    /// A key that must be written; leaving it out is a fault. `example` shows how it is written.
    pub fn required<T: FromToml>(&mut self, key: &'static str, example: &str, faults: &mut Faults) -> Option<T> {
        match self.value(key) {
            Some(value) => T::from_toml(value, faults),
            None => {
                faults.push(
                    Fault::error(self.place(), format!("{} has no `{key}`", self.name))
                        .expected(format!("`{key}` is required"))
                        .help(format!("write `{example}`")),
                );
                None
            }
        }
    }

    /// A key with a default; a faulty value is reported and the default stands in until the load stops.
    pub fn or<T: FromToml>(&mut self, key: &'static str, default: T, faults: &mut Faults) -> T {
        self.optional(key, faults).unwrap_or(default)
    }

    /// The tables of an array of tables, each with the name `[[key]]`; none when the key is not written.
    pub fn tables(&mut self, key: &'static str, faults: &mut Faults) -> Vec<Table<'s>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let fault = match value.raw() {
            DeValue::Array(_) => None,
            DeValue::Table(_) => Some(
                Fault::error(value.place(), format!("`{key}` is a single table"))
                    .expected(format!("expected an array of tables, `[[{key}]]`")),
            ),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => Some(value.mismatch(&format!("an array of tables, `[[{key}]]`"))),
        };
        if let Some(fault) = fault {
            faults.push(fault.help(format!("write `[[{key}]]` with two brackets")));
            return Vec::new();
        }
        let name = format!("[[{key}]]");
        let items = value.array(faults).unwrap_or_default();
        items.into_iter().filter_map(|item| item.table(&name, faults)).collect()
    }

    /// The keys as written with their values, for tables whose keys are names (`[list.*]`, `[upstream.*]`).
    /// Taking them makes all keys known.
    pub fn named(&mut self) -> Vec<(Placed<String>, Value<'s>)> {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|(key, node)| {
                let place = Place::new(self.source, key.span());
                let value = key.get_ref().to_string();
                (Placed { value, place }, Value::new(self.source, node))
            })
            .collect();
        entries.sort_by_key(|(key, _)| key.place.span.start);
        entries
    }

    /// Ends the reading: every key that nobody took is a fault with "did you mean".
    pub fn finish(self, faults: &mut Faults) {
        for (key, _) in self.entries.iter() {
            let typed = key.get_ref().as_ref();
            if self.taken.contains(&typed) {
                continue;
            }
            let place = Place::new(self.source, key.span());
            faults.push(
                Fault::error(place, format!("unknown key `{typed}` in {}", self.name))
                    .expected("not a key of this table")
                    .suggest(typed, self.taken.iter().copied())
                    .help(format!("known keys: {}", self.taken.join(", "))),
            );
        }
    }
}

/// Parses a document, with every syntax error as a fault. What parsed comes back even so: its other faults can be found.
pub fn parse<'s>(source: &'s Arc<Source>, faults: &mut Faults) -> Spanned<DeTable<'s>> {
    let (document, errors) = DeTable::parse_recoverable(&source.text);
    let mut last_line = None;
    for error in errors {
        let end = source.text.len();
        let place = Place::new(source, error.span().unwrap_or(end..end));
        let line = place.line_column().0;
        // The rest of a line that went wrong is read wrongly too.
        if last_line.replace(line) == Some(line) {
            continue;
        }
        let fault = Fault::error(place, format!("invalid TOML: {}", error.message()));
        faults.push(match syntax_help(error.message()) {
            Some(help) => fault.help(help),
            None => fault,
        });
    }
    document
}

/// What a parser's message does not say.
fn syntax_help(message: &str) -> Option<&'static str> {
    if message.contains("missing comma") || message.contains("unclosed array") {
        Some("a `]` or a comma is missing here or on a line before")
    } else if message.contains("duplicate key") {
        Some("a key or table stands only once: merge it with the first")
    } else if message.contains("must be quoted") || message.contains("quoted") {
        Some("write text in double quotes: \"text\"")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_a_table_is_reported_at_its_place() {
        let source = Source::new("a.toml", "action = 1\nactoin = \"block\"\nips = [\"x\", 2]\n");
        let mut faults = Faults::new();
        let document = parse(&source, &mut faults);
        let mut table = Table::new(&source, "the file", document.span(), document.get_ref());
        assert_eq!(table.optional::<String>("action", &mut faults), None);
        assert_eq!(table.optional::<Vec<String>>("ips", &mut faults), None);
        assert_eq!(table.required::<u64>("port", "port = 80", &mut faults), None);
        table.finish(&mut faults);
        let shown: Vec<String> = faults.into_sorted().iter().map(Fault::to_string).collect();
        assert_eq!(
            shown,
            [
                "a.toml:1:1: error: the file has no `port`: `port` is required; write `port = 80`",
                "a.toml:1:10: error: wrong type: found an integer: expected a string",
                "a.toml:2:1: error: unknown key `actoin` in the file: not a key of this table; did you mean `action`?; known keys: action, ips, port",
                "a.toml:3:13: error: wrong type: found an integer: expected a string",
            ]
        );
    }
}
