//! Where an address is: country, continent and autonomous system.
//!
//! Owns the sources (the embedded one, MaxMind-format files, text ranges, a list of Tor exits) and flattens every file
//! into sorted ranges when it is loaded: a damaged record is a fault at load, never a missed block later, and a look-up
//! neither fails nor allocates. Refuses to know of requests and rules.

mod continents;
mod mmdb;
mod ranges;
mod special;
mod text;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use self::{mmdb::Networks, ranges::RangeTable};
use crate::{
    config::settings::{GeoSettings, GeoSource},
    policy::{
        facts::{Continent, Country, GeoFacts},
        fault::{Fault, Faults, Place},
        network::IpSet,
        rule::Timestamp,
    },
};

/// What the embedded source's answers are, wherever they are shown: no statement of where a machine stands.
pub const BUILTIN_LABEL: &str = "registry-assigned country";

/// The continent of a country, for facts that somebody states.
pub fn continent_of(country: Country) -> Continent {
    continents::of(country)
}

/// All geo sources of one load of the configuration.
#[derive(Debug)]
pub struct Geo {
    country: Option<CountrySource>,
    asn: Option<Arc<File<Networks>>>,
    tor: Option<IpSet>,
}

#[derive(Debug)]
enum CountrySource {
    Builtin,
    File(Arc<File<RangeTable<Location>>>),
}

/// A file that was read whole.
#[derive(Debug)]
struct File<T> {
    path: PathBuf,
    /// Of the bytes: the same bytes are not flattened again on a reload.
    digest: u64,
    /// What the file calls itself.
    label: String,
    built: Option<Timestamp>,
    table: T,
}

/// What a country source says of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Location {
    country: Country,
    continent: Continent,
}

impl Default for Location {
    fn default() -> Self {
        Self {
            country: Country::UNKNOWN,
            continent: Continent::UNKNOWN,
        }
    }
}

impl Location {
    /// A country whose source does not say the continent.
    fn of(country: Country) -> Self {
        Self {
            country,
            continent: continents::of(country),
        }
    }
}

/// Which facts the sources can give. A rule over any other is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provides {
    /// Countries.
    pub country: bool,
    /// Continents: given by every country source.
    pub continent: bool,
    /// Autonomous systems.
    pub asn: bool,
    /// Tor exits, as the country `T1`.
    pub tor: bool,
}

/// Where `[geoip]` and its keys are written, for faults.
#[derive(Debug, Default, Clone)]
pub struct GeoPlaces {
    /// `country = …`
    pub country: Option<Place>,
    /// `asn = …`
    pub asn: Option<Place>,
}

impl Geo {
    /// No source at all: every address is unknown.
    pub fn none() -> Self {
        Self {
            country: None,
            asn: None,
            tor: None,
        }
    }

    /// Reads every source. `tor` holds the entries of the list that `settings.tor` names. What did not change since
    /// `previous` is taken from it. On a fault the other sources are still read, to find theirs.
    pub fn load(
        settings: &GeoSettings,
        places: &GeoPlaces,
        tor: Option<&IpSet>,
        previous: Option<&Self>,
        faults: &mut Faults,
    ) -> Option<Self> {
        let mut found = Vec::new();
        let country = match &settings.country {
            None => Some(None),
            Some(source) => load_country(source, places, previous, &mut found).map(Some),
        };
        let asn = match &settings.asn {
            None => Some(None),
            Some(path) => {
                let known = previous.and_then(|geo| geo.asn.as_ref());
                load_file(path, Key::Asn, places, known, &mut found, mmdb::networks).map(Some)
            }
        };
        faults.extend(found);
        Some(Self {
            country: country?,
            asn: asn?,
            tor: tor.cloned(),
        })
    }

    /// What is known of an address. IPv4-mapped addresses are the IPv4 address; so are those of 6to4 (RFC 3056), which
    /// hold the IPv4 address of the one who sends.
    pub fn facts(&self, address: IpAddr) -> GeoFacts {
        let address = embedded_v4(address);
        let mut facts = GeoFacts::UNKNOWN;
        if special::name(address).is_none() {
            let location = self.location(address);
            facts.country = location.country;
            facts.continent = location.continent;
            facts.asn = self.asn.as_ref().map_or(0, |file| file.table.number(address));
        }
        if self.is_tor(address) {
            facts.country = Country::TOR;
        }
        facts
    }

    fn location(&self, address: IpAddr) -> Location {
        match &self.country {
            None => Location::default(),
            Some(CountrySource::Builtin) => iptocc::country_code(address)
                .and_then(Country::new)
                .map_or_else(Location::default, Location::of),
            Some(CountrySource::File(file)) => file.table.at(address),
        }
    }

    fn is_tor(&self, address: IpAddr) -> bool {
        self.tor.as_ref().is_some_and(|tor| tor.contains(address))
    }

    /// Which facts the sources can give.
    pub fn provides(&self) -> Provides {
        Provides {
            country: self.country.is_some(),
            continent: self.country.is_some(),
            asn: self.asn.is_some(),
            tor: self.tor.is_some(),
        }
    }

    /// The sources in use: for the start-up report, metrics and `portcullis geo`.
    pub fn sources(&self) -> Vec<SourceReport> {
        let country = self.country.as_ref().map(|source| match source {
            CountrySource::Builtin => SourceReport {
                key: "country",
                name: "builtin".to_owned(),
                label: BUILTIN_LABEL.to_owned(),
                built: None,
            },
            CountrySource::File(file) => file.report("country"),
        });
        let asn = self.asn.as_ref().map(|file| file.report("asn"));
        country.into_iter().chain(asn).collect()
    }

