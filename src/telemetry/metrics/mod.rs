//! Counters and gauges, and their names: the contract with dashboards and alerts.
//!
//! They live as long as the process. A load of the configuration takes the meters of its sites, rules and upstreams by
//! name, so a reload resets nothing. No label ever comes from a client, and every label's values are bounded: they are
//! enums of ours, or names in the configuration.

mod cells;
mod exposition;
mod meters;
mod phase_times;
mod report;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

pub use self::{
    cells::{Counter, Gauge, Histogram, WorkerIndex},
    exposition::CONTENT_TYPE,
    meters::{LocalMeters, Meters, OpenConnection, RequestDecision, SiteMeter, UpstreamFailure, UpstreamMeter},
    phase_times::{PhaseTimes, SAMPLED_REQUESTS},
};
use self::{meters::DecisionCounters, phase_times::PhaseHistograms};
use crate::policy::rule::Timestamp;

/// From a refusal to a long poll.
static REQUEST_BOUNDS: [Duration; 14] = {
    let ms = Duration::from_millis;
    [
        Duration::from_micros(500),
        ms(1),
        ms(2),
        ms(5),
        ms(10),
        ms(25),
        ms(50),
        ms(100),
        ms(250),
        ms(500),
        ms(1000),
        ms(2500),
        ms(10_000),
        ms(60_000),
    ]
};

/// From a handful of rules to a page that should be looked at.
static DECISION_BOUNDS: [Duration; 11] = {
    let us = Duration::from_micros;
    [
        Duration::from_nanos(500),
        us(1),
        us(2),
        us(5),
        us(10),
        us(20),
        us(50),
        us(100),
        us(500),
        us(1000),
        us(10_000),
    ]
};

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    workers: usize,
    named: Mutex<Named>,
    /// The meters of the newest load, all workers'.
    newest: ArcSwapOption<LoadMeters>,
    /// Requests that led to no site.
    no_site: SiteMeter,
    decisions: DecisionCounters,
    request_duration: Histogram,
    decision_duration: Histogram,
    phase_durations: PhaseHistograms,
    tunnels: Gauge,
    ask_connections: OnceLock<Ask<ConnectionFigures>>,
    ask_upstreams: OnceLock<Ask<Vec<UpstreamFigures>>>,
    log_dropped: AtomicU64,
    log_write_errors: AtomicU64,
    messages_dropped: AtomicU64,
    reloads: [AtomicU64; 2],
    last_reload_successful: AtomicBool,
    last_reload: AtomicI64,
    restart_required: AtomicBool,
    unconfirmed: AtomicBool,
    returns: [AtomicU64; 2],
    loaded: Mutex<Loaded>,
}

/// Meters by their name in the configuration.
#[derive(Debug, Default, Clone)]
struct Named {
    sites: BTreeMap<String, Arc<SiteMeter>>,
    rules: BTreeMap<String, Arc<Counter>>,
    upstreams: BTreeMap<String, Arc<UpstreamMeter>>,
}

/// The meters of one load.
#[derive(Debug)]
struct LoadMeters {
    generation: u64,
    meters: Arc<Meters>,
}

/// What a load of the configuration says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Which load this is, from 1.
    pub generation: u64,
    /// Entries of each list.
    pub lists: Vec<(String, usize)>,
    /// Rules that expire, and when.
    pub expiries: Vec<(String, Timestamp)>,
    /// Geo sources (`country`, `asn`), and when they were built.
    pub geo: Vec<(String, Timestamp)>,
    /// Certificates by site, and when they end.
    pub certificates: Vec<(String, Timestamp)>,
}

/// How a reload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadResult {
    /// The new configuration is in force.
    Success,
    /// The old one stays.
    Failure,
}

/// What brought the last confirmed configuration back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnCause {
    /// The other was not confirmed in time.
    NotConfirmed,
    /// Too many client networks were refused under it.
    Guard,
}

/// What became of client connections, as their server counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionFigures {
    /// Open now, tunnels included.
    pub open: u64,
    /// Taken from a listener.
    pub accepted: u64,
    /// Closed at once for `limits.connections`.
    pub over_limit: u64,
    /// Closed at once for `limits.connections_per_client`.
    pub over_client_limit: u64,
    /// Closed for a PROXY header that is missing, forbidden, malformed or late.
    pub proxy_header: u64,
    /// Closed for a TLS handshake that failed or took too long.
    pub handshake: u64,
    /// TLS handshakes that succeeded.
    pub handshakes: HandshakeFigures,
    /// Closed for a head that is no HTTP.
    pub malformed_head: u64,
    /// Times that accepting failed for want of file descriptors or memory.
    pub accept_errors: u64,
}

