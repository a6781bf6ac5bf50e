//! The evaluation order: which rules are asked, in which order, and what a match means for the rest.
//!
//! `ip_access` (address, autonomous system, place) → `rule` → `lockdown` → `user_agent` → `hotlink` → default.
//!
//! The walk is written once. [`Policy::decide`] lets it note what matched, `explain` what happened to every rule.

use std::collections::HashMap;

use super::{
    decision::{Decision, Permit, Reason, Verdict},
    facts::RequestFacts,
    policy::Policy,
    rule::{Action, Mode, Phase, Rule, RuleId, SkipTarget, Tier},
    site::DefaultVerdict,
};

/// A rule's index in [`Policy::rules`].
pub(super) type Position = usize;

/// The enabled rules by phase, and what each of them skips.
#[derive(Debug)]
pub(super) struct Order {
    phases: [Vec<Position>; Phase::ALL.len()],
    /// For each rule what a match of it leaves out; empty for all but `skip`.
    skips: Vec<Skips>,
}

/// What a `skip` leaves out.
#[derive(Debug, Clone, Default)]
struct Skips {
    phases: Vec<Phase>,
    rules: Vec<Position>,
}

impl Order {
    /// Sorts rules, which are in order already, into their phases. `by_entry`: the rules of each written id.
    pub(super) fn new(rules: &[Rule], by_entry: &HashMap<RuleId, Vec<Position>>) -> Self {
        let phases = Phase::ALL.map(|phase| {
            let of_phase = rules
                .iter()
                .enumerate()
                .filter(|(_, rule)| rule.enabled && rule.phase == phase);
            of_phase.map(|(at, _)| at).collect()
        });
        let skips = rules.iter().map(|rule| Skips::of(rule, by_entry)).collect();
        Self { phases, skips }
    }

    /// The enabled rules of a phase.
    pub(super) fn phase(&self, phase: Phase) -> &[Position] {
        &self.phases[index(phase)]
    }
}

/// A phase's place in [`Phase::ALL`].
fn index(phase: Phase) -> usize {
    match phase {
        Phase::IpAccess(Tier::Address) => 0,
        Phase::IpAccess(Tier::Asn) => 1,
        Phase::IpAccess(Tier::Place) => 2,
        Phase::Rule => 3,
        Phase::Lockdown => 4,
        Phase::UserAgent => 5,
        Phase::Hotlink => 6,
    }
}

impl Skips {
    fn of(rule: &Rule, by_entry: &HashMap<RuleId, Vec<Position>>) -> Self {
        let mut skips = Self::default();
        let targets = match &rule.action {
            Action::Skip(targets) => targets.as_slice(),
            Action::Allow | Action::Block | Action::Log => &[],
        };
        for target in targets {
            match target {
                SkipTarget::Phase(phase) => skips.phases.push(*phase),
                SkipTarget::Rule(id) => skips.rules.extend(by_entry.get(id).into_iter().flatten()),
            }
        }
        skips
    }
}

/// What deciding reuses from request to request. One per thread.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The rules that a `skip` named in the walk under way, each with the rule that did.
    skipped_rules: Vec<(Position, Position)>,
}

impl Scratch {
    /// A fresh one.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Why a rule was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// An allow of this tier or of a narrower one ended the blocks.
    Allowed(Position),
    /// The phase is skipped because of a matching rule.
    PhaseSkipped(Position),
    /// The rule itself is skipped because of a matching rule.
    RuleSkipped(Position),
    /// The phase ended with a matching rule.
    PhaseEnded(Position),
}

/// Who watches a walk.
pub(super) trait Witness {
    /// A rule was asked.
    fn asked(&mut self, at: Position, rule: &Rule, matched: bool);
    /// Rules were not asked.
    fn left_out(&mut self, rules: &[Position], why: LeftOut);
}

/// How a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A rule blocks.
    BlockedBy(Position),
    /// No rule allowed the request, and the site's default is to block.
    BlockedByDefault,
    /// Nothing blocks; the allow that matched first, if any did.
    Passed(Option<Position>),
}

/// How much an outcome of one reading counts against those of others: any block does, and a rule's tells more than the
/// default's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    Pass,
    Default,
    Rule,
}

