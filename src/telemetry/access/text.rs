//! A record as one line for people: what was decided, about whom and what, why; then what came of it.
//!
//! `2026-01-01T00:00:00.123Z block 203.0.113.1 XX "GET https://example.com/ HTTP/2" reason=user_agent rule=scanners
//! agent="sqlmap" site="main" id="0123" -> 403 322B 0.4ms`

use std::time::Duration;

use http::header::{REFERER, USER_AGENT};

use super::{Ending, Judgement, RequestRecord, ResponseRecord};
use crate::telemetry::{
    line::Line,
    redact::{self, Redaction},
};

/// The first half.
pub(super) fn begin(line: &mut Line<'_>, redaction: &Redaction, record: &RequestRecord<'_>) {
    line.bare(super::time(record.received));
    line.bare(record.judgement.decision().as_str());
    match &record.client {
        Some(client) => {
            line.bare(client.ip.addr());
            line.bare(client.geo.country.as_str());
        }
        None => line.bare(record.source.0.ip().to_canonical()),
    }
    write_request_line(line, redaction, record);
    write_reason(line, &record.judgement);
    if let Some(asn) = record.client.map(|client| client.geo.asn).filter(|asn| *asn != 0) {
        line.number("asn", asn);
    }
    let source = record.source.0.ip().to_canonical();
    if record.client.is_some_and(|client| client.ip.addr() != source) {
        line.token("source", source);
    }
    if let Some(agent) = record.headers.get(USER_AGENT) {
        line.text("agent", agent);
    }
    if let Some(referer) = record.headers.get(REFERER) {
        line.text("referer", redact::referer(referer.as_bytes()));
    }
    if let Some(site) = record.site {
        line.text("site", site);
    }
    line.text("id", record.id);
}

fn write_request_line(line: &mut Line<'_>, redaction: &Redaction, record: &RequestRecord<'_>) {
    let target = redaction.target(record.original.as_bytes());
    let version = record.version.as_str().as_bytes();
    let method = record.method.as_bytes();
    match record.host {
        Some(host) => {
            let scheme: &[u8] = if record.tls { b" https://" } else { b" http://" };
            line.quoted_bare(&[method, scheme, host.as_bytes(), &target, b" ", version]);
        }
        None => line.quoted_bare(&[method, b" ", &target, b" ", version]),
    }
    let sent = record.original.split('?').next();
    if let Some(path) = record.path.filter(|path| Some(*path) != sent) {
        line.text("path", path);
    }
}

fn write_reason(line: &mut Line<'_>, judgement: &Judgement<'_>) {
    if let Some(reason) = judgement.reason() {
        line.token("reason", reason.as_str());
    }
    if let Some(rule) = judgement.rule() {
        line.token("rule", &rule.id);
        if let Some(note) = &rule.note {
            line.text("note", note);
        }
    }
    match judgement {
        Judgement::Decided { decision, .. } => {
            let deciding = judgement.rule().map(|rule| rule.id.as_str());
            let ids = decision.matched.iter().map(|rule| rule.id.as_str());
            line.tokens("also", ids.filter(|id| Some(*id) != deciding));
            line.tokens("shadow", decision.shadow.iter().map(|rule| rule.id.as_str()));
        }
        Judgement::Rejected {
            detail: Some(detail), ..
        } => line.text("detail", detail),
        Judgement::Rejected { detail: None, .. } | Judgement::Answered => {}
    }
}

/// The second half.
pub(super) fn end(line: &mut Line<'_>, response: &ResponseRecord<'_>, has_reason: bool, took: Duration) {
    line.bare("->");
    match response.status {
        Some(status) => line.bare(status.as_u16()),
        None => line.bare("closed"),
    }
    line.bare(format_args!("{}B", response.response_bytes));
    line.bare(format_args!("{:.1}ms", took.as_secs_f64() * 1000.0));
    if let Some(failure) = response.failure.filter(|_| !has_reason) {
        line.token("reason", failure.as_str());
    }
    if response.ending != Ending::Complete {
        line.token("ending", response.ending.as_str());
    }
    if let Some(upstream) = &response.upstream {
        line.text("upstream", upstream.name);
        if let Some(took) = upstream.took {
            line.token("upstream_took", format_args!("{:.1}ms", took.as_secs_f64() * 1000.0));
        }
    }
}
