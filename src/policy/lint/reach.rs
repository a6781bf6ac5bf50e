//! Rules that others leave nothing to do: what the order of evaluation lets them reach.
//!
//! The order is that of `phases`: see there, and docs/rules.md. A rule stands in another's way when no request that it
//! matches ever comes to the other. Whatever could take it out of the way (a `skip`, an allow before it) must be excluded.

use std::collections::BTreeSet;

use super::{
    examined::{Examined, Read},
    finding::{Check, Finding},
    index::Index,
    proof::{Case, Cases},
};
use crate::policy::{
    phases::Position,
    rule::{Action, Kind, Mode, Phase, SkipTarget, Tier},
};

/// How a rule keeps another from acting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// It refuses the requests first.
    Blocks,
    /// It allows them, which ends the phase or skips a later one.
    EndsPhase,
    /// It allows them, and in a tier and the broader ones an allow wins over every block.
    AllowWins,
    /// It skips the rule.
    Skips,
}

/// What keeps a rule, or a part of it, from acting.
pub(super) struct Obstacle<'r, 'p> {
    pub(super) by: &'r Read<'p>,
    pub(super) way: Way,
    /// How many other rules it takes together with this one.
    pub(super) others: usize,
}

/// Finds what stands in the way of rules.
pub(super) struct Reach<'r, 'p> {
    examined: &'r Examined<'p>,
    index: Index,
}

impl<'r, 'p> Reach<'r, 'p> {
    pub(super) fn new(examined: &'r Examined<'p>) -> Self {
        let decisive = examined
            .rules
            .iter()
            .filter(|read| read.acts() && read.rule.action != Action::Log);
        Self {
            examined,
            index: Index::of(decisive.map(|read| (read.at, read.cases.0.as_slice()))),
        }
    }

    /// What keeps a rule from acting on these of its cases, if all of them are kept from it.
    pub(super) fn obstacle(&self, of: &Read<'p>, cases: &Cases) -> Option<Obstacle<'r, 'p>> {
        let mut found: Vec<(&Read<'p>, Way)> = Vec::new();
        for case in cases.0.iter().filter(|case| !case.is_empty()) {
            match self.obstacle_to(of, case) {
                Some(obstacle) => found.push(obstacle),
                // Several rules may cover it together, each a part.
                None => {
                    let parts = case.parts()?;
                    let each: Option<Vec<_>> = parts.iter().map(|part| self.obstacle_to(of, part)).collect();
                    found.extend(each?);
                }
            }
        }
        let (by, way) = *found.first()?;
        let different: BTreeSet<Position> = found.iter().map(|(by, _)| by.at).collect();
        let others = different.len() - 1;
        Some(Obstacle { by, way, others })
    }

    fn obstacle_to(&self, of: &Read<'p>, case: &Case) -> Option<(&'r Read<'p>, Way)> {
        self.index.candidates(case).into_iter().find_map(|(at, nth)| {
            let by = self
                .examined
                .rules
                .get(at)
                .filter(|by| by.at != of.at && by.rule.place != of.rule.place)?;
            let way = self.way(by, of)?;
            let wider = by.cases.0.get(nth)?;
            let covers = self.examined.budget.spend() && case.is_within(wider);
            (covers && !self.is_avoided(by, of, case)).then_some((by, way))
        })
    }

    /// How one rule could keep another from acting, were it to match whenever the other would.
    fn way(&self, by: &Read<'_>, of: &Read<'_>) -> Option<Way> {
        use Phase::{Hotlink, IpAccess, Lockdown, Rule, UserAgent};
        let skipped = &self.examined.skipped;
        let is_block = of.rule.action == Action::Block;
        if skipped.id(by.entry_id()) {
            return None;
        }
        match (by.rule.phase, &by.rule.action, of.rule.phase) {
            (IpAccess(tier), Action::Allow, IpAccess(other)) => (is_block && tier <= other).then_some(Way::AllowWins),
            (IpAccess(Tier::Address), Action::Allow, Rule | UserAgent | Hotlink) => Some(Way::EndsPhase),
            (IpAccess(tier), Action::Block, IpAccess(other)) if tier == other => {
                (is_block && by.at < of.at).then_some(Way::Blocks)
            }
            (IpAccess(tier), Action::Block, IpAccess(other)) => (tier < other).then_some(Way::Blocks),
            (IpAccess(_), Action::Block, Rule | Lockdown | UserAgent | Hotlink) => Some(Way::Blocks),
            (Rule, Action::Block, Rule) => (by.at < of.at).then_some(Way::Blocks),
            (Rule, Action::Allow, Rule) => (by.at < of.at).then_some(Way::EndsPhase),
            (Rule, Action::Block, Lockdown | UserAgent | Hotlink) => Some(Way::Blocks),
            (Rule, Action::Allow, UserAgent | Hotlink) => Some(Way::EndsPhase),
            (Rule | Lockdown, Action::Skip(targets), _) if by.at < of.at => {
                let leads_there = by.rule.phase == Rule || !skipped.phase(Lockdown);
                let named = targets.iter().any(|target| match target {
                    SkipTarget::Phase(phase) => *phase == of.rule.phase,
                    SkipTarget::Rule(id) => id.as_str() == of.entry_id(),
                });
                (named && leads_there).then_some(Way::Skips)
            }
            (Lockdown, Action::Block, Lockdown) => (by.at < of.at).then_some(Way::Blocks),
            (Lockdown, Action::Block, UserAgent | Hotlink) => (!skipped.phase(Lockdown)).then_some(Way::Blocks),
            (UserAgent, Action::Block, UserAgent) | (Hotlink, Action::Block, Hotlink) => {
                (by.at < of.at).then_some(Way::Blocks)
            }
            // A client that a lock admits, or whom a rule lets by, is not asked for its program.
            (UserAgent, Action::Block, Hotlink) => (!skipped.phase(UserAgent)).then_some(Way::Blocks),
            (_, _, _) => None,
        }
    }

    /// Whether an allow could come before the one that stands in the way, and still lead to the other rule.
    fn is_avoided(&self, by: &Read<'_>, of: &Read<'_>, case: &Case) -> bool {
        let decides = matches!(by.rule.action, Action::Block | Action::Skip(_));
        let of_block = of.rule.action == Action::Block;
        let could = |allow: &Read<'_>| match (allow.rule.phase, by.rule.phase, of.rule.phase) {
            // An allow of a tier ends the blocks of the broader ones, the other rule's too.
            (Phase::IpAccess(_), Phase::IpAccess(_), Phase::IpAccess(_)) if of_block => false,
            (Phase::IpAccess(tier), Phase::IpAccess(own), Phase::IpAccess(_) | Phase::Lockdown) => tier <= own,
            (Phase::IpAccess(tier), Phase::IpAccess(own), _) => tier <= own && tier != Tier::Address,
            // What an allow skips is skipped with the rule in the way; a lockdown is asked all the same.
            (Phase::IpAccess(tier), _, Phase::Lockdown) => tier == Tier::Address && by.rule.phase == Phase::Rule,
            (Phase::Rule, Phase::Rule, Phase::Lockdown) => allow.at < by.at,
            (_, _, _) => false,
        };
        let allows = self
            .examined
            .rules
            .iter()
            .filter(|read| read.acts() && read.rule.action == Action::Allow);
        decides
            && allows.filter(|allow| could(allow)).any(|allow| {
                let meets = |other: &Case| !case.intersection(other).is_empty();
                !self.examined.budget.spend() || allow.possible.0.iter().any(meets)
            })
    }
}

