//! MaxMind-format files: GeoLite2 and GeoIP2, DB-IP, IPinfo.
//!
//! A file is walked once, record by record, into ranges. That reads every byte that a look-up could ever reach, so a
//! damaged file is found when it is loaded.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use maxminddb::{Reader, WithinOptions};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    Location, Parsed, Problem, continents,
    ranges::{RangeTable, Spans},
};
use crate::policy::{
    facts::{Continent, Country},
    rule::Timestamp,
};

/// Autonomous systems by address, with their names.
#[derive(Debug)]
pub(super) struct Networks {
    numbers: RangeTable<u32>,
    organizations: HashMap<u32, Box<str>>,
}

impl Networks {
    /// The autonomous system of an address; 0 when unknown.
    pub(super) fn number(&self, address: IpAddr) -> u32 {
        self.numbers.at(address)
    }

    /// Who runs it.
    pub(super) fn organization(&self, number: u32) -> Option<String> {
        self.organizations.get(&number).map(|name| name.clone().into_string())
    }
}

/// A file as country source.
pub(super) fn countries(_path: &Path, bytes: Vec<u8>) -> Result<Parsed<RangeTable<Location>>, Problem> {
    let reader = open(bytes)?;
    let table = flatten(&reader, |record| record.location())?;
    if table.values().all(|location| location == Location::default()) {
        return Err(wrong_kind(&reader, "country", "an ASN file belongs in `asn = …`"));
    }
    Ok(parsed(&reader, table))
}

/// A file as source of autonomous systems.
pub(super) fn networks(_path: &Path, bytes: Vec<u8>) -> Result<Parsed<Networks>, Problem> {
    let reader = open(bytes)?;
    let mut organizations = HashMap::new();
    let numbers = flatten(&reader, |record| {
        let number = record.number()?;
        if let Some(name) = record.organization().filter(|_| number != 0) {
            organizations.entry(number).or_insert_with(|| Box::from(name));
        }
        Ok(number)
    })?;
    if numbers.values().all(|number| number == 0) {
        let help = "a country or city file belongs in `country = …`";
        return Err(wrong_kind(&reader, "autonomous system", help));
    }
    Ok(parsed(&reader, Networks { numbers, organizations }))
}

fn open(bytes: Vec<u8>) -> Result<Reader<Vec<u8>>, Problem> {
    let reader = Reader::from_source(bytes).map_err(|error| {
        Problem::with_help(
            format!("is no MaxMind DB file, or a damaged one: {error}"),
            "files that end in `.mmdb` are read as MaxMind DB files; download it again if it should be one",
        )
    })?;
    reader.verify().map_err(damaged)?;
    Ok(reader)
}

fn damaged(error: impl std::fmt::Display) -> Problem {
    Problem::with_help(format!("is damaged: {error}"), "download it again")
}

fn wrong_kind(reader: &Reader<Vec<u8>>, missing: &str, help: &str) -> Problem {
    let kind = &reader.metadata().database_type;
    Problem::with_help(format!("gives no {missing}: it is a `{kind}` file"), help)
}

fn parsed<T>(reader: &Reader<Vec<u8>>, table: T) -> Parsed<T> {
    let metadata = reader.metadata();
    Parsed {
        label: metadata.database_type.clone(),
        built: i64::try_from(metadata.build_epoch).ok().map(Timestamp),
        table,
    }
}

/// Walks all networks in ascending order. Records are shared by many networks, so each is decoded once.
fn flatten<V: Copy + PartialEq + Default>(
    reader: &Reader<Vec<u8>>,
    mut value: impl FnMut(&Record<'_>) -> Result<V, String>,
) -> Result<RangeTable<V>, Problem> {
    let mut spans = Spans::default();
    let mut decoded: HashMap<usize, V> = HashMap::new();
    for found in reader.networks(WithinOptions::default()).map_err(damaged)? {
        let found = found.map_err(damaged)?;
        let Some(offset) = found.offset() else { continue };
        let network = found.network().map_err(damaged)?;
        let here = match decoded.get(&offset) {
            Some(here) => *here,
            None => {
                let record: Option<Record<'_>> = found.decode().map_err(damaged)?;
                let here = match record {
                    Some(record) => value(&record).map_err(|what| Problem::whole(format!("{network}: {what}")))?,
                    None => V::default(),
                };
                decoded.insert(offset, here);
                here
            }
        };
        let (first, last) = bounds(network.ip(), network.prefix());
        spans.push(first, last, here);
    }
    Ok(spans.finish())
}

fn bounds(first: IpAddr, prefix: u8) -> (IpAddr, IpAddr) {
    match first {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = v4.to_bits() & !hosts;
            (
                Ipv4Addr::from_bits(first).into(),
                Ipv4Addr::from_bits(first | hosts).into(),
            )
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
            let first = v6.to_bits() & !hosts;
            (
                Ipv6Addr::from_bits(first).into(),
                Ipv6Addr::from_bits(first | hosts).into(),
            )
        }
    }
}

