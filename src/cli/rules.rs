//! `portcullis rules`: every rule in the order in which it is asked, with the expression that it stands for.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Exit, Output, session::Session};
use crate::{
    config::show::printable,
    policy::{
        fault::nearest,
        rule::{Action, Kind, Mode, Phase, Rule, SkipTarget, Tier},
    },
};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only these rules, by id
    ids: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, session: &Session) -> Exit {
    let snapshot = match session.load(Exit::CouldNot) {
        Ok(snapshot) => snapshot,
        Err(exit) => return exit,
    };
    let all = snapshot.policy.rules();
    let wanted = |rule: &&Rule| arguments.ids.is_empty() || arguments.ids.iter().any(|id| is_named(rule, id));
    let rules: Vec<&Rule> = all.iter().filter(wanted).collect();
    let unknown: Vec<String> = arguments
        .ids
        .iter()
        .filter(|id| !all.iter().any(|rule| is_named(rule, id)))
        .map(|id| unknown(id, all))
        .collect();
    if !unknown.is_empty() {
        session.complain(&unknown.join("; "));
        return Exit::No;
    }
    match session.output {
        Output::Text => session.print(&text(&rules)),
        Output::Json => session.print_json(&rules.iter().map(|rule| json(rule)).collect()),
    }
    Exit::Yes
}

/// Whether the id is the rule's, or that of the entry that stands for it and others (`admin` of `admin.admitted`).
pub(super) fn is_named(rule: &Rule, id: &str) -> bool {
    rule.id.as_str().strip_prefix(id).is_some_and(|rest| match rule.kind {
        Kind::Lockdown => rest.is_empty() || rest == ".admitted",
        Kind::IpAccess | Kind::Geo | Kind::Rule | Kind::UserAgent | Kind::Hotlink => rest.is_empty(),
    })
}

pub(super) fn unknown(id: &str, rules: &[Rule]) -> String {
    let near = nearest(id, rules.iter().map(|rule| rule.id.as_str()));
    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    format!("there is no rule `{}`{near}", printable(id))
}

fn text(rules: &[&Rule]) -> String {
    let mut text = String::new();
    let mut phase = None;
    for rule in rules {
        if phase != Some(rule.phase) {
            phase = Some(rule.phase);
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}# {}", phase_name(rule.phase));
        }
        let _ = write!(text, "{}: {}", rule.id, action(&rule.action));
        let _ = match rule.mode {
            Mode::Enforce => Ok(()),
            Mode::Shadow => write!(text, ", shadow"),
        };
        if !rule.enabled {
            text.push_str(", disabled");
        }
        let _ = writeln!(text, "   ({}, {})", rule.kind.as_str(), rule.place);
        if let Some(note) = &rule.note {
            let _ = writeln!(text, "    # {}", printable(note));
        }
        let _ = writeln!(text, "    {}", rule.expression.as_str());
    }
    if text.is_empty() {
        text.push_str("no rules\n");
    }
    text
}

/// The phase; the tiers of `ip_access` apart, since the order goes by them.
pub(super) fn phase_name(phase: Phase) -> String {
    match phase {
        Phase::IpAccess(Tier::Address) => "ip_access: addresses".to_owned(),
        Phase::IpAccess(Tier::Asn) => "ip_access: autonomous systems".to_owned(),
        Phase::IpAccess(Tier::Place) => "ip_access: places".to_owned(),
        Phase::Rule | Phase::Lockdown | Phase::UserAgent | Phase::Hotlink => phase.as_str().to_owned(),
    }
}

/// The action with what it skips.
pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Allow | Action::Block | Action::Log => action.as_str().to_owned(),
        Action::Skip(targets) => {
            let targets: Vec<_> = targets.iter().map(skip_target).collect();
            format!("skip {}", targets.join(", "))
        }
    }
}

fn skip_target(target: &SkipTarget) -> String {
    match target {
        SkipTarget::Phase(phase) => phase.as_str().to_owned(),
        SkipTarget::Rule(id) => id.to_string(),
    }
}

/// A rule for programs.
pub(super) fn json(rule: &Rule) -> Value {
    let (line, column) = rule.place.line_column();
    let skip: Option<Vec<_>> = match &rule.action {
        Action::Skip(targets) => Some(targets.iter().map(skip_target).collect()),
        Action::Allow | Action::Block | Action::Log => None,
    };
    let tier = match rule.phase {
        Phase::IpAccess(Tier::Address) => Some("address"),
        Phase::IpAccess(Tier::Asn) => Some("asn"),
        Phase::IpAccess(Tier::Place) => Some("place"),
        Phase::Rule | Phase::Lockdown | Phase::UserAgent | Phase::Hotlink => None,
    };
    json!({
        "id": rule.id.as_str(),
        "kind": rule.kind.as_str(),
        "phase": rule.phase.as_str(),
        "tier": tier,
        "action": rule.action.as_str(),
        "skip": skip,
        "mode": rule.mode.as_str(),
        "enabled": rule.enabled,
        "expression": rule.expression.as_str(),
        "reason": rule.reason.as_str(),
        "note": rule.note,
        "owner": rule.owner,
        "expires": rule.expires.map(|expires| expires.0),
        "file": rule.place.source.name,
        "line": line,
        "column": column,
    })
}
