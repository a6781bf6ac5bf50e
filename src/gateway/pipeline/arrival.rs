//! What a request is and who asks: everything before the rules.

use std::{
    rc::Rc,
    time::{Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, request::Parts};

use super::timestamp;
use crate::{
    gateway::{
        connection::ConnectionFacts,
        failures::{NO_SITE, head_too_large},
        head::{self, CheckedHead, HeadError, Survey},
        headers::{Trust, request_id},
        refusal::Refusal,
        terms::{ServedSite, Terms},
    },
    policy::{
        client::{DerivedFrom, Hop, client_tls, hops},
        decision::Reason,
        facts::{ClientFacts, Country, HttpVersion},
        normalize::{Host, Malformed, Target},
    },
    telemetry::access::{Handshake, Judgement, RequestRecord},
};

/// A request that has come in, and who asks.
pub(super) struct Arrival<'c> {
    pub(super) connection: &'c ConnectionFacts,
    pub(super) terms: Rc<Terms>,
    pub(super) received: SystemTime,
    pub(super) started: Instant,
    pub(super) id: HeaderValue,
    pub(super) trust: Trust,
    pub(super) client: Option<ClientFacts>,
    client_from: DerivedFrom,
}

/// From the source to the client, both included.
pub(super) type Way = Result<Vec<Hop>, Malformed>;

/// A request in which nothing is left to interpretation.
pub(super) struct Checked {
    pub(super) head: CheckedHead,
    pub(super) site: ServedSite,
    pub(super) target: Target,
    pub(super) client: ClientFacts,
    pub(super) tls: bool,
    pub(super) way: Vec<Hop>,
}

/// A request that is refused before any rule is asked, with what was known by then.
pub(super) struct Rejected {
    pub(super) error: HeadError,
    host: Option<Host>,
    site: Option<ServedSite>,
}

/// What is known of a request, for its record and its refusal.
#[derive(Clone, Copy)]
pub(super) struct Known<'k> {
    pub(super) site: Option<&'k ServedSite>,
    pub(super) host: Option<&'k Host>,
    pub(super) path: Option<&'k str>,
    pub(super) tls: bool,
}

impl<'c> Arrival<'c> {
    pub(super) fn new(
        connection: &'c ConnectionFacts,
        terms: Rc<Terms>,
        headers: &HeaderMap,
        new_id: impl FnOnce(SystemTime) -> HeaderValue,
    ) -> (Self, Way) {
        let snapshot = &*terms.snapshot;
        let trust = match snapshot.client_ip.trusts(connection.source) {
            true => Trust::Trusted,
            false => Trust::Untrusted,
        };
        let way = hops(connection.source, headers, &snapshot.client_ip);
        let client = way.as_ref().ok().and_then(|way| way.last()).map(|client| ClientFacts {
            ip: client.ip,
            geo: snapshot.geo.facts(client.ip.addr()),
        });
        let client_from = match &way {
            Ok(way) if way.len() > 1 => DerivedFrom::Header,
            Ok(_) | Err(_) => DerivedFrom::Source,
        };
        let received = SystemTime::now();
        let arrival = Self {
            connection,
            received,
            started: Instant::now(),
            id: request_id(headers, trust).cloned().unwrap_or_else(|| new_id(received)),
            trust,
            client,
            client_from,
            terms,
        };
        (arrival, way)
    }

    /// Makes sure of the head, and finds its site. The hop-by-hop headers are gone afterwards: they are no facts.
    pub(super) fn check(&self, way: Way, parts: &mut Parts) -> Result<Checked, Rejected> {
        let snapshot = &*self.terms.snapshot;
        let survey = Survey::of(&parts.headers);
        self.check_size(parts, &survey)?;
        let head = head::check_surveyed(parts, &snapshot.headers, &survey)?;
        let site = self.site(&head)?;
        let rejected = |error: HeadError| Rejected {
            error,
            host: Some(head.host.clone()),
            site: Some(site.clone()),
        };
        let target = head::target(parts, site.settings.paths).map_err(rejected)?;
        let way = way.map_err(|error| rejected(error.into()))?;
        let client = self
            .client
            .ok_or_else(|| rejected(Malformed::new("no client address").into()))?;
        let on_socket = self.connection.tls.is_some();
        let tls = client_tls(on_socket, self.connection.source, &parts.headers, &snapshot.client_ip)
            .map_err(|error| rejected(error.into()))?;
        snapshot.headers.prepare(&mut parts.headers, self.trust, &survey);
        Ok(Checked {
            head,
            site,
            target,
            client,
            tls,
            way,
        })
    }