/// What the known layouts have in common, and where they differ.
#[derive(Debug, Deserialize)]
struct Record<'a> {
    /// MaxMind, DB-IP: a map with `iso_code`. IPinfo: a code, or a name beside `country_code`.
    #[serde(borrow, default)]
    country: Option<Place<'a>>,
    /// IPinfo lite.
    #[serde(borrow, default)]
    country_code: Option<Text<'a>>,
    /// MaxMind, DB-IP: a map with `code`. IPinfo: a code, or a name beside `continent_code`.
    #[serde(borrow, default)]
    continent: Option<Place<'a>>,
    /// IPinfo lite.
    #[serde(borrow, default)]
    continent_code: Option<Text<'a>>,
    /// MaxMind, DB-IP.
    #[serde(default)]
    autonomous_system_number: Option<u32>,
    /// MaxMind, DB-IP.
    #[serde(borrow, default)]
    autonomous_system_organization: Option<Text<'a>>,
    /// IPinfo: `AS13335`.
    #[serde(borrow, default)]
    asn: Option<Asn<'a>>,
    /// IPinfo, files with countries.
    #[serde(borrow, default)]
    as_name: Option<Text<'a>>,
    /// IPinfo, files without.
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    /// GeoIP2 Enterprise, DB-IP with ISPs.
    #[serde(borrow, default)]
    traits: Option<Traits<'a>>,
}

#[derive(Debug, Deserialize)]
struct Traits<'a> {
    #[serde(default)]
    autonomous_system_number: Option<u32>,
    #[serde(borrow, default)]
    autonomous_system_organization: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Place<'a> {
    Text(&'a str),
    Map {
        #[serde(borrow, default)]
        iso_code: Option<&'a str>,
        #[serde(borrow, default)]
        code: Option<&'a str>,
    },
    Other(IgnoredAny),
}

impl<'a> Place<'a> {
    fn code(&self) -> Option<&'a str> {
        match self {
            // A longer text is a name, and the code stands beside it.
            Self::Text(text) => Some(*text).filter(|text| text.len() == 2),
            Self::Map { iso_code, code } => iso_code.or(*code),
            Self::Other(_) => None,
        }
    }
}

/// A text, or something that some other layout has under this name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Text(&'a str),
    Other(IgnoredAny),
}

impl<'a> Text<'a> {
    fn get(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(*text).filter(|text| !text.is_empty()),
            Self::Other(_) => None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Asn<'a> {
    Number(u32),
    Text(&'a str),
    Other(IgnoredAny),
}

impl Record<'_> {
    fn location(&self) -> Result<Location, String> {
        let code = beside(&self.country_code).or_else(|| self.country.as_ref()?.code());
        let country = match code {
            None => Country::UNKNOWN,
            Some(code) => Country::new(code).ok_or_else(|| format!("`{}` is no country code", code.escape_debug()))?,
        };
        let code = beside(&self.continent_code).or_else(|| self.continent.as_ref()?.code());
        let continent = match code {
            None => continents::of(country),
            Some(code) => Continent::new(code).ok_or_else(|| format!("`{}` is no continent", code.escape_debug()))?,
        };
        Ok(Location { country, continent })
    }

    fn number(&self) -> Result<u32, String> {
        let of_traits = || self.traits.as_ref()?.autonomous_system_number;
        if let Some(number) = self.autonomous_system_number.or_else(of_traits) {
            return Ok(number);
        }
        match &self.asn {
            None | Some(Asn::Other(_) | Asn::Text("")) => Ok(0),
            Some(Asn::Number(number)) => Ok(*number),
            Some(Asn::Text(text)) => {
                let digits = text.strip_prefix("AS").unwrap_or(text);
                digits
                    .parse()
                    .map_err(|_| format!("`{}` is no AS number", text.escape_debug()))
            }
        }
    }

    fn organization(&self) -> Option<&str> {
        let of_traits = || beside(&self.traits.as_ref()?.autonomous_system_organization);
        beside(&self.autonomous_system_organization)
            .or_else(of_traits)
            .or_else(|| beside(&self.as_name))
            .or_else(|| beside(&self.name))
    }
}

fn beside<'a>(text: &Option<Text<'a>>) -> Option<&'a str> {
    text.as_ref().and_then(Text::get)
}
