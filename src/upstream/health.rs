//! What all workers know of one address of a server: whether it is to be asked at the moment, and what was counted of it.
//!
//! On a request's path these are reads of values that hardly ever change, so no cache line wanders between cores. They are
//! written when a server fails, comes back, or changes its state. What is counted for every request is counted by each
//! worker for itself. Time is an argument.

use std::{
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use tokio::time::Instant;

use super::balance::WHOLE;
use crate::config::settings::{Ejection, HealthCheck};

/// One address of a server, as all workers see it.
#[derive(Debug)]
pub(super) struct Health {
    /// What milliseconds below are counted from.
    base: Instant,
    /// Failures in a row.
    failures: AtomicU32,
    /// Before this millisecond it is left out, after it its share grows; 0: it was never out.
    back_at: AtomicU64,
    /// Whether it failed so many checks that it is left out.
    is_failing_checks: AtomicBool,
    /// Ejections that followed one upon another, and the end of the last one.
    streak: AtomicU32,
    last_end: AtomicU64,
    /// Checks in a row with the same result. Only the checks write it.
    checks_passed: AtomicU32,
    checks_failed: AtomicU32,
    shares: Mutex<Vec<(ThreadId, Arc<Share>)>>,
}

/// How an address is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It is asked.
    Healthy,
    /// It is back and gets a growing share.
    Starting,
    /// It failed requests and is left out for so long.
    Ejected(Duration),
    /// It fails its checks and is left out.
    Failing,
}

/// What a check changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    Healthy,
    Failing,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            base: now,
            failures: AtomicU32::new(0),
            back_at: AtomicU64::new(0),
            is_failing_checks: AtomicBool::new(false),
            streak: AtomicU32::new(0),
            last_end: AtomicU64::new(0),
            checks_passed: AtomicU32::new(0),
            checks_failed: AtomicU32::new(0),
            shares: Mutex::default(),
        }
    }

    /// Its share of requests, in parts of [`WHOLE`]; `None`: it is left out.
    pub(super) fn weight(&self, now: Instant, slow_start: Option<Duration>) -> Option<u32> {
        if self.is_failing_checks.load(Relaxed) {
            return None;
        }
        let back_at = self.back_at.load(Relaxed);
        if back_at == 0 {
            return Some(WHOLE);
        }
        let since = self.milliseconds(now).checked_sub(back_at)?;
        let slow = slow_start.map_or(0, milliseconds);
        match since < slow {
            true => Some(u32::try_from(since * u64::from(WHOLE) / slow).unwrap_or(WHOLE).max(1)),
            false => Some(WHOLE),
        }
    }

    pub(super) fn state(&self, now: Instant, slow_start: Option<Duration>) -> State {
        if self.is_failing_checks.load(Relaxed) {
            return State::Failing;
        }
        let left = self.back_at.load(Relaxed).saturating_sub(self.milliseconds(now));
        match (left, self.weight(now, slow_start)) {
            (0, Some(WHOLE) | None) => State::Healthy,
            (0, Some(_)) => State::Starting,
            (left, _) => State::Ejected(Duration::from_millis(left)),
        }
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// It failed a request. Says for how long it is left out if that was one too many.
    ///
    /// Failures of one client's making (a page that takes too long, an answer that is none) lead here too: that is why only
    /// failures in a row count, any answer ends the row, and a server that is left out comes back by itself.
    pub(super) fn failed(&self, now: Instant, ejection: Option<Ejection>) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        let ejection = ejection.filter(|ejection| failures >= ejection.after)?;
        let now = self.milliseconds(now);
        let back_at = self.back_at.load(Relaxed);
        if back_at > now {
            return None;
        }
        let (time, longest) = (milliseconds(ejection.time), milliseconds(ejection.longest));
        // Who was back for the longest time without being ejected has made up for it.
        let is_soon = self.last_end.load(Relaxed).saturating_add(longest) > now;
        let streak = if is_soon { self.streak.load(Relaxed) } else { 0 };
        let time = time.saturating_mul(1 << streak.min(MOST_DOUBLINGS)).min(longest);
        let end = now + time;
        // Of several workers that see the same server fail, one ejects it.
        self.back_at.compare_exchange(back_at, end, Relaxed, Relaxed).ok()?;
        self.last_end.store(end, Relaxed);
        self.streak.store(streak + 1, Relaxed);
        Some(Duration::from_millis(time))
    }

    /// It answered.
    pub(super) fn answered(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// It answered a request for which it was asked although it was left out, since nobody else was left: it is back.
    pub(super) fn brought_back(&self, now: Instant) {
        let (now, back_at) = (self.milliseconds(now), self.back_at.load(Relaxed));
        if back_at > now {
            // Another worker that got here first says the same.
            let _same = self.back_at.compare_exchange(back_at, now, Relaxed, Relaxed);
        }
    }

    /// A check of it ended.
    pub(super) fn checked(&self, has_passed: bool, check: &HealthCheck, now: Instant) -> Option<Turned> {
        let (same, other) = match has_passed {
            true => (&self.checks_passed, &self.checks_failed),
            false => (&self.checks_failed, &self.checks_passed),
        };
        other.store(0, Relaxed);
        let in_row = same.load(Relaxed).saturating_add(1);
        same.store(in_row, Relaxed);
        let is_failing = self.is_failing_checks.load(Relaxed);
        if has_passed && is_failing && in_row >= check.healthy_after {
            self.back_at.fetch_max(self.milliseconds(now), Relaxed);
            self.failures.store(0, Relaxed);
            self.is_failing_checks.store(false, Relaxed);
            Some(Turned::Healthy)
        } else if !has_passed && !is_failing && in_row >= check.unhealthy_after {
            self.is_failing_checks.store(true, Relaxed);
            Some(Turned::Failing)
        } else {
            None
        }
    }

    /// No checks are made any more: what they said last holds no longer.
    pub(super) fn unchecked(&self) {
        self.checks_passed.store(0, Relaxed);
        self.checks_failed.store(0, Relaxed);
        self.is_failing_checks.store(false, Relaxed);
    }

    /// What this thread counts of it. Each thread has its own, for as long as this lives.
    pub(super) fn counted(&self) -> Counted {
        let me = thread::current().id();
        let mut shares = self.shares();
        let known = shares.iter().find(|(thread, _)| *thread == me);
        let share = match known {
            Some((_, share)) => Arc::clone(share),
            None => {
                let share = Arc::<Share>::default();
                shares.push((me, Arc::clone(&share)));
                share
            }
        };
        Counted(Rc::new(share))
    }

    /// Requests under way, of all workers.
    pub(super) fn in_flight(&self) -> u64 {
        self.shares()
            .iter()
            .map(|(_, share)| u64::from(share.in_flight.load(Relaxed)))
            .sum()
    }

    /// Requests ever sent, of all workers.
    pub(super) fn requests(&self) -> u64 {
        self.shares()
            .iter()
            .map(|(_, share)| share.requests.load(Relaxed))
            .sum()
    }

    fn shares(&self) -> MutexGuard<'_, Vec<(ThreadId, Arc<Share>)>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never 0, which means never.
    fn milliseconds(&self, now: Instant) -> u64 {
        milliseconds(now.saturating_duration_since(self.base)) + 1
    }
}

