//! The access record: one line a request, naming the deciding rule, also of what was allowed.
//!
//! A record is begun when the judge has spoken, from borrowed facts, and finished when the response has ended: in between
//! it is a buffer with half a line, so nothing of the request has to be kept for it.

mod json;
pub mod read;
mod text;

use std::{
    cell::Cell,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, StatusCode};

use super::{
    OnWorker, WorkerTelemetry,
    line::Line,
    metrics::{LocalMeters, RequestDecision},
    redact::Redaction,
};
use crate::{
    config::settings::{LogFormat, TlsVersion},
    policy::{
        client::{DerivedFrom, Peer, SourceAddr},
        decision::{Decision, Reason, Verdict},
        facts::{ClientFacts, HttpVersion},
        rule::Rule,
    },
};

/// What is known of a request once it was judged. What a malformed request has no meaning for is `None`.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// When its head was read.
    pub received: SystemTime,
    /// The same moment, for durations.
    pub started: Instant,
    /// The request id, as the client is told.
    pub id: &'a str,
    /// The socket's other end.
    pub peer: Peer,
    /// The PROXY header's address, else the peer's.
    pub source: SourceAddr,
    /// Who is asking, and where from.
    pub client: Option<ClientFacts>,
    /// What the client IP was derived from.
    pub client_from: DerivedFrom,
    /// The method as sent.
    pub method: &'a str,
    /// The version spoken.
    pub version: HttpVersion,
    /// Whether rules saw `ssl`.
    pub tls: bool,
    /// The handshake, when TLS ended here.
    pub handshake: Option<Handshake<'a>>,
    /// The host without port.
    pub host: Option<&'a str>,
    /// The target as sent.
    pub original: &'a str,
    /// The canonical path, which was judged and forwarded.
    pub path: Option<&'a str>,
    /// The headers as sent. Only `User-Agent` and `Referer` are read.
    pub headers: &'a HeaderMap,
    /// The site's name.
    pub site: Option<&'a str>,
    /// Which load of the configuration judged it.
    pub generation: u64,
    /// The meters of that load.
    pub meters: Option<&'a LocalMeters>,
    /// Which of its sites it is.
    pub site_number: Option<usize>,
    /// What was decided.
    pub judgement: Judgement<'a>,
}

/// What the log says of a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// The protocol version.
    pub version: TlsVersion,
    /// The server name that the client asked for.
    pub server_name: Option<&'a str>,
}

/// How it was decided what becomes of a request.
#[derive(Debug, Clone, Copy)]
pub enum Judgement<'a> {
    /// The policy was asked.
    Decided {
        /// What it said.
        decision: &'a Decision<'a>,
        /// How long it took.
        took: Duration,
    },
    /// Refused before any rule was asked.
    Rejected {
        /// The cause.
        reason: Reason,
        /// What exactly is wrong, in words of ours.
        detail: Option<&'static str>,
    },
    /// Answered by the gateway itself: a redirect to https, a health check.
    Answered,
}

impl<'a> Judgement<'a> {
    /// What becomes of the request.
    pub fn decision(&self) -> RequestDecision {
        match self {
            Self::Decided { decision, .. } => match decision.verdict {
                Verdict::Allow { .. } => RequestDecision::Allow,
                Verdict::Block { .. } => RequestDecision::Block,
            },
            Self::Rejected { .. } => RequestDecision::Reject,
            Self::Answered => RequestDecision::Answer,
        }
    }

    /// Whether the gateway refuses; `None` where nobody was judged.
    fn is_refusal(&self) -> Option<bool> {
        match self.decision() {
            RequestDecision::Allow => Some(false),
            RequestDecision::Block | RequestDecision::Reject => Some(true),
            RequestDecision::Answer => None,
        }
    }

    /// The deciding rule.
    pub fn rule(&self) -> Option<&'a Rule> {
        match self {
            Self::Decided { decision, .. } => match decision.verdict {
                Verdict::Allow { rule, .. } | Verdict::Block { rule, .. } => rule,
            },
            Self::Rejected { .. } | Self::Answered => None,
        }
    }

    fn reason(&self) -> Option<Reason> {
        match self {
            Self::Decided { decision, .. } => match decision.verdict {
                Verdict::Allow { .. } => None,
                Verdict::Block { reason, .. } => Some(reason),
            },
            Self::Rejected { reason, .. } => Some(*reason),
            Self::Answered => None,
        }
    }
}

/// What is known when the response has ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponseRecord<'a> {
    /// The status sent; `None`: the connection was closed without an answer.
    pub status: Option<StatusCode>,
    /// Why an allowed request failed (`upstream_down`, `upstream_timeout`, `too_large`, …).
    pub failure: Option<Reason>,
    /// Bytes of the request's body that came.
    pub request_bytes: u64,
    /// Bytes of the response's body that went.
    pub response_bytes: u64,
    /// The upstream that was asked.
    pub upstream: Option<UpstreamRecord<'a>>,
    /// Whether the response went out whole.
    pub ending: Ending,
}

