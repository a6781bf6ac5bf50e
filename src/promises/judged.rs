//! A stated request on the way that a live one takes: its head is made sure of, its site, path and client are found, and the
//! policy is asked.

use std::net::SocketAddr;

use http::{HeaderMap, StatusCode};

use crate::{
    gateway::{
        head::{self, HeadError},
        headers::Trust,
    },
    geo,
    policy::{
        client::{ClientIp, SourceAddr, client_ip, client_tls},
        decision::Reason,
        facts::{ClientFacts, RequestFacts},
        rule::Timestamp,
        stated::{Asker, StatedRequest},
    },
    snapshot::{CompiledSite, Snapshot},
};

/// A site that the table knows and the snapshot does not: no such snapshot is ever made.
const NO_SUCH_SITE: HeadError = HeadError {
    reason: Reason::UnknownHost,
    status: StatusCode::MISDIRECTED_REQUEST,
    detail: "no site has this host",
};

/// What the policy is told of a request, at the time it names or else at this one; or why no rule is asked.
pub(super) fn with_facts<T>(
    request: &StatedRequest,
    at: Timestamp,
    snapshot: &Snapshot,
    then: impl FnOnce(&RequestFacts<'_>, &CompiledSite) -> T,
) -> Result<T, HeadError> {
    let mut parts = request.asked.parts.clone();
    let (Asker::Client(from) | Asker::Peer(from)) = request.from;
    let source = SourceAddr(SocketAddr::new(from, 0));
    let head = head::check(&parts, &snapshot.headers)?;
    let chosen = snapshot.site_table.choose(&head.host.name, None)?;
    let site = snapshot.sites.get(chosen).ok_or(NO_SUCH_SITE)?;
    let target = head::target(&parts, site.settings.paths)?;
    let client = client(request, source, &parts.headers, snapshot)?;
    let tls = client_tls(request.asked.tls, source, &parts.headers, &snapshot.client_ip)?;
    let trust = match snapshot.client_ip.trusts(source) {
        true => Trust::Trusted,
        false => Trust::Untrusted,
    };
    snapshot.headers.prepare_for_rules(&mut parts.headers, trust);
    let facts = RequestFacts {
        now: request.now.unwrap_or(at),
        site: &site.settings.facts,
        tls,
        version: head.version,
        method: parts.method.as_str(),
        host: &head.host,
        target: &target,
        headers: &parts.headers,
        client,
    };
    Ok(then(&facts, site))
}

fn client(
    request: &StatedRequest,
    source: SourceAddr,
    headers: &HeaderMap,
    snapshot: &Snapshot,
) -> Result<ClientFacts, HeadError> {
    let ip = match request.from {
        Asker::Client(ip) => ClientIp::new(ip),
        Asker::Peer(_) => client_ip(source, headers, &snapshot.client_ip)?.ip,
    };
    let mut geo = snapshot.geo.facts(ip.addr());
    if let Some(country) = request.country {
        geo.country = country;
        geo.continent = geo::continent_of(country);
    }
    geo.asn = request.asn.unwrap_or(geo.asn);
    Ok(ClientFacts { ip, geo })
}
