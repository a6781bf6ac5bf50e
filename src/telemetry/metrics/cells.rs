//! Numbers that every worker counts for itself. A scrape sums them.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Which worker counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerIndex(usize);

impl WorkerIndex {
    /// The worker of this number, from 0.
    pub fn new(index: usize) -> Self {
        Self(index)
    }

    pub(in crate::telemetry) fn get(self) -> usize {
        self.0
    }
}

/// A cell a worker, each on a cache line of its own, so that counting never moves a line between cores.
#[derive(Debug)]
struct Sharded<T>(Box<[CacheLine<T>]>);

#[derive(Debug, Default)]
#[repr(align(64))]
struct CacheLine<T>(T);

impl<T: Default> Sharded<T> {
    fn new(workers: usize) -> Self {
        Self((0..workers.max(1)).map(|_| CacheLine::default()).collect())
    }

    /// Threads that are no workers count with one of them.
    fn of(&self, worker: WorkerIndex) -> Option<&T> {
        self.0.get(worker.0 % self.0.len()).map(|line| &line.0)
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }
}

/// A number that only grows.
#[derive(Debug)]
pub struct Counter(Sharded<AtomicU64>);

impl Counter {
    pub(super) fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    /// Counts one.
    pub fn add(&self, worker: WorkerIndex) {
        if let Some(cell) = self.0.of(worker) {
            cell.fetch_add(1, Relaxed);
        }
    }

    /// All workers' count.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|cell| cell.load(Relaxed)).sum()
    }
}

/// A number that goes up and down.
#[derive(Debug)]
pub struct Gauge(Sharded<AtomicI64>);

impl Gauge {
    pub(super) fn new(workers: usize) -> Self {
        Self(Sharded::new(workers))
    }

    pub(super) fn change(&self, worker: WorkerIndex, by: i64) {
        if let Some(cell) = self.0.of(worker) {
            cell.fetch_add(by, Relaxed);
        }
    }

    /// The sum over all workers.
    pub fn value(&self) -> i64 {
        self.0.iter().map(|cell| cell.load(Relaxed)).sum()
    }
}

/// The most bounds that a histogram has.
const MAX_BOUNDS: usize = 15;

/// How long something took.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    cells: Sharded<HistogramCell>,
}

#[derive(Debug, Default)]
struct HistogramCell {
    /// One a bound, and one for all that is above the last.
    buckets: [AtomicU64; MAX_BOUNDS + 1],
    nanoseconds: AtomicU64,
}

/// A histogram's numbers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Distribution {
    /// Each bound, and how many took at most as long.
    pub(super) buckets: Vec<(Duration, u64)>,
    pub(super) count: u64,
    pub(super) sum: Duration,
}

impl Histogram {
    /// `bounds` ascend, at most fifteen of them.
    pub(super) fn new(workers: usize, bounds: &'static [Duration]) -> Self {
        Self {
            bounds: bounds.get(..MAX_BOUNDS).unwrap_or(bounds),
            cells: Sharded::new(workers),
        }
    }

    /// Counts one that took so long.
    pub fn observe(&self, worker: WorkerIndex, took: Duration) {
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        let Some(cell) = self.cells.of(worker) else { return };
        if let Some(bucket) = cell.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        cell.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    pub(super) fn distribution(&self) -> Distribution {
        let in_bucket = |at: usize| -> u64 {
            let cells = self.cells.iter().filter_map(|cell| cell.buckets.get(at));
            cells.map(|bucket| bucket.load(Relaxed)).sum()
        };
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (at, bound) in self.bounds.iter().enumerate() {
            count += in_bucket(at);
            buckets.push((*bound, count));
        }
        let nanoseconds = self.cells.iter().map(|cell| cell.nanoseconds.load(Relaxed)).sum();
        Distribution {
            count: count + in_bucket(self.bounds.len()),
            buckets,
            sum: Duration::from_nanos(nanoseconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_count_for_themselves_and_are_summed() {
        let counter = Counter::new(2);
        for worker in [0, 1, 1, 7] {
            counter.add(WorkerIndex::new(worker));
        }
        assert_eq!(counter.total(), 4);
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        static BOUNDS: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(10)];
        let histogram = Histogram::new(2, &BOUNDS);
        for (worker, took) in [(0, 500), (1, 1000), (0, 1001), (1, 50_000)] {
            histogram.observe(WorkerIndex::new(worker), Duration::from_micros(took));
        }
        assert_eq!(
            histogram.distribution(),
            Distribution {
                buckets: vec![(BOUNDS[0], 2), (BOUNDS[1], 3)],
                count: 4,
                sum: Duration::from_micros(52_501),
            }
        );
    }
}
