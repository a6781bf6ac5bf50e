//! The smallest change to a request that turns its verdict: at most two facts, each way tried by deciding again.
//!
//! Candidates come from the parts of expressions that decided: what would make a part that holds fail, or one that fails hold.
//! They are ordered by what an operator can do something about: who asks comes before what is asked for, and nothing that a client
//! could forge comes before an address.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
};

use bumpalo::Bump;
use serde::Serialize;

use super::{
    ExplainedVerdict,
    altered::Altered,
    candidates::{self, Candidate, Rank},
    worlds::Possible,
};
use crate::policy::{
    facts::{Continent, Country, GeoFacts, RequestFacts},
    lang::{Input, Kleene, Unknown, trace::deciding_parts},
    phases::{Outcome, Position, Scratch},
    policy::Policy,
    rule::{Action, Mode, Phase, Rule},
};

/// What is known of places. The policy itself knows none.
pub trait Places {
    /// Where an address is.
    fn of(&self, address: IpAddr) -> GeoFacts;
    /// The continent of a country.
    fn continent(&self, country: Country) -> Continent;
}

/// A way to another verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// What the client then gets.
    #[serde(flatten)]
    pub verdict: ExplainedVerdict,
    /// The facts that would have to differ: one or two.
    pub changes: Vec<Change>,
}

/// A fact that would have to differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The fact, as expressions call it.
    pub fact: &'static str,
    /// In words, to follow "if": `the client were in $office`.
    pub words: String,
    /// The value that was tried.
    pub tried: String,
    /// The rule whose expression led to it.
    pub rule: String,
}

/// How many ways are told.
const MAX_TOLD: usize = 3;
/// How many candidates are tried for one fact; the first in order.
const MAX_FIRST: usize = 96;
/// From how many of these a second fact is tried, and how many of those each.
const MAX_SECOND: usize = 24;
/// With how many values of the first one.
const MAX_BEGUN: usize = 3;
/// How many requests are judged in all: a person waits for the answer.
const MAX_TRIES: usize = 4000;

impl Policy {
    /// The ways to the other verdict, the best first; none when there is none that changes two facts at most, or when the
    /// verdict is not sure.
    pub fn turning(&self, facts: &RequestFacts<'_>, unknown: &Unknown<'_>, places: &dyn Places) -> Vec<Turn> {
        let search = Search {
            policy: self,
            facts,
            unknown,
            places,
            scratch: RefCell::default(),
            left: Cell::new(MAX_TRIES),
        };
        search.turns().unwrap_or_default()
    }
}

struct Search<'s> {
    policy: &'s Policy,
    facts: &'s RequestFacts<'s>,
    unknown: &'s Unknown<'s>,
    places: &'s dyn Places,
    scratch: RefCell<Scratch>,
    /// How many more requests may be judged.
    left: Cell<usize>,
}

