//! Meters of things that the configuration names, and of what rules do.

use std::{rc::Rc, sync::Arc, time::Duration};

use hashbrown::HashMap;
use http::StatusCode;

use super::cells::{Counter, Gauge, Histogram, WorkerIndex};
use crate::policy::rule::{Action, Mode, Phase, Rule};

/// How a request was answered, as `portcullis_requests_total` counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestDecision {
    /// The policy let it pass.
    Allow,
    /// The policy refused it.
    Block,
    /// It was refused before any rule was asked (malformed, unknown host, too large).
    Reject,
    /// The gateway answered it itself (redirects to https, health checks).
    Answer,
}

impl RequestDecision {
    pub(super) const ALL: [Self; 4] = [Self::Allow, Self::Block, Self::Reject, Self::Answer];

    /// The name in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Block => "block",
            Self::Reject => "reject",
            Self::Answer => "answer",
        }
    }
}

/// The hundreds of the answer's status; `none` when there was no answer.
pub(super) const CODE_CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn code_class(status: Option<StatusCode>) -> usize {
    let hundreds = status.map_or(0, |status| usize::from(status.as_u16() / 100));
    if hundreds < CODE_CLASSES.len() { hundreds } else { 0 }
}

/// Requests of one site.
#[derive(Debug)]
pub struct SiteMeter {
    requests: [[Counter; CODE_CLASSES.len()]; RequestDecision::ALL.len()],
}

impl SiteMeter {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            requests: RequestDecision::ALL.map(|_| CODE_CLASSES.map(|_| Counter::new(workers))),
        }
    }

    /// Counts a request that ended.
    pub fn ended(&self, worker: WorkerIndex, decision: RequestDecision, status: Option<StatusCode>) {
        let [allow, block, reject, answer] = &self.requests;
        let row = match decision {
            RequestDecision::Allow => allow,
            RequestDecision::Block => block,
            RequestDecision::Reject => reject,
            RequestDecision::Answer => answer,
        };
        if let Some(counter) = row.get(code_class(status)) {
            counter.add(worker);
        }
    }

    /// Every combination that occurred.
    pub(super) fn requests(&self) -> impl Iterator<Item = (RequestDecision, &'static str, u64)> {
        RequestDecision::ALL
            .iter()
            .zip(&self.requests)
            .flat_map(|(decision, row)| {
                let counts = CODE_CLASSES.iter().zip(row);
                counts
                    .map(|(class, counter)| (*decision, *class, counter.total()))
                    .filter(|(_, _, total)| *total > 0)
            })
    }
}

/// Meters as one worker holds them: what a request holds is counted on its own thread.
pub type LocalMeters = Rc<Arc<Meters>>;

/// The meters of one load of the configuration: sites by their number, the rest by name.
#[derive(Debug)]
pub struct Meters {
    sites: Vec<Arc<SiteMeter>>,
    rules: HashMap<String, Arc<Counter>>,
    upstreams: HashMap<String, Arc<UpstreamMeter>>,
}

impl Meters {
    pub(super) fn new(
        sites: Vec<Arc<SiteMeter>>,
        rules: HashMap<String, Arc<Counter>>,
        upstreams: HashMap<String, Arc<UpstreamMeter>>,
    ) -> Self {
        Self {
            sites,
            rules,
            upstreams,
        }
    }

    /// The meter of an upstream of this load.
    pub fn upstream(&self, name: &str) -> Option<&Arc<UpstreamMeter>> {
        self.upstreams.get(name)
    }

    /// The meter of a site of this load, by its number.
    pub fn site(&self, number: usize) -> Option<&SiteMeter> {
        self.sites.get(number).map(|meter| &**meter)
    }

    /// Counts that a rule of this load matched.
    pub(in crate::telemetry) fn hit(&self, worker: WorkerIndex, rule: &Rule) {
        if let Some(counter) = self.rules.get(rule.id.as_str()) {
            counter.add(worker);
        }
    }
}

const ACTIONS: [&str; 4] = ["allow", "block", "log", "skip"];
const PHASES: [&str; 6] = ["ip_access", "rule", "lockdown", "user_agent", "hotlink", "default"];
const MODES: [Mode; 2] = [Mode::Enforce, Mode::Shadow];

/// What matching rules did, or would have done.
#[derive(Debug)]
pub(super) struct DecisionCounters {
    counters: [[[Counter; MODES.len()]; PHASES.len()]; ACTIONS.len()],
}

