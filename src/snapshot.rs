//! Everything compiled from one load of the configuration, immutable; and the handle to the one in force.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{config::settings::Settings, geo::Geo, tls::CertificateStore};

/// Everything compiled from one load. A request takes it once and finishes under it.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the loads since start, from 1.
    pub generation: u64,
    /// `portcullis.toml` as it means.
    pub settings: Settings,
    /// What is known of addresses.
    pub geo: Arc<Geo>,
    /// What clients are shown in handshakes.
    pub certificates: Arc<CertificateStore>,
}

/// The handle to the snapshot in force. Cheap to clone; all clones see a swap at once.
#[derive(Debug, Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    /// Starts with this one.
    pub fn new(snapshot: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(snapshot)))
    }

    /// The snapshot of the moment: once per request, and no lock.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another in force. Who took the old one keeps it.
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        self.0.swap(Arc::new(snapshot))
    }
}
