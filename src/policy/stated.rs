//! `[[test]]`: a request and what must come of it, beside the rules that it is about.
//!
//! ```toml
//! [[test]]
//! name = "the back office is closed to others"
//! url = "https://example.com/admin"   # or a path alone
//! ip = "198.51.100.7"
//! country = "DE"                      # whatever the geo sources say, this year or next
//! expect = "block"                    # or "allow"
//! rule = "admin"                      # these three only if they matter
//! reason = "lockdown"
//! status = 403
//! ```
//!
//! Owns how such tables are read. Whoever has the whole configuration holds it to them.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version};
use toml::de::DeValue;

use super::{
    countries,
    decision::Reason,
    described::Asked,
    facts::Country,
    fault::{Fault, Faults, Place},
    normalize::HostName,
    rule::Timestamp,
    site::{HostPattern, SiteFacts},
    table::{FromToml, Placed, Table, Value},
};

/// More tests than this in one load are a fault: a reload asks all of them before it takes effect.
pub const MOST_TESTS: usize = 20_000;

/// When it is in tests that say no `now`: before every date, so that no rule has expired, today or in a year.
pub const BEFORE_EVERY_DATE: Timestamp = Timestamp(0);

/// A request with what must come of it.
#[derive(Debug, Clone)]
pub struct StatedTest {
    /// What it claims, in the operator's words; what it asks, without any.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// The request.
    pub request: StatedRequest,
    /// What must come of it.
    pub expected: Expected,
}

/// A request, with what is stated of its client beside what is sent.
#[derive(Debug, Clone)]
pub struct StatedRequest {
    /// What is sent.
    pub asked: Asked,
    /// Who asks.
    pub from: Asker,
    /// The client's country, whatever the sources say.
    pub country: Option<Country>,
    /// The client's autonomous system, whatever the source says.
    pub asn: Option<u32>,
    /// When.
    pub now: Option<Timestamp>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The client itself, whatever the connection and its headers say.
    Client(IpAddr),
    /// Who connects: the client IP is derived as for a live request.
    Peer(IpAddr),
}

impl Asker {
    /// Who asks when nobody is stated: a client on the same machine.
    pub const NOBODY: Self = Self::Peer(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
}

/// What must come of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Whether it reaches its origin.
    pub verdict: Verdict,
    /// Where that is written.
    pub place: Place,
    /// The deciding rule.
    pub rule: Option<Placed<String>>,
    /// The cause of its refusal.
    pub reason: Option<Reason>,
    /// The status of its refusal; 444: no answer.
    pub status: Option<u16>,
}

impl Expected {
    /// `block by admin (lockdown), status 403`
    pub fn words(&self) -> String {
        let rule = self.rule.as_ref().map(|rule| format!(" by {}", rule.value));
        let reason = self.reason.map(|reason| format!(" ({})", reason.as_str()));
        let status = self.status.map(|status| format!(", status {status}"));
        let words = [rule, reason, status].into_iter().flatten();
        words.fold(self.verdict.as_str().to_owned(), |all, word| all + &word)
    }
}

/// Whether a request reaches its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Allow,
    /// It is refused.
    Block,
}

impl Verdict {
    /// As `expect` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
        }
    }
}

/// What a refusal may be for of a request that somebody states: the other causes are no matter of its head.
const REASONS: [Reason; 11] = [
    Reason::IpBlocked,
    Reason::AsnBlocked,
    Reason::CountryBlocked,
    Reason::Rule,
    Reason::Lockdown,
    Reason::UserAgent,
    Reason::Hotlink,
    Reason::Default,
    Reason::Malformed,
    Reason::UnknownHost,
    Reason::NotSupported,
];

/// Reads one table. `None`: it has faults.
pub(super) fn read(mut table: Table<'_>, sites: &[SiteFacts], faults: &mut Faults) -> Option<StatedTest> {
    let t = &mut table;
    let name: Option<String> = t.optional("name", faults);
    let asked = asked(t, sites, faults);
    let from = from(t, faults);
    let country = t.optional::<StatedCountry>("country", faults);
    let asn: Option<u32> = t.optional("asn", faults);
    let now = t.optional::<Moment>("now", faults);
    let expected = expected(t, faults);
    let place = t.place();
    table.finish(faults);
    let asked = asked?;
    Some(StatedTest {
        name: name
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| asked_words(&asked)),
        place,
        request: StatedRequest {
            asked,
            from: from?,
            country: country.map(|country| country.0),
            asn,
            now: now.map(|now| now.0),
        },
        expected: expected?,
    })
}

