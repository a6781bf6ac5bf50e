//! What rules say of themselves, what they cost, and what of the configuration around them makes them blind.

use std::collections::HashMap;

use super::{
    Proxies,
    examined::{Examined, Read},
    finding::{Check, Finding},
};
use crate::policy::{
    lang::{
        ast::{Base, Elementwise, Predicate, Value},
        fields::Fact,
    },
    rule::{Kind, Mode},
};

pub(super) fn find(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    for read in examined.entries() {
        let (id, place) = (&read.rule.id, || read.rule.place.clone());
        if read.rule.note.is_none() {
            findings.push(
                Finding::new(
                    Check::MissingNote,
                    place(),
                    format!("`{id}` does not say why it exists"),
                )
                .of(read.rule)
                .help("write `note = \"…\"`"),
            );
        }
        if read.rule.owner.is_none() {
            findings.push(
                Finding::new(
                    Check::MissingOwner,
                    place(),
                    format!("`{id}` does not say who answers for it"),
                )
                .of(read.rule)
                .help("write `owner = \"…\"`"),
            );
        }
        if !read.rule.enabled {
            findings.push(
                Finding::new(Check::Disabled, place(), format!("`{id}` is disabled"))
                    .of(read.rule)
                    .help("enable it, or remove it"),
            );
        }
        match read.rule.mode {
            Mode::Shadow => findings.push(
                Finding::new(
                    Check::InShadow,
                    place(),
                    format!("`{id}` is in shadow mode: it never acts"),
                )
                .of(read.rule)
                .help("enforce it when its hits are what was meant, or remove it"),
            ),
            Mode::Enforce => {}
        }
    }
    always_asked(examined, findings);
    proxies(examined, findings);
}

/// Only of `[[rule]]`: the friendly tables' expressions are ours.
fn always_asked(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    let by_id: HashMap<&str, &Read<'_>> = examined
        .rules
        .iter()
        .map(|read| (read.rule.id.as_str(), read))
        .collect();
    for asked in examined.policy.plan_stats().always_asked {
        let read = by_id.get(asked.id.as_str());
        let Some(read) = read.filter(|read| read.rule.kind == Kind::Rule && read.is_asked()) else {
            continue;
        };
        // Of one that matches everything that is told, or meant.
        let matches_all =
            |finding: &Finding| finding.check == Check::AlwaysMatches && finding.rule.as_ref() == Some(&read.rule.id);
        if read.rule.expression.as_str() == "true" || findings.iter().any(matches_all) {
            continue;
        }
        findings.push(
            Finding::new(
                Check::AlwaysAsked,
                read.rule.place.clone(),
                format!("every request is asked about `{}`", asked.id),
            )
            .of(read.rule)
            .label(format!("nothing can be looked up in `{}`", asked.because))
            .help("join it by `and` with a test of a path, host, address or country, if there is one"),
        );
    }
}

/// Rules about addresses where every client has the proxy's.
fn proxies(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    let (evidence, is_hint) = match examined.around.proxies {
        Proxies::Trusted => return,
        Proxies::None {
            header: Some(header), ..
        } => (
            format!("`[client_ip] header` is `{header}`, but `trusted_proxies` is empty"),
            false,
        ),
        Proxies::None { only_local: true, .. } => (
            "every `[[listen]]` is plain HTTP on this machine: something must stand before it".to_owned(),
            true,
        ),
        Proxies::None { .. } => return,
    };
    let by_address = |predicate: &Predicate| {
        let mut facts = false;
        reads(predicate, &mut |value| facts |= is_about_clients(value));
        facts
    };
    let mut blind = examined
        .entries()
        .filter(|read| read.is_asked() && by_address(read.rule.expression.root()));
    let Some(first) = blind.next() else { return };
    let others = match blind.count() {
        0 => String::new(),
        1 => " and one other rule look".to_owned(),
        others => format!(" and {others} other rules look"),
    };
    let verb = if others.is_empty() { " looks" } else { "" };
    let message = format!(
        "`{}`{others}{verb} at addresses, but every client seems to have the proxy's",
        first.rule.id
    );
    let finding = Finding::new(Check::UntrustedProxy, first.rule.place.clone(), message)
        .of(first.rule)
        .label(evidence)
        .help("name the proxy's addresses in `[client_ip] trusted_proxies`, or let it send the PROXY protocol");
    findings.push(if is_hint { finding.hint() } else { finding });
}

fn is_about_clients(value: &Value) -> bool {
    match &value.base {
        Base::Field(field) => field
            .reads
            .iter()
            .any(|fact| matches!(fact, Fact::Client | Fact::Country | Fact::Continent | Fact::Asn)),
        Base::Call(call) => call.arguments.iter().any(is_about_clients),
        Base::Literal(_) => false,
    }
}

/// Tells every value that a condition is about.
fn reads<'e>(predicate: &'e Predicate, tell: &mut dyn FnMut(&'e Value)) {
    match predicate {
        Predicate::Constant(_) => {}
        Predicate::Not(inner) => reads(inner, tell),
        Predicate::Group(_, parts) => parts.iter().for_each(|part| reads(part, tell)),
        Predicate::Compare(comparison) => tell(&comparison.value),
        Predicate::Holds(value) => tell(value),
        Predicate::Quantified(_, each) => reads_each(each, tell),
    }
}

fn reads_each<'e>(each: &'e Elementwise, tell: &mut dyn FnMut(&'e Value)) {
    match each {
        Elementwise::Not(inner) => reads_each(inner, tell),
        Elementwise::Compare(comparison) => tell(&comparison.value),
        Elementwise::Holds(value) => tell(value),
    }
}
