//! The evaluation order: which rules are asked, in which order, and what a match means for the rest.
//!
//! `ip_access` (address, autonomous system, place) → `rule` → `lockdown` → `user_agent` → `hotlink` → default.
//!
//! The walk is written once. [`Policy::decide`] lets it note what matched, `explain` what happened to every rule.

use std::collections::HashMap;

use bumpalo::Bump;

use super::{
    decision::{Decision, Permit, Reason, Verdict},
    facts::RequestFacts,
    lang::Input,
    plan::{Answers, Asking},
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
        &self.phases[phase_index(phase)]
    }
}

/// A phase's place in [`Phase::ALL`].
pub(super) fn phase_index(phase: Phase) -> usize {
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

/// What deciding reuses from request to request, so that it allocates nothing. One per thread; it fits any policy.
#[derive(Debug)]
pub struct Scratch {
    answers: Answers,
    /// Where values that are made of others live, as long as one reading is judged.
    values: Bump,
    /// Where the lists of what matched live, until the next request.
    told: Bump,
    walking: Walking,
    hits: Hits,
    other_hits: Hits,
}

/// What a walk reuses.
#[derive(Debug, Default)]
pub(super) struct Walking {
    /// The rules of the phase under way.
    rules: Vec<Position>,
    /// The rules that a `skip` named in the walk under way, each with the rule that did.
    skipped_rules: Vec<(Position, Position)>,
}

/// What an arena begins with: more than the values of an ordinary request take.
const ARENA_BYTES: usize = 16 << 10;

impl Default for Scratch {
    fn default() -> Self {
        Self {
            answers: Answers::default(),
            values: Bump::with_capacity(ARENA_BYTES),
            told: Bump::with_capacity(ARENA_BYTES),
            walking: Walking::default(),
            hits: Hits::default(),
            other_hits: Hits::default(),
        }
    }
}

impl Scratch {
    /// A fresh one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a walk over the plan takes.
    pub(super) fn for_walk(&mut self) -> (&mut Answers, &mut Bump, &mut Walking) {
        (&mut self.answers, &mut self.values, &mut self.walking)
    }

    /// Forgets the last request.
    fn begin(&mut self) {
        reuse(&mut self.values);
        reuse(&mut self.told);
        self.hits.clear();
    }
}

/// Empties an arena. One that a request made large does not stay so: nobody makes a gateway grow by sending every worker one
/// such request.
pub(super) fn reuse(arena: &mut Bump) {
    const KEPT_BYTES: usize = 1 << 20;
    if arena.allocated_bytes() > KEPT_BYTES {
        *arena = Bump::with_capacity(ARENA_BYTES);
    } else {
        arena.reset();
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
    /// Whether it is to be told of rules that are not asked; if not, they need not be found.
    const WANTS_LEFT_OUT: bool;
    /// A rule was asked.
    fn asked(&mut self, at: Position, rule: &Rule, matched: bool);
    /// Rules were not asked.
    fn left_out(&mut self, rules: &[Position], why: LeftOut);
    /// A phase that has rules ended, or was left out.
    fn phase_ended(&mut self, _phase: Phase) {}
}

/// Nobody watches.
impl Witness for () {
    const WANTS_LEFT_OUT: bool = false;

    fn asked(&mut self, _at: Position, _rule: &Rule, _matched: bool) {}

    fn left_out(&mut self, _rules: &[Position], _why: LeftOut) {}
}

/// Who is asked which rules match: the plan, or the interpreter, which must come to the same.
pub(super) trait Judge {
    /// Adds the rules of a phase that may match, in order.
    fn candidates(&mut self, phase: Phase, rules: &mut Vec<Position>);
    /// Whether one of them matches.
    fn matches(&mut self, at: Position) -> bool;
}

impl Judge for Asking<'_> {
    fn candidates(&mut self, phase: Phase, rules: &mut Vec<Position>) {
        Self::candidates::<bool>(self, phase, rules);
    }

    fn matches(&mut self, at: Position) -> bool {
        Self::matches(self, at)
    }
}

/// Asks every rule in turn what its expression says.
struct Interpreting<'p> {
    policy: &'p Policy,
    input: Input<'p>,
}

impl Judge for Interpreting<'_> {
    fn candidates(&mut self, phase: Phase, rules: &mut Vec<Position>) {
        rules.extend(self.policy.order.phase(phase));
    }

    fn matches(&mut self, at: Position) -> bool {
        let rule = self.policy.rules.get(at);
        rule.is_some_and(|rule| rule.expression.truth(&self.input))
    }
}

