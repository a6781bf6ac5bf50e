//! `[[lockdown]]`: these URLs, only for these clients (zone lockdown).
//!
//! ```toml
//! [[lockdown]]
//! id = "admin"
//! urls = ["/admin", "/admin/*"]           # host/path; a leading "/" means every host; "*" is any run, "/" included
//! except = ["/admin/assets/*"]            # in the same form
//! allow = ["203.0.113.0/24", "$office"]   # addresses, networks, ranges, lists
//! note = "the back office"
//!
//! [list.office]
//! kind = "ip"
//! items = ["198.51.100.7"]
//! ```
//!
//! A client must be admitted by every entry whose URL matches, and no allow elsewhere opens a locked URL. A client so
//! admitted skips `user_agent`. Letter case, port and query are not looked at. `/admin` is that path alone, `/admin/*` what
//! is below it: write both.
//!
//! A lock on one host is worth little when another host leads to the same application: that is a fault, unless the entry
//! says `other_hosts = "open"`. A lock on a host that no site serves is always a fault.

use std::collections::BTreeSet;

use crate::policy::{
    decision::Reason,
    fault::{Fault, Faults, Place},
    list::ListKind,
    rule::{Action, Kind, Phase, SkipTarget},
    site::{HostPattern, SiteFacts},
    table::{FromToml, Placed, Table, Value},
};

use super::{
    Entry, RuleEnvironment,
    common::{Common, Part, no_action},
    targets::Targets,
    text::Condition,
    urls::{self, UrlPattern, wildcard_matches},
};

pub(super) fn read(mut table: Table<'_>, env: &RuleEnvironment<'_>, faults: &mut Faults) -> Option<Entry> {
    let common = Common::read(Kind::Lockdown, &mut table, faults);
    no_action(&mut table, "it blocks everyone who is not in `allow`", faults);
    let urls: Option<Vec<Placed<UrlPattern>>> = table.required("urls", "urls = [\"/admin\", \"/admin/*\"]", faults);
    let except: Vec<UrlPattern> = table.or("except", Vec::new(), faults);
    if table.key_place("allow").is_none() {
        faults.push(
            Fault::error(table.place(), "[[lockdown]] has no `allow`")
                .expected("`allow` is required")
                .help("write `allow = [\"203.0.113.0/24\"]`: who may come in"),
        );
    }
    let allow = Targets::read(&mut table, "allow", ListKind::Ip, env, faults);
    let other_hosts: Option<OtherHosts> = table.optional("other_hosts", faults);
    let urls = urls.filter(|urls| has_urls(urls, &table, faults));
    table.finish(faults);
    let urls = urls?;
    warn_of_open_forms(&urls, faults);
    check_named_hosts(&urls, &common, env, faults);
    if other_hosts.is_none() {
        check_other_hosts(&urls, &common, env, faults);
    }
    let patterns: Vec<UrlPattern> = urls.into_iter().map(|url| url.value).collect();
    let admitted = allow?.condition("ip.src")?;
    let spared = urls::condition(&except).map(Condition::not);
    let locked = urls::condition(&patterns)?.and(spared);
    let part = |suffix, action, condition| Part {
        suffix,
        phase: Phase::Lockdown,
        reason: Reason::Lockdown,
        action,
        condition,
    };
    let skip = Action::Skip(vec![SkipTarget::Phase(Phase::UserAgent)]);
    let parts = vec![
        part("", Action::Block, locked.clone().and(Some(admitted.clone().not()))),
        part("admitted", skip, locked.and(Some(admitted))),
    ];
    common.entry(parts, env, faults)
}

fn has_urls(urls: &[Placed<UrlPattern>], table: &Table<'_>, faults: &mut Faults) -> bool {
    if urls.is_empty() {
        let place = table.key_place("urls").unwrap_or_else(|| table.place());
        faults.push(Fault::error(place, "`urls` is empty").expected("expected at least one URL to lock"));
    }
    !urls.is_empty()
}

/// What the operator says about hosts that lead to the same application without the lock.
enum OtherHosts {
    Open,
}

impl FromToml for OtherHosts {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = String::from_toml(value, faults)?;
        if text == "open" {
            return Some(Self::Open);
        }
        faults.push(
            value
                .invalid(format!("`{text}` says nothing about other hosts"), "\"open\"")
                .help("leave `other_hosts` out to have other hosts checked"),
        );
        None
    }
}

/// `/admin` is not `/admin/x`, and `/admin/*` not `/admin`: most who write one of them mean both.
pub(in crate::policy) fn warn_of_open_forms(urls: &[Placed<UrlPattern>], faults: &mut Faults) {
    for url in urls {
        let pattern = &url.value;
        let stem = pattern.path.strip_suffix("/*").unwrap_or(&pattern.path);
        let stem = stem.strip_suffix('/').unwrap_or(stem);
        let name = stem.rsplit('/').next().unwrap_or_default();
        let is_file = name.rfind('.').is_some_and(|dot| dot > 0);
        if is_script(name) {
            faults.extend(open_path_info(url, stem, urls));
        }
        if stem.is_empty() || stem.contains('*') || is_file {
            continue;
        }
        let open: Vec<String> = [stem.to_owned(), format!("{stem}/*")]
            .into_iter()
            .filter(|form| !is_covered(&pattern.host, &form.replace('*', "x"), urls))
            .collect();
        let why = "a pattern without `*` is that path alone; `/*` does not match the path before it";
        faults.extend(open.first().map(|form| open_form(url, form, why)));
    }
}

