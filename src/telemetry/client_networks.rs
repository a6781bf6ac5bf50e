//! Which client networks came, and which of them were refused: before a reload that is to be confirmed, and since.
//!
//! Counted are networks (an IPv4 /24, an IPv6 /48), not requests: one client that floods a new block is one network. And only
//! networks that came both before the reload and after it: who appears with the reload, however many they are, counts for
//! nothing. What a network is known by is a hash with a key of this process, so that nobody can choose networks that share a
//! place.
//!
//! Each worker writes bitmaps of its own; whoever asks puts them together. Off, a request costs one look at a flag.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
};

use super::metrics::WorkerIndex;

/// Bits of a set: among a hundred thousand networks every second one shares its bit, and shares are still right.
const BITS: usize = 1 << 17;
const WORDS: usize = BITS / 64;
/// Two that take turns before a reload, and one for the time after it.
const SLOTS: usize = 3;

/// The networks of all workers.
#[derive(Debug)]
pub struct ClientNetworks {
    hash: RandomState,
    /// 0: nothing is counted. Else the slot that is written, from 1.
    writing: AtomicU8,
    /// Made when it is first switched on.
    workers: OnceLock<Box<[Slots]>>,
    count: usize,
}

/// One worker's sets.
type Slots = [Sets; SLOTS];

#[derive(Debug)]
struct Sets {
    seen: Box<[AtomicU64]>,
    refused: Box<[AtomicU64]>,
}

impl Sets {
    fn new() -> Self {
        let empty = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Self {
            seen: empty(),
            refused: empty(),
        }
    }

    fn clear(&self) {
        for word in self.seen.iter().chain(&self.refused) {
            word.store(0, Relaxed);
        }
    }
}

/// Networks that came both before and after, and how many of them were refused something then and now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Returning {
    /// How many came again.
    pub networks: u64,
    /// Refused before.
    pub refused_before: u64,
    /// Refused since.
    pub refused_since: u64,
}

impl ClientNetworks {
    /// Of so many workers, counting nothing yet.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            hash: RandomState::new(),
            writing: AtomicU8::new(0),
            workers: OnceLock::new(),
            count: workers,
        })
    }

    /// Notes a client, on its worker.
    #[inline]
    pub fn note(&self, worker: WorkerIndex, client: IpAddr, refused: bool) {
        let slot = self.writing.load(Relaxed);
        if slot != 0 {
            self.write(usize::from(slot - 1), worker, client, refused);
        }
    }

    fn write(&self, slot: usize, worker: WorkerIndex, client: IpAddr, refused: bool) {
        let workers = self.workers.get();
        let Some(sets) = workers
            .and_then(|workers| workers.get(worker.get()))
            .and_then(|slots| slots.get(slot))
        else {
            return;
        };
        let hash = self.hash.hash_one(network(client));
        set(&sets.seen, hash);
        if refused {
            set(&sets.refused, hash);
        }
    }

    /// Counts from now on, or goes on counting; `false`: counts nothing.
    pub fn count(&self, on: bool) {
        match (on, self.writing.load(Relaxed)) {
            (true, 0) => {
                self.workers
                    .get_or_init(|| (0..self.count).map(|_| std::array::from_fn(|_| Sets::new())).collect());
                (0..SLOTS).for_each(|slot| self.clear(slot));
                self.writing.store(1, Relaxed);
            }
            (true, _) => {}
            (false, _) => self.writing.store(0, Relaxed),
        }
    }

    /// Whether networks are counted.
    pub fn is_counting(&self) -> bool {
        self.writing.load(Relaxed) != 0
    }

    /// A window is over: the one before the last is forgotten. `before` are the slots that took turns; comes back with the
    /// next turn.
    pub fn turn(&self, before: Turns) -> Turns {
        let next = Turns {
            current: before.previous,
            previous: before.current,
            since: before.since,
        };
        self.write_to(next.current);
        next
    }

    /// A reload that is to be confirmed takes effect: what comes now is counted apart.
    pub fn begin(&self, turns: Turns) {
        self.write_to(turns.since);
    }

    /// It was confirmed: what came since is what came before from now on.
    pub fn confirmed(&self, turns: Turns) -> Turns {
        let next = Turns {
            current: turns.previous,
            previous: turns.since,
            since: turns.current,
        };
        self.write_to(next.current);
        next
    }

    /// It was taken back: counting goes on where it was.
    pub fn returned(&self, turns: Turns) {
        self.go_on(turns.current);
    }

    /// What came both before and since.
    pub fn returning(&self, turns: Turns) -> Returning {
        let seen = |slot| self.together(slot, |sets| &sets.seen);
        let refused = |slot| self.together(slot, |sets| &sets.refused);
        let before = |of: &dyn Fn(u8) -> Vec<u64>| either(of(turns.current), &of(turns.previous));
        let came_again = both(before(&seen), &seen(turns.since));
        Returning {
            networks: ones(&came_again),
            refused_before: ones(&both(before(&refused), &came_again)),
            refused_since: ones(&both(refused(turns.since), &came_again)),
        }
    }

    fn write_to(&self, slot: u8) {
        self.clear(usize::from(slot));
        self.go_on(slot);
    }

    fn go_on(&self, slot: u8) {
        if self.is_counting() {
            self.writing.store(slot + 1, Relaxed);
        }
    }

    fn clear(&self, slot: usize) {
        let workers = self.workers.get().into_iter().flatten();
        workers.filter_map(|slots| slots.get(slot)).for_each(Sets::clear);
    }

    /// The set of all workers.
    fn together(&self, slot: u8, set: impl Fn(&Sets) -> &[AtomicU64]) -> Vec<u64> {
        let workers = self.workers.get().into_iter().flatten();
        let mut all = vec![0; WORDS];
        for sets in workers.filter_map(|slots| slots.get(usize::from(slot))) {
            for (all, word) in all.iter_mut().zip(set(sets)) {
                *all |= word.load(Relaxed);
            }
        }
        all
    }
}

