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

mod values;

use std::net::IpAddr;

use http::HeaderMap;

use self::values::{Address, Cause, Headers, Moment, RefusalCode, Spoken, StatedCountry};
use super::{
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
