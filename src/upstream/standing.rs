//! What all workers know of one server of an upstream, whatever addresses it has: it outlives the snapshot, so that a
//! reload forgets nothing of a server that stays.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::time::Instant;

use super::{health::Health, origin::Endpoint};
use crate::config::settings::Server;

/// Addresses of one server that are remembered though nobody uses them: a name server that answers with another few of many
/// each time must not make an ejection forgotten, nor the memory endless.
const MOST_REMEMBERED: usize = 64;

/// One server of an upstream, as all workers see it.
#[derive(Debug)]
pub(super) struct Standing {
    /// By address; the demo has none. Asked for when addresses change, not when requests come.
    addresses: Mutex<BTreeMap<Option<SocketAddr>, Arc<Health>>>,
    /// Whether the server is written as an address, which it then always has.
    is_fixed: bool,
    /// Requests to addresses that are forgotten.
    forgotten: AtomicU64,
    pub(super) counts: Counts,
}

/// What happened to a server since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Failed requests.
    pub(super) failures: AtomicU64,
    pub(super) ejections: AtomicU64,
    pub(super) checks_passed: AtomicU64,
    pub(super) checks_failed: AtomicU64,
}

/// Retries of an upstream since the start.
#[derive(Debug, Default)]
pub(super) struct Retries {
    pub(super) made: AtomicU64,
    /// Not made, because the budget was spent.
    pub(super) refused: AtomicU64,
}

/// Counts one of what happens seldom.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Standing {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        // What is written as an address is known, and shown, before the first request.
        let written = match endpoint.server() {
            Server::Http { host, port } | Server::Https { host, port } => {
                let address = host.parse::<IpAddr>().ok();
                address.map(|address| Some(SocketAddr::new(address, *port)))
            }
            Server::Demo => Some(None),
        };
        let standing = Self {
            addresses: Mutex::default(),
            is_fixed: written.is_some(),
            forgotten: AtomicU64::new(0),
            counts: Counts::default(),
        };
        if let Some(address) = written {
            standing.health(address);
        }
        standing
    }

    /// What is known of an address, from now on at the latest.
    pub(super) fn health(&self, address: Option<SocketAddr>) -> Arc<Health> {
        let mut addresses = self.addresses();
        if addresses.len() >= MOST_REMEMBERED && !addresses.contains_key(&address) {
            addresses.retain(|_, health| {
                let is_used = Arc::strong_count(health) > 1;
                if !is_used {
                    self.forgotten.fetch_add(health.requests(), Relaxed);
                }
                is_used
            });
        }
        let health = addresses
            .entry(address)
            .or_insert_with(|| Arc::new(Health::new(Instant::now())));
        Arc::clone(health)
    }

    /// The addresses that are in use: that workers send requests to, or that are checked.
    pub(super) fn in_use(&self) -> Vec<(Option<SocketAddr>, Arc<Health>)> {
        let addresses = self.addresses();
        let used = addresses
            .iter()
            .filter(|(_, health)| self.is_fixed || Arc::strong_count(health) > 1);
        used.map(|(address, health)| (*address, Arc::clone(health))).collect()
    }

    /// Requests under way, also to addresses that are not used for others any more.
    pub(super) fn in_flight(&self) -> u64 {
        self.addresses().values().map(|health| health.in_flight()).sum()
    }

    /// Requests ever sent to it.
    pub(super) fn requests(&self) -> u64 {
        let addresses = self.addresses();
        let known: u64 = addresses.values().map(|health| health.requests()).sum();
        known + self.forgotten.load(Relaxed)
    }

    /// No checks are made any more.
    pub(super) fn unchecked(&self) {
        self.addresses().values().for_each(|health| health.unchecked());
    }

    fn addresses(&self) -> MutexGuard<'_, BTreeMap<Option<SocketAddr>, Arc<Health>>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tests::endpoint;

    fn standing(host: &str) -> Standing {
        Standing::new(&endpoint(host, 80))
    }

    fn address(last: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([192, 0, 2, 1], last)))
    }

    #[test]
    fn what_is_written_as_an_address_is_known_from_the_start() {
        assert_eq!(standing("192.0.2.1").in_use().len(), 1);
        assert_eq!(standing("app.test").in_use().len(), 0);
    }

    #[test]
    fn an_address_that_comes_back_is_the_one_that_it_was() {
        let standing = standing("app.test");
        standing.health(address(1)).failed(Instant::now(), None);
        standing.health(address(2));
        assert_eq!(standing.health(address(1)).failures(), 1);
    }

    #[test]
    fn a_name_with_ever_new_addresses_fills_no_memory_and_loses_no_count() {
        let standing = standing("app.test");
        let used = standing.health(address(0));
        for at in 0..1000 {
            drop(standing.health(address(at)).counted().begin());
        }
        assert!(standing.addresses().len() <= MOST_REMEMBERED);
        assert_eq!(standing.in_use().len(), 1);
        assert_eq!(standing.requests(), 1000);
        assert!(Arc::ptr_eq(&used, &standing.health(address(0))));
    }
}
