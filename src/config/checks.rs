//! What the tables of `portcullis.toml` must agree on with each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::{settings::Protocol, written::Written};
use crate::policy::fault::{Fault, Faults, Place};

/// Every disagreement, as faults.
pub(super) fn check(written: &Written, faults: &mut Faults) {
    addresses(written, faults);
    redirects(written, faults);
    hosts(written, faults);
    names(written, faults);
    upstreams(written, faults);
    certificates(written, faults);
    presence(written, faults);
}

fn presence(written: &Written, faults: &mut Faults) {
    let mut missing = |absent: bool, what: &str, why: &str, example: &str| {
        if absent {
            let fault = Fault::error(written.start.clone(), format!("there is no {what}"));
            faults.push(fault.expected(why).help(format!("write {example}")));
        }
    };
    missing(
        written.listeners.is_empty() && !written.incomplete.listeners,
        "`[[listen]]`",
        "the gateway would listen nowhere",
        "`[[listen]]` and below it `address = \"127.0.0.1:8080\"`",
    );
    missing(
        written.sites.is_empty() && !written.incomplete.sites,
        "`[[site]]`",
        "every request would be refused",
        "`[[site]]` and below it `hosts = [\"*\"]` and `upstream = \"app\"`",
    );
}

fn addresses(written: &Written, faults: &mut Faults) {
    let listeners = written
        .listeners
        .iter()
        .map(|listen| (listen.listener.address, &listen.address));
    let admin = written.admin.admin.address.zip(written.admin.address.as_ref());
    let mut seen: Vec<(SocketAddr, &Place)> = Vec::new();
    for (address, place) in listeners.chain(admin) {
        if let Some((other, first)) = seen.iter().find(|(other, _)| collide(*other, address)) {
            let (line, _) = first.line_column();
            let message = if *other == address {
                format!("{address} is listened on twice")
            } else {
                format!("{address} is already covered by {other}")
            };
            let fault = Fault::error(place.clone(), message).expected(format!("first on line {line}"));
            faults.push(fault.help("use another port or address"));
        }
        seen.push((address, place));
    }
}

/// Whether one bind would keep the other from its port. Port 0 is any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(v4) => v4.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

fn redirects(written: &Written, faults: &mut Faults) {
    let ports = |tls: bool| -> BTreeSet<u16> {
        let of_kind = written
            .listeners
            .iter()
            .filter(|listen| matches!(listen.listener.protocol, Protocol::Tls { .. }) == tls);
        of_kind.map(|listen| listen.listener.address.port()).collect()
    };
    let (tls, plain) = (ports(true), ports(false));
    for listen in &written.listeners {
        let (Protocol::Redirect { port }, Some(place)) = (listen.listener.protocol, &listen.redirect) else {
            continue;
        };
        if tls.contains(&port) {
            continue;
        }
        if tls.is_empty() && !written.incomplete.listeners {
            faults.push(
                Fault::error(place.clone(), "a redirect to nowhere")
                    .expected("no `[[listen]]` here speaks TLS")
                    .help("add a `[[listen]]` with `tls = true`, or remove `redirect` to serve plain HTTP"),
            );
        } else if plain.contains(&port) {
            faults.push(
                Fault::error(
                    place.clone(),
                    format!("a redirect to https on port {port}, which speaks plain HTTP"),
                )
                .expected("expected the port of the https listener as clients see it")
                .help(known_ports(&tls)),
            );
        } else if port != 443 && !tls.contains(&0) {
            faults.push(
                Fault::warning(place.clone(), format!("no `[[listen]]` speaks TLS on port {port}"))
                    .expected("right if clients reach the TLS listener through a mapped port")
                    .help(known_ports(&tls)),
            );
        }
    }
}

fn known_ports(tls: &BTreeSet<u16>) -> String {
    let ports: Vec<String> = tls.iter().map(u16::to_string).collect();
    format!("TLS is spoken on port {}", ports.join(", "))
}

