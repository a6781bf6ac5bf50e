//! How many requests may be asked again: a share of the recent ones, so that retries never double the load of an origin
//! that fails because it has too much of it.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// What counts as recent: the time under way of this length, and the one before it.
const RECENT: Duration = Duration::from_secs(10);
/// Retries that are always allowed in such a time, per worker: with few requests a share of them would be none.
const FLOOR: u64 = 10;

/// One worker's budget for one upstream.
#[derive(Debug)]
pub(super) struct Budget {
    began: Cell<Instant>,
    now: Cell<Spent>,
    before: Cell<Spent>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    requests: u64,
    retries: u64,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: Cell::new(now),
            now: Cell::default(),
            before: Cell::default(),
        }
    }

    /// A request came.
    pub(super) fn request(&self, now: Instant) {
        self.roll(now);
        let spent = self.now.get();
        self.now.set(Spent {
            requests: spent.requests + 1,
            ..spent
        });
    }

    /// Whether one more retry is within `percent` of the recent requests. If so, it is counted.
    pub(super) fn retry(&self, percent: u32, now: Instant) -> bool {
        self.roll(now);
        let (spent, before) = (self.now.get(), self.before.get());
        let allowed = (spent.requests + before.requests) * u64::from(percent) / 100;
        let is_allowed = spent.retries + before.retries < allowed.max(FLOOR);
        if is_allowed {
            self.now.set(Spent {
                retries: spent.retries + 1,
                ..spent
            });
        }
        is_allowed
    }

    fn roll(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.began.get());
        if passed < RECENT {
            return;
        }
        let before = match passed < 2 * RECENT {
            true => self.now.get(),
            false => Spent::default(),
        };
        self.before.set(before);
        self.now.set(Spent::default());
        self.began.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(budget: &Budget, percent: u32, now: Instant) -> usize {
        std::iter::repeat_with(|| budget.retry(percent, now))
            .take(1000)
            .filter(|is_allowed| *is_allowed)
            .count()
    }

    #[test]
    fn a_few_retries_are_always_allowed() {
        let now = Instant::now();
        assert_eq!(retries(&Budget::new(now), 20, now), 10);
    }

    #[test]
    fn many_requests_allow_their_share() {
        let now = Instant::now();
        let budget = Budget::new(now);
        (0..1000).for_each(|_| budget.request(now));
        assert_eq!(retries(&budget, 20, now), 200);
    }

    #[test]
    fn what_is_long_ago_counts_no_more() {
        let start = Instant::now();
        let budget = Budget::new(start);
        (0..1000).for_each(|_| budget.request(start));
        assert_eq!(retries(&budget, 20, start), 200);
        // Not yet: half of what counts is of before.
        assert_eq!(retries(&budget, 20, start + RECENT), 0);
        assert_eq!(retries(&budget, 20, start + 3 * RECENT), 10);
    }
}
