//! A policy under examination: every rule with what its condition comes to.

use std::collections::HashSet;

use super::{
    Surroundings,
    index::Budget,
    proof::{Cases, Known, Reader},
    written::Written,
};
use crate::policy::{
    lang::Environment,
    phases::Position,
    policy::Policy,
    rule::{Action, Kind, Mode, Phase, Rule, SkipTarget},
};

/// A policy with everything that checks ask for.
pub(super) struct Examined<'p> {
    pub(super) policy: &'p Policy,
    pub(super) around: &'p Surroundings<'p>,
    pub(super) written: &'p Written<'p>,
    pub(super) reader: Reader,
    pub(super) rules: Vec<Read<'p>>,
    pub(super) skipped: Skipped,
    pub(super) budget: Budget,
}

/// A rule, read.
pub(super) struct Read<'p> {
    pub(super) at: Position,
    pub(super) rule: &'p Rule,
    /// When it matches.
    pub(super) cases: Cases,
    /// Those of them that can be here.
    pub(super) possible: Cases,
}

/// What rules leave out.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    phases: HashSet<Phase>,
    ids: HashSet<String>,
}

impl<'p> Examined<'p> {
    pub(super) fn new(policy: &'p Policy, around: &'p Surroundings<'p>, written: &'p Written<'p>) -> Self {
        let reader = Reader::new(around.sites, around.now.0);
        let rules: Vec<Read<'p>> = policy
            .rules
            .iter()
            .enumerate()
            .map(|(at, rule)| {
                let cases = reader.cases(rule.expression.root());
                let possible = reader.possible(&cases, Known::Here);
                Read {
                    at,
                    rule,
                    cases,
                    possible,
                }
            })
            .collect();
        let skipped = Skipped::of(&rules);
        Self {
            policy,
            around,
            written,
            reader,
            rules,
            skipped,
            budget: Budget::default(),
        }
    }

    /// What expressions may refer to: the policy compiled, so they may refer to all of it.
    pub(super) fn environment(&self) -> Environment<'_> {
        Environment::new(self.policy.lists())
    }

    /// The rules that stand for entries: of a lockdown the one that blocks.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Read<'p>> {
        self.rules.iter().filter(|read| read.is_entry())
    }
}

impl Read<'_> {
    /// Whether it is the one of its entry's rules that people mean by it.
    pub(super) fn is_entry(&self) -> bool {
        self.rule.kind != Kind::Lockdown || self.rule.action == Action::Block
    }

    /// Whether it is asked, and may match.
    pub(super) fn is_asked(&self) -> bool {
        self.rule.enabled && !self.possible.is_never()
    }

    /// Whether it acts when it matches.
    pub(super) fn acts(&self) -> bool {
        self.is_asked() && self.rule.mode == Mode::Enforce
    }

    /// The id of the entry.
    pub(super) fn entry_id(&self) -> &str {
        let id = self.rule.id.as_str();
        match self.rule.kind {
            Kind::Lockdown => id.strip_suffix(".admitted").unwrap_or(id),
            Kind::IpAccess | Kind::Geo | Kind::Rule | Kind::UserAgent | Kind::Hotlink => id,
        }
    }
}

impl Skipped {
    fn of(rules: &[Read<'_>]) -> Self {
        let mut skipped = Self::default();
        for read in rules.iter().filter(|read| read.acts()) {
            let Action::Skip(targets) = &read.rule.action else {
                continue;
            };
            for target in targets {
                match target {
                    SkipTarget::Phase(phase) => skipped.phases.insert(*phase),
                    SkipTarget::Rule(id) => skipped.ids.insert(id.as_str().to_owned()),
                };
            }
        }
        skipped
    }

    /// Whether some rule may leave the whole phase out.
    pub(super) fn phase(&self, phase: Phase) -> bool {
        self.phases.contains(&phase)
    }

    /// Whether some rule may leave this one out by its id.
    pub(super) fn id(&self, id: &str) -> bool {
        self.ids.contains(id)
    }
}