/// What a test asks, without what of a URL may be secret: messages are logged.
fn asked_words(asked: &Asked) -> String {
    let path = asked.parts.uri.path();
    let path = path.split(';').next().unwrap_or(path);
    format!("{} {}{path}", asked.parts.method, asked.host())
}

fn asked(table: &mut Table<'_>, sites: &[SiteFacts], faults: &mut Faults) -> Option<Asked> {
    let url: Option<Placed<String>> = table.required("url", "url = \"https://example.com/admin\"", faults);
    let method = table.or("method", "GET".to_owned(), faults);
    let headers = table.or("headers", Headers(HeaderMap::new()), faults).0;
    let version = table.optional::<Spoken>("version", faults).map(|spoken| spoken.0);
    let url = url?;
    let full = match url.value.starts_with('/') {
        false => url.value.clone(),
        true => match usual_host(sites) {
            Some(host) => format!("https://{host}{}", url.value),
            None => {
                faults.push(
                    Fault::error(url.place, "a path alone, and no site has a host of its own to ask")
                        .expected("expected a whole URL")
                        .help(format!("write the host: `\"https://example.com{}\"`", url.value)),
                );
                return None;
            }
        },
    };
    let cannot = |why| Fault::error(url.place.clone(), why).expected("expected what a client can ask for");
    Asked::new(&full, &method, headers, version)
        .map_err(|why| faults.push(cannot(why)))
        .ok()
}

/// The host that a path alone is asked of: localhost where a site serves it, else the first host that is a whole name.
fn usual_host(sites: &[SiteFacts]) -> Option<String> {
    let local = HostName::parse("localhost").map(HostPattern::Exact);
    let hosts = || sites.iter().flat_map(|site| &site.hosts);
    if local.is_some_and(|local| hosts().any(|host| host.covers(&local))) {
        return Some("localhost".to_owned());
    }
    hosts().find_map(|host| match host {
        HostPattern::Exact(name) => Some(name.to_string()),
        HostPattern::Below(_) | HostPattern::Any => None,
    })
}

fn from(table: &mut Table<'_>, faults: &mut Faults) -> Option<Asker> {
    let peer_place = table.key_place("peer");
    let (has_ip, has_peer) = (table.value("ip").is_some(), table.value("peer").is_some());
    let ip = table.optional::<Address>("ip", faults);
    let peer = table.optional::<Address>("peer", faults);
    match (ip, peer) {
        (Some(_), Some(_)) => {
            let place = peer_place.unwrap_or_else(|| table.place());
            faults.push(
                Fault::error(place, "`ip` and `peer` in one test")
                    .expected("expected one of them")
                    .help("`ip` is the client itself; `peer` is who connects, and the client IP comes of its headers"),
            );
            None
        }
        (Some(ip), None) => Some(Asker::Client(ip.0)),
        (None, Some(peer)) => Some(Asker::Peer(peer.0)),
        // A faulty address is told already.
        (None, None) => (!has_ip && !has_peer).then_some(Asker::NOBODY),
    }
}

fn expected(table: &mut Table<'_>, faults: &mut Faults) -> Option<Expected> {
    let verdict: Option<Placed<Verdict>> = table.required("expect", "expect = \"block\"", faults);
    let rule: Option<Placed<String>> = table.optional("rule", faults);
    let reason = table.optional::<Cause>("reason", faults);
    let status = table.optional::<RefusalCode>("status", faults);
    let verdict = verdict?;
    for key in ["reason", "status"] {
        let Some(place) = table.key_place(key).filter(|_| verdict.value == Verdict::Allow) else {
            continue;
        };
        faults.push(
            Fault::error(place, format!("`{key}` of a request that is allowed"))
                .expected("only a refusal has one")
                .help(format!("leave `{key}` out, or write `expect = \"block\"`")),
        );
    }
    Some(Expected {
        verdict: verdict.value,
        place: verdict.place,
        rule,
        reason: reason.map(|reason| reason.0),
        status: status.map(|status| status.0),
    })
}

impl FromToml for Verdict {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let verdict = [Self::Allow, Self::Block]
            .into_iter()
            .find(|verdict| verdict.as_str() == text);
        if verdict.is_none() {
            faults.push(
                value
                    .invalid(format!("`{text}` is no outcome"), "\"allow\" or \"block\"")
                    .suggest(&text, ["allow", "block"]),
            );
        }
        verdict
    }
}

struct Cause(Reason);