/// TLS handshakes that succeeded, by version, and by whether a session was resumed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandshakeFigures {
    /// TLS 1.2 with a signature of ours.
    pub full_tls12: u64,
    /// TLS 1.3 with a signature of ours.
    pub full_tls13: u64,
    /// TLS 1.2 by a ticket.
    pub resumed_tls12: u64,
    /// TLS 1.3 by a ticket.
    pub resumed_tls13: u64,
}

/// What is known of an upstream's servers, as whoever asks them counts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamFigures {
    /// Its name.
    pub upstream: String,
    /// Requests sent once more after a failure.
    pub retries: u64,
    /// Requests that were not, because the budget was spent.
    pub retries_over_budget: u64,
    /// Its servers, as written.
    pub servers: Vec<ServerFigures>,
}

/// What is known of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFigures {
    /// As written.
    pub server: String,
    /// How many of its addresses are in each state.
    pub states: [(&'static str, usize); 4],
    /// Requests under way.
    pub in_flight: u64,
    /// Requests ever given to it.
    pub requests: u64,
    /// Requests that it failed.
    pub failures: u64,
    /// How often one of its addresses was left out for that.
    pub ejections: u64,
    /// Checks that it passed.
    pub checks_passed: u64,
    /// Checks that it failed.
    pub checks_failed: u64,
}

/// Asks whoever has them for figures.
struct Ask<T>(Box<dyn Fn() -> T + Send + Sync>);

impl<T> std::fmt::Debug for Ask<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ask")
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            named: Mutex::default(),
            newest: ArcSwapOption::empty(),
            no_site: SiteMeter::new(workers),
            decisions: DecisionCounters::new(workers),
            request_duration: Histogram::new(workers, &REQUEST_BOUNDS),
            decision_duration: Histogram::new(workers, &DECISION_BOUNDS),
            phase_durations: PhaseHistograms::new(workers),
            tunnels: Gauge::new(workers),
            ask_connections: OnceLock::new(),
            ask_upstreams: OnceLock::new(),
            log_dropped: AtomicU64::new(0),
            log_write_errors: AtomicU64::new(0),
            messages_dropped: AtomicU64::new(0),
            reloads: Default::default(),
            last_reload_successful: AtomicBool::new(true),
            last_reload: AtomicI64::new(0),
            restart_required: AtomicBool::new(false),
            unconfirmed: AtomicBool::new(false),
            returns: Default::default(),
            loaded: Mutex::default(),
        }
    }

    /// Makes the meters of a load that is about to be in force, so that no worker has to in the middle of a request, and
    /// so that `/metrics` shows them from the beginning.
    pub fn prepare(&self, generation: u64, meters: Meters) {
        let meters = Arc::new(meters);
        self.newest.store(Some(Arc::new(LoadMeters { generation, meters })));
    }

    /// The meters that [`Metrics::prepare`] was given for this load, when it is the newest.
    pub fn prepared(&self, generation: u64) -> Option<Arc<Meters>> {
        let newest = self.newest.load();
        let newest = newest.as_ref().filter(|newest| newest.generation == generation);
        newest.map(|newest| Arc::clone(&newest.meters))
    }

    /// The meters of a load's sites, rules and upstreams, new or known.
    pub fn meters<'n>(
        &self,
        sites: impl IntoIterator<Item = &'n str>,
        rules: impl IntoIterator<Item = &'n str>,
        upstreams: impl IntoIterator<Item = &'n str>,
    ) -> Meters {
        let mut named = self.named();
        let named = &mut *named;
        let mut site = |name: &str| take(&mut named.sites, name, || SiteMeter::new(self.workers));
        let sites = sites.into_iter().map(|name| site(name).1).collect();
        let rule = |id: &str| take(&mut named.rules, id, || Counter::new(self.workers));
        let rules = rules.into_iter().map(rule).collect();
        let upstream = |name: &str| take(&mut named.upstreams, name, || UpstreamMeter::new(self.workers));
        let upstreams = upstreams.into_iter().map(upstream).collect();
        Meters::new(sites, rules, upstreams)
    }

    /// A load is in force: what it says of itself replaces what the last one said, and names that only older loads had are
    /// forgotten once nothing counts with them any more.
    pub fn publish(&self, mut loaded: Loaded) {
        // One name, one sample: of several certificates of a site the one that ends first counts.
        for times in [&mut loaded.expiries, &mut loaded.geo, &mut loaded.certificates] {
            times.sort();
            times.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        let mut named = self.named();
        named.sites.retain(|_, meter| Arc::strong_count(meter) > 1);
        named.rules.retain(|_, meter| Arc::strong_count(meter) > 1);
        named.upstreams.retain(|_, meter| Arc::strong_count(meter) > 1);
        drop(named);
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    /// A reload ended.
    pub fn reloaded(&self, result: ReloadResult, now: Timestamp) {
        let success = result == ReloadResult::Success;
        if let Some(count) = self.reloads.get(usize::from(success)) {
            count.fetch_add(1, Relaxed);
        }
        self.last_reload_successful.store(success, Relaxed);
        if success {
            self.last_reload.store(now.0, Relaxed);
        }
    }

    /// The start counts as a successful load, not as a reload.
    pub fn started(&self, now: Timestamp) {
        self.last_reload.store(now.0, Relaxed);
    }

    /// Says whether keys were changed that only a restart takes.
    pub fn restart_required(&self, required: bool) {
        self.restart_required.store(required, Relaxed);
    }

    /// Says whether the configuration in force waits to be confirmed.
    pub fn waits_for_confirmation(&self, waits: bool) {
        self.unconfirmed.store(waits, Relaxed);
    }

    /// The last confirmed configuration is in force again.
    pub fn returned(&self, cause: ReturnCause) {
        let [not_confirmed, guard] = &self.returns;
        match cause {
            ReturnCause::NotConfirmed => not_confirmed.fetch_add(1, Relaxed),
            ReturnCause::Guard => guard.fetch_add(1, Relaxed),
        };
    }

    /// Whether the last load of the configuration succeeded.
    pub fn last_reload_successful(&self) -> bool {
        self.last_reload_successful.load(Relaxed)
    }

    /// Whether keys were changed that only a restart takes.
    pub fn is_restart_required(&self) -> bool {
        self.restart_required.load(Relaxed)
    }

    /// Where the figures of connections come from; set once, when the server starts.
    pub fn ask_connections(&self, ask: impl Fn() -> ConnectionFigures + Send + Sync + 'static) {
        // A second server in one process would be a test's; the first one's figures stay.
        let _first_stays = self.ask_connections.set(Ask(Box::new(ask)));
    }

    /// The figures of connections; zeros before the server started.
    pub fn connections(&self) -> ConnectionFigures {
        self.ask_connections.get().map(|ask| (ask.0)()).unwrap_or_default()
    }

    /// Where the figures of upstreams' servers come from; set once, at the start.
    pub fn ask_upstreams(&self, ask: impl Fn() -> Vec<UpstreamFigures> + Send + Sync + 'static) {
        let _first_stays = self.ask_upstreams.set(Ask(Box::new(ask)));
    }

    fn upstreams(&self) -> Vec<UpstreamFigures> {
        self.ask_upstreams.get().map(|ask| (ask.0)()).unwrap_or_default()
    }

    /// Counts a tunnel (WebSocket) as long as the guard lives.
    pub fn tunnel(self: &Arc<Self>, worker: WorkerIndex) -> OpenTunnel {
        self.tunnels.change(worker, 1);
        OpenTunnel {
            metrics: Arc::clone(self),
            worker,
        }
    }

    /// Open tunnels.
    pub fn tunnels(&self) -> u64 {
        u64::try_from(self.tunnels.value()).unwrap_or(0)
    }

    pub(super) fn dropped_log_record(&self, records: u64) {
        self.log_dropped.fetch_add(records, Relaxed);
    }

    /// Access records that were dropped because the queue was full or could not be written.
    pub fn dropped_log_records(&self) -> u64 {
        self.log_dropped.load(Relaxed)
    }

    pub(super) fn failed_log_write(&self) {
        self.log_write_errors.fetch_add(1, Relaxed);
    }

    pub(super) fn dropped_messages(&self, messages: u64) {
        self.messages_dropped.fetch_add(messages, Relaxed);
    }

    /// Messages that were dropped because standard error was not read, or could not be written.
    pub fn dropped_message_count(&self) -> u64 {
        self.messages_dropped.load(Relaxed)
    }

    fn named(&self) -> std::sync::MutexGuard<'_, Named> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take<T>(known: &mut BTreeMap<String, Arc<T>>, name: &str, new: impl FnOnce() -> T) -> (String, Arc<T>) {
    let meter = match known.get(name) {
        Some(meter) => Arc::clone(meter),
        None => {
            let meter = Arc::new(new());
            known.insert(name.to_owned(), Arc::clone(&meter));
            meter
        }
    };
    (name.to_owned(), meter)
}

/// A tunnel, counted as long as this lives.
#[derive(Debug)]
pub struct OpenTunnel {
    metrics: Arc<Metrics>,
    worker: WorkerIndex,
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.metrics.tunnels.change(self.worker, -1);
    }
}

#[cfg(test)]
mod tests;
