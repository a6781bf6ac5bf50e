//! What entries name in arrays: addresses, autonomous systems, countries, and lists of them by `$name`.

use toml::de::DeValue;

use crate::policy::{
    countries::{self, CodeError},
    facts::Country,
    fault::{Fault, Faults, Place},
    list::ListKind,
    network::IpRange,
    table::{FromToml, Table, Value},
};

use super::{
    RuleEnvironment,
    text::{Condition, quoted},
};

/// Targets of one sort, as the expression language writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Targets {
    literals: Vec<String>,
    lists: Vec<String>,
}

impl Targets {
    /// The targets of `key`, if it is written. Every faulty element is reported; then there are none.
    pub(super) fn read(
        table: &mut Table<'_>,
        key: &'static str,
        kind: ListKind,
        env: &RuleEnvironment<'_>,
        faults: &mut Faults,
    ) -> Option<Self> {
        let value = table.value(key)?;
        let items = value.array(faults)?;
        if items.is_empty() {
            faults.push(value.invalid(format!("`{key}` is empty"), "at least one element"));
            return None;
        }
        let mut targets = Self::default();
        let mut all_read = true;
        for item in items {
            all_read &= targets.add(item, kind, env, faults).is_some();
        }
        all_read.then_some(targets)
    }

    fn add(&mut self, item: Value<'_>, kind: ListKind, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<()> {
        if let DeValue::String(text) = item.raw()
            && let Some(name) = text.strip_prefix('$')
        {
            self.lists.push(env.list(name, kind, &item.place(), faults)?);
            return Some(());
        }
        let literal = match kind {
            ListKind::Ip => ip(item, faults)?.to_string(),
            ListKind::Asn => asn(item, faults)?.to_string(),
            ListKind::Country => country(item, env, faults)?,
            ListKind::String => quoted(&String::from_toml(item, faults)?),
        };
        self.literals.push(literal);
        Some(())
    }

    /// Adds one more literal.
    pub(super) fn with(mut self, literal: String) -> Self {
        if !self.literals.contains(&literal) {
            self.literals.push(literal);
        }
        self
    }

    /// Whether the literal is among them.
    fn contains(&self, literal: &str) -> bool {
        self.literals.iter().any(|known| known == literal)
    }

    /// Whether the country is among them, or in a list among them.
    pub(super) fn contains_country(&self, country: Country, env: &RuleEnvironment<'_>) -> bool {
        let in_list = |name: &String| env.lists.named(name).is_some_and(|list| list.contains_country(country));
        self.contains(&quoted(country.as_str())) || self.lists.iter().any(in_list)
    }

    /// The condition that the field is one of them.
    pub(super) fn condition(&self, field: &str) -> Option<Condition> {
        let literals = match self.literals.as_slice() {
            [] => None,
            // Networks are no values: an address is in one, never equal to it.
            literals if field == "ip.src" => Some(Condition::single(format!("{field} in {{{}}}", literals.join(" ")))),
            literals => Condition::one_of(field, literals),
        };
        let lists = self
            .lists
            .iter()
            .map(|name| Condition::single(format!("{field} in ${name}")));
        Condition::any_of(literals.into_iter().chain(lists))
    }
}

fn ip(item: Value<'_>, faults: &mut Faults) -> Option<IpRange> {
    let text = String::from_toml(item, faults)?;
    IpRange::parse(&text)
        .map_err(|error| {
            faults.push(item.invalid(
                error.to_string(),
                "an address, a network such as \"203.0.113.0/24\", or a $list",
            ))
        })
        .ok()
}

fn asn(item: Value<'_>, faults: &mut Faults) -> Option<u32> {
    match item.raw() {
        DeValue::String(text) => match parse_asn(text) {
            Some(number) => Some(number),
            None => {
                faults.push(item.invalid(
                    format!("`{text}` is no autonomous system"),
                    "a number such as 64496, or a $list",
                ));
                None
            }
        },
        _ => u32::from_toml(item, faults),
    }
}

/// `64496` or `AS64496`.
pub(super) fn parse_asn(text: &str) -> Option<u32> {
    let digits = text
        .strip_prefix("AS")
        .or_else(|| text.strip_prefix("as"))
        .unwrap_or(text);
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

fn country(item: Value<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<String> {
    let text = String::from_toml(item, faults)?;
    match countries::country(&text) {
        Ok(code) => {
            if code == Country::TOR && !env.geo.tor {
                faults.push(
                    item.invalid(
                        "`T1` (Tor) is a country that no configured source gives",
                        "a source of Tor exits",
                    )
                    .help("write `tor = \"$tor_exits\"` under `[geoip]`, and the list"),
                );
                return None;
            }
            Some(quoted(code.as_str()))
        }
        Err(error) => {
            faults.push(code_fault(item.place(), error));
            None
        }
    }
}

/// The continents of `key`, quoted.
pub(super) fn continents(table: &mut Table<'_>, key: &'static str, faults: &mut Faults) -> Option<Vec<String>> {
    let value = table.value(key)?;
    let items = value.array(faults)?;
    if items.is_empty() {
        faults.push(value.invalid(format!("`{key}` is empty"), "at least one element"));
        return None;
    }
    let codes: Vec<Option<String>> = items.into_iter().map(|item| continent(item, faults)).collect();
    codes.into_iter().collect()
}

fn continent(item: Value<'_>, faults: &mut Faults) -> Option<String> {
    let text = String::from_toml(item, faults)?;
    match countries::continent(&text) {
        Ok(code) => Some(quoted(code.as_str())),
        Err(error) => {
            faults.push(code_fault(item.place(), error));
            None
        }
    }
}

fn code_fault(place: Place, error: CodeError) -> Fault {
    Fault::error(place, error.message).help(error.help)
}