impl Outcome {
    pub(super) fn weight(self) -> Weight {
        match self {
            Self::Passed(_) => Weight::Pass,
            Self::BlockedByDefault => Weight::Default,
            Self::BlockedBy(_) => Weight::Rule,
        }
    }
}

impl Policy {
    /// Judges a request, under every reading of its path that differs: any block blocks.
    pub fn decide<'a>(&'a self, facts: &RequestFacts<'a>, scratch: &mut Scratch) -> Decision<'a> {
        let mut hits = Hits::default();
        let mut outcome = self.walk(facts, facts.target.path(), scratch, &mut hits);
        for reading in facts.target.other_readings() {
            if outcome.weight() == Weight::Rule {
                break;
            }
            let mut others = Hits::default();
            let other = self.walk(facts, reading, scratch, &mut others);
            if other.weight() > outcome.weight() {
                outcome = other;
                hits.add_matched(&others);
            } else {
                // An allow of a reading that does not count did nothing; a `log` that a `;x` evades would be worth nothing.
                others.matched.retain(|at| self.logs(*at));
                hits.add_matched(&others);
            }
            hits.add_shadow(&others);
        }
        Decision {
            verdict: self.verdict(outcome, facts),
            matched: hits.matched.iter().filter_map(|at| self.rules.get(*at)).collect(),
            shadow: hits.shadow.iter().filter_map(|at| self.rules.get(*at)).collect(),
        }
    }

    fn blocks(&self, at: Position) -> bool {
        self.rules.get(at).is_some_and(|rule| rule.action == Action::Block)
    }

    fn logs(&self, at: Position) -> bool {
        self.rules.get(at).is_some_and(|rule| rule.action == Action::Log)
    }

    fn allows(&self, at: Position) -> bool {
        self.rules.get(at).is_some_and(|rule| rule.action == Action::Allow)
    }

    fn verdict<'a>(&'a self, outcome: Outcome, facts: &RequestFacts<'a>) -> Verdict<'a> {
        match outcome {
            Outcome::Passed(allow) => Verdict::Allow {
                permit: Permit::new(facts.target, facts.host),
                rule: allow.and_then(|at| self.rules.get(at)),
            },
            Outcome::BlockedByDefault => Verdict::Block {
                reason: Reason::Default,
                rule: None,
            },
            Outcome::BlockedBy(at) => {
                let rule = self.rules.get(at);
                Verdict::Block {
                    reason: rule.map_or(Reason::Rule, |rule| rule.reason),
                    rule,
                }
            }
        }
    }

    /// Takes one reading of the path through all phases.
    pub(super) fn walk(
        &self,
        facts: &RequestFacts<'_>,
        path: &str,
        scratch: &mut Scratch,
        witness: &mut impl Witness,
    ) -> Outcome {
        scratch.skipped_rules.clear();
        let mut walk = Walk {
            policy: self,
            facts,
            path,
            witness,
            skipped: [None; Phase::ALL.len()],
            skipped_rules: &mut scratch.skipped_rules,
            allow: None,
        };
        if let Some(block) = walk.all_phases() {
            return Outcome::BlockedBy(block);
        }
        match (facts.site.default, walk.allow) {
            (DefaultVerdict::Block, None) => Outcome::BlockedByDefault,
            (DefaultVerdict::Block | DefaultVerdict::Forward, allow) => Outcome::Passed(allow),
        }
    }
}

/// One reading of a request on its way through the phases.
struct Walk<'w, 'f, W> {
    policy: &'w Policy,
    facts: &'w RequestFacts<'f>,
    path: &'w str,
    witness: &'w mut W,
    /// For each phase the rule because of which it is left out.
    skipped: [Option<Position>; Phase::ALL.len()],
    skipped_rules: &'w mut Vec<(Position, Position)>,
    /// The enforced allow that matched first.
    allow: Option<Position>,
}

impl<W: Witness> Walk<'_, '_, W> {
    /// The rule that blocks, if any does.
    fn all_phases(&mut self) -> Option<Position> {
        self.ip_access()
            .or_else(|| self.phase(Phase::Rule))
            .or_else(|| self.phase(Phase::Lockdown))
            .or_else(|| self.phase(Phase::UserAgent))
            .or_else(|| self.phase(Phase::Hotlink))
    }

