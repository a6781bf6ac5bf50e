//! What is different between two snapshots, in words; and which differences must wait for a restart.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use crate::{
    config::{
        settings::{Settings, Site},
        show,
    },
    policy::{
        list::List,
        rule::{Phase, Rule, RuleId},
        site::SiteFacts,
    },
    snapshot::{CompiledSite, Snapshot},
};

/// The keys whose new values need a restart.
pub(super) fn restart_required(running: &Settings, new: &Settings) -> Vec<&'static str> {
    let keys = [
        ("workers", running.workers != new.workers),
        ("listen", running.listeners != new.listeners),
        ("admin.address", running.admin.address != new.admin.address),
        ("admin.socket", running.admin.socket != new.admin.socket),
        ("log.level", running.log.level != new.log.level),
    ];
    keys.into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| key)
        .collect()
}

/// Takes back the values that wait for a restart, so that a snapshot says what runs.
pub(super) fn keep_running(running: &Settings, new: &mut Settings) {
    new.workers = running.workers;
    new.listeners.clone_from(&running.listeners);
    new.admin.clone_from(&running.admin);
    new.log.level.clone_from(&running.log.level);
}

/// Everything that is different in `new`, a few words each.
pub fn changes(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let mut changed = Vec::new();
    compare("rule", &rules(old), &rules(new), &mut changed);
    changed.extend(reordered(old, new));
    let lists = |snapshot: &Snapshot| -> BTreeMap<_, _> {
        let lists = snapshot.policy.lists().iter();
        // An unchanged list is the same one, and equal at a glance.
        lists.map(|list| (list.name().to_owned(), Arc::clone(list))).collect()
    };
    compare("list", &lists(old), &lists(new), &mut changed);
    changed.extend(folded(old, new));
    compare("site", &sites(old), &sites(new), &mut changed);
    compare("certificate", &certificates(old), &certificates(new), &mut changed);
    compare(
        "upstream",
        &old.settings.upstreams,
        &new.settings.upstreams,
        &mut changed,
    );
    let geo = |snapshot: &Snapshot| -> BTreeMap<_, _> {
        let sources = snapshot.geo.sources().into_iter();
        sources
            .map(|source| (source.key.to_owned(), (source.name, source.built)))
            .collect()
    };
    compare("geo source", &geo(old), &geo(new), &mut changed);
    let (a, b) = (&old.settings, &new.settings);
    let sections = [
        ("client_ip", a.client_ip != b.client_ip),
        ("geoip.tor", a.geoip.tor != b.geoip.tor),
        ("limits", a.limits != b.limits),
        ("headers", a.headers != b.headers),
        ("log", a.log != b.log),
    ];
    let differing = sections.into_iter().filter(|(_, differs)| *differs);
    changed.extend(differing.map(|(section, _)| format!("{section} changed")));
    changed
}

/// Of the lists that are new or different, those with entries that add nothing.
fn folded(old: &Snapshot, new: &Snapshot) -> impl Iterator<Item = String> {
    let is_old = |list: &&Arc<List>| old.policy.list(list.name()).is_some_and(|before| before == *list);
    new.policy
        .lists()
        .iter()
        .filter(move |list| !is_old(list))
        .filter_map(|list| show::folded(list))
}

/// How many names of one sort are told before the rest is counted.
const MOST_NAMES: usize = 20;

fn compare<T: PartialEq>(what: &str, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>, changed: &mut Vec<String>) {
    let added = new.keys().filter(|name| !old.contains_key(*name));
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    let differs = |name: &&String| {
        old.get(*name)
            .is_some_and(|before| new.get(*name).is_some_and(|now| now != before))
    };
    let edited = new.keys().filter(differs);
    tell(what, "added", added, changed);
    tell(what, "removed", removed, changed);
    tell(what, "changed", edited, changed);
}

fn tell<'n>(what: &str, verb: &str, names: impl Iterator<Item = &'n String>, changed: &mut Vec<String>) {
    let names: Vec<_> = names.collect();
    let more = names.len().saturating_sub(MOST_NAMES);
    changed.extend(
        names
            .iter()
            .take(MOST_NAMES)
            .map(|name| format!("{what} {name} {verb}")),
    );
    if more > 0 {
        changed.push(format!("{more} more {what}s {verb}"));
    }
}

/// All that a rule is but its place: a rule that only moved did not change.
fn rules(snapshot: &Snapshot) -> BTreeMap<String, impl PartialEq> {
    let shape = |rule: &Rule| {
        (
            (
                rule.kind,
                rule.phase,
                rule.expression.as_str().to_owned(),
                rule.action.clone(),
            ),
            (rule.mode, rule.reason, rule.response.clone(), rule.enabled),
            (rule.note.clone(), rule.owner.clone(), rule.expires),
        )
    };
    let rules = snapshot.policy.rules().iter();
    rules
        .map(|rule| (rule.id.to_string(), shape(rule)))
        .collect::<BTreeMap<_, _>>()
}

/// The phases whose rules, as far as both snapshots have them, are asked in another order: the first match may decide.
fn reordered(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let ids = |snapshot: &Snapshot, phase: Phase| -> Vec<RuleId> {
        let rules = snapshot.policy.rules().iter().filter(|rule| rule.phase == phase);
        rules.map(|rule| rule.id.clone()).collect()
    };
    let mut told = Vec::new();
    for phase in Phase::ALL {
        let (mut before, mut after) = (ids(old, phase), ids(new, phase));
        let (had, has): (HashSet<_>, HashSet<_>) = (before.iter().cloned().collect(), after.iter().cloned().collect());
        before.retain(|id| has.contains(id));
        after.retain(|id| had.contains(id));
        let words = format!("order of rules in {} changed", phase.as_str());
        if before != after && !told.contains(&words) {
            told.push(words);
        }
    }
    told
}

fn sites(snapshot: &Snapshot) -> BTreeMap<String, impl PartialEq> {
    let shape = |site: &CompiledSite| {
        let Site {
            facts,
            hosts_place: _,
            certificates,
            self_signed,
            html_page,
            json_page,
            not_found,
            status,
            disclose,
            error_docs,
            paths,
        } = &*site.settings;
        // The numbers shift when an upstream is added elsewhere.
        let facts = SiteFacts {
            application: 0,
            ..facts.clone()
        };
        let files: Vec<_> = certificates
            .iter()
            .map(|files| (files.cert.value.clone(), files.key.value.clone()))
            .collect();
        let page_texts = site
            .pages
            .each_ref()
            .map(|page| page.as_ref().map(|page| page.text.clone()));
        (
            (
                facts,
                files,
                *self_signed,
                html_page.clone(),
                json_page.clone(),
                page_texts,
            ),
            (not_found.clone(), *status, *disclose, error_docs.clone(), *paths),
        )
    };
    let sites = snapshot.sites.iter();
    sites
        .map(|site| (site.settings.facts.name.clone(), shape(site)))
        .collect::<BTreeMap<_, _>>()
}

/// Certificates by site and file; one made at start by its names.
fn certificates(snapshot: &Snapshot) -> BTreeMap<String, impl PartialEq + use<>> {
    let mut certificates: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (site, certificate) in snapshot.certificates.iter() {
        let origin = match &certificate.origin {
            crate::tls::CertificateOrigin::File(path) => path.display().to_string(),
            crate::tls::CertificateOrigin::SelfSigned => "self-signed".to_owned(),
        };
        let shape = (certificate.names.clone(), certificate.not_after, certificate.key_type);
        certificates
            .entry(format!("{origin} of site {site}"))
            .or_default()
            .push(shape);
    }
    certificates
}