impl FromToml for Cause {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let reason = REASONS.into_iter().find(|reason| reason.as_str() == text);
        if reason.is_none() {
            let known = REASONS.map(Reason::as_str);
            faults.push(
                value
                    .invalid(
                        format!("`{text}` is no reason of a request's head"),
                        "why it is refused",
                    )
                    .suggest(&text, known)
                    .help(format!("reasons: {}", known.join(", "))),
            );
        }
        reason.map(Self)
    }
}

struct RefusalCode(u16);

impl FromToml for RefusalCode {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let status = u16::from_toml(value, faults)?;
        if !(400..=599).contains(&status) {
            faults.push(value.invalid(
                format!("{status} is no status of a refusal"),
                "400 to 599; 444 where the connection is closed without an answer",
            ));
            return None;
        }
        Some(Self(status))
    }
}

struct Address(IpAddr);

impl FromToml for Address {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        let address = text.parse().ok();
        if address.is_none() {
            faults.push(value.invalid(
                format!("\"{text}\" is not an IP address"),
                "one address, such as \"203.0.113.7\"",
            ));
        }
        address.map(Self)
    }
}

struct StatedCountry(Country);

impl FromToml for StatedCountry {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        countries::country(&text)
            .map_err(|error| faults.push(Fault::error(value.place(), error.message).help(error.help)))
            .ok()
            .map(Self)
    }
}

struct Spoken(Version);

impl FromToml for Spoken {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const VERSIONS: [(&str, Version); 3] = [
            ("1.0", Version::HTTP_10),
            ("1.1", Version::HTTP_11),
            ("2", Version::HTTP_2),
        ];
        let text = String::from_toml(value, faults)?;
        let version = VERSIONS.into_iter().find(|(name, _)| *name == text);
        if version.is_none() {
            faults.push(value.invalid(
                format!("`{text}` is no version that is spoken"),
                "\"1.0\", \"1.1\" or \"2\"",
            ));
        }
        version.map(|(_, version)| Self(version))
    }
}

/// A moment that everyone reads alike.
struct Moment(Timestamp);

impl FromToml for Moment {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        const EXPECTED: &str = "a date-time with an offset, such as 2027-01-31T18:00:00Z";
        let text = match value.raw() {
            DeValue::Datetime(written) => written.to_string(),
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
                faults.push(value.mismatch(EXPECTED));
                return None;
            }
        };
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => Some(Self(Timestamp(at.as_second()))),
            Err(_) => {
                let fault = value.invalid(format!("`{text}` is no moment"), EXPECTED);
                let help = match text.parse::<jiff::civil::DateTime>() {
                    Ok(at) => format!("write `{at}Z` for UTC"),
                    Err(_) => "write year, month, day, time and offset".to_owned(),
                };
                faults.push(fault.help(help));
                None
            }
        }
    }
}

/// A table of header names, each with a value or an array of them.
struct Headers(HeaderMap);

impl FromToml for Headers {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let mut table = value.table("`headers`", faults)?;
        let mut headers = HeaderMap::new();
        let mut all_read = true;
        for (name, value) in table.named() {
            let values = match value.raw() {
                DeValue::Array(_) => value.array(faults).unwrap_or_default(),
                _ => vec![value],
            };
            let Ok(header) = HeaderName::try_from(name.value.as_str()) else {
                all_read = false;
                faults.push(
                    Fault::error(name.place, format!("`{}` is not a header name", name.value))
                        .expected("expected letters, digits and `-`, without a colon"),
                );
                continue;
            };
            for value in values {
                match header_value(value, faults) {
                    Some(value) => {
                        headers.append(header.clone(), value);
                    }
                    None => all_read = false,
                }
            }
        }
        all_read.then_some(Self(headers))
    }
}

fn header_value(value: Value<'_>, faults: &mut Faults) -> Option<HeaderValue> {
    let text = String::from_toml(value, faults)?;
    let header = HeaderValue::try_from(&text).ok();
    if header.is_none() {
        faults.push(value.invalid("not a header value", "one line of visible characters"));
    }
    header
}

/// A test that names a rule which is not there would fail, or pass, for the wrong reason.
pub(super) fn check_rules<'r>(
    tests: &[StatedTest],
    written: impl Fn(&str) -> bool,
    known: impl Fn() -> Vec<&'r str>,
    faults: &mut Faults,
) {
    let named = tests.iter().filter_map(|test| test.expected.rule.as_ref());
    for rule in named.filter(|rule| !written(&rule.value)) {
        faults.push(
            Fault::error(rule.place.clone(), format!("there is no rule `{}`", rule.value))
                .expected("expected the written id of a rule")
                .suggest(&rule.value, known()),
        );
    }
}
