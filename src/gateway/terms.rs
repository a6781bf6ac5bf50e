//! The snapshot in force as one worker uses it: with the meters that its sites, rules and upstreams are counted by.

use std::{collections::HashMap, sync::Arc};

use http::{HeaderMap, HeaderValue};

use super::headers::X_REQUEST_ID;
use crate::{
    snapshot::Snapshot,
    telemetry::{
        WorkerTelemetry,
        metrics::{Meters, UpstreamMeter},
    },
    upstream::origin::Endpoint,
};

/// The terms under which a request is served. It takes them once, at its beginning, and ends under them.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) meters: Meters,
    upstreams: HashMap<String, Arc<UpstreamMeter>>,
}

impl Terms {
    pub(super) fn new(snapshot: Arc<Snapshot>, telemetry: &WorkerTelemetry) -> Self {
        let metrics = telemetry.metrics();
        let sites = snapshot.sites.iter().map(|site| site.settings.facts.name.as_str());
        let rules = snapshot.policy.rules().iter().map(|rule| rule.id.as_str());
        let upstreams = snapshot.settings.upstreams.keys();
        Self {
            meters: metrics.meters(sites, rules),
            upstreams: upstreams.map(|name| (name.clone(), metrics.upstream(name))).collect(),
            snapshot,
        }
    }

    /// Whether a site of these terms leads to the server.
    pub(super) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        let mut servers = self.snapshot.sites.iter().flat_map(|site| site.origin.servers());
        servers.any(|server| **server == *endpoint)
    }

    pub(super) fn upstream(&self, name: &str) -> Option<&Arc<UpstreamMeter>> {
        self.upstreams.get(name)
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
