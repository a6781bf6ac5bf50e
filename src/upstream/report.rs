//! What is told of an upstream's servers: to the operator by `status`, to monitoring by metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use serde::Serialize;
use tokio::time::Instant;

use super::{
    health::{Health, State},
    origin::{Endpoint, Origin},
    standing::Standing,
};
use crate::{
    config::settings::Balance,
    telemetry::metrics::{ServerFigures, UpstreamFigures},
};

/// An upstream and its servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamReport {
    /// Its name.
    pub name: String,
    /// `round_robin` or `least_connections`.
    pub balance: &'static str,
    /// Requests sent once more after a failure.
    pub retries: u64,
    /// Requests that were not, because the budget was spent.
    pub retries_over_budget: u64,
    /// Its servers, as written.
    pub servers: Vec<ServerReport>,
}

/// A server, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerReport {
    /// Its URL.
    pub server: String,
    /// Requests under way.
    pub in_flight: u64,
    /// Requests ever given to it.
    pub requests: u64,
    /// Requests that it failed.
    pub failures: u64,
    /// How often it was left out for that.
    pub ejections: u64,
    /// What it resolves to; empty: nothing yet.
    pub addresses: Vec<AddressReport>,
}

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressReport {
    /// Address and port; the demo has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `healthy`, `starting`, `ejected` or `failing_check`.
    pub state: &'static str,
    /// When an ejected one is asked again, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Failures in a row.
    pub failures_in_row: u32,
    /// Requests under way.
    pub in_flight: u64,
}

/// What is told of these, by name; of one that is there several times, once.
pub fn reports<'o>(origins: impl Iterator<Item = &'o Arc<Origin>>) -> Vec<UpstreamReport> {
    by_name(origins).map(|origin| origin.report()).collect()
}

/// The same, as metrics count it.
pub fn figures<'o>(origins: impl Iterator<Item = &'o Arc<Origin>>) -> Vec<UpstreamFigures> {
    by_name(origins).map(|origin| origin.figures()).collect()
}

fn by_name<'o>(origins: impl Iterator<Item = &'o Arc<Origin>>) -> impl Iterator<Item = &'o Arc<Origin>> {
    let named: BTreeMap<&str, _> = origins
        .map(|origin| (origin.settings().name.as_str(), origin))
        .collect();
    named.into_values()
}

impl Origin {
    fn report(&self) -> UpstreamReport {
        let settings = self.settings();
        let server = |(endpoint, standing): (&Arc<Endpoint>, &Arc<Standing>)| {
            let addresses = standing.in_use();
            ServerReport {
                server: endpoint.to_string(),
                in_flight: standing.in_flight(),
                requests: standing.requests(),
                failures: standing.counts.failures.load(Relaxed),
                ejections: standing.counts.ejections.load(Relaxed),
                addresses: addresses
                    .iter()
                    .map(|(address, health)| AddressReport {
                        address: address.map(|address| address.to_string()),
                        ..self.address(health)
                    })
                    .collect(),
            }
        };
        UpstreamReport {
            name: settings.name.clone(),
            balance: match settings.balance {
                Balance::RoundRobin => "round_robin",
                Balance::LeastConnections => "least_connections",
            },
            retries: self.retries().made.load(Relaxed),
            retries_over_budget: self.retries().refused.load(Relaxed),
            servers: self.standings().map(server).collect(),
        }
    }

    fn address(&self, health: &Health) -> AddressReport {
        let state = health.state(Instant::now(), self.settings().slow_start);
        AddressReport {
            address: None,
            state: name(state),
            until: match state {
                State::Ejected(left) => jiff::Timestamp::try_from(SystemTime::now() + left)
                    .ok()
                    .and_then(|until| until.round(jiff::Unit::Second).ok())
                    .map(|until| until.to_string()),
                State::Healthy | State::Starting | State::Failing => None,
            },
            failures_in_row: health.failures(),
            in_flight: health.in_flight(),
        }
    }

    fn figures(&self) -> UpstreamFigures {
        let settings = self.settings();
        let server = |(endpoint, standing): (&Arc<Endpoint>, &Arc<Standing>)| {
            let (addresses, now) = (standing.in_use(), Instant::now());
            let states: Vec<_> = addresses
                .iter()
                .map(|(_, health)| name(health.state(now, settings.slow_start)))
                .collect();
            let count = |state: &'static str| (state, states.iter().filter(|known| **known == state).count());
            ServerFigures {
                server: endpoint.to_string(),
                states: STATES.map(count),
                in_flight: standing.in_flight(),
                requests: standing.requests(),
                failures: standing.counts.failures.load(Relaxed),
                ejections: standing.counts.ejections.load(Relaxed),
                checks_passed: standing.counts.checks_passed.load(Relaxed),
                checks_failed: standing.counts.checks_failed.load(Relaxed),
            }
        };
        UpstreamFigures {
            upstream: settings.name.clone(),
            retries: self.retries().made.load(Relaxed),
            retries_over_budget: self.retries().refused.load(Relaxed),
            servers: self.standings().map(server).collect(),
        }
    }
}

const STATES: [&str; 4] = ["healthy", "starting", "ejected", "failing_check"];

fn name(state: State) -> &'static str {
    let [healthy, starting, ejected, failing] = STATES;
    match state {
        State::Healthy => healthy,
        State::Starting => starting,
        State::Ejected(_) => ejected,
        State::Failing => failing,
    }
}
