//! `portcullis lint`: what is wrong with rules that load.

mod sarif;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde_json::{Value, json};

use super::{
    Exit, Form,
    session::{Session, plural, result_colour},
};
use crate::{
    config::{
        settings::{Protocol, Settings},
        show,
    },
    policy::{
        lint::{self, Check, Finding, Proxies, Severity, Surroundings},
        site::SiteFacts,
    },
    reload::now,
    snapshot::Snapshot,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A comment in a rules file silences a finding, for the table that follows or for its own line:
  # lint: allow(shadowed) kept until the migration is over

Exit codes: 0 nothing found but notes; 1 warnings, or what --deny names; 2 the configuration does not load.")]
pub(super) struct Arguments {
    /// Tell only these checks
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = checks(), conflicts_with = "allow", hide_possible_values = true)]
    only: Vec<Check>,

    /// Do not tell these checks
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = checks(), hide_possible_values = true)]
    allow: Vec<Check>,

    /// Look for these opt-in checks, too: missing-note, missing-owner, disabled, in-shadow
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = opt_in(), hide_possible_values = true)]
    with: Vec<Check>,

    /// Exit with 1 for notes of these checks as for warnings; `notes` means all of them
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = denied(), hide_possible_values = true)]
    deny: Vec<String>,

    /// One line a finding: `file:line:column: warning[check]: message`
    #[arg(long)]
    brief: bool,

    /// Print what each check finds and what to do about it, and stop
    #[arg(long, conflicts_with_all = ["only", "allow", "with", "deny", "brief"])]
    list: bool,
}

fn checks() -> impl TypedValueParser<Value = Check> {
    named(Check::ALL.iter().copied())
}

fn opt_in() -> impl TypedValueParser<Value = Check> {
    named(Check::ALL.iter().copied().filter(|check| check.is_opt_in()))
}

fn named(checks: impl Iterator<Item = Check>) -> impl TypedValueParser<Value = Check> {
    let values = checks.map(|check| PossibleValue::new(check.id()).help(check.summary()));
    PossibleValuesParser::new(values).try_map(|id| Check::named(&id).ok_or("no such check"))
}

fn denied() -> PossibleValuesParser {
    let all = PossibleValue::new("notes").help("All notes");
    PossibleValuesParser::new(std::iter::once(all).chain(Check::ALL.iter().map(|check| PossibleValue::new(check.id()))))
}

pub(super) fn run(arguments: &Arguments, form: Form, session: &Session) -> Exit {
    if arguments.list {
        match form {
            Form::Text => session.print(&list()),
            Form::Json => session.print_json(&Check::ALL.iter().map(|check| described(*check)).collect()),
            Form::Sarif => session.print_json(&sarif::log(&[])),
        }
        return Exit::Yes;
    }
    let snapshot = match session.load(Exit::CouldNot) {
        Ok(snapshot) => snapshot,
        Err(exit) => return exit,
    };
    let with: BTreeSet<Check> = arguments.with.iter().chain(&arguments.only).copied().collect();
    let mut findings = find(&snapshot, &with);
    findings.retain(|finding| {
        let wanted = arguments.only.is_empty() || arguments.only.contains(&finding.check);
        wanted && !arguments.allow.contains(&finding.check)
    });
    let denied = |finding: &&Finding| {
        let named = |id: &String| id == "notes" || id == finding.check.id();
        finding.allowed.is_none() && (finding.severity == Severity::Warning || arguments.deny.iter().any(named))
    };
    let fails = findings.iter().any(|finding| denied(&finding));
    let rules: usize = snapshot.policy.counts().map(|(_, count)| count).sum();
    match form {
        Form::Text => session.print(&text(&findings, rules, arguments.brief)),
        Form::Json => session.print_json(&json!({
            "ok": !fails,
            "rules": rules,
            "warnings": count(&findings, Severity::Warning),
            "notes": count(&findings, Severity::Note),
            "allowed": findings.iter().filter(|finding| finding.allowed.is_some()).count(),
            "findings": findings.iter().map(as_json).collect::<Vec<_>>(),
        })),
        Form::Sarif => session.print_json(&sarif::log(&findings)),
    }
    if fails { Exit::No } else { Exit::Yes }
}

