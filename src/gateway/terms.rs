//! The snapshot in force as one worker uses it: with the meters that its sites, rules and upstreams are counted by.

use std::{ops::Deref, rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderValue};

use super::headers::X_REQUEST_ID;
use crate::{
    snapshot::{CompiledSite, Snapshot},
    telemetry::{
        WorkerTelemetry,
        metrics::{LocalMeters, Meters, Metrics, UpstreamMeter},
    },
    upstream::origin::Endpoint,
};

/// The terms under which a request is served. It takes them once, at its beginning, and ends under them.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) meters: LocalMeters,
}

impl Terms {
    pub(super) fn new(snapshot: Arc<Snapshot>, telemetry: &WorkerTelemetry) -> Self {
        let metrics = telemetry.metrics();
        let prepared = metrics.prepared(snapshot.generation);
        Self {
            meters: Rc::new(prepared.unwrap_or_else(|| Arc::new(meters(&snapshot, metrics)))),
            snapshot,
        }
    }

    /// Whether a site of these terms leads to the server.
    pub(super) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        let mut servers = self.snapshot.sites.iter().flat_map(|site| site.origin.servers());
        servers.any(|server| **server == *endpoint)
    }

    pub(super) fn upstream(&self, name: &str) -> Option<&Arc<UpstreamMeter>> {
        self.meters.upstream(name)
    }

    /// Gives a response what every response carries. Its request id is ours or none: a response that is told from others by
    /// having the origin's would show that it came from there.
    pub(super) fn dress(&self, headers: &mut HeaderMap, id: &HeaderValue) {
        let settings = &self.snapshot.settings.headers;
        for (name, value) in &settings.response {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        match settings.request_id {
            true => headers.insert(X_REQUEST_ID, id.clone()),
            false => headers.remove(X_REQUEST_ID),
        };
    }
}

/// A site of these terms. Holding it holds them: on this thread, so that no count is shared with others.
#[derive(Debug, Clone)]
pub(super) struct ServedSite {
    terms: Rc<Terms>,
    number: usize,
}

impl ServedSite {
    /// The site of this number, if there is one.
    pub(super) fn of(terms: &Rc<Terms>, number: usize) -> Option<Self> {
        (number < terms.snapshot.sites.len()).then(|| Self {
            terms: Rc::clone(terms),
            number,
        })
    }

    /// Its number.
    pub(super) fn number(&self) -> usize {
        self.number
    }
}

impl Deref for ServedSite {
    type Target = CompiledSite;

    fn deref(&self) -> &CompiledSite {
        &self.terms.snapshot.sites[self.number]
    }
}

/// The meters of what a snapshot names.
pub fn meters(snapshot: &Snapshot, metrics: &Metrics) -> Meters {
    let sites = snapshot.sites.iter().map(|site| site.settings.facts.name.as_str());
    let rules = snapshot.policy.rules().iter().map(|rule| rule.id.as_str());
    let upstreams = snapshot.settings.upstreams.keys().map(String::as_str);
    metrics.meters(sites, rules, upstreams)
}
