//! What is timed. Each measure gives series of raw rounds by name.

pub mod agents;
pub mod listed;
pub mod mixed;
pub mod others;

use std::time::Duration;

/// How long a contestant's turn is.
pub const TURN: Duration = Duration::from_millis(20);