/// Whether servers are likely to run a file of this name.
fn is_script(name: &str) -> bool {
    const SCRIPTS: [&str; 8] = ["php", "phtml", "cgi", "pl", "py", "asp", "aspx", "jsp"];
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    extension.is_some_and(|extension| SCRIPTS.contains(&extension))
}

/// `/login.php/x` runs `/login.php` too, with `/x` as its path information (RFC 3875 §4.1.5).
fn open_path_info(url: &Placed<UrlPattern>, script: &str, urls: &[Placed<UrlPattern>]) -> Option<Fault> {
    let form = format!("{script}/*");
    let why = "servers run a script whatever path follows its name";
    let covered = is_covered(&url.value.host, &form.replace('*', "x"), urls);
    (!covered).then(|| open_form(url, &form, why))
}

fn open_form(url: &Placed<UrlPattern>, form: &str, why: &str) -> Fault {
    let host = match &url.value.host {
        HostPattern::Any => String::new(),
        host => host.to_string(),
    };
    Fault::warning(url.place.clone(), format!("`{host}{form}` stays open"))
        .expected(why)
        .help(format!("add \"{host}{form}\" to `urls`"))
}

fn is_covered(host: &HostPattern, path: &str, urls: &[Placed<UrlPattern>]) -> bool {
    urls.iter()
        .any(|url| url.value.host.covers(host) && wildcard_matches(&url.value.path, path))
}

/// Every host that is named must be served: a lock on a misspelled one is none.
fn check_named_hosts(urls: &[Placed<UrlPattern>], common: &Common, env: &RuleEnvironment<'_>, faults: &mut Faults) {
    for url in urls.iter().filter(|url| url.value.host != HostPattern::Any) {
        let host = &url.value.host;
        let meet = |other: &Placed<HostPattern>| host.overlaps(&other.value);
        if !env.is_served(host) {
            faults.push(unserved(&url.place, host));
        } else if !common.hosts().is_empty() && !common.hosts().iter().any(meet) {
            faults.push(
                Fault::error(url.place.clone(), format!("`{host}` is none of the entry's `hosts`"))
                    .expected("this locks nothing")
                    .help("write the path alone, beginning with `/`: `hosts` says where"),
            );
        }
    }
}

/// Every host that leads to the same application as a locked one must be locked as well.
fn check_other_hosts(urls: &[Placed<UrlPattern>], common: &Common, env: &RuleEnvironment<'_>, faults: &mut Faults) {
    let restriction: Vec<&HostPattern> = common.hosts().iter().map(|host| &host.value).collect();
    let mut reported: BTreeSet<(usize, String)> = BTreeSet::new();
    for url in urls {
        let named_at = match (&url.value.host, common.hosts().first()) {
            (HostPattern::Any, None) => continue,
            (HostPattern::Any, Some(first)) => &first.place,
            (HostPattern::Exact(_) | HostPattern::Below(_), _) => &url.place,
        };
        let locked = locked_hosts(&url.value.path, urls, &restriction);
        let applications: BTreeSet<usize> = env
            .sites
            .iter()
            .filter(|site| site.hosts.iter().any(|served| env.reaches(&locked, served)))
            .map(|site| site.application)
            .collect();
        let same = env.sites.iter().filter(|site| applications.contains(&site.application));
        for site in same {
            let open = site
                .hosts
                .iter()
                .find(|served| !locked.iter().any(|l| l.covers(served)));
            if let Some(open) = open
                && reported.insert((named_at.span.start, format!("{} {open}", site.name)))
            {
                faults.push(open_host(named_at, site, open));
            }
        }
    }
}

/// The hosts on which the entry locks this path.
fn locked_hosts(path: &str, urls: &[Placed<UrlPattern>], restriction: &[&HostPattern]) -> Vec<HostPattern> {
    let on = urls
        .iter()
        .filter(|url| url.value.path == path || wildcard_matches(&url.value.path, path))
        .map(|url| &url.value.host);
    if restriction.is_empty() {
        return on.cloned().collect();
    }
    // A URL's host and a host of `hosts` must both match: the narrower of the two is what is locked.
    on.flat_map(|host| restriction.iter().map(move |other| (host, *other)))
        .filter(|(host, other)| host.overlaps(other))
        .map(|(host, other)| {
            if host.covers(other) {
                other.clone()
            } else {
                host.clone()
            }
        })
        .collect()
}

fn unserved(place: &Place, host: &HostPattern) -> Fault {
    Fault::error(place.clone(), format!("no site has the host `{host}`"))
        .expected("this locks nothing")
        .help("check the spelling against the `hosts` of the sites")
        .help("write the path alone, beginning with `/`, to lock it on every host")
}

fn open_host(place: &Place, site: &SiteFacts, open: &HostPattern) -> Fault {
    let host = match open {
        HostPattern::Any => "any other host".to_owned(),
        host => format!("the host `{host}`"),
    };
    Fault::error(
        place.clone(),
        format!("{host} of site `{}` leads to the same application, unlocked", site.name),
    )
    .expected(format!("upstream `{}` is reached without this lock", site.upstream))
    .help("write the path alone, beginning with `/`, to lock it on every host")
    .help("or write `other_hosts = \"open\"` if that is meant")
}
