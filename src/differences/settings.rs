//! What of the settings bears on what becomes of a request: sites, upstreams, who is believed, bounds, headers.

use std::{collections::BTreeMap, fmt::Debug};

use super::{Change, Detail, How, compare, differs};
use crate::{
    config::settings::{Listener, NotFound, Site, Upstream},
    policy::{network::IpSet, rule::RefusalStatus, site::HostPattern},
    snapshot::{CompiledSite, Snapshot},
    tls::CertificateOrigin,
};

/// Fields of two values that differ, by their names, as they print.
macro_rules! fields {
    ($old:expr, $new:expr; $($field:ident),+ $(,)?) => {
        [$(differs(stringify!($field), &$old.$field, &$new.$field, |value| shown(value))),+]
            .into_iter()
            .flatten()
    };
}

pub(super) fn settings(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    let mut changes = sites(old, new);
    changes.extend(listeners(old, new));
    changes.extend(certificates(old, new));
    changes.extend(upstreams(old, new));
    changes.extend(geo_sources(old, new));
    let (a, b) = (&old.settings, &new.settings);
    let client_ip = [
        differs(
            "trusted_proxies",
            &a.client_ip.trusted_proxies,
            &b.client_ip.trusted_proxies,
            ranges,
        ),
        differs("header", &a.client_ip.header, &b.client_ip.header, ToString::to_string),
    ];
    changes.extend(section("client_ip", client_ip.into_iter().flatten()));
    changes.extend(section(
        "geoip.tor",
        differs("tor", &a.geoip.tor, &b.geoip.tor, shown).into_iter(),
    ));
    let (x, y) = (&a.limits, &b.limits);
    changes.extend(section(
        "limits",
        fields!(x, y; header_bytes, header_count, target_bytes, body_bytes, header_timeout, handshake_timeout,
            handshake_turns, proxy_header_timeout, keepalive_timeout, total_timeout, min_rate, min_rate_grace,
            connections, connections_per_client, h2_streams, tunnel_idle_timeout, drain_timeout, upstream_connections),
    ));
    let (x, y) = (&a.headers, &b.headers);
    changes.extend(section(
        "headers",
        fields!(x, y; remove, forwarded, country, request_id, response),
    ));
    let (x, y) = (&a.log, &b.log);
    changes.extend(section(
        "log",
        fields!(x, y; format, access, level, queue, redact_query),
    ));
    changes.extend(reload(old, new));
    changes
}

/// A table that there is one of.
fn section(name: &'static str, details: impl Iterator<Item = Detail>) -> Option<Change> {
    let details: Vec<Detail> = details.collect();
    (!details.is_empty()).then(|| Change {
        what: name,
        name: String::new(),
        how: How::Changed,
        gist: String::new(),
        details,
    })
}

/// A value as it prints; of an optional one what it is, or `none`.
fn shown(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    let inner = text.strip_prefix("Some(").and_then(|text| text.strip_suffix(')'));
    match text.as_str() {
        "None" => "none".to_owned(),
        _ => inner.unwrap_or(&text).to_owned(),
    }
}

fn ranges(set: &IpSet) -> String {
    let ranges: Vec<String> = set.iter().map(|range| range.to_string()).collect();
    match ranges.as_slice() {
        [] => "none".to_owned(),
        ranges => ranges.join(", "),
    }
}

/// What must hold of a load. Where an element is written makes no difference.
fn reload(old: &Snapshot, new: &Snapshot) -> Option<Change> {
    let (a, b) = (&old.settings.reload, &new.settings.reload);
    let never_block = |snapshot: &Snapshot| -> Vec<String> {
        let promises = snapshot.settings.reload.never_block.iter();
        promises
            .map(|promise| {
                let hosts: Vec<_> = promise.hosts.iter().map(|host| host.authority().to_owned()).collect();
                let agent = promise.user_agent.as_ref().map(|agent| format!(" as {agent:?}"));
                format!(
                    "{} at {}{}{}",
                    ranges(&promise.from),
                    hosts.join(", "),
                    promise.path,
                    agent.unwrap_or_default()
                )
            })
            .collect()
    };
    let details = fields!(a, b; tests, guard).chain(differs(
        "never_block",
        &never_block(old),
        &never_block(new),
        |elements| {
            if elements.is_empty() {
                "none".to_owned()
            } else {
                elements.join("; ")
            }
        },
    ));
    section("reload", details)
}

fn sites(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    fn by_name(snapshot: &Snapshot) -> BTreeMap<String, &CompiledSite> {
        let sites = snapshot.sites.iter();
        sites.map(|site| (site.settings.facts.name.clone(), &**site)).collect()
    }
    let (old, new) = (by_name(old), by_name(new));
    let gist = |site: &CompiledSite| {
        format!(
            "{}, to {}",
            hosts(&site.settings.facts.hosts),
            site.settings.facts.upstream
        )
    };
    compare("site", &old, &new, gist, |_| Vec::new(), site)
}

fn hosts(hosts: &[HostPattern]) -> String {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    hosts.join(", ")
}

