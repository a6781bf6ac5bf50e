//! What the gateway tells about itself: an access record a request, counters, and messages for operators.
//!
//! Owns the shape of log lines, the thread that writes them, and the metrics' names. Refuses to hold a request up: a full
//! queue drops the line and counts it. Of a request's headers the log reads two; what `events` remembers of the others, credentials
//! are not among it.

pub mod access;
pub mod client_networks;
pub mod events;
mod line;
pub mod logging;
pub mod messages;
pub mod metrics;
pub(crate) mod redact;
pub mod writer;

use std::{io, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};

use self::{
    access::{Pending, RequestRecord, Stamps},
    client_networks::ClientNetworks,
    events::Events,
    metrics::{Metrics, WorkerIndex},
    writer::{AccessLog, SpareBuffers},
};
use crate::config::settings::LogSettings;

/// Whether a header's value is not to be shown: a credential, or a URL with the value of a listed parameter.
pub fn is_withheld(settings: &LogSettings, name: &HeaderName, value: &HeaderValue) -> bool {
    events::is_withheld(name, value, &redact::Redaction::new(&settings.redact_query))
}

/// A `Referer` as it may be shown.
pub fn redacted_referer(referer: &[u8]) -> String {
    String::from_utf8_lossy(&redact::referer(referer)).into_owned()
}

/// Metrics, access log and events of the whole process.
#[derive(Debug, Clone)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
    networks: Arc<ClientNetworks>,
    log: Arc<AccessLog>,
    events: Arc<Events>,
}

impl Telemetry {
    /// Opens the access log's target and starts its thread.
    ///
    /// # Errors
    /// The log file cannot be opened, or the thread not started.
    pub fn start(settings: &LogSettings, workers: usize) -> io::Result<Self> {
        let metrics = Arc::new(Metrics::new(workers));
        let log = AccessLog::start(settings, workers, Arc::clone(&metrics))?;
        Ok(Self {
            metrics,
            networks: ClientNetworks::new(workers),
            log: Arc::new(log),
            events: Arc::new(Events::new(workers, settings.events)),
        })
    }

    /// The handle of one worker. Each worker has its own, so that none waits for another.
    pub fn worker(&self, index: usize) -> WorkerTelemetry {
        WorkerTelemetry(Rc::new(OnWorker {
            index: WorkerIndex::new(index),
            stamps: Stamps::default(),
            spares: SpareBuffers::default(),
            metrics: Arc::clone(&self.metrics),
            networks: Arc::clone(&self.networks),
            log: Arc::clone(&self.log),
            events: Arc::clone(&self.events),
        }))
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What is remembered of recent requests.
    pub fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// The client networks that come, while somebody wants to know.
    pub fn networks(&self) -> &Arc<ClientNetworks> {
        &self.networks
    }

    /// Takes format, redaction, target and the number of events from a new load of the configuration.
    ///
    /// # Errors
    /// The log file cannot be opened; the old target then stays.
    pub fn apply(&self, settings: &LogSettings) -> io::Result<()> {
        self.log.apply(settings)?;
        self.events.resize(settings.events);
        Ok(())
    }

    /// Opens the log file again, after it was moved away (USR1).
    pub fn reopen(&self) {
        self.log.reopen();
    }

    /// Writes what is queued, for at most `patience`; a blocked pipe must not keep the process from ending. `false`: not
    /// everything was written.
    pub fn flush(&self, patience: Duration) -> bool {
        self.log.flush(patience)
    }
}

/// One worker's handle. It stays on its thread, so that a request's hold of it is counted there and nowhere else.
#[derive(Debug, Clone)]
pub struct WorkerTelemetry(Rc<OnWorker>);

/// What a worker counts and writes with.
#[derive(Debug)]
struct OnWorker {
    index: WorkerIndex,
    stamps: Stamps,
    spares: SpareBuffers,
    metrics: Arc<Metrics>,
    networks: Arc<ClientNetworks>,
    log: Arc<AccessLog>,
    events: Arc<Events>,
}

impl WorkerTelemetry {
    /// Counts a judged request, remembers it if a rule had something to say, and begins its access record. The record is
    /// written by [`Pending::finish`]; one that is dropped before is written as one whose client went away.
    pub fn begin(&self, record: &RequestRecord<'_>) -> Pending {
        let OnWorker { index, stamps, log, .. } = &*self.0;
        self.0
            .events
            .remember(*index, || log.style(), || stamps.of(record.received), record);
        access::begin(self, record)
    }

    /// The worker, as metrics count it.
    pub fn index(&self) -> WorkerIndex {
        self.0.index
    }

    /// The counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }
}

/// A request target, or a URL, as it is logged: without the values of listed query parameters.
pub fn redacted_target(settings: &LogSettings, target: &str) -> String {
    let redacted = redact::Redaction::new(&settings.redact_query);
    String::from_utf8_lossy(&redacted.target(target.as_bytes())).into_owned()
}