/// Beyond it every ejection is the longest.
const MOST_DOUBLINGS: u32 = 20;

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

/// What one thread counts of an address, on a cache line of its own. Only that thread writes it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Share {
    in_flight: AtomicU32,
    requests: AtomicU64,
}

/// The hand that counts. Stays on its thread, as its guards do.
#[derive(Debug, Clone)]
#[expect(
    clippy::redundant_allocation,
    reason = "cloned for every request: a count of references on this thread costs no bus, the shared one does"
)]
pub(super) struct Counted(Rc<Arc<Share>>);

impl Counted {
    /// Requests that this thread has under way.
    pub(super) fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Relaxed)
    }

    /// Counts a request as under way until the guard is dropped.
    pub(super) fn begin(&self) -> InFlight {
        // One writer: a load and a store do, without the bus.
        let Share { in_flight, requests } = &**self.0;
        in_flight.store(in_flight.load(Relaxed).wrapping_add(1), Relaxed);
        requests.store(requests.load(Relaxed).wrapping_add(1), Relaxed);
        InFlight(self.clone())
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight(Counted);

impl Drop for InFlight {
    fn drop(&mut self) {
        let in_flight = &self.0.0.in_flight;
        in_flight.store(in_flight.load(Relaxed).wrapping_sub(1), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const EJECTION: Ejection = Ejection {
        after: 3,
        time: Duration::from_secs(10),
        longest: Duration::from_secs(35),
    };
    const SLOW: Option<Duration> = Some(Duration::from_secs(10));

    fn check() -> HealthCheck {
        HealthCheck {
            path: "/".to_owned(),
            host: None,
            interval: SECOND,
            timeout: SECOND,
            status: Vec::new(),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }

    fn checks(health: &Health, have_passed: bool, count: usize, now: Instant) {
        for _ in 0..count {
            let _turned = health.checked(have_passed, &check(), now);
        }
    }

    /// Fails until it is ejected, and says for how long.
    fn eject(health: &Health, now: Instant) -> Duration {
        let mut failures = std::iter::repeat_with(|| health.failed(now, Some(EJECTION)));
        failures.by_ref().take(3).flatten().next().expect("too many failures")
    }

    #[test]
    fn failures_in_a_row_eject_and_an_answer_ends_the_row() {
        let now = Instant::now();
        let health = Health::new(now);
        for _ in 0..5 {
            assert_eq!(health.failed(now, Some(EJECTION)), None);
            assert_eq!(health.failed(now, Some(EJECTION)), None);
            health.answered();
        }
        assert_eq!(health.state(now, SLOW), State::Healthy);
        assert_eq!(eject(&health, now), 10 * SECOND);
        assert_eq!(health.state(now, SLOW), State::Ejected(10 * SECOND));
        assert_eq!(health.weight(now + 9 * SECOND, SLOW), None);
    }

    #[test]
    fn without_ejection_nobody_is_left_out() {
        let now = Instant::now();
        let health = Health::new(now);
        assert!((0..100).all(|_| health.failed(now, None).is_none()));
        assert_eq!((health.failures(), health.state(now, SLOW)), (100, State::Healthy));
    }

    #[test]
    fn who_comes_back_gets_a_growing_share() {
        let now = Instant::now();
        let health = Health::new(now);
        eject(&health, now);
        let weights = [10, 11, 15, 19, 20, 99].map(|after| health.weight(now + after * SECOND, SLOW));
        assert_eq!(weights, [Some(1), Some(10), Some(50), Some(90), Some(100), Some(100)]);
        assert_eq!(health.weight(now + 10 * SECOND, None), Some(WHOLE));
        assert_eq!(health.state(now + 11 * SECOND, SLOW), State::Starting);
        assert_eq!(health.state(now + 20 * SECOND, SLOW), State::Healthy);
    }

    #[test]
    fn who_fails_again_is_left_out_twice_as_long_up_to_the_longest() {
        let now = Instant::now();
        let health = Health::new(now);
        let mut at = now;
        for expected in [10, 20, 35, 35] {
            let time = eject(&health, at);
            assert_eq!(time, expected * SECOND);
            at += time;
        }
        // Not a single answer between: the first failure is one too many.
        assert_eq!(health.failed(at, Some(EJECTION)), Some(35 * SECOND));
    }

    #[test]
    fn who_was_well_for_the_longest_time_begins_anew() {
        let now = Instant::now();
        let health = Health::new(now);
        assert_eq!(eject(&health, now), 10 * SECOND);
        let later = now + 45 * SECOND;
        health.answered();
        assert_eq!(eject(&health, later), 10 * SECOND);
    }

    #[test]
    fn failures_of_requests_that_were_under_way_prolong_nothing() {
        let now = Instant::now();
        let health = Health::new(now);
        eject(&health, now);
        assert_eq!(health.failed(now + 5 * SECOND, Some(EJECTION)), None);
        assert_eq!(health.state(now + 5 * SECOND, SLOW), State::Ejected(5 * SECOND));
    }

    #[test]
    fn an_answer_brings_back_who_was_asked_although_out() {
        let now = Instant::now();
        let health = Health::new(now);
        eject(&health, now);
        health.answered();
        assert_eq!(health.state(now + SECOND, SLOW), State::Ejected(9 * SECOND));
        health.brought_back(now + SECOND);
        assert_eq!(health.state(now + SECOND, SLOW), State::Starting);
        assert_eq!(health.state(now + SECOND, None), State::Healthy);
    }

    #[test]
    fn checks_leave_out_and_bring_back_after_so_many_in_a_row() {
        let now = Instant::now();
        let health = Health::new(now);
        let mut turned = Vec::new();
        for has_passed in [
            false, false, true, false, false, false, false, true, false, true, true, true,
        ] {
            turned.push(health.checked(has_passed, &check(), now));
        }
        let (failing, healthy) = (Some(Turned::Failing), Some(Turned::Healthy));
        let expected = [
            None, None, None, None, None, failing, None, None, None, None, healthy, None,
        ];
        assert_eq!(turned, expected);
        assert_eq!(health.state(now, SLOW), State::Starting);
    }

    #[test]
    fn passing_checks_do_not_shorten_an_ejection() {
        let now = Instant::now();
        let health = Health::new(now);
        checks(&health, false, 3, now);
        eject(&health, now);
        assert_eq!(health.state(now, SLOW), State::Failing);
        checks(&health, true, 2, now);
        assert_eq!(health.state(now, SLOW), State::Ejected(10 * SECOND));
    }

    #[test]
    fn what_checks_said_ends_with_them() {
        let now = Instant::now();
        let health = Health::new(now);
        checks(&health, false, 3, now);
        health.unchecked();
        assert_eq!(health.state(now, SLOW), State::Healthy);
    }

    #[test]
    fn threads_count_for_themselves_and_are_summed() {
        let health = Health::new(Instant::now());
        let mine = health.counted();
        let _first = mine.begin();
        drop(mine.begin());
        thread::scope(|scope| {
            scope.spawn(|| {
                let theirs = health.counted();
                let _other = theirs.begin();
                assert_eq!((theirs.in_flight(), health.in_flight()), (1, 2));
            });
        });
        assert_eq!((mine.in_flight(), health.in_flight(), health.requests()), (1, 1, 3));
        assert_eq!(health.counted().in_flight(), 1, "a thread has one share");
    }
}