    /// Everything known of an address, for people.
    pub fn describe(&self, address: IpAddr) -> Description {
        let asked = embedded_v4(address);
        let facts = self.facts(address);
        Description {
            address,
            looked_up: asked,
            facts,
            organization: self.asn.as_ref().and_then(|file| file.table.organization(facts.asn)),
            special: special::name(asked),
            tor: self.is_tor(asked),
        }
    }
}

impl<T> File<T> {
    fn report(&self, key: &'static str) -> SourceReport {
        SourceReport {
            key,
            name: self.path.display().to_string(),
            label: self.label.clone(),
            built: self.built,
        }
    }
}

/// A source in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceReport {
    /// The key of `[geoip]` that names it.
    pub key: &'static str,
    /// `builtin`, or the file.
    pub name: String,
    /// What it calls itself, or what its answers are.
    pub label: String,
    /// When it was built, as it says; for a text file, when it was last written.
    pub built: Option<Timestamp>,
}

/// What is known of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// As asked.
    pub address: IpAddr,
    /// What was looked up instead of it: the IPv4 address inside an IPv6 one.
    pub looked_up: IpAddr,
    /// What rules see.
    pub facts: GeoFacts,
    /// Who runs the autonomous system, when the source says.
    pub organization: Option<String>,
    /// Why no source is asked: `private`, `loopback`, …
    pub special: Option<&'static str>,
    /// Whether the list of Tor exits has it.
    pub tor: bool,
}

/// A key of `[geoip]` that names a file.
#[derive(Debug, Clone, Copy)]
enum Key {
    Country,
    Asn,
}

impl Key {
    fn name(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Asn => "asn",
        }
    }

    fn place(self, places: &GeoPlaces) -> Option<Place> {
        match self {
            Self::Country => places.country.clone(),
            Self::Asn => places.asn.clone(),
        }
    }
}

/// What came out of a file's bytes.
struct Parsed<T> {
    label: String,
    built: Option<Timestamp>,
    table: T,
}

/// Why a file cannot be used.
enum Problem {
    /// The file as a whole: what is wrong with it, and what to do.
    Whole { message: String, help: Option<String> },
    /// Places in its text.
    Lines(Vec<Fault>),
}

impl Problem {
    fn whole(message: impl Into<String>) -> Self {
        Self::Whole {
            message: message.into(),
            help: None,
        }
    }

    fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Whole {
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

fn load_country(
    source: &GeoSource,
    places: &GeoPlaces,
    previous: Option<&Geo>,
    faults: &mut Vec<Fault>,
) -> Option<CountrySource> {
    let known = previous.and_then(|geo| match geo.country.as_ref()? {
        CountrySource::Builtin => None,
        CountrySource::File(file) => Some(file),
    });
    let file = match source {
        GeoSource::Builtin => return Some(CountrySource::Builtin),
        GeoSource::MaxMind(path) => load_file(path, Key::Country, places, known, faults, mmdb::countries),
        GeoSource::Ranges(path) => load_file(path, Key::Country, places, known, faults, text::countries),
    };
    file.map(CountrySource::File)
}

fn load_file<T>(
    path: &Path,
    key: Key,
    places: &GeoPlaces,
    known: Option<&Arc<File<T>>>,
    faults: &mut Vec<Fault>,
    parse: fn(&Path, Vec<u8>) -> Result<Parsed<T>, Problem>,
) -> Option<Arc<File<T>>> {
    match read_file(path, known, parse) {
        Ok(file) => Some(file),
        Err(Problem::Lines(lines)) => {
            faults.extend(lines);
            None
        }
        Err(Problem::Whole { message, help }) => {
            let message = format!("`[geoip] {}`: {}: {message}", key.name(), path.display());
            let fault = match key.place(places) {
                Some(place) => Fault::error(place, message),
                None => Fault::without_place(message),
            };
            faults.push(match help {
                Some(help) => fault.help(help),
                None => fault,
            });
            None
        }
    }
}

fn read_file<T>(
    path: &Path,
    known: Option<&Arc<File<T>>>,
    parse: fn(&Path, Vec<u8>) -> Result<Parsed<T>, Problem>,
) -> Result<Arc<File<T>>, Problem> {
    let (bytes, modified) = read_settled(path).map_err(|error| Problem::whole(format!("cannot be read: {error}")))?;
    let digest = digest(&bytes);
    if let Some(known) = known.filter(|known| known.path == path && known.digest == digest) {
        return Ok(Arc::clone(known));
    }
    let parsed = parse(path, bytes)?;
    Ok(Arc::new(File {
        path: path.to_owned(),
        digest,
        label: parsed.label,
        built: parsed.built.or(modified),
        table: parsed.table,
    }))
}

/// Reads a file that did not change meanwhile: an updater that writes in place must not leave us with half of it.
fn read_settled(path: &Path) -> std::io::Result<(Vec<u8>, Option<Timestamp>)> {
    const ATTEMPTS: usize = 3;
    for _ in 0..ATTEMPTS {
        let before = std::fs::metadata(path)?;
        if before.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        let bytes = std::fs::read(path)?;
        let after = std::fs::metadata(path)?;
        let settled = before.len() == after.len() && before.modified().ok() == after.modified().ok();
        if settled && bytes.len() as u64 == after.len() {
            return Ok((bytes, after.modified().ok().and_then(timestamp)));
        }
    }
    Err(std::io::Error::other("it keeps changing while it is read"))
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok().map(Timestamp)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The IPv4 address that an IPv6 address stands for, if it does.
fn embedded_v4(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[0] == 0x2002 => {
            let [_, _, a, b, c, d, ..] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        canonical => canonical,
    }
}

#[cfg(test)]
mod tests;