/// Lints a loaded configuration.
fn find(snapshot: &Snapshot, with: &BTreeSet<Check>) -> Vec<Finding> {
    let settings = &snapshot.settings;
    let sites: Vec<SiteFacts> = settings.sites.iter().map(|site| site.facts.clone()).collect();
    let lists_used: Vec<String> = settings
        .client_ip
        .lists
        .iter()
        .chain(&settings.geoip.tor)
        .cloned()
        .collect();
    let around = Surroundings {
        sites: &sites,
        now: now(),
        proxies: proxies(settings),
        lists_used: &lists_used,
    };
    lint::lint(&snapshot.policy, &around, with)
}

fn proxies(settings: &Settings) -> Proxies<'_> {
    let told = !settings.client_ip.trusted_proxies.is_empty()
        || settings
            .listeners
            .iter()
            .any(|listener| !listener.proxy_protocol.is_empty());
    if told {
        return Proxies::Trusted;
    }
    let header = settings.client_ip.header.as_str();
    let local = |listener: &crate::config::settings::Listener| {
        listener.protocol == Protocol::Plain && listener.address.ip().is_loopback()
    };
    Proxies::None {
        header: (header != "x-forwarded-for").then_some(header),
        only_local: settings.listeners.iter().all(local),
    }
}

/// How many of a severity are told, those that comments silence left out.
fn count(findings: &[Finding], severity: Severity) -> usize {
    let told = findings.iter().filter(|finding| finding.allowed.is_none());
    told.filter(|finding| finding.severity == severity).count()
}

/// From how many findings on the end says how many there are of each check.
const MANY: usize = 10;

fn text(findings: &[Finding], rules: usize, brief: bool) -> String {
    let told: Vec<&Finding> = findings.iter().filter(|finding| finding.allowed.is_none()).collect();
    let mut text = if brief {
        told.iter().map(|finding| line(finding)).collect()
    } else {
        show::findings(told.iter().copied(), result_colour())
    };
    if !told.is_empty() && !brief {
        text.push('\n');
    }
    if told.len() >= MANY && !brief {
        text.push_str(&by_check(&told));
    }
    let (warnings, notes) = (count(findings, Severity::Warning), count(findings, Severity::Note));
    let silenced = match findings.len() - told.len() {
        0 => String::new(),
        silenced => format!(" ({silenced} allowed by comments)"),
    };
    let found = match (warnings, notes) {
        (0, 0) => "nothing found".to_owned(),
        (0, notes) => plural(notes, "note"),
        (warnings, 0) => plural(warnings, "warning"),
        (warnings, notes) => format!("{}, {}", plural(warnings, "warning"), plural(notes, "note")),
    };
    let _ = writeln!(text, "{found} in {}{silenced}", plural(rules, "rule"));
    text
}

/// `file:line:column: warning[check]: message`
fn line(finding: &Finding) -> String {
    let place = finding
        .place
        .as_ref()
        .map_or(String::new(), |place| format!("{place}: "));
    let (severity, check) = (finding.severity.as_str(), finding.check);
    format!("{place}{severity}[{check}]: {}\n", show::printable(&finding.message))
}

fn by_check(told: &[&Finding]) -> String {
    let mut counts: BTreeMap<(std::cmp::Reverse<Severity>, Check), usize> = BTreeMap::new();
    for finding in told {
        *counts
            .entry((std::cmp::Reverse(finding.severity), finding.check))
            .or_default() += 1;
    }
    let mut text = String::new();
    for ((severity, check), count) in counts {
        let name = format!("{}[{check}]", severity.0.as_str());
        let _ = writeln!(text, "{count:5}  {name}");
    }
    text.push('\n');
    text
}

fn list() -> String {
    let mut text = String::new();
    for check in Check::ALL {
        let when = if check.is_opt_in() { ", with --with only" } else { "" };
        let _ = writeln!(
            text,
            "{check} ({}{when})\n    {}\n    {}\n",
            check.severity().as_str(),
            check.summary(),
            check.fix()
        );
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn described(check: Check) -> Value {
    json!({
        "check": check.id(),
        "severity": check.severity().as_str(),
        "opt_in": check.is_opt_in(),
        "summary": check.summary(),
        "fix": check.fix(),
    })
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "check": finding.check.id(),
        "severity": finding.severity.as_str(),
        "message": finding.message,
        "rule": finding.rule.as_ref().map(ToString::to_string),
        "place": finding.place.as_ref().map(show::place_json),
        "label": finding.label,
        "related": finding.related.iter().map(|related| json!({
            "place": show::place_json(&related.place),
            "message": related.message,
        })).collect::<Vec<_>>(),
        "help": finding.help,
        "allowed": finding.allowed,
    })
}
