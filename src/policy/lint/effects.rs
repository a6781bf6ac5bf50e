//! Allows that no block can meet, and skips that leave nothing out.

use super::{
    examined::{Examined, Read},
    finding::{Check, Finding},
    proof::{Addresses, Case, Values},
};
use crate::policy::{
    rule::{Action, Phase, SkipTarget, Tier},
    site::DefaultVerdict,
};

pub(super) fn find(examined: &Examined<'_>, unreached: &[usize], findings: &mut Vec<Finding>) {
    let acting = || {
        examined
            .entries()
            .filter(|read| read.acts() && !unreached.contains(&read.at))
    };
    let closed = examined
        .around
        .sites
        .iter()
        .any(|site| site.default == DefaultVerdict::Block);
    if !closed {
        let mut met: Vec<(Phase, Met<'_, '_>)> = Vec::new();
        for read in acting().filter(|read| read.rule.action == Action::Allow) {
            let phase = read.rule.phase;
            let of_phase = match met.iter().position(|(known, _)| *known == phase) {
                Some(at) => at,
                None => {
                    met.push((phase, Met::by_allows_of(examined, phase)));
                    met.len() - 1
                }
            };
            if let Some((_, met)) = met.get(of_phase)
                && !met.is_met(examined, read)
            {
                findings.push(allow(read));
            }
        }
    }
    for read in acting() {
        if let Action::Skip(targets) = &read.rule.action {
            findings.extend(targets.iter().filter_map(|target| skip(examined, read, target)));
        }
    }
}

fn allow(read: &Read<'_>) -> Finding {
    let what = match read.rule.phase {
        Phase::IpAccess(Tier::Address) => "no rule could refuse these addresses",
        Phase::IpAccess(Tier::Asn | Tier::Place) => {
            "an allowed place ends only blocks of its tier and of the broader ones, and none meets it"
        }
        Phase::Rule | Phase::Lockdown | Phase::UserAgent | Phase::Hotlink => {
            "no later rule could refuse these requests"
        }
    };
    Finding::new(
        Check::AllowWithoutEffect,
        read.rule.place.clone(),
        format!("`{}` changes nothing", read.rule.id),
    )
    .of(read.rule)
    .label(what)
    .help("remove it, or correct what it names; a site with `default = \"block\"` would need it")
}

/// The rules that allows of a phase may keep from acting.
struct Met<'r, 'p> {
    /// Those that are about addresses in every case: all of their addresses together.
    addresses: Addresses,
    /// The others.
    others: Vec<&'r Read<'p>>,
    /// Those that are about addresses.
    about_addresses: Vec<&'r Read<'p>>,
}

impl<'r, 'p> Met<'r, 'p> {
    fn by_allows_of(examined: &'r Examined<'p>, phase: Phase) -> Self {
        let mut all: Vec<&Addresses> = Vec::new();
        let (mut others, mut about_addresses) = (Vec::new(), Vec::new());
        for read in examined
            .rules
            .iter()
            .filter(|read| read.is_asked() && concerns(phase, read))
        {
            match read.possible.0.iter().map(addresses_of).collect::<Option<Vec<_>>>() {
                Some(own) => {
                    all.extend(own);
                    about_addresses.push(read);
                }
                None => others.push(read),
            }
        }
        Self {
            addresses: Addresses::any(all),
            others,
            about_addresses,
        }
    }

    /// Whether one of them may match a request that the allow matches.
    fn is_met(&self, examined: &Examined<'_>, allow: &Read<'_>) -> bool {
        let later =
            |read: &&&Read<'_>| allow.rule.phase != Phase::Rule || read.rule.phase != Phase::Rule || read.at > allow.at;
        let meets = |read: &&Read<'_>| !examined.budget.spend() || !allow.possible.excludes(&read.possible);
        let apart = allow
            .possible
            .0
            .iter()
            .all(|case| addresses_of(case).is_some_and(|own| own.intersection(&self.addresses).is_empty()));
        self.others.iter().filter(later).any(meets) || !apart && self.about_addresses.iter().filter(later).any(meets)
    }
}

/// What the client's address is in a case, if the case is about it.
fn addresses_of(case: &Case) -> Option<&Addresses> {
    match &case.0.get("ip.src")?.values {
        Values::Addresses(addresses) => Some(addresses),
        Values::Texts(_) | Values::Numbers(_) | Values::Truth { .. } => None,
    }
}

/// Whether an allow of the phase may keep the rule from acting, or from being counted.
fn concerns(allow: Phase, read: &Read<'_>) -> bool {
    let blocks = read.rule.action == Action::Block;
    match (allow, read.rule.phase) {
        (Phase::IpAccess(tier), Phase::IpAccess(other)) => blocks && tier <= other,
        (Phase::IpAccess(Tier::Address) | Phase::Rule, Phase::Rule) => read.rule.action != Action::Allow,
        (Phase::IpAccess(Tier::Address) | Phase::Rule, Phase::UserAgent | Phase::Hotlink) => true,
        (_, _) => false,
    }
}

fn skip(examined: &Examined<'_>, read: &Read<'_>, target: &SkipTarget) -> Option<Finding> {
    let is_target = |other: &&Read<'_>| match target {
        SkipTarget::Phase(phase) => other.rule.phase == *phase,
        SkipTarget::Rule(id) => other.entry_id() == id.as_str(),
    };
    let mut targets = examined
        .rules
        .iter()
        .filter(|other| other.is_asked())
        .filter(is_target)
        .peekable();
    let name = match target {
        SkipTarget::Phase(phase) => phase.as_str(),
        SkipTarget::Rule(id) => id.as_str(),
    };
    let why = match targets.peek() {
        None => "there is no such rule that is asked",
        Some(_) => "none of it can match these requests",
    };
    let meets = |other: &Read<'_>| !examined.budget.spend() || !read.possible.excludes(&other.possible);
    if targets.any(meets) {
        return None;
    }
    let place = examined
        .written
        .items(read.rule, "skip")
        .into_iter()
        .find(|value| matches!(value.raw(), toml::de::DeValue::String(text) if *text == *name))
        .map_or_else(|| read.rule.place.clone(), |value| value.place());
    Some(
        Finding::new(
            Check::SkipWithoutEffect,
            place,
            format!("`{}` skips nothing by `{name}`", read.rule.id),
        )
        .of(read.rule)
        .label(why)
        .help("remove it, or correct what it names"),
    )
}
