//! What one load of the configuration means for requests: the gateway's part of the snapshot.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    headers::{HeaderPolicy, X_REQUEST_ID},
    refusal::SiteAnswers,
    sites::SiteTable,
};
use crate::{
    config::settings::{self, Limits, Site},
    geo::Geo,
    policy::{client::ClientIpSettings, policy::Policy},
    telemetry::metrics::Meters,
    upstream::origin::{Endpoint, Origin},
};

/// The terms under which requests are served. A request takes them once and ends under them.
#[derive(Debug)]
pub struct Terms {
    /// Counts the loads since start, from 1.
    pub generation: u64,
    /// Who may pass.
    pub policy: Policy,
    /// Where addresses are.
    pub geo: Arc<Geo>,
    /// Which proxies are believed.
    pub client_ip: ClientIpSettings,
    /// What becomes of a request's headers.
    pub headers: HeaderPolicy,
    /// What becomes of a response's headers.
    pub response_headers: ResponseHeaders,
    /// Which of the sites a host leads to.
    pub hosts: SiteTable,
    /// The sites, by their index in `hosts`.
    pub sites: Vec<Arc<SiteTerms>>,
    /// What answers requests that no site has.
    pub no_site: SiteAnswers,
    /// The bounds.
    pub limits: Limits,
    /// What the rules and sites are counted by.
    pub meters: Option<Meters>,
}

/// A site, compiled.
#[derive(Debug)]
pub struct SiteTerms {
    /// Its settings.
    pub settings: Arc<Site>,
    /// What it refuses with.
    pub answers: SiteAnswers,
    /// What it forwards to.
    pub origin: Arc<Origin>,
}

impl Terms {
    /// Whether a site of these terms still leads to the server.
    pub(super) fn leads_to(&self, endpoint: &Endpoint) -> bool {
        self.sites
            .iter()
            .any(|site| site.origin.servers().iter().any(|server| **server == *endpoint))
    }
}

/// What every response carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHeaders {
    request_id: bool,
    added: Vec<(HeaderName, HeaderValue)>,
}

impl ResponseHeaders {
    /// As configured.
    pub fn new(settings: &settings::Headers) -> Self {
        Self {
            request_id: settings.request_id,
            added: settings.response.clone(),
        }
    }

    /// Adds what the response does not have. Its request id is ours or none: a response that is told from others by having
    /// the origin's would show that it came from there.
    pub(super) fn dress(&self, headers: &mut HeaderMap, id: &HeaderValue) {
        for (name, value) in &self.added {
            if !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        match self.request_id {
            true => headers.insert(X_REQUEST_ID, id.clone()),
            false => headers.remove(X_REQUEST_ID),
        };
    }
}
