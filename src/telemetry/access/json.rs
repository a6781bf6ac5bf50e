//! A record as JSON: the names of the Elastic Common Schema, flat; what it has no name for under `portcullis.`.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use http::header::{REFERER, USER_AGENT};

use super::{Ending, Judgement, RequestRecord, ResponseRecord, nanoseconds, tls_version};
use crate::{
    policy::client::DerivedFrom,
    telemetry::{
        line::{Line, key},
        redact::{self, Redaction},
    },
};

/// The first half.
pub(super) fn begin(line: &mut Line<'_>, redaction: &Redaction, stamp: &str, record: &RequestRecord<'_>) {
    line.token(key!("@timestamp"), stamp);
    write_decision(line, &record.judgement);
    write_addresses(line, record);
    line.text(key!("http.request.method"), record.method);
    line.token(key!("url.scheme"), if record.tls { "https" } else { "http" });
    if let Some(host) = record.host {
        line.text(key!("url.domain"), host);
    }
    write_target(line, redaction, record);
    line.token(
        key!("http.version"),
        record.version.as_str().trim_start_matches("HTTP/"),
    );
    line.text(key!("http.request.id"), record.id);
    if let Some(agent) = record.headers.get(USER_AGENT) {
        line.text(key!("user_agent.original"), agent);
    }
    if let Some(referer) = record.headers.get(REFERER) {
        line.text(
            key!("http.request.referrer"),
            redaction.path(&redact::referer(referer.as_bytes())),
        );
    }
    if let Some(handshake) = &record.handshake {
        line.token(key!("tls.version"), tls_version(handshake.version));
        if let Some(name) = handshake.server_name {
            line.text(key!("tls.client.server_name"), name);
        }
    }
    if let Some(site) = record.site {
        line.text(key!("portcullis.site"), site);
    }
    line.number(key!("portcullis.generation"), record.generation);
}

fn write_decision(line: &mut Line<'_>, judgement: &Judgement<'_>) {
    line.token(key!("event.action"), judgement.decision().as_str());
    if let Some(reason) = judgement.reason() {
        line.token(key!("event.reason"), reason.as_str());
    }
    if let Some(rule) = judgement.rule() {
        line.token(key!("rule.id"), rule.id.as_str());
        line.token(key!("portcullis.phase"), rule.phase.as_str());
        if let Some(note) = &rule.note {
            line.text(key!("rule.note"), note);
        }
    }
    match judgement {
        Judgement::Decided { decision, .. } => {
            line.tokens(
                key!("portcullis.matched_rules"),
                decision.matched.iter().map(|rule| rule.id.as_str()),
            );
            line.tokens(
                key!("portcullis.shadow_rules"),
                decision.shadow.iter().map(|rule| rule.id.as_str()),
            );
        }
        Judgement::Rejected {
            detail: Some(detail), ..
        } => line.text(key!("portcullis.detail"), detail),
        Judgement::Rejected { detail: None, .. } | Judgement::Answered => {}
    }
}

fn write_addresses(line: &mut Line<'_>, record: &RequestRecord<'_>) {
    if let Some(client) = &record.client {
        line.address(key!("client.ip"), client.ip.addr());
        line.token(key!("client.geo.country_iso_code"), client.geo.country.as_str());
        line.token(key!("client.geo.continent_code"), client.geo.continent.as_str());
        if client.geo.asn != 0 {
            line.number(key!("client.as.number"), client.geo.asn);
        }
        let from = match record.client_from {
            DerivedFrom::Source => "source",
            DerivedFrom::Header => "header",
        };
        line.token(key!("portcullis.client_ip_source"), from);
    }
    let source = record.source.0.ip().to_canonical();
    line.address(key!("source.ip"), source);
    line.number(key!("source.port"), record.source.0.port());
    let peer: IpAddr = record.peer.0.ip().to_canonical();
    if peer != source {
        line.address(key!("portcullis.peer_ip"), peer);
    }
}

fn write_target(line: &mut Line<'_>, redaction: &Redaction, record: &RequestRecord<'_>) {
    let original = record.original.as_bytes();
    let Some(path) = record.path.map(str::as_bytes) else {
        return line.text(key!("url.original"), redaction.target(original));
    };
    let (shown_path, query) = (redaction.path(path), query(original));
    line.text(key!("url.path"), &shown_path);
    let shown_query = query.map(|query| redaction.query(query));
    if let Some(query) = &shown_query {
        line.text(key!("url.query"), query);
    }
    let is_shown_whole = matches!(
        (&shown_path, &shown_query),
        (Cow::Borrowed(_), None | Some(Cow::Borrowed(_)))
    );
    let is_canonical = original.len() == path.len() + query.map_or(0, |query| 1 + query.len());
    match is_shown_whole && is_canonical && original.starts_with(path) {
        // Nothing was to be taken out of its parts.
        true => line.text(key!("url.original"), original),
        false => line.text(key!("url.original"), redaction.target(original)),
    }
}

fn query(target: &[u8]) -> Option<&[u8]> {
    memchr::memchr(b'?', target).and_then(|at| target.get(at + 1..))
}

/// The second half.
pub(super) fn end(line: &mut Line<'_>, response: &ResponseRecord<'_>, has_reason: bool, took: Duration) {
    if let Some(status) = response.status {
        line.number(key!("http.response.status_code"), status.as_u16());
    }
    if let Some(failure) = response.failure.filter(|_| !has_reason) {
        line.token(key!("event.reason"), failure.as_str());
    }
    let whole = response.ending == Ending::Complete && response.failure.is_none();
    line.token(key!("event.outcome"), if whole { "success" } else { "failure" });
    if response.ending != Ending::Complete {
        line.token(key!("portcullis.ending"), response.ending.as_str());
    }
    line.number(key!("http.request.body.bytes"), response.request_bytes);
    line.number(key!("http.response.body.bytes"), response.response_bytes);
    if let Some(upstream) = &response.upstream {
        line.text(key!("portcullis.upstream"), upstream.name);
        if let Some(server) = upstream.server {
            line.text(key!("portcullis.upstream_server"), server);
        }
        if let Some(took) = upstream.took {
            line.number(key!("portcullis.upstream_duration"), nanoseconds(took));
        }
    }
    line.number(key!("event.duration"), nanoseconds(took));
}
