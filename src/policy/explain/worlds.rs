//! What a request may come to when not all of it is known: the walk is taken for each way in which the rules that nobody can
//! answer for may have matched.
//!
//! The ways are more than there really are (two rules about one unknown header are taken as if they had nothing to do with each
//! other), never fewer: what comes out the same in all of them is sure.

use std::cell::RefCell;

use bumpalo::Bump;

use crate::policy::{
    facts::RequestFacts,
    lang::{Input, Kleene, Truth, Unknown},
    phases::{Judge, LeftOut, Outcome, Position, Witness},
    policy::Policy,
    rule::{Action, Mode, Phase, Rule},
};

/// How many walks are taken for one reading. Every unknown `allow` and `skip` doubles them, every unknown `block` adds one.
pub(super) const MAX_WALKS: usize = 2048;

/// What a request may come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Possible {
    /// One of these, each once; the first is what it comes to if no unknown rule matches.
    OneOf(Vec<Outcome>),
    /// There are too many ways to tell.
    TooMany,
}

impl Policy {
    /// What one reading may come to.
    pub(super) fn possible_of(&self, facts: &RequestFacts<'_>, path: &str, unknown: &Unknown<'_>) -> Possible {
        let arena = Bump::new();
        let input = Input {
            unknown,
            ..Input::new(facts, path, &arena)
        };
        let truths = RefCell::new(vec![None; self.rules.len()]);
        let mut outcomes = Vec::new();
        let mut choices: Vec<bool> = Vec::new();
        for _ in 0..MAX_WALKS {
            let mut supposing = Supposing {
                policy: self,
                input,
                truths: &truths,
                choices: &mut choices,
                asked: 0,
            };
            let outcome = self.walk_judged(facts, &mut supposing, &mut Unwatched);
            let asked = supposing.asked;
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
            // The next way: the last unknown rule that did not match now does.
            choices.truncate(asked);
            while choices.last() == Some(&true) {
                choices.pop();
            }
            match choices.last_mut() {
                Some(last) => *last = true,
                None => return Possible::OneOf(outcomes),
            }
        }
        Possible::TooMany
    }

    /// What all readings together may come to: any block blocks.
    pub(super) fn possible(&self, facts: &RequestFacts<'_>, unknown: &Unknown<'_>) -> Possible {
        let others = facts.target.other_readings().iter().map(String::as_str);
        let paths = std::iter::once(facts.target.path()).chain(others);
        let mut together: Vec<Outcome> = Vec::new();
        for path in paths {
            let Possible::OneOf(outcomes) = self.possible_of(facts, path, unknown) else {
                return Possible::TooMany;
            };
            if together.is_empty() {
                together = outcomes;
                continue;
            }
            let mut both = Vec::new();
            for first in &together {
                for other in &outcomes {
                    let outcome = if other.weight() > first.weight() {
                        *other
                    } else {
                        *first
                    };
                    if !both.contains(&outcome) {
                        both.push(outcome);
                    }
                }
            }
            together = both;
        }
        Possible::OneOf(together)
    }
}

/// Asks the interpreter, and of what it cannot tell the choices of this walk.
struct Supposing<'w, 'p> {
    policy: &'p Policy,
    input: Input<'p>,
    truths: &'w RefCell<Vec<Option<Kleene>>>,
    choices: &'w mut Vec<bool>,
    /// How many choices were needed so far.
    asked: usize,
}

impl Supposing<'_, '_> {
    fn truth(&self, at: Position, rule: &Rule) -> Kleene {
        let known = self.truths.borrow().get(at).copied().flatten();
        known.unwrap_or_else(|| {
            let truth = rule.expression.truth(&self.input);
            if let Some(slot) = self.truths.borrow_mut().get_mut(at) {
                *slot = Some(truth);
            }
            truth
        })
    }
}

impl Judge for &mut Supposing<'_, '_> {
    fn candidates(&mut self, phase: Phase, rules: &mut Vec<Position>) {
        rules.extend(self.policy.order.phase(phase));
    }

    fn matches(&mut self, at: Position) -> bool {
        let Some(rule) = self.policy.rules.get(at) else {
            return false;
        };
        if let Some(known) = self.truth(at, rule).value() {
            return known;
        }
        // Whether these match changes nothing.
        if rule.mode == Mode::Shadow || rule.action == Action::Log {
            return false;
        }
        if self.asked == self.choices.len() {
            self.choices.push(false);
        }
        let choice = self.choices.get(self.asked).copied().unwrap_or_default();
        self.asked += 1;
        choice
    }
}

struct Unwatched;

impl Witness for Unwatched {
    const WANTS_LEFT_OUT: bool = false;

    fn asked(&mut self, _at: Position, _rule: &Rule, _matched: bool) {}

    fn left_out(&mut self, _rules: &[Position], _why: LeftOut) {}
}

/// Asks the interpreter, and takes what it cannot tell for no match.
pub(super) struct Known<'p> {
    pub(super) policy: &'p Policy,
    pub(super) input: Input<'p>,
}

impl Judge for Known<'_> {
    fn candidates(&mut self, phase: Phase, rules: &mut Vec<Position>) {
        rules.extend(self.policy.order.phase(phase));
    }

    fn matches(&mut self, at: Position) -> bool {
        let rule = self.policy.rules.get(at);
        rule.is_some_and(|rule| rule.expression.truth::<Kleene>(&self.input) == Kleene::True)
    }
}