/// Rules that others leave nothing to do, and those that say the same as another.
pub(super) fn find(examined: &Examined<'_>, reach: &Reach<'_, '_>, findings: &mut Vec<Finding>) -> Vec<Position> {
    let mut unreached = Vec::new();
    for read in examined.entries().filter(|read| read.is_asked()) {
        let Some(obstacle) = reach.obstacle(read, &read.possible) else {
            continue;
        };
        unreached.push(read.at);
        let same = obstacle.others == 0
            && obstacle.by.rule.action == read.rule.action
            && obstacle.by.rule.phase == read.rule.phase
            && obstacle.by.rule.mode == read.rule.mode
            && obstacle.by.possible.is_within(&read.cases);
        findings.push(if same {
            duplicate(read, obstacle.by)
        } else {
            shadowed(read, &obstacle)
        });
    }
    unreached
}

fn duplicate(read: &Read<'_>, first: &Read<'_>) -> Finding {
    let message = format!("`{}` says the same as `{}`", read.rule.id, first.rule.id);
    Finding::new(Check::Duplicate, read.rule.place.clone(), message)
        .of(read.rule)
        .label("matches the same requests, and does the same")
        .related(&first.rule.place, "the first one")
        .help("remove one of them")
}

fn shadowed(read: &Read<'_>, obstacle: &Obstacle<'_, '_>) -> Finding {
    let (id, by) = (&read.rule.id, &obstacle.by.rule.id);
    let others = match obstacle.others {
        0 => String::new(),
        1 => " and one other rule".to_owned(),
        others => format!(" and {others} other rules"),
    };
    let one = obstacle.others == 0;
    let verb = |singular: &'static str, plural: &'static str| if one { singular } else { plural };
    let message = match obstacle.way {
        Way::Blocks => format!(
            "`{id}` never acts: `{by}`{others} {} all of its requests first",
            verb("refuses", "refuse")
        ),
        Way::EndsPhase | Way::AllowWins => {
            format!(
                "`{id}` never acts: `{by}`{others} {} all of its requests",
                verb("allows", "allow")
            )
        }
        Way::Skips => format!(
            "`{id}` never acts: `{by}`{others} {} it for all of its requests",
            verb("skips", "skip")
        ),
    };
    let (why, help) = because(obstacle, read);
    Finding::new(Check::Shadowed, read.rule.place.clone(), message)
        .of(read.rule)
        .label("no request ever comes to it")
        .related(&obstacle.by.rule.place, why)
        .help(help)
}