impl Search<'_> {
    fn turns(&self) -> Option<Vec<Turn>> {
        let start = Altered::new(self.facts);
        let wanted = match self.outcome(&start)? {
            Outcome::Passed(_) => Wanted::Block,
            Outcome::BlockedBy(_) | Outcome::BlockedByDefault => Wanted::Allow,
        };
        let first = self.candidates(&start, wanted, &[]);
        let mut turns: Vec<Turn> = Vec::new();
        for candidate in first.iter().take(MAX_FIRST) {
            // What could only be forged, or asks for something else altogether, is told when there is nothing better.
            if turns.len() == MAX_TOLD || (!turns.is_empty() && candidate.rank > Rank::OtherWho) {
                break;
            }
            let is_told = |turn: &Turn| turn.changes.iter().any(|change| change.fact == candidate.change.fact);
            if !turns.iter().any(is_told)
                && let Some((verdict, change)) = self.turned(candidate, wanted)
            {
                turns.push(Turn {
                    verdict,
                    changes: vec![change],
                });
            }
        }
        if turns.is_empty() {
            turns.extend(self.pair(&first, wanted));
        }
        Some(turns)
    }

    /// Two facts, where one does not do.
    fn pair(&self, first: &[Candidate<'_>], wanted: Wanted) -> Option<Turn> {
        first.iter().take(MAX_SECOND).find_map(|one| {
            one.tries.iter().take(MAX_BEGUN).find_map(|(tried, begun)| {
                let second = self.candidates(begun, wanted, &[one.change.fact]);
                second.iter().take(MAX_SECOND).find_map(|other| {
                    let (verdict, change) = self.turned(other, wanted)?;
                    let one = Change {
                        tried: tried.clone(),
                        ..one.change.clone()
                    };
                    // Whoever is elsewhere is in another country already.
                    let moves = |fact: &str| fact.starts_with("ip.src");
                    let changes = match moves(one.fact) && change.fact == "ip.src" && !other.is_any {
                        true => vec![change],
                        false => vec![one, change],
                    };
                    Some(Turn { verdict, changes })
                })
            })
        })
    }

    /// The verdict and the change if something that is tried comes to the wanted one; rather without any rule's help, which
    /// would be another reason.
    fn turned(&self, candidate: &Candidate<'_>, wanted: Wanted) -> Option<(ExplainedVerdict, Change)> {
        let outcomes = candidate
            .tries
            .iter()
            .filter_map(|(tried, altered)| Some((tried, self.outcome(altered)?)));
        let turned: Vec<_> = outcomes.filter(|(_, outcome)| wanted.is(*outcome)).collect();
        let unhelped = turned.iter().find(|(_, outcome)| *outcome == Outcome::Passed(None));
        // Any other address that some allow lets in says nothing of any other address.
        let helped = turned.first().filter(|_| !candidate.is_any || wanted == Wanted::Block);
        let (tried, outcome) = unhelped.or(helped)?;
        let change = Change {
            tried: (*tried).clone(),
            ..candidate.change.clone()
        };
        Some((self.policy.in_words(*outcome), change))
    }

    /// What it comes to; `None` when that is not sure, or enough was tried.
    fn outcome(&self, altered: &Altered<'_>) -> Option<Outcome> {
        self.left.set(self.left.get().checked_sub(1)?);
        if self.unknown.is_nothing() {
            let mut scratch = self.scratch.borrow_mut();
            return Some(self.policy.outcome(&altered.facts(), &mut scratch, &mut ()));
        }
        match self.policy.possible(&altered.facts(), self.unknown) {
            Possible::OneOf(outcomes) => match outcomes.as_slice() {
                [only] => Some(*only),
                _ => None,
            },
            Possible::TooMany => None,
        }
    }

    /// What may be changed next, the best first, without the facts that are changed already.
    fn candidates<'a>(&self, from: &Altered<'a>, wanted: Wanted, changed: &[&str]) -> Vec<Candidate<'a>> {
        let facts = from.facts();
        let others = facts.target.other_readings().iter().map(String::as_str);
        let mut found: Vec<Candidate<'a>> = Vec::new();
        for path in std::iter::once(facts.target.path()).chain(others) {
            let outcome = match self.policy.possible_of(&facts, path, self.unknown) {
                Possible::OneOf(outcomes) => outcomes.first().copied(),
                Possible::TooMany => None,
            };
            let Some(outcome) = outcome.filter(|outcome| !wanted.is(*outcome)) else {
                continue;
            };
            let arena = Bump::new();
            let input = Input {
                unknown: self.unknown,
                ..Input::new(&facts, path, &arena)
            };
            for (origin, rule) in self.rules_of(outcome) {
                let mut parts = Vec::new();
                deciding_parts(rule.expression.root(), &input, &mut parts);
                for (part, truth) in parts {
                    let wants = match truth {
                        Kleene::True => false,
                        Kleene::False => true,
                        Kleene::Unknown => continue,
                    };
                    found.extend(candidates::of(part, wants, origin, rule, from, self.places));
                }
            }
        }
        found.retain(|candidate| !changed.contains(&candidate.change.fact));
        found.sort_by_key(|candidate| candidate.rank);
        let mut told: Vec<String> = Vec::new();
        found.retain(|candidate| {
            let is_new = !told.contains(&candidate.change.words);
            if is_new {
                told.push(candidate.change.words.clone());
            }
            is_new
        });
        found
    }

    /// The rules whose outcome could turn the verdict.
    fn rules_of(&self, outcome: Outcome) -> Vec<(Origin, &Rule)> {
        let rules = &self.policy.rules;
        let own = |at: Position| rules.get(at).map(|rule| (Origin::Deciding, rule));
        match outcome {
            Outcome::Passed(allow) => allow.and_then(own).into_iter().collect(),
            Outcome::BlockedBy(at) => own(at).into_iter().chain(self.openers(rules.get(at))).collect(),
            Outcome::BlockedByDefault => self.openers(None).collect(),
        }
    }

    /// The rules whose match could keep `blocking` from being asked, or what a site's default wants.
    fn openers<'r>(&'r self, blocking: Option<&'r Rule>) -> impl Iterator<Item = (Origin, &'r Rule)> {
        let opens = move |rule: &&Rule| {
            let acts = rule.enabled && rule.mode == Mode::Enforce;
            let phase = blocking.map_or(Phase::Rule, |blocking| blocking.phase);
            // An allow opens no lock.
            let may = match rule.action {
                Action::Allow => phase != Phase::Lockdown,
                Action::Skip(_) => true,
                Action::Block | Action::Log => false,
            };
            acts && may && rule.phase <= phase && !rule.id.as_str().ends_with(".admitted")
        };
        self.policy.rules.iter().filter(opens).map(|rule| (Origin::Other, rule))
    }
}

/// Where a candidate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The rule that decided.
    Deciding,
    /// Another one, which would have come before it.
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Allow,
    Block,
}

impl Wanted {
    fn is(self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Passed(_) => self == Self::Allow,
            Outcome::BlockedBy(_) | Outcome::BlockedByDefault => self == Self::Block,
        }
    }
}
