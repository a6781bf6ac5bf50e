//! A record as one line for people: what became of it and why, who asked for what; then what else is worth saying.
//!
//! `2026-01-01T00:00:00.123Z block 403 user_agent rule=scanners 203.0.113.1 XX GET https://example.com/ "sqlmap" 0.4ms id=0123`

use std::time::Duration;

use http::header::USER_AGENT;

use super::{Ending, Judgement, RequestRecord, ResponseRecord};
use crate::telemetry::{
    line::{Line, key},
    redact::Redaction,
};

/// Where in a line stands what is known only when the response has ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gaps {
    status: usize,
    took: usize,
}

/// Everything but the response.
pub(super) fn begin(line: &mut Line<'_>, redaction: &Redaction, stamp: &str, record: &RequestRecord<'_>) -> Gaps {
    line.bare(stamp);
    line.bare(record.judgement.decision().as_str());
    let status = line.len();
    if let Some(reason) = record.judgement.reason() {
        line.bare(reason.as_str());
    }
    if let Some(rule) = record.judgement.rule() {
        line.token(key!("rule"), rule.id.as_str());
    }
    match &record.client {
        Some(client) => {
            line.bare(client.ip.addr());
            line.bare(client.geo.country.as_str());
        }
        None => {
            line.bare(record.source.0.ip().to_canonical());
            line.bare("-");
        }
    }
    write_request(line, redaction, record);
    let took = line.len();
    line.word(key!("id"), &[record.id.as_bytes()]);
    write_more(line, redaction, record);
    Gaps { status, took }
}

fn write_request(line: &mut Line<'_>, redaction: &Redaction, record: &RequestRecord<'_>) {
    let target = redaction.target(record.original.as_bytes());
    line.bare_word(&[record.method.as_bytes()]);
    match record.host {
        Some(host) => {
            let scheme: &[u8] = if record.tls { b"https://" } else { b"http://" };
            line.bare_word(&[scheme, host.as_bytes(), &target]);
        }
        None => line.bare_word(&[&target]),
    }
    match record.headers.get(USER_AGENT) {
        Some(agent) => line.quoted_bare(&[agent.as_bytes()]),
        None => line.bare("-"),
    }
}

/// What is said only when it differs from the usual.
fn write_more(line: &mut Line<'_>, redaction: &Redaction, record: &RequestRecord<'_>) {
    let sent = record.original.split('?').next();
    if let Some(path) = record.path.filter(|path| Some(*path) != sent) {
        line.text(key!("path"), redaction.path(path.as_bytes()));
    }
    let source = record.source.0.ip().to_canonical();
    if record.client.is_some_and(|client| client.ip.addr() != source) {
        line.address(key!("source"), source);
    }
    if let Some(asn) = record.client.map(|client| client.geo.asn).filter(|asn| *asn != 0) {
        line.number(key!("asn"), asn);
    }
    if let Some(note) = record.judgement.rule().and_then(|rule| rule.note.as_ref()) {
        line.text(key!("note"), note);
    }
    match record.judgement {
        Judgement::Decided { decision, .. } => {
            let deciding = record.judgement.rule().map(|rule| rule.id.as_str());
            let ids = decision.matched.iter().map(|rule| rule.id.as_str());
            line.tokens(key!("also"), ids.filter(|id| Some(*id) != deciding));
            line.tokens(key!("shadow"), decision.shadow.iter().map(|rule| rule.id.as_str()));
        }
        Judgement::Rejected {
            detail: Some(detail), ..
        } => line.text(key!("detail"), detail),
        Judgement::Rejected { detail: None, .. } | Judgement::Answered => {}
    }
}

/// The response, put into its gaps.
pub(super) fn end(line: &mut Line<'_>, gaps: Gaps, response: &ResponseRecord<'_>, has_reason: bool, took: Duration) {
    line.insert(gaps.took, |line| {
        line.bare(milliseconds(took));
        if let Some(upstream) = &response.upstream {
            line.word(key!("upstream"), &[upstream.name.as_bytes()]);
            if let Some(took) = upstream.took {
                line.bare(milliseconds(took));
            }
        }
        if response.ending != Ending::Complete {
            line.token(key!("ending"), response.ending.as_str());
        }
    });
    line.insert(gaps.status, |line| {
        match response.status {
            Some(status) => line.bare(status.as_u16()),
            None => line.bare("closed"),
        }
        if let Some(failure) = response.failure.filter(|_| !has_reason) {
            line.bare(failure.as_str());
        }
    });
}

fn milliseconds(duration: Duration) -> impl std::fmt::Display {
    format!("{:.1}ms", duration.as_secs_f64() * 1000.0)
}
