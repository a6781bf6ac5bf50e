//! A record as JSON: the names of the Elastic Common Schema, flat; what it has no name for under `portcullis.`.

use std::{net::IpAddr, time::Duration};

use http::header::{REFERER, USER_AGENT};

use super::{Ending, Judgement, RequestRecord, ResponseRecord, nanoseconds, tls_version};
use crate::{
    policy::client::DerivedFrom,
    telemetry::{
        line::Line,
        redact::{self, Redaction},
    },
};

/// The first half.
pub(super) fn begin(line: &mut Line<'_>, redaction: &Redaction, stamp: &str, record: &RequestRecord<'_>) {
    line.token("@timestamp", stamp);
    write_decision(line, &record.judgement);
    write_addresses(line, record);
    line.text("http.request.method", record.method);
    line.token("url.scheme", if record.tls { "https" } else { "http" });
    if let Some(host) = record.host {
        line.text("url.domain", host);
    }
    write_target(line, redaction, record);
    line.token("http.version", record.version.as_str().trim_start_matches("HTTP/"));
    line.text("http.request.id", record.id);
    if let Some(agent) = record.headers.get(USER_AGENT) {
        line.text("user_agent.original", agent);
    }
    if let Some(referer) = record.headers.get(REFERER) {
        line.text(
            "http.request.referrer",
            redaction.path(&redact::referer(referer.as_bytes())),
        );
    }
    if let Some(handshake) = &record.handshake {
        line.token("tls.version", tls_version(handshake.version));
        if let Some(name) = handshake.server_name {
            line.text("tls.client.server_name", name);
        }
    }
    if let Some(site) = record.site {
        line.text("portcullis.site", site);
    }
    line.number("portcullis.generation", record.generation);
}

fn write_decision(line: &mut Line<'_>, judgement: &Judgement<'_>) {
    line.token("event.action", judgement.decision().as_str());
    if let Some(reason) = judgement.reason() {
        line.token("event.reason", reason.as_str());
    }
    if let Some(rule) = judgement.rule() {
        line.token("rule.id", rule.id.as_str());
        line.token("portcullis.phase", rule.phase.as_str());
        if let Some(note) = &rule.note {
            line.text("rule.note", note);
        }
    }
    match judgement {
        Judgement::Decided { decision, .. } => {
            line.tokens(
                "portcullis.matched_rules",
                decision.matched.iter().map(|rule| rule.id.as_str()),
            );
            line.tokens(
                "portcullis.shadow_rules",
                decision.shadow.iter().map(|rule| rule.id.as_str()),
            );
        }
        Judgement::Rejected {
            detail: Some(detail), ..
        } => line.text("portcullis.detail", detail),
        Judgement::Rejected { detail: None, .. } | Judgement::Answered => {}
    }
}

fn write_addresses(line: &mut Line<'_>, record: &RequestRecord<'_>) {
    if let Some(client) = &record.client {
        line.address("client.ip", client.ip.addr());
        line.token("client.geo.country_iso_code", client.geo.country.as_str());
        line.token("client.geo.continent_code", client.geo.continent.as_str());
        if client.geo.asn != 0 {
            line.number("client.as.number", client.geo.asn);
        }
        let from = match record.client_from {
            DerivedFrom::Source => "source",
            DerivedFrom::Header => "header",
        };
        line.token("portcullis.client_ip_source", from);
    }
    let source = record.source.0.ip().to_canonical();
    line.address("source.ip", source);
    line.number("source.port", record.source.0.port());
    let peer: IpAddr = record.peer.0.ip().to_canonical();
    if peer != source {
        line.address("portcullis.peer_ip", peer);
    }
}

fn write_target(line: &mut Line<'_>, redaction: &Redaction, record: &RequestRecord<'_>) {
    if let Some(path) = record.path {
        line.text("url.path", redaction.path(path.as_bytes()));
        if let Some((_, query)) = record.original.split_once('?') {
            line.text("url.query", redaction.query(query.as_bytes()));
        }
    }
    line.text("url.original", redaction.target(record.original.as_bytes()));
}

/// The second half.
pub(super) fn end(line: &mut Line<'_>, response: &ResponseRecord<'_>, has_reason: bool, took: Duration) {
    if let Some(status) = response.status {
        line.number("http.response.status_code", status.as_u16());
    }
    if let Some(failure) = response.failure.filter(|_| !has_reason) {
        line.token("event.reason", failure.as_str());
    }
    let whole = response.ending == Ending::Complete && response.failure.is_none();
    line.token("event.outcome", if whole { "success" } else { "failure" });
    if response.ending != Ending::Complete {
        line.token("portcullis.ending", response.ending.as_str());
    }
    line.number("http.request.body.bytes", response.request_bytes);
    line.number("http.response.body.bytes", response.response_bytes);
    if let Some(upstream) = &response.upstream {
        line.text("portcullis.upstream", upstream.name);
        if let Some(server) = upstream.server {
            line.text("portcullis.upstream_server", server);
        }
        if let Some(took) = upstream.took {
            line.number("portcullis.upstream_duration", nanoseconds(took));
        }
    }
    line.number("event.duration", nanoseconds(took));
}