impl DecisionCounters {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            counters: ACTIONS.map(|_| PHASES.map(|_| MODES.map(|_| Counter::new(workers)))),
        }
    }

    /// A rule matched.
    pub(super) fn matched(&self, worker: WorkerIndex, rule: &Rule) {
        let action = match &rule.action {
            Action::Allow => 0,
            Action::Block => 1,
            Action::Log => 2,
            Action::Skip(_) => 3,
        };
        let phase = match rule.phase {
            Phase::IpAccess(_) => 0,
            Phase::Rule => 1,
            Phase::Lockdown => 2,
            Phase::UserAgent => 3,
            Phase::Hotlink => 4,
        };
        let mode = match rule.mode {
            Mode::Enforce => 0,
            Mode::Shadow => 1,
        };
        self.add(worker, action, phase, mode);
    }

    /// No rule decided.
    pub(super) fn default(&self, worker: WorkerIndex, decision: RequestDecision) {
        match decision {
            RequestDecision::Allow => self.add(worker, 0, 5, 0),
            RequestDecision::Block => self.add(worker, 1, 5, 0),
            RequestDecision::Reject | RequestDecision::Answer => {}
        }
    }

    fn add(&self, worker: WorkerIndex, action: usize, phase: usize, mode: usize) {
        let counter = self
            .counters
            .get(action)
            .and_then(|row| row.get(phase))
            .and_then(|row| row.get(mode));
        if let Some(counter) = counter {
            counter.add(worker);
        }
    }

    /// Every combination that occurred.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&'static str, &'static str, &'static str, u64)> {
        ACTIONS.iter().zip(&self.counters).flat_map(|(action, phases)| {
            PHASES.iter().zip(phases).flat_map(move |(phase, modes)| {
                let counts = MODES
                    .iter()
                    .zip(modes)
                    .map(|(mode, counter)| (mode.as_str(), counter.total()));
                counts
                    .filter(|(_, total)| *total > 0)
                    .map(move |(mode, total)| (*action, *phase, mode, total))
            })
        })
    }
}

/// How an upstream failed us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFailure {
    /// Its name does not resolve.
    Resolve,
    /// It refused or could not be reached.
    Connect,
    /// It did not accept in time.
    ConnectTimeout,
    /// Its certificate does not verify, or the handshake failed.
    Tls,
    /// It did not answer in time.
    ResponseTimeout,
    /// It broke off, or spoke no HTTP.
    Broken,
    /// All its connections are in use.
    Overloaded,
}

impl UpstreamFailure {
    pub(super) const ALL: [Self; 7] = [
        Self::Resolve,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::ResponseTimeout,
        Self::Broken,
        Self::Overloaded,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::ResponseTimeout => "response_timeout",
            Self::Broken => "broken",
            Self::Overloaded => "overloaded",
        }
    }
}

/// What happens with one upstream.
#[derive(Debug)]
pub struct UpstreamMeter {
    connections: Gauge,
    failures: [Counter; UpstreamFailure::ALL.len()],
    pub(super) duration: Histogram,
}

impl UpstreamMeter {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            connections: Gauge::new(workers),
            failures: UpstreamFailure::ALL.map(|_| Counter::new(workers)),
            duration: Histogram::new(workers, &super::REQUEST_BOUNDS),
        }
    }

    /// Counts a connection as long as the guard lives.
    pub fn connected(self: &Arc<Self>, worker: WorkerIndex) -> OpenConnection {
        self.connections.change(worker, 1);
        OpenConnection {
            meter: Arc::clone(self),
            worker,
        }
    }

    /// It failed us.
    pub fn failed(&self, worker: WorkerIndex, failure: UpstreamFailure) {
        let at = UpstreamFailure::ALL.iter().position(|known| *known == failure);
        if let Some(counter) = at.and_then(|at| self.failures.get(at)) {
            counter.add(worker);
        }
    }

    /// The head of its response came after this time.
    pub fn answered(&self, worker: WorkerIndex, took: Duration) {
        self.duration.observe(worker, took);
    }

    /// Open connections to it.
    pub fn connections(&self) -> i64 {
        self.connections.value()
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        UpstreamFailure::ALL
            .iter()
            .zip(&self.failures)
            .map(|(failure, counter)| (failure.as_str(), counter.total()))
    }
}

/// A connection to an upstream, counted as long as this lives.
#[derive(Debug)]
pub struct OpenConnection {
    meter: Arc<UpstreamMeter>,
    worker: WorkerIndex,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.meter.connections.change(self.worker, -1);
    }
}
