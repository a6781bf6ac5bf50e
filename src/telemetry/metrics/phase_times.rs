//! What each phase of the evaluation takes, measured on a sample of requests: a clock read between phases would cost more
//! than many a phase.

use std::time::{Duration, Instant};

use super::{
    Metrics, WorkerIndex,
    cells::Histogram,
    exposition::{Exposition, Kind},
};
use crate::policy::{phases::Laps, rule::Phase};

/// One request in so many is measured, the first of each worker among them.
pub const SAMPLED_REQUESTS: u32 = 64;

const PHASES: [&str; 5] = ["ip_access", "rule", "lockdown", "user_agent", "hotlink"];

static BOUNDS: [Duration; 12] = [
    Duration::from_nanos(50),
    Duration::from_nanos(100),
    Duration::from_nanos(200),
    Duration::from_nanos(400),
    Duration::from_nanos(800),
    Duration::from_nanos(1_600),
    Duration::from_micros(4),
    Duration::from_micros(10),
    Duration::from_micros(40),
    Duration::from_micros(160),
    Duration::from_millis(1),
    Duration::from_millis(10),
];

/// A stopwatch for the phases of one request.
#[derive(Debug)]
pub struct PhaseTimes {
    last: Instant,
    took: [Option<Duration>; PHASES.len()],
}

impl PhaseTimes {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            last: Instant::now(),
            took: [None; PHASES.len()],
        }
    }
}

impl Laps for PhaseTimes {
    fn phase_ended(&mut self, phase: Phase) {
        let now = Instant::now();
        let lap = now.duration_since(std::mem::replace(&mut self.last, now));
        *self.took[index(phase)].get_or_insert_default() += lap;
    }
}

/// The tiers of `ip_access` count as one, as everywhere in metrics.
fn index(phase: Phase) -> usize {
    match phase {
        Phase::IpAccess(_) => 0,
        Phase::Rule => 1,
        Phase::Lockdown => 2,
        Phase::UserAgent => 3,
        Phase::Hotlink => 4,
    }
}

/// The times of each phase.
#[derive(Debug)]
pub(super) struct PhaseHistograms([Histogram; PHASES.len()]);

impl PhaseHistograms {
    pub(super) fn new(workers: usize) -> Self {
        Self(PHASES.map(|_| Histogram::new(workers, &BOUNDS)))
    }

    pub(super) fn render(&self, out: &mut Exposition) {
        out.family(
            "portcullis_phase_duration_seconds",
            Kind::Histogram,
            "What each phase of the evaluation took, of one request in 64.",
        );
        for (phase, histogram) in PHASES.iter().zip(&self.0) {
            out.histogram(&[("phase", phase)], &histogram.distribution());
        }
    }
}

impl Metrics {
    /// Counts what the phases of a sampled request took.
    pub fn phases_took(&self, worker: WorkerIndex, times: &PhaseTimes) {
        for (histogram, took) in self.phase_durations.0.iter().zip(times.took) {
            if let Some(took) = took {
                histogram.observe(worker, took);
            }
        }
    }
}