fn site(before: &CompiledSite, after: &CompiledSite) -> Vec<Detail> {
    let (a, b): (&Site, &Site) = (&before.settings, &after.settings);
    let files = |site: &Site| -> Vec<String> {
        let files = site.certificates.iter();
        files
            .map(|files| format!("{} with {}", files.cert.value.display(), files.key.value.display()))
            .collect()
    };
    let joined = |files: &Vec<String>| {
        if files.is_empty() {
            "none".to_owned()
        } else {
            files.join(", ")
        }
    };
    let page = |site: &CompiledSite, at: usize| {
        site.pages
            .get(at)
            .and_then(Option::as_ref)
            .map(|page| page.text.clone())
    };
    let text = |before: Option<String>, after: Option<String>, key: &str| {
        (before != after).then(|| Detail::new(key, None, "the file says something else".to_owned()))
    };
    let details = [
        differs("hosts", &a.facts.hosts, &b.facts.hosts, |names| hosts(names)),
        differs("upstream", &a.facts.upstream, &b.facts.upstream, Clone::clone),
        differs("default", &a.facts.default, &b.facts.default, |verdict| {
            shown(verdict).to_lowercase()
        }),
        differs("certificates", &files(a), &files(b), joined),
        differs("self_signed", &a.self_signed, &b.self_signed, bool::to_string),
        differs("status", &a.status, &b.status, status),
        differs("disclose", &a.disclose, &b.disclose, |disclose| {
            shown(disclose).to_lowercase()
        }),
        differs("pages.html", &a.html_page, &b.html_page, shown),
        differs("pages.json", &a.json_page, &b.json_page, shown),
        text(page(before, 0), page(after, 0), "pages.html").filter(|_| a.html_page == b.html_page),
        text(page(before, 1), page(after, 1), "pages.json").filter(|_| a.json_page == b.json_page),
        differs("not_found", &a.not_found, &b.not_found, not_found),
        differs("error_docs", &a.error_docs, &b.error_docs, shown),
        differs("paths", &a.paths, &b.paths, shown),
    ];
    details.into_iter().flatten().collect()
}

fn status(status: &RefusalStatus) -> String {
    match status {
        RefusalStatus::Status(status) => status.as_u16().to_string(),
        RefusalStatus::Conceal => "404".to_owned(),
        RefusalStatus::Close => "444".to_owned(),
    }
}

fn not_found(answer: &NotFound) -> String {
    let headers: Vec<String> = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    format!("{:?} as {:?} {}", answer.body, answer.content_type, headers.join(", "))
}

fn upstreams(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    fn by_name(snapshot: &Snapshot) -> BTreeMap<String, &Upstream> {
        let upstreams = snapshot.settings.upstreams.iter();
        upstreams.map(|(name, upstream)| (name.clone(), &**upstream)).collect()
    }
    let details = |a: &Upstream, b: &Upstream| -> Vec<Detail> {
        fields!(a, b; servers, protocol, connect_timeout, response_timeout, idle_timeout, keepalive, max_idle, ca, tls_name,
            balance, retries, retry_budget, ejection, slow_start, health_check)
        .collect()
    };
    compare(
        "upstream",
        &by_name(old),
        &by_name(new),
        |_| String::new(),
        |_| Vec::new(),
        details,
    )
}

fn listeners(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    fn by_address(snapshot: &Snapshot) -> BTreeMap<String, &Listener> {
        let listeners = snapshot.settings.listeners.iter();
        listeners
            .map(|listener| (listener.address.to_string(), listener))
            .collect()
    }
    let details = |a: &Listener, b: &Listener| -> Vec<Detail> {
        let proxies = differs("proxy_protocol", &a.proxy_protocol, &b.proxy_protocol, ranges);
        fields!(a, b; protocol, health).chain(proxies).collect()
    };
    let gist = |listener: &Listener| shown(&listener.protocol);
    compare(
        "listen",
        &by_address(old),
        &by_address(new),
        gist,
        |_| Vec::new(),
        details,
    )
}

/// Certificates by site and file; one made at start by its names.
fn certificates(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    fn by_origin(snapshot: &Snapshot) -> BTreeMap<String, Vec<String>> {
        let mut certificates: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (site, certificate) in snapshot.certificates.iter() {
            let origin = match &certificate.origin {
                CertificateOrigin::File(path) => path.display().to_string(),
                CertificateOrigin::SelfSigned => "self-signed".to_owned(),
            };
            let (names, until, key) = (&certificate.names, certificate.not_after, certificate.key_type);
            let words = format!("for {names:?} until {until}, {key:?}");
            certificates
                .entry(format!("{origin} of site {site}"))
                .or_default()
                .push(words);
        }
        certificates
    }
    let (old, new) = (by_origin(old), by_origin(new));
    fn borrowed(certificates: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, &Vec<String>> {
        certificates.iter().map(|(name, words)| (name.clone(), words)).collect()
    }
    let words = |certificates: &Vec<String>| certificates.join(", ");
    let details = |a: &Vec<String>, b: &Vec<String>| differs("it is", a, b, words).into_iter().collect();
    compare(
        "certificate",
        &borrowed(&old),
        &borrowed(&new),
        words,
        |_| Vec::new(),
        details,
    )
}

fn geo_sources(old: &Snapshot, new: &Snapshot) -> Vec<Change> {
    fn by_key(snapshot: &Snapshot) -> BTreeMap<String, String> {
        let sources = snapshot.geo.sources().into_iter();
        sources
            .map(|source| {
                let built = source.built.map(|built| format!(", built {built}")).unwrap_or_default();
                (source.key.to_owned(), format!("{}{built}", source.name))
            })
            .collect()
    }
    fn borrowed(sources: &BTreeMap<String, String>) -> BTreeMap<String, &String> {
        sources.iter().map(|(key, words)| (key.clone(), words)).collect()
    }
    let (old, new) = (by_key(old), by_key(new));
    let details = |a: &String, b: &String| differs("it is", a, b, Clone::clone).into_iter().collect();
    compare(
        "geo source",
        &borrowed(&old),
        &borrowed(&new),
        Clone::clone,
        |_| Vec::new(),
        details,
    )
}