    /// Narrow tiers first. In a tier an allow ends the blocks of that tier and of the broader ones, whatever the order.
    fn ip_access(&mut self) -> Option<Position> {
        for tier in [Tier::Address, Tier::Asn, Tier::Place] {
            let policy = self.policy;
            let rules = policy.order.phase(Phase::IpAccess(tier));
            for at in rules.iter().copied().filter(|at| !policy.blocks(*at)) {
                if self.asks(at) && policy.allows(at) {
                    self.allow.get_or_insert(at);
                }
            }
            for at in rules.iter().copied().filter(|at| policy.blocks(*at)) {
                if let Some(by) = self.allow {
                    self.witness.left_out(&[at], LeftOut::Allowed(by));
                } else if self.asks(at) {
                    return Some(at);
                }
            }
            // A network operator or a country is no credential: only an address skips anything later.
            if tier == Tier::Address
                && let Some(by) = self.allow
            {
                self.skip_by_allow(by);
            }
        }
        None
    }

    /// The rules of a phase in written order.
    fn phase(&mut self, phase: Phase) -> Option<Position> {
        let policy = self.policy;
        let rules = policy.order.phase(phase);
        if let Some(by) = self.skipped[index(phase)] {
            self.witness.left_out(rules, LeftOut::PhaseSkipped(by));
            return None;
        }
        for (nth, at) in rules.iter().copied().enumerate() {
            if !self.asks(at) {
                continue;
            }
            match policy.rules.get(at).map(|rule| &rule.action) {
                Some(Action::Block) => return Some(at),
                Some(Action::Allow) => {
                    self.allow.get_or_insert(at);
                    self.skip_by_allow(at);
                    self.witness.left_out(&rules[nth + 1..], LeftOut::PhaseEnded(at));
                    return None;
                }
                Some(Action::Skip(_)) => self.skip(at),
                Some(Action::Log) | None => {}
            }
        }
        None
    }

    /// Whether the rule matches and acts. A shadow rule is asked where an enforced one would be, and never acts.
    fn asks(&mut self, at: Position) -> bool {
        let Some(rule) = self.policy.rules.get(at) else {
            return false;
        };
        if let Some((_, by)) = self.skipped_rules.iter().find(|(skipped, _)| *skipped == at) {
            self.witness.left_out(&[at], LeftOut::RuleSkipped(*by));
            return false;
        }
        let matched = rule.expression.matches(self.facts, self.path);
        self.witness.asked(at, rule, matched);
        matched && rule.mode == Mode::Enforce
    }

    /// Leaves out every later phase but the positive ones, which say who may come in at all: `lockdown` is not among them.
    fn skip_by_allow(&mut self, by: Position) {
        for phase in [Phase::Rule, Phase::UserAgent, Phase::Hotlink] {
            self.skipped[index(phase)].get_or_insert(by);
        }
    }

    fn skip(&mut self, by: Position) {
        let Some(skips) = self.policy.order.skips.get(by) else {
            return;
        };
        for phase in &skips.phases {
            self.skipped[index(*phase)].get_or_insert(by);
        }
        self.skipped_rules.extend(skips.rules.iter().map(|rule| (*rule, by)));
    }
}

/// The positions of the rules that matched: what live traffic needs to know.
#[derive(Debug, Default)]
struct Hits {
    matched: Vec<Position>,
    shadow: Vec<Position>,
}

impl Hits {
    fn add_matched(&mut self, other: &Self) {
        add_missing(&mut self.matched, &other.matched);
    }

    fn add_shadow(&mut self, other: &Self) {
        add_missing(&mut self.shadow, &other.shadow);
    }
}

fn add_missing(known: &mut Vec<Position>, more: &[Position]) {
    for at in more {
        if !known.contains(at) {
            known.push(*at);
        }
    }
}

impl Witness for Hits {
    fn asked(&mut self, at: Position, rule: &Rule, matched: bool) {
        match (matched, rule.mode) {
            (true, Mode::Enforce) => self.matched.push(at),
            (true, Mode::Shadow) => self.shadow.push(at),
            (false, Mode::Enforce | Mode::Shadow) => {}
        }
    }

    fn left_out(&mut self, _rules: &[Position], _why: LeftOut) {}
}