    fn site(&self, head: &CheckedHead) -> Result<ServedSite, Rejected> {
        let sni = self.connection.tls.as_ref().and_then(|tls| tls.sni.as_ref());
        let site = self.terms.snapshot.site_table.choose(&head.host.name, sni);
        site.and_then(|site| ServedSite::of(&self.terms, site).ok_or(NO_SITE))
            .map_err(|error| Rejected {
                error,
                host: Some(head.host.clone()),
                site: None,
            })
    }

    fn check_size(&self, parts: &Parts, survey: &Survey) -> Result<(), Rejected> {
        let limits = &self.terms.snapshot.settings.limits;
        let too_many = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        if original(parts).len() > limits.target_bytes {
            return Err(head_too_large(StatusCode::URI_TOO_LONG, "the request target is too long").into());
        }
        if parts.headers.len() > limits.header_count {
            return Err(head_too_large(too_many, "too many header lines").into());
        }
        if survey.bytes > limits.header_bytes {
            return Err(head_too_large(too_many, "the header lines are too long").into());
        }
        Ok(())
    }

    /// What the access record says of the request.
    pub(super) fn record<'r>(
        &'r self,
        parts: &'r Parts,
        known: Known<'r>,
        judgement: Judgement<'r>,
    ) -> RequestRecord<'r> {
        RequestRecord {
            received: self.received,
            started: self.started,
            id: self.id(),
            peer: self.connection.peer,
            source: self.connection.source,
            client: self.client,
            client_from: self.client_from,
            method: parts.method.as_str(),
            version: version(parts.version),
            tls: known.tls,
            handshake: self.connection.tls.as_ref().map(|tls| Handshake {
                version: tls.version,
                server_name: tls.sni.as_ref().map(|name| name.as_str()),
            }),
            host: known.host.map(|host| host.name.as_str()),
            original: original(parts),
            path: known.path,
            headers: &parts.headers,
            site: known.site.map(|site| site.settings.facts.name.as_str()),
            generation: self.terms.snapshot.generation,
            meters: Some(&self.terms.meters),
            site_number: known.site.map(ServedSite::number),
            judgement,
        }
    }

    /// What a refusal depends on.
    pub(super) fn refusal<'r>(
        &'r self,
        reason: Reason,
        known: Known<'r>,
        method: &'r Method,
        headers: &'r HeaderMap,
    ) -> Refusal<'r> {
        Refusal {
            reason,
            status: None,
            fault: None,
            rule: None,
            method,
            headers,
            request_id: self.id(),
            client: self.client.map(|client| client.ip),
            country: self.client.map_or(Country::UNKNOWN, |client| client.geo.country),
            host: known.host.map(|host| host.name.as_str()),
            now: timestamp(self.received),
        }
    }

    fn id(&self) -> &str {
        // Ours are hexadecimal, and a trusted proxy's were checked.
        self.id.to_str().unwrap_or("-")
    }
}

impl From<HeadError> for Rejected {
    fn from(error: HeadError) -> Self {
        Self {
            error,
            host: None,
            site: None,
        }
    }
}

impl Rejected {
    pub(super) fn known<'k>(&'k self, arrival: &'k Arrival<'_>) -> Known<'k> {
        Known {
            site: self.site.as_ref(),
            host: self.host.as_ref(),
            path: None,
            tls: arrival.connection.tls.is_some(),
        }
    }
}

impl<'k> Known<'k> {
    pub(super) fn of(checked: &'k Checked) -> Self {
        Self {
            site: Some(&checked.site),
            host: Some(&checked.head.host),
            path: Some(checked.target.path()),
            tls: checked.tls,
        }
    }
}

/// Path and query as the client sent them.
fn original(parts: &Parts) -> &str {
    parts.uri.path_and_query().map_or("", |target| target.as_str())
}

fn version(version: Version) -> HttpVersion {
    match version {
        Version::HTTP_2 => HttpVersion::Http2,
        Version::HTTP_10 => HttpVersion::Http10,
        _ => HttpVersion::Http11,
    }
}
