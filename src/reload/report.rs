//! How a reload went, and what became of one that was to be confirmed.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::{error, info, warn};

use crate::{
    config::show,
    differences::Change,
    policy::{
        fault::{Fault, Severity},
        rule::Timestamp,
    },
};

/// So many changes are told in full; all of them are told by name, or counted.
const MOST_TOLD: usize = 50;

/// How a reload went.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whether the new configuration is in force.
    pub result: Outcome,
    /// The generation in force, new or old.
    pub generation: u64,
    /// When it ended.
    pub at: Timestamp,
    /// What is different now, in words; empty after a failure.
    pub changed: Vec<String>,
    /// The same in full.
    pub changes: Vec<Change>,
    /// Keys whose new values wait for a restart.
    pub restart_required: Vec<&'static str>,
    /// Everything that is wrong, or only warned of.
    pub faults: Vec<Fault>,
    /// What becomes of what is in force unless it is confirmed.
    pub unconfirmed: Option<Unconfirmed>,
}

/// Whether a reload took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The new snapshot is in force.
    Loaded,
    /// The old one stays.
    Kept,
}

impl Report {
    /// For the admin socket: one line.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "result": match self.result {
                Outcome::Loaded => "loaded",
                Outcome::Kept => "kept",
            },
            "generation": self.generation,
            "changed": self.changed,
            "changes": self.changes.iter().take(MOST_TOLD).map(Change::json).collect::<Vec<_>>(),
            "told": self.changes.iter().take(MOST_TOLD).flat_map(Change::lines).collect::<Vec<_>>(),
            "restart_required": self.restart_required,
            "unconfirmed": self.unconfirmed.map(|unconfirmed| unconfirmed.json()),
            "faults": self.faults.iter().map(show::json).collect::<Vec<_>>(),
            "shown": show::text(&self.faults, show::Colour::Off),
        })
    }

    pub(super) fn log(&self) {
        for fault in &self.faults {
            let place = fault.place.as_ref().map(ToString::to_string).unwrap_or_default();
            let help = fault.help.join("; ");
            match fault.severity {
                Severity::Error => error!(place, expected = fault.label, help, "{}", fault.message),
                Severity::Warning => warn!(place, expected = fault.label, help, "{}", fault.message),
            }
        }
        let (generation, changed) = (self.generation, self.changed.join("; "));
        let restart_required = self.restart_required.join(", ");
        match self.result {
            Outcome::Loaded => {
                info!(generation, changed, restart_required, "configuration reloaded");
                if let Some(Unconfirmed { returns_to, left, .. }) = self.unconfirmed {
                    let seconds = whole_seconds(left);
                    warn!(
                        generation,
                        returns_to, seconds, "configuration waits for its confirmation"
                    );
                }
            }
            Outcome::Kept => error!(generation, "configuration not reloaded, the old one stays in force"),
        }
    }
}

/// A load in force that nobody has confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unconfirmed {
    /// The generation in force.
    pub generation: u64,
    /// The last confirmed one, which comes back.
    pub returns_to: u64,
    /// After this time.
    pub left: Duration,
}

impl Unconfirmed {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "generation": self.generation,
            "returns_to": self.returns_to,
            "seconds": whole_seconds(self.left),
        })
    }
}

/// A second that has begun counts.
fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// A return to the last confirmed load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The generation that was not confirmed.
    pub from: u64,
    /// The one in force again.
    pub to: u64,
    /// When.
    pub at: Timestamp,
    /// What brought it about.
    pub cause: Cause,
    /// That in words.
    pub why: String,
    /// Keys whose values wait for a restart.
    pub restart_required: Vec<&'static str>,
}

/// What brings the last confirmed load back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody confirmed the other in time.
    NotConfirmed,
    /// The guard saw too many client networks refused.
    Guard,
}

impl Cause {
    /// All of them, for metrics.
    pub const ALL: [Self; 2] = [Self::NotConfirmed, Self::Guard];

    /// The name in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotConfirmed => "not_confirmed",
            Self::Guard => "guard",
        }
    }
}

impl Return {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "from": self.from,
            "to": self.to,
            "at": self.at.to_string(),
            "cause": self.cause.as_str(),
            "why": self.why,
        })
    }

    pub(super) fn log(&self) {
        let (from, to, why) = (self.from, self.to, &self.why);
        warn!(from, to, why, "returned to the last confirmed configuration");
    }
}

/// What came of a confirmation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// This generation stays.
    Confirmed {
        /// It.
        generation: u64,
    },
    /// Nothing waited for one.
    Nothing {
        /// The generation in force.
        generation: u64,
        /// The last return, if there was one.
        returned: Option<Return>,
    },
}

impl Confirmation {
    /// For the admin socket.
    pub fn json(&self) -> Value {
        match self {
            Self::Confirmed { generation } => json!({ "result": "confirmed", "generation": generation }),
            Self::Nothing { generation, returned } => json!({
                "result": "nothing",
                "generation": generation,
                "returned": returned.as_ref().map(Return::json),
            }),
        }
    }
}