/// Is told when phases end, to measure them: the policy itself has no clock.
pub trait Laps {
    /// The phase ended, or was left out. Phases without rules are not told.
    fn phase_ended(&mut self, phase: Phase);
}

/// Nobody measures.
impl Laps for () {
    fn phase_ended(&mut self, _phase: Phase) {}
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
    pub fn decide<'a>(&'a self, facts: &RequestFacts<'a>, scratch: &'a mut Scratch) -> Decision<'a> {
        self.decide_in_laps(facts, scratch, &mut ())
    }

    /// Judges a request, and tells when each phase ended.
    pub fn decide_in_laps<'a>(
        &'a self,
        facts: &RequestFacts<'a>,
        scratch: &'a mut Scratch,
        laps: &mut impl Laps,
    ) -> Decision<'a> {
        let outcome = self.outcome(facts, scratch, laps);
        self.decision(outcome, facts, &scratch.hits, &scratch.told)
    }

    /// What the plan says; the scratch then holds what matched.
    pub(super) fn outcome(&self, facts: &RequestFacts<'_>, scratch: &mut Scratch, laps: &mut impl Laps) -> Outcome {
        scratch.begin();
        let Scratch {
            answers,
            values,
            walking,
            hits,
            other_hits,
            ..
        } = scratch;
        let plan = |path, hits: &mut Hits, walking: &mut Walking| {
            reuse(values);
            let asking = Asking::new(&self.plan, Input::new(facts, path, values), answers);
            self.walk(facts, asking, walking, &mut Watched { hits, laps })
        };
        self.every_reading(facts, hits, other_hits, walking, plan)
    }

    /// Judges a request by the interpreter alone: slowly, and by another way to the same decision.
    pub fn interpret<'a>(&'a self, facts: &RequestFacts<'a>, scratch: &'a mut Scratch) -> Decision<'a> {
        scratch.begin();
        let Scratch {
            values,
            told,
            walking,
            hits,
            other_hits,
            ..
        } = scratch;
        let interpreter = |path, hits: &mut Hits, walking: &mut Walking| {
            reuse(values);
            let input = Input::new(facts, path, values);
            let laps = &mut ();
            self.walk(
                facts,
                Interpreting { policy: self, input },
                walking,
                &mut Watched { hits, laps },
            )
        };
        let outcome = self.every_reading(facts, hits, other_hits, walking, interpreter);
        self.decision(outcome, facts, hits, told)
    }

    /// Takes every reading of the path through all phases: any block blocks.
    fn every_reading<'f>(
        &self,
        facts: &RequestFacts<'f>,
        hits: &mut Hits,
        others: &mut Hits,
        walking: &mut Walking,
        mut walk: impl FnMut(&'f str, &mut Hits, &mut Walking) -> Outcome,
    ) -> Outcome {
        let mut outcome = walk(facts.target.path(), hits, walking);
        for reading in facts.target.other_readings() {
            if outcome.weight() == Weight::Rule {
                break;
            }
            others.clear();
            let other = walk(reading, others, walking);
            if other.weight() > outcome.weight() {
                outcome = other;
            } else {
                // An allow of a reading that does not count did nothing; a `log` that a `;x` evades would be worth nothing.
                others.matched.retain(|at| self.logs(*at));
            }
            hits.add(others);
        }
        outcome
    }

    fn decision<'a>(&'a self, outcome: Outcome, facts: &RequestFacts<'a>, hits: &Hits, told: &'a Bump) -> Decision<'a> {
        Decision {
            verdict: self.verdict(outcome, facts),
            matched: self.rules_at(&hits.matched, told),
            shadow: self.rules_at(&hits.shadow, told),
        }
    }

    fn rules_at<'a>(&'a self, positions: &[Position], arena: &'a Bump) -> &'a [&'a Rule] {
        if positions.is_empty() {
            return &[];
        }
        let rules = positions.iter().filter_map(|at| self.rules.get(*at));
        bumpalo::collections::Vec::from_iter_in(rules, arena).into_bump_slice()
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

    pub(super) fn verdict<'a>(&'a self, outcome: Outcome, facts: &RequestFacts<'a>) -> Verdict<'a> {
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

    /// Takes one reading of the path through all phases, as somebody else judges the rules.
    pub(super) fn walk_judged(
        &self,
        facts: &RequestFacts<'_>,
        judge: impl Judge,
        witness: &mut impl Witness,
    ) -> Outcome {
        self.walk(facts, judge, &mut Walking::default(), witness)
    }

    pub(super) fn walk(
        &self,
        facts: &RequestFacts<'_>,
        judge: impl Judge,
        walking: &mut Walking,
        witness: &mut impl Witness,
    ) -> Outcome {
        walking.skipped_rules.clear();
        let mut walk = Walk {
            policy: self,
            judge,
            witness,
            skipped: [None; Phase::ALL.len()],
            walking,
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
struct Walk<'w, J, W> {
    policy: &'w Policy,
    judge: J,
    witness: &'w mut W,
    /// For each phase the rule because of which it is left out.
    skipped: [Option<Position>; Phase::ALL.len()],
    walking: &'w mut Walking,
    /// The enforced allow that matched first.
    allow: Option<Position>,
}

impl<J: Judge, W: Witness> Walk<'_, J, W> {
    /// The rule that blocks, if any does.
    fn all_phases(&mut self) -> Option<Position> {
        let policy = self.policy;
        let with_rules = |phase: &Phase| !policy.order.phase(*phase).is_empty();
        Phase::ALL.into_iter().filter(with_rules).find_map(|phase| {
            let mut rules = std::mem::take(&mut self.walking.rules);
            rules.clear();
            self.judge_candidates(phase, &mut rules);
            let block = match phase {
                Phase::IpAccess(tier) => self.tier(tier, &rules),
                Phase::Rule | Phase::Lockdown | Phase::UserAgent | Phase::Hotlink => self.phase(phase, &rules),
            };
            self.walking.rules = rules;
            self.witness.phase_ended(phase);
            block
        })
    }

    /// Finds the candidates of a phase, unless it is left out and nobody cares.
    fn judge_candidates(&mut self, phase: Phase, rules: &mut Vec<Position>) {
        if self.skipped[phase_index(phase)].is_none() || W::WANTS_LEFT_OUT {
            self.judge.candidates(phase, rules);
        }
    }

    /// In a tier an allow ends the blocks of that tier and of the broader ones, whatever the order.
    fn tier(&mut self, tier: Tier, rules: &[Position]) -> Option<Position> {
        let policy = self.policy;
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
        None
    }

    /// The rules of a phase in written order.
    fn phase(&mut self, phase: Phase, rules: &[Position]) -> Option<Position> {
        let policy = self.policy;
        if let Some(by) = self.skipped[phase_index(phase)] {
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
        if let Some((_, by)) = self.walking.skipped_rules.iter().find(|(skipped, _)| *skipped == at) {
            self.witness.left_out(&[at], LeftOut::RuleSkipped(*by));
            return false;
        }
        let matched = self.judge.matches(at);
        self.witness.asked(at, rule, matched);
        matched && rule.mode == Mode::Enforce
    }

    /// Leaves out every later phase but the positive ones, which say who may come in at all: `lockdown` is not among them.
    fn skip_by_allow(&mut self, by: Position) {
        for phase in [Phase::Rule, Phase::UserAgent, Phase::Hotlink] {
            self.skipped[phase_index(phase)].get_or_insert(by);
        }
    }

    fn skip(&mut self, by: Position) {
        let Some(skips) = self.policy.order.skips.get(by) else {
            return;
        };
        for phase in &skips.phases {
            self.skipped[phase_index(*phase)].get_or_insert(by);
        }
        self.walking
            .skipped_rules
            .extend(skips.rules.iter().map(|rule| (*rule, by)));
    }
}

/// The positions of the rules that matched: what live traffic needs to know.
#[derive(Debug, Default)]
struct Hits {
    matched: Vec<Position>,
    shadow: Vec<Position>,
}

impl Hits {
    fn clear(&mut self) {
        self.matched.clear();
        self.shadow.clear();
    }

    fn add(&mut self, other: &Self) {
        add_missing(&mut self.matched, &other.matched);
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

/// Notes what matched, and passes on when phases end.
struct Watched<'h, 'l, L> {
    hits: &'h mut Hits,
    laps: &'l mut L,
}

impl<L: Laps> Witness for Watched<'_, '_, L> {
    const WANTS_LEFT_OUT: bool = false;

    fn asked(&mut self, at: Position, rule: &Rule, matched: bool) {
        match (matched, rule.mode) {
            (true, Mode::Enforce) => self.hits.matched.push(at),
            (true, Mode::Shadow) => self.hits.shadow.push(at),
            (false, Mode::Enforce | Mode::Shadow) => {}
        }
    }

    fn left_out(&mut self, _rules: &[Position], _why: LeftOut) {}

    fn phase_ended(&mut self, phase: Phase) {
        self.laps.phase_ended(phase);
    }
}
