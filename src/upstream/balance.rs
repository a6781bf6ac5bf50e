//! Who is asked next: pure, over what is known of the servers that may be asked.

use std::cell::Cell;

use crate::config::settings::Balance;

/// The weight of a server that gets its whole share.
pub(super) const WHOLE: u32 = 100;

/// How far a server is from its turn. Each worker has its own.
#[derive(Debug, Default)]
pub(super) struct Turn(Cell<i64>);

/// A server that may be asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'t> {
    pub(super) turn: &'t Turn,
    /// Its share, in parts of [`WHOLE`]; never 0.
    pub(super) weight: u32,
    /// Requests that it has under way.
    pub(super) in_flight: u32,
}

impl Candidate<'_> {
    /// Requests under way once it is asked, by weight: a server that is just starting counts its few as many.
    fn load(&self) -> u64 {
        (u64::from(self.in_flight) + 1) * u64::from(WHOLE) / u64::from(self.weight.max(1))
    }
}

/// The candidate to ask, by its key; `None` only when there are none. Whose turn it was passes on.
pub(super) fn choose<'t, K: Copy>(
    balance: Balance,
    candidates: impl Iterator<Item = (K, Candidate<'t>)> + Clone,
) -> Option<K> {
    match balance {
        Balance::RoundRobin => in_turn(candidates),
        Balance::LeastConnections => {
            let least = candidates.clone().map(|(_, candidate)| candidate.load()).min()?;
            in_turn(candidates.filter(|(_, candidate)| candidate.load() == least))
        }
    }
}

/// Smooth weighted round robin: every round each candidate comes nearer by its weight, the nearest is chosen and goes back
/// by all weights together. Equal weights simply take turns; a light one is spread over the round instead of coming in a
/// row.
fn in_turn<'t, K: Copy>(candidates: impl Iterator<Item = (K, Candidate<'t>)>) -> Option<K> {
    let mut nearest: Option<(K, &Turn)> = None;
    let mut total = 0;
    for (key, Candidate { turn, weight, .. }) in candidates {
        let weight = i64::from(weight);
        turn.0.set(turn.0.get() + weight);
        total += weight;
        if nearest.is_none_or(|(_, nearest)| turn.0.get() > nearest.0.get()) {
            nearest = Some((key, turn));
        }
    }
    let (key, turn) = nearest?;
    turn.0.set(turn.0.get() - total);
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates<'t>(turns: &'t [Turn], weights: &[u32], in_flight: &[u32]) -> Vec<(usize, Candidate<'t>)> {
        let with = turns.iter().zip(weights).zip(in_flight);
        with.map(|((turn, &weight), &in_flight)| Candidate {
            turn,
            weight,
            in_flight,
        })
        .enumerate()
        .collect()
    }

    fn turns(count: usize) -> Vec<Turn> {
        (0..count).map(|_| Turn::default()).collect()
    }

    /// How often each is chosen in so many rounds, when nothing is under way.
    fn counts(weights: &[u32], rounds: u32) -> Vec<u32> {
        let turns = turns(weights.len());
        let idle = vec![0; weights.len()];
        let mut counts = idle.clone();
        for _ in 0..rounds {
            let all = candidates(&turns, weights, &idle);
            counts[choose(Balance::RoundRobin, all.into_iter()).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn nobody_is_chosen_of_none() {
        for balance in [Balance::RoundRobin, Balance::LeastConnections] {
            assert_eq!(choose::<usize>(balance, std::iter::empty()), None);
        }
    }

    #[test]
    fn a_starting_server_is_spread_over_the_round() {
        let turns = turns(2);
        let order: Vec<_> = (0..6)
            .map(|_| {
                let all = candidates(&turns, &[100, 50], &[0, 0]);
                choose(Balance::RoundRobin, all.into_iter()).unwrap()
            })
            .collect();
        assert_eq!(order, [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn the_one_with_the_fewest_requests_under_way_is_chosen() {
        let turns = turns(3);
        let all = candidates(&turns, &[100; 3], &[2, 1, 3]);
        assert_eq!(choose(Balance::LeastConnections, all.into_iter()), Some(1));
        // With a tenth of a share, none under way is as much as nine.
        let all = candidates(&turns, &[100, 10, 100], &[2, 0, 3]);
        assert_eq!(choose(Balance::LeastConnections, all.into_iter()), Some(0));
    }

    proptest! {
        #[test]
        fn shares_are_exactly_the_weights(weights in prop::collection::vec(1..=WHOLE, 1..8), rounds in 1_u32..4) {
            let total: u32 = weights.iter().sum();
            let expected: Vec<_> = weights.iter().map(|weight| weight * rounds).collect();
            prop_assert_eq!(counts(&weights, total * rounds), expected);
        }

        #[test]
        fn equal_servers_never_differ_by_more_than_one(count in 1_usize..12, rounds in 0_u32..200) {
            let counts = counts(&vec![WHOLE; count], rounds);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", counts);
        }

        /// Whoever leaves and comes back between, nobody ever comes so near or so far that others starve: the whole of what
        /// all are owed is nothing, and each is owed less than a round.
        #[test]
        fn nobody_saves_turns_up(rounds in prop::collection::vec(prop::collection::vec(any::<bool>(), 4), 0..200)) {
            let turns = turns(4);
            let round = 4 * i64::from(WHOLE);
            for present in rounds {
                let all = candidates(&turns, &[WHOLE; 4], &[0; 4]);
                choose(Balance::RoundRobin, all.into_iter().filter(|(at, _)| present[*at]));
                prop_assert_eq!(turns.iter().map(|turn| turn.0.get()).sum::<i64>(), 0);
                prop_assert!(turns.iter().all(|turn| turn.0.get().abs() < 2 * round), "{:?}", turns);
            }
        }

        /// Requests that end in any order never pile up on one of equal servers beyond the least by more than those that
        /// did not end.
        #[test]
        fn requests_under_way_stay_level(ends in prop::collection::vec(prop::option::of(0_usize..4), 0..200)) {
            let turns = turns(4);
            let mut in_flight = [0_u32; 4];
            for end in ends {
                let all = candidates(&turns, &[WHOLE; 4], &in_flight);
                let chosen = choose(Balance::LeastConnections, all.into_iter()).unwrap();
                prop_assert_eq!(Some(&in_flight[chosen]), in_flight.iter().min());
                in_flight[chosen] += 1;
                if let Some(end) = end {
                    in_flight[end] = in_flight[end].saturating_sub(1);
                }
            }
        }
    }
}
