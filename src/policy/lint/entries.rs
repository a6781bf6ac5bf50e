//! What friendly tables say that they surely do not mean: locks with holes, hosts that nobody serves, everybody let in.

use super::{
    examined::{Examined, Read},
    finding::{Check, Finding},
    proof::{Addresses, Values},
};
use crate::policy::{
    fault::{Faults, Place},
    lang::Expression,
    rule::{Action, Kind, Phase, Tier},
    rules::{lockdown, urls},
    site::HostPattern,
    table::{FromToml, Placed},
};

pub(super) fn find(examined: &Examined<'_>, findings: &mut Vec<Finding>) {
    for read in examined.entries().filter(|read| read.rule.enabled) {
        hosts(examined, read, findings);
        match read.rule.kind {
            Kind::Lockdown => lock(examined, read, findings),
            Kind::IpAccess | Kind::Geo | Kind::Rule | Kind::UserAgent | Kind::Hotlink => {}
        }
        everyone(examined, read, findings);
    }
}

/// `hosts` of a rule that no site serves, each with its place.
pub(super) fn unserved(examined: &Examined<'_>, read: &Read<'_>) -> Vec<(HostPattern, Place)> {
    let hosts = examined.written.items(read.rule, "hosts");
    let read = hosts
        .into_iter()
        .filter_map(|value| Some((HostPattern::from_toml(value, &mut Faults::new())?, value.place())));
    let served = |host: &HostPattern| {
        let mut all = examined.around.sites.iter().flat_map(|site| &site.hosts);
        all.any(|served| served.overlaps(host))
    };
    read.filter(|(host, _)| !served(host)).collect()
}

fn hosts(examined: &Examined<'_>, read: &Read<'_>, findings: &mut Vec<Finding>) {
    findings.extend(unserved(examined, read).into_iter().map(|(host, place)| {
        Finding::new(Check::UnservedHost, place, format!("no site has the host `{host}`"))
            .of(read.rule)
            .label(format!("`{}` never matches here", read.rule.id))
            .help("check the spelling against the `hosts` of the sites")
    }));
}

fn lock(examined: &Examined<'_>, read: &Read<'_>, findings: &mut Vec<Finding>) {
    let Some(urls): Option<Vec<Placed<urls::UrlPattern>>> = examined.written.read(read.rule, "urls") else {
        return;
    };
    let mut holes = Faults::new();
    lockdown::warn_of_open_forms(&urls, &mut holes);
    findings.extend(holes.into_iter().map(|fault| {
        let finding = Finding::new(Check::LockdownHole, fault.place, fault.message)
            .of(read.rule)
            .label(fault.label);
        fault.help.into_iter().fold(finding, Finding::help)
    }));
    let excepted: Option<Vec<Placed<urls::UrlPattern>>> = examined.written.read(read.rule, "except");
    let patterns: Vec<urls::UrlPattern> = urls.into_iter().map(|url| url.value).collect();
    let cases = |patterns: &[urls::UrlPattern]| {
        let condition = urls::condition(patterns)?;
        let expression = Expression::compile(condition.as_str(), &examined.environment()).ok()?;
        Some(examined.reader.cases(expression.root()))
    };
    let Some(locked) = cases(&patterns) else { return };
    for except in excepted.into_iter().flatten() {
        let unlocked = cases(std::slice::from_ref(&except.value));
        if unlocked.is_some_and(|unlocked| unlocked.excludes(&locked)) {
            findings.push(
                Finding::new(
                    Check::ExceptWithoutEffect,
                    except.place,
                    format!("this `except` of `{}` excepts nothing", read.rule.id),
                )
                .of(read.rule)
                .label("none of the locked URLs")
                .help("correct it, or remove it"),
            );
        }
    }
}

/// An allow for every address of a family, and nothing else asked: all later rules but locks are off.
fn everyone(examined: &Examined<'_>, read: &Read<'_>, findings: &mut Vec<Finding>) {
    let (key, what) = match (read.rule.phase, &read.rule.action) {
        (Phase::IpAccess(Tier::Address), Action::Allow) => ("ip", "lets in"),
        (Phase::Lockdown, _) => ("allow", "admits"),
        (_, _) => return,
    };
    for value in examined.written.items(read.rule, key) {
        let Some(text) = String::from_toml(value, &mut Faults::new()) else {
            continue;
        };
        let condition = match text.starts_with('$') {
            true => format!("ip.src in {text}"),
            false => format!("ip.src in {{{text}}}"),
        };
        let Ok(expression) = Expression::compile(&condition, &examined.environment()) else {
            continue;
        };
        let cases = examined.reader.cases(expression.root());
        let whole = |addresses: &Addresses| addresses.has_whole_family();
        let all = cases.0.iter().any(|case| {
            case.0.is_empty()
                || case
                    .0
                    .values()
                    .any(|domain| matches!(&domain.values, Values::Addresses(all) if whole(all)))
        });
        if !all || !examined.written.items(read.rule, "hosts").is_empty() && read.rule.kind == Kind::IpAccess {
            continue;
        }
        let consequence = match read.rule.phase {
            Phase::Lockdown => "it locks nothing to them",
            _ => "no later rule but a lockdown is asked about them",
        };
        findings.push(
            Finding::new(
                Check::AllowsEveryone,
                value.place(),
                format!("`{}` {what} every address of a family", read.rule.id),
            )
            .of(read.rule)
            .label(consequence)
            .help("name the addresses that are meant"),
        );
    }
}
