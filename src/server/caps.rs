//! How many connections there may be at once: in all, and from one client network.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipnet::IpNet;

use crate::config::settings::{Limits, client_network};

/// Locks over which client networks are spread, so that accepting on one core rarely waits for another.
const SHARDS: usize = 16;

/// The connections of all workers. One entry a connected network, gone with its last connection: the memory is bounded by
/// the cap on all connections.
#[derive(Debug)]
pub struct ConnectionCaps {
    total: AtomicUsize,
    networks: [Mutex<HashMap<IpNet, usize>>; SHARDS],
    hasher: RandomState,
}

/// Which cap a connection ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverCap {
    /// `limits.connections`
    Total,
    /// `limits.connections_per_client`
    Client,
}

impl OverCap {
    /// The name of the limit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "connections",
            Self::Client => "connections_per_client",
        }
    }
}

impl Default for ConnectionCaps {
    fn default() -> Self {
        Self {
            total: AtomicUsize::new(0),
            networks: Default::default(),
            hasher: RandomState::new(),
        }
    }
}

impl ConnectionCaps {
    /// Connections open now.
    pub fn open(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts a connection in all.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub fn admit(self: &Arc<Self>, limits: &Limits) -> Result<TotalPermit, OverCap> {
        let permit = TotalPermit(Arc::clone(self));
        if self.total.fetch_add(1, Ordering::Relaxed) < limits.connections {
            Ok(permit)
        } else {
            Err(OverCap::Total)
        }
    }

    /// Counts a connection of this source's network.
    ///
    /// # Errors
    /// When the network has as many as it may have.
    pub fn admit_client(self: &Arc<Self>, source: IpAddr, limits: &Limits) -> Result<ClientPermit, OverCap> {
        let network = client_network(source);
        let mut networks = self.shard(network).lock().unwrap_or_else(PoisonError::into_inner);
        let count = networks.entry(network).or_insert(0);
        if *count >= limits.connections_per_client {
            return Err(OverCap::Client);
        }
        *count += 1;
        Ok(ClientPermit {
            caps: Arc::clone(self),
            network,
        })
    }

    fn shard(&self, network: IpNet) -> &Mutex<HashMap<IpNet, usize>> {
        let hash = self.hasher.hash_one(network);
        &self.networks[hash as usize % SHARDS]
    }
}

/// A connection counted among all; dropping it gives the place back.
#[derive(Debug)]
pub struct TotalPermit(Arc<ConnectionCaps>);

impl Drop for TotalPermit {
    fn drop(&mut self) {
        self.0.total.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection counted for its client network; dropping it gives the place back.
#[derive(Debug)]
pub struct ClientPermit {
    caps: Arc<ConnectionCaps>,
    network: IpNet,
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let mut networks = self
            .caps
            .shard(self.network)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = networks.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&self.network);
            }
        }
    }
}