/// Which slots are for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    current: u8,
    previous: u8,
    since: u8,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            current: 0,
            previous: 1,
            since: 2,
        }
    }
}

/// What clients are counted as: an IPv4 /24, an IPv6 /48.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        // The 48 bits, apart from every IPv4 network.
        IpAddr::V6(v6) => 1 << 63 | (v6.to_bits() >> 80) as u64,
    }
}

/// Only the worker itself writes its words: a look first keeps the line from being written to for nothing.
fn set(words: &[AtomicU64], hash: u64) {
    let at = hash as usize % BITS;
    if let Some(word) = words.get(at / 64) {
        let (bit, old) = (1 << (at % 64), word.load(Relaxed));
        if old & bit == 0 {
            word.store(old | bit, Relaxed);
        }
    }
}

fn both(mut a: Vec<u64>, b: &[u64]) -> Vec<u64> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a &= b);
    a
}

fn either(mut a: Vec<u64>, b: &[u64]) -> Vec<u64> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
    a
}

fn ones(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(network: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + (network << 8) + 7).to_be_bytes())
    }

    fn counting() -> Arc<ClientNetworks> {
        let networks = ClientNetworks::new(2);
        networks.count(true);
        networks
    }

    fn note(networks: &ClientNetworks, range: std::ops::Range<u32>, refused: bool) {
        for network in range {
            networks.note(WorkerIndex::new((network % 2) as usize), v4(network), refused);
        }
    }

    #[test]
    fn networks_that_came_before_and_come_again_are_told_apart_from_new_ones() {
        let (networks, turns) = (counting(), Turns::default());
        note(&networks, 0..100, false);
        note(&networks, 90..100, true);
        networks.begin(turns);
        note(&networks, 0..60, true);
        note(&networks, 60..80, false);
        // A flood of networks that nobody saw before.
        note(&networks, 1_000..1_200, true);
        let found = networks.returning(turns);
        let near = |found: u64, expected: u64| found.abs_diff(expected) <= 3;
        assert!(near(found.networks, 80), "{found:?}");
        assert!(near(found.refused_since, 60), "{found:?}");
        assert!(found.refused_before <= 3, "{found:?}");
    }

    #[test]
    fn a_network_counts_once_however_many_of_its_clients_come() {
        let (networks, turns) = (counting(), Turns::default());
        let clients = (0..=255).map(|last| IpAddr::from([192, 0, 2, last]));
        clients
            .clone()
            .for_each(|client| networks.note(WorkerIndex::new(0), client, false));
        networks.begin(turns);
        clients.for_each(|client| networks.note(WorkerIndex::new(1), client, true));
        let found = networks.returning(turns);
        assert_eq!((found.networks, found.refused_since), (1, 1));
    }

    #[test]
    fn windows_take_turns_and_a_return_goes_on_where_it_was() {
        let (networks, turns) = (counting(), Turns::default());
        note(&networks, 0..10, false);
        let turns = networks.turn(turns);
        networks.begin(turns);
        note(&networks, 0..10, true);
        assert_eq!(networks.returning(turns).networks, 10);
        networks.returned(turns);
        let turns = networks.turn(networks.turn(turns));
        networks.begin(turns);
        note(&networks, 0..10, true);
        assert_eq!(networks.returning(turns).networks, 0, "two windows ago");
        let turns = networks.confirmed(turns);
        networks.begin(turns);
        note(&networks, 0..10, true);
        assert_eq!(networks.returning(turns).refused_before, 10);
    }

    #[test]
    fn off_it_counts_nothing() {
        let networks = ClientNetworks::new(1);
        note(&networks, 0..10, false);
        networks.begin(Turns::default());
        assert!(!networks.is_counting());
        assert_eq!(networks.returning(Turns::default()), Returning::default());
    }
}
