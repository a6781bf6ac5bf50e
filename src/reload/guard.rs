//! The guard: goes back by itself when, after a reload that is to be confirmed, many of the client networks that came before
//! are refused.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::settings::Guard,
    telemetry::client_networks::{ClientNetworks, Returning, Turns},
};

/// How often the networks are looked at while a reload waits for its confirmation.
const LOOK: Duration = Duration::from_secs(1);
/// Of a share below one in a hundred it is not the multiple that counts: one bot in a thousand networks would make three of
/// them a reason.
const LEAST_BEFORE: f64 = 0.01;
/// No share is asked to be higher: three in ten before, and a factor of five, would never be reached.
const MOST_ASKED: f64 = 0.9;

/// What the guard watches.
pub(super) struct Watch {
    networks: Option<Arc<ClientNetworks>>,
    guard: Option<Guard>,
    turns: Turns,
    turned: Instant,
}

impl Watch {
    pub(super) fn new(networks: Option<Arc<ClientNetworks>>) -> Self {
        Self {
            networks,
            guard: None,
            turns: Turns::default(),
            turned: Instant::now(),
        }
    }

    /// Watches as configured from now on.
    pub(super) fn set(&mut self, guard: Option<Guard>) {
        if self.guard.is_some() != guard.is_some() {
            self.turns = Turns::default();
            self.turned = Instant::now();
        }
        self.guard = guard;
        if let Some(networks) = &self.networks {
            networks.count(guard.is_some());
        }
    }

    /// How long there is nothing to look at.
    pub(super) fn patience(&self, waits: bool) -> Option<Duration> {
        let guard = self.guard?;
        match waits {
            true => Some(LOOK),
            false => Some(guard.window.saturating_sub(self.turned.elapsed())),
        }
    }

    /// Begins another window, if the one under way is over.
    pub(super) fn turn(&mut self) {
        if let (Some(networks), Some(guard)) = (&self.networks, self.guard)
            && self.turned.elapsed() >= guard.window
        {
            self.turns = networks.turn(self.turns);
            self.turned = Instant::now();
        }
    }

    /// What comes from now on comes after the reload.
    pub(super) fn begin(&mut self) {
        if let (Some(networks), Some(_)) = (&self.networks, self.guard) {
            networks.begin(self.turns);
        }
    }

    pub(super) fn confirmed(&mut self) {
        if let (Some(networks), Some(_)) = (&self.networks, self.guard) {
            self.turns = networks.confirmed(self.turns);
            self.turned = Instant::now();
        }
    }

    pub(super) fn returned(&mut self) {
        if let (Some(networks), Some(_)) = (&self.networks, self.guard) {
            networks.returned(self.turns);
        }
    }

    /// Why it is time to go back, if it is.
    pub(super) fn too_many_refused(&self) -> Option<String> {
        let (networks, guard) = (self.networks.as_ref()?, self.guard?);
        let found = networks.returning(self.turns);
        jumps(found, guard).then(|| {
            let Returning {
                networks,
                refused_before,
                refused_since,
            } = found;
            format!(
                "of {networks} client networks that came before the reload and since, {refused_since} were refused, and \
                 {refused_before} before"
            )
        })
    }
}

/// Whether the share of refused networks has jumped.
#[expect(
    clippy::cast_precision_loss,
    reason = "there are at most as many networks as bits of a set"
)]
fn jumps(found: Returning, guard: Guard) -> bool {
    if found.networks < u64::from(guard.networks) {
        return false;
    }
    let share = |refused: u64| refused as f64 / found.networks as f64;
    let (before, since) = (share(found.refused_before), share(found.refused_since));
    let asked = (before.max(LEAST_BEFORE) * f64::from(guard.factor)).min(MOST_ASKED);
    since > before && since >= asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_jumps_past_the_factor_and_never_on_few_networks() {
        let guard = Guard {
            factor: 5,
            networks: 50,
            window: Duration::from_secs(600),
        };
        for (networks, refused_before, refused_since, expected) in [
            (49, 0, 49, false),
            (50, 0, 50, true),
            (100, 0, 4, false),
            (100, 0, 5, true),
            (1000, 20, 99, false),
            (1000, 20, 100, true),
            (100, 30, 89, false),
            (100, 30, 90, true),
            (100, 95, 95, false),
        ] {
            let found = Returning {
                networks,
                refused_before,
                refused_since,
            };
            assert_eq!(jumps(found, guard), expected, "{found:?}");
        }
    }
}
