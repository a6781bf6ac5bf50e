//! Does what the admin socket asks for.

use std::{
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Readiness, Ready,
    protocol::{EventReport, ListenerReport, StatusReport, error},
};
use crate::{
    config::settings::{Listener, Protocol},
    handover::{Opening, Succession},
    reload::{Reloader, Unconfirmed},
    snapshot::Current,
    telemetry::{events::Events, metrics::Metrics},
    upstream,
};

/// Who does what the socket asks for. Called on threads where waiting is allowed.
pub trait Operator: Send + Sync + 'static {
    /// Reloads the configuration, waits, and says how it went. With `confirm` it goes back after this time, unless confirmed.
    fn reload(&self, confirm: Option<Duration>) -> Value;

    /// Confirms the configuration in force.
    fn confirm(&self) -> Value;

    /// What is running.
    fn status(&self) -> Value;

    /// What is remembered of the request with this id.
    fn event(&self, id: &str) -> Value;

    /// Starts a successor, waits, and says how it went.
    fn upgrade(&self) -> Value;

    /// Hands over to the gateway that asks, talking to it to the end.
    fn hand_over(&self, stream: UnixStream, opening: &Opening, pid: u32);
}

/// The running gateway.
#[derive(Debug)]
pub struct RunningGateway {
    /// Reloads.
    pub reloader: Reloader,
    /// What is in force.
    pub current: Current,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is remembered.
    pub events: Arc<Events>,
    /// Whether traffic is taken.
    pub readiness: Arc<Readiness>,
    /// When the process started.
    pub started: Instant,
    /// The listeners, with the ports really bound.
    pub listeners: Vec<Arc<Listener>>,
    /// Who may follow.
    pub succession: Arc<Succession>,
}

impl Operator for RunningGateway {
    fn reload(&self, confirm: Option<Duration>) -> Value {
        match self.reloader.report(confirm).blocking_recv() {
            Ok(report) => report.json(),
            Err(_) => error("the gateway is ending, or too many wait for a reload already"),
        }
    }

    fn confirm(&self) -> Value {
        match self.reloader.confirm().blocking_recv() {
            Ok(confirmation) => confirmation.json(),
            Err(_) => error("the gateway is ending, or too many wait for a reload already"),
        }
    }

    fn status(&self) -> Value {
        serde_json::to_value(self.report()).unwrap_or_else(|wrong| error(&wrong.to_string()))
    }

    fn event(&self, id: &str) -> Value {
        let snapshot = self.current.load();
        let report = EventReport {
            event: self.events.find(id),
            memory: self.events.reach(),
            generation: snapshot.generation,
            loaded: snapshot.loaded.to_string(),
        };
        serde_json::to_value(report).unwrap_or_else(|wrong| error(&wrong.to_string()))
    }

    fn upgrade(&self) -> Value {
        let process = |pid: u32, version: &str| json!({ "pid": pid, "version": version });
        let running = process(std::process::id(), env!("CARGO_PKG_VERSION"));
        let upgraded = self
            .reloader
            .unconfirmed()
            .map_or_else(|| self.succession.upgrade(), |it| Err(unconfirmed(&it)));
        match upgraded {
            Ok(successor) => json!({
                "result": "upgraded",
                "successor": process(successor.pid, &successor.version),
                "predecessor": running,
            }),
            Err(reason) => json!({ "result": "kept", "reason": reason, "running": running }),
        }
    }

    fn hand_over(&self, stream: UnixStream, opening: &Opening, pid: u32) {
        if let Some(it) = self.reloader.unconfirmed() {
            return self.succession.decline(&stream, unconfirmed(&it));
        }
        self.succession.hand_over(&stream, opening, pid);
    }
}

impl RunningGateway {
    fn report(&self) -> StatusReport {
        let snapshot = self.current.load();
        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: self.started.elapsed().as_secs(),
            state: match self.readiness.get() {
                Ready::Starting => "starting",
                Ready::Serving => "serving",
                Ready::HandedOver => "handed over",
                Ready::Draining => "draining",
            },
            generation: snapshot.generation,
            loaded: snapshot.loaded.to_string(),
            last_reload_successful: self.metrics.last_reload_successful(),
            restart_required: self.metrics.is_restart_required(),
            differs_from_disk: snapshot.on_disk.differs(),
            unconfirmed: self.reloader.unconfirmed().map(|it| it.json()),
            returned: self.reloader.last_return().map(|it| it.json()),
            tests: snapshot.policy.tests().len(),
            listeners: self
                .listeners
                .iter()
                .map(|listener| listener_report(listener))
                .collect(),
            rules: snapshot.policy.counts().map(|(_, count)| count).sum(),
            lists: snapshot.policy.lists().iter().count(),
            connections: self.metrics.connections().open,
            upstreams: upstream::report::reports(snapshot.origins()),
        }
    }
}

/// Why nobody takes over now: a successor loads the files, and nobody could take that back.
fn unconfirmed(it: &Unconfirmed) -> String {
    format!(
        "the configuration in force (generation {}) waits to be confirmed: run `portcullis confirm`, or wait until \
         generation {} is back",
        it.generation, it.returns_to
    )
}

fn listener_report(listener: &Listener) -> ListenerReport {
    ListenerReport {
        address: listener.address.to_string(),
        protocol: match listener.protocol {
            Protocol::Tls { .. } => "https",
            Protocol::Plain => "http",
            Protocol::Redirect { .. } => "redirect",
        },
    }
}