/// What the log says of the upstream.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamRecord<'a> {
    /// Its name.
    pub name: &'a str,
    /// The server that answered, as configured.
    pub server: Option<&'a str>,
    /// Until the head of its response, when one came.
    pub took: Option<Duration>,
}

/// How a response ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ending {
    /// It went out whole.
    #[default]
    Complete,
    /// The client went away, or did not read fast enough.
    ClientGone,
    /// The origin broke off in the middle.
    OriginGone,
    /// A limit on time ended it.
    TimedOut,
}

impl Ending {
    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::OriginGone => "origin_gone",
            Self::TimedOut => "timed_out",
        }
    }
}

/// An access record whose response has not ended. Dropped unfinished, it is written as one whose client went away.
#[derive(Debug)]
pub struct Pending {
    telemetry: WorkerTelemetry,
    meters: Option<LocalMeters>,
    site: Option<usize>,
    decision: RequestDecision,
    /// Whether the first half of the line already says why.
    has_reason: bool,
    started: Instant,
    format: LogFormat,
    gaps: text::Gaps,
    /// `None` when nothing is logged, and when finished.
    line: Option<Vec<u8>>,
    finished: bool,
}

pub(super) fn begin(telemetry: &WorkerTelemetry, record: &RequestRecord<'_>) -> Pending {
    let OnWorker {
        index: worker,
        stamps,
        spares,
        metrics,
        networks,
        log,
        ..
    } = &*telemetry.0;
    let worker = *worker;
    metrics.judged(worker, &record.judgement, record.meters.map(|meters| &***meters));
    if let (Some(client), Some(refused)) = (record.client, record.judgement.is_refusal()) {
        networks.note(worker, client.ip.addr(), refused);
    }
    let style = log.style();
    let mut gaps = text::Gaps::default();
    let line = style.on.then(|| {
        let mut buffer = spares.take();
        let mut line = Line::new(&mut buffer, style.format);
        let stamp = stamps.of(record.received);
        let stamp = std::str::from_utf8(&stamp).unwrap_or_default();
        match style.format {
            LogFormat::Json => json::begin(&mut line, &style.redaction, stamp, record),
            LogFormat::Text => gaps = text::begin(&mut line, &style.redaction, stamp, record),
        }
        buffer
    });
    Pending {
        telemetry: telemetry.clone(),
        meters: record.meters.cloned(),
        site: record.site_number,
        decision: record.judgement.decision(),
        has_reason: record.judgement.reason().is_some(),
        started: record.started,
        format: style.format,
        gaps,
        line,
        finished: false,
    }
}

/// What is known of a request once it was judged, as JSON without its end.
pub(super) fn write_request(line: &mut Line<'_>, redaction: &Redaction, stamp: &Stamp, record: &RequestRecord<'_>) {
    json::begin(line, redaction, std::str::from_utf8(stamp).unwrap_or_default(), record);
}

impl Pending {
    /// The response has ended: the record is queued, and counted.
    pub fn finish(mut self, response: &ResponseRecord<'_>) {
        self.end(response);
    }

    fn end(&mut self, response: &ResponseRecord<'_>) {
        self.finished = true;
        let took = self.started.elapsed();
        let OnWorker {
            index,
            metrics,
            log,
            spares,
            ..
        } = &*self.telemetry.0;
        let site = self
            .meters
            .as_ref()
            .zip(self.site)
            .and_then(|(meters, site)| meters.site(site));
        metrics.ended(*index, site, self.decision, response.status, took);
        if let Some(mut buffer) = self.line.take() {
            let mut line = Line::new(&mut buffer, self.format);
            match self.format {
                LogFormat::Json => json::end(&mut line, response, self.has_reason, took),
                LogFormat::Text => text::end(&mut line, self.gaps, response, self.has_reason, took),
            }
            line.end();
            log.push(*index, &buffer);
            spares.give(buffer);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.finished {
            self.end(&ResponseRecord {
                ending: Ending::ClientGone,
                ..ResponseRecord::default()
            });
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn tls_version(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::Tls12 => "1.2",
        TlsVersion::Tls13 => "1.3",
    }
}

/// Writes times, and remembers the second: many requests share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Stamps(Cell<Option<(u64, Stamp)>>);

/// RFC 3339, UTC, with milliseconds.
pub(super) type Stamp = [u8; "2026-01-01T00:00:00.000Z".len()];

impl Stamps {
    pub(super) fn of(&self, time: SystemTime) -> Stamp {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let second = since.as_secs();
        let known = self.0.get().filter(|(known, _)| *known == second);
        let (_, mut stamp) = known.unwrap_or_else(|| (second, second_of(time)));
        self.0.set(Some((second, stamp)));
        let milliseconds = since.subsec_millis();
        for (at, unit) in [(20, 100), (21, 10), (22, 1)] {
            // A digit.
            stamp[at] = b'0' + (milliseconds / unit % 10) as u8;
        }
        stamp
    }
}

fn second_of(time: SystemTime) -> Stamp {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let shown = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S.000Z", time).unwrap_or_default();
    shown.as_bytes().try_into().unwrap_or(*b"1970-01-01T00:00:00.000Z")
}

#[cfg(test)]
mod tests;
