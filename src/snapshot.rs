//! Everything compiled from one load of the configuration, immutable; and the handle to the one in force.

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Cache};

use crate::{
    config::{
        files::OnDisk,
        settings::{Settings, Site},
    },
    gateway::{headers::HeaderPolicy, refusal::SiteAnswers, sites::SiteTable},
    geo::Geo,
    policy::{client::ClientIpSettings, fault::Source, policy::Policy, rule::Timestamp},
    tls::CertificateStore,
    upstream::origin::Origin,
};

/// Everything compiled from one load. A request takes it once and finishes under it.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the loads since start, from 1.
    pub generation: u64,
    /// When it was loaded.
    pub loaded: Timestamp,
    /// `portcullis.toml` as it means.
    pub settings: Settings,
    /// The rules and the lists.
    pub policy: Policy,
    /// What compiling them took.
    pub compiled_in: Duration,
    /// Which of `sites` a host leads to.
    pub site_table: SiteTable,
    /// The sites, in written order: what [`SiteTable`] gives is an index into these.
    pub sites: Vec<Arc<CompiledSite>>,
    /// The answers to requests that no site can be found for.
    pub no_site: SiteAnswers,
    /// Which proxies are believed.
    pub client_ip: ClientIpSettings,
    /// What is removed from and added to requests.
    pub headers: HeaderPolicy,
    /// What is known of addresses.
    pub geo: Arc<Geo>,
    /// What clients are shown in handshakes.
    pub certificates: Arc<CertificateStore>,
    /// The files that it was made of.
    pub on_disk: OnDisk,
}

impl Snapshot {
    /// The origins that sites lead to; one that several lead to, several times.
    pub fn origins(&self) -> impl Iterator<Item = &Arc<Origin>> {
        self.sites.iter().map(|site| &site.origin)
    }
}

/// A site, ready to serve.
#[derive(Debug)]
pub struct CompiledSite {
    /// As configured.
    pub settings: Arc<Site>,
    /// Where its requests go.
    pub origin: Arc<Origin>,
    /// What its refusals look like.
    pub answers: SiteAnswers,
    /// The texts of its own page and document, to tell whether they changed.
    pub pages: [Option<Arc<Source>>; 2],
}

/// The handle to the snapshot in force. Cheap to clone; all clones see a swap at once.
#[derive(Debug, Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// Starts with this one.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// A handle for one worker's requests.
    pub fn cached(&self) -> Cached {
        Cached(Cache::new(Arc::clone(&self.0)))
    }

    /// The snapshot of the moment, without a lock.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another in force. Who took the old one keeps it.
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.restore(Arc::new(snapshot))
    }

    /// Puts one in force again that was kept.
    pub fn restore(&self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.0.swap(snapshot)
    }
}

/// A worker's own hold of the snapshot in force. Asking for it writes nothing that workers share, not even a count of
/// references: a request on one core costs those on others nothing.
#[derive(Debug)]
pub struct Cached(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl Cached {
    /// The snapshot of the moment: once per request.
    pub fn load(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}
