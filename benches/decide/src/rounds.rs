//! Contestants take turns in rounds, so that a noisy second hits them all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What is timed: a pass does its work once, and says of how many decisions that was.
pub struct Contestant<'c> {
    name: String,
    pass: Box<dyn FnMut() -> usize + 'c>,
    /// Enough passes to be timed well.
    passes: u32,
    /// Nanoseconds a decision, one entry a round.
    rounds: Vec<f64>,
}

impl<'c> Contestant<'c> {
    /// Measured under this name.
    pub fn new(name: impl Into<String>, pass: impl FnMut() -> usize + 'c) -> Self {
        Self {
            name: name.into(),
            pass: Box::new(pass),
            passes: 1,
            rounds: Vec::new(),
        }
    }

    /// Warms up, and finds how many passes take `turn`.
    fn calibrate(&mut self, turn: Duration) {
        let start = Instant::now();
        let mut passes = 0;
        while passes == 0 || start.elapsed() < turn {
            (self.pass)();
            passes += 1;
        }
        self.passes = passes;
    }

    fn take_turn(&mut self) {
        let start = Instant::now();
        let decisions: usize = (0..self.passes).map(|_| (self.pass)()).sum();
        let elapsed = start.elapsed();
        self.rounds.push(elapsed.as_nanos() as f64 / decisions as f64);
    }
}

/// Lets all contestants take turns of this length; another one begins each round. Gives one series each.
pub fn interleaved(mut contestants: Vec<Contestant<'_>>, rounds: usize, turn: Duration) -> Vec<Value> {
    contestants.iter_mut().for_each(|contestant| contestant.calibrate(turn));
    for round in 0..rounds {
        let count = contestants.len();
        for n in 0..count {
            contestants[(round + n) % count].take_turn();
        }
    }
    let series =
        |contestant: Contestant<'_>| json!({ "name": contestant.name, "unit": "ns", "rounds": contestant.rounds });
    contestants.into_iter().map(series).collect()
}