/// Why it stands in the way, and what to do.
pub(super) fn because(obstacle: &Obstacle<'_, '_>, of: &Read<'_>) -> (&'static str, String) {
    let by = &obstacle.by.rule;
    let narrow = format!("remove it, or narrow `{}`", by.id);
    let in_order = by.phase == of.rule.phase && by.phase == Phase::Rule;
    match obstacle.way {
        Way::Blocks if in_order => (
            "the first block that matches ends the phase",
            format!("{narrow}, or move it before `{}`", by.id),
        ),
        Way::Blocks => ("a block ends everything", narrow),
        Way::AllowWins => (
            "an allow wins over the blocks of its tier and the broader ones, whatever the order",
            narrow,
        ),
        Way::EndsPhase if in_order => (
            "the first allow that matches ends the phase",
            format!("{narrow}, or move it before `{}`", by.id),
        ),
        Way::EndsPhase if by.kind == Kind::Rule => ("an allow skips `user_agent` and `hotlink`", narrow),
        Way::EndsPhase => ("an allowed address skips `rule`, `user_agent` and `hotlink`", narrow),
        Way::Skips => ("what it skips is not asked", narrow),
    }
}

/// Rules of a tier inside wider ones: of the same action unnecessary, of the other an exception. And rules that only log or
/// skip, written twice.
pub(super) fn inside_wider(examined: &Examined<'_>, unreached: &[Position], findings: &mut Vec<Finding>) {
    let tiered: Vec<&Read<'_>> = examined
        .entries()
        .filter(|read| matches!(read.rule.phase, Phase::IpAccess(_)) && read.acts() && !unreached.contains(&read.at))
        .collect();
    let index = Index::of(tiered.iter().map(|read| (read.at, read.cases.0.as_slice())));
    for read in &tiered {
        let covering = |action: &Action| covering(examined, &index, read, action);
        match &read.rule.action {
            Action::Block | Action::Allow | Action::Log => {}
            Action::Skip(_) => continue,
        }
        if let Some(wider) = covering(&read.rule.action)
            && read.rule.response == wider.rule.response
        {
            let is_same = wider.possible.is_within(&read.cases);
            match is_same {
                true if wider.at < read.at => findings.push(duplicate(read, wider)),
                // It is told of the other one.
                true => {}
                false => findings.push(redundant(read, wider)),
            }
        } else if read.rule.action == Action::Allow
            && let Some(wider) = covering(&Action::Block)
        {
            let message = format!(
                "`{}` is an exception to the wider block `{}`",
                read.rule.id, wider.rule.id
            );
            findings.push(
                Finding::new(Check::OppositeActions, read.rule.place.clone(), message)
                    .of(read.rule)
                    .label("let in, though inside what is blocked")
                    .related(&wider.rule.place, "the block")
                    .help("nothing, if the exception is meant; it passes every later phase but `lockdown`"),
            );
        }
    }
}

fn redundant(read: &Read<'_>, wider: &Read<'_>) -> Finding {
    let (id, by) = (&read.rule.id, &wider.rule.id);
    let message = format!("`{id}` is unnecessary: `{by}` says the same of more");
    Finding::new(Check::Redundant, read.rule.place.clone(), message)
        .of(read.rule)
        .label("all of it lies inside the other")
        .related(&wider.rule.place, "the wider one")
        .help("remove it, unless its own id or note is wanted in the log")
}

/// A rule of this action and of the same tier that covers all of this one.
fn covering<'r, 'p>(
    examined: &'r Examined<'p>,
    index: &Index,
    read: &Read<'p>,
    action: &Action,
) -> Option<&'r Read<'p>> {
    let first = read.possible.0.first()?;
    let candidates = index
        .candidates(first)
        .into_iter()
        .filter_map(|(at, _)| examined.rules.get(at));
    let mut alike = candidates
        .filter(|other| other.at != read.at && other.rule.phase == read.rule.phase && other.rule.action == *action);
    alike.find(|other| examined.budget.spend() && read.possible.is_within(&other.cases))
}

/// Rules of a phase that say the same and do not end it.
pub(super) fn twice(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    let mut first: std::collections::HashMap<(Phase, String, Mode, &str), &Read<'_>> = std::collections::HashMap::new();
    for read in examined.entries().filter(|read| read.is_asked()) {
        let action = match &read.rule.action {
            Action::Log if !matches!(read.rule.phase, Phase::IpAccess(_)) => "log".to_owned(),
            Action::Skip(targets) => format!("{targets:?}"),
            // One in shadow ends nothing either.
            Action::Allow | Action::Block if read.rule.mode == Mode::Shadow => read.rule.action.as_str().to_owned(),
            Action::Log | Action::Allow | Action::Block => continue,
        };
        let key = (read.rule.phase, action, read.rule.mode, read.rule.expression.as_str());
        match first.get(&key) {
            Some(other) => findings.push(duplicate(read, other)),
            None => {
                first.insert(key, read);
            }
        }
    }
}