fn hosts(written: &Written, faults: &mut Faults) {
    let mut seen: BTreeMap<String, (&str, &Place)> = BTreeMap::new();
    for site in &written.sites {
        for host in &site.hosts.value {
            let name = &site.site.facts.name;
            let Some((other, first)) = seen.insert(host.value.to_string(), (name, &host.place)) else {
                continue;
            };
            let (line, _) = first.line_column();
            let host_name = host.value.to_string();
            let message = if std::ptr::eq(other, name.as_str()) {
                format!("host `{host_name}` is written twice in site `{name}`")
            } else {
                format!("host `{host_name}` is in two sites, `{other}` and `{name}`")
            };
            let fault = Fault::error(host.place.clone(), message).expected(format!("first on line {line}"));
            faults.push(fault.help("a host leads to one site: remove it from the other"));
        }
    }
}

fn names(written: &Written, faults: &mut Faults) {
    let mut seen: BTreeMap<&str, &Place> = BTreeMap::new();
    for site in &written.sites {
        let name = site.site.facts.name.as_str();
        if let Some(first) = seen.insert(name, &site.name) {
            let (line, _) = first.line_column();
            let fault = Fault::error(site.name.clone(), format!("two sites are named `{name}`"));
            faults.push(
                fault
                    .expected(format!("first on line {line}"))
                    .help("give each site its own `name`"),
            );
        }
    }
}

fn upstreams(written: &Written, faults: &mut Faults) {
    let known: BTreeSet<&str> = written.upstreams.iter().map(|up| up.upstream.name.as_str()).collect();
    let mut used = BTreeSet::new();
    for site in &written.sites {
        let name = site.site.facts.upstream.as_str();
        used.insert(name);
        if known.contains(name) || written.incomplete.upstreams {
            continue;
        }
        let fault = Fault::error(site.upstream.clone(), format!("unknown upstream `{name}`"))
            .expected("no `[upstream.…]` has this name")
            .suggest(name, known.iter().copied());
        faults.push(if known.is_empty() {
            fault.help(format!(
                "write `[upstream.{name}]` and below it `servers = [\"http://127.0.0.1:3000\"]`"
            ))
        } else {
            let known: Vec<_> = known.iter().copied().collect();
            fault.help(format!("known upstreams: {}", known.join(", ")))
        });
    }
    // Who mistyped a name need not hear that the other one is unused.
    let mistyped = used.iter().any(|name| !known.contains(name));
    let unused = written
        .upstreams
        .iter()
        .filter(|up| !used.contains(up.upstream.name.as_str()) && !written.incomplete.sites && !mistyped);
    for up in unused.filter(|_| !written.sites.is_empty()) {
        let fault = Fault::warning(up.place.clone(), format!("upstream `{}` is not used", up.upstream.name));
        faults.push(fault.expected("no `[[site]]` leads here"));
    }
}

fn certificates(written: &Written, faults: &mut Faults) {
    let tls = |listen: &&super::listen::WrittenListener| matches!(listen.listener.protocol, Protocol::Tls { .. });
    let Some(listen) = written.listeners.iter().find(tls) else {
        return;
    };
    let bare = |site: &&super::site::WrittenSite| site.site.certificates.is_empty() && !site.site.self_signed;
    let without: Vec<_> = written.sites.iter().filter(bare).collect();
    if written.incomplete.sites || written.sites.is_empty() {
        return;
    }
    if without.len() == written.sites.len() {
        faults.push(
            Fault::error(listen.address.clone(), "a TLS listener without any certificate")
                .expected("no site has a certificate to show here")
                .help(
                    "in a `[[site]]` write `certificates = [{ cert = \"tls/site.pem\", key = \"tls/site.key\" }]`, \
                     or `self_signed = true` to try it out",
                ),
        );
        return;
    }
    let plain = written
        .listeners
        .iter()
        .any(|listen| listen.listener.protocol == Protocol::Plain);
    for site in without.into_iter().filter(|_| !plain) {
        faults.push(
            Fault::warning(
                site.name.clone(),
                format!("site `{}` has no certificate", site.site.facts.name),
            )
            .expected("no listener here speaks plain HTTP, so browsers cannot reach it")
            .help("give it `certificates`, or `self_signed = true` to try it out"),
        );
    }
}
