//! What a start prints: where it listens, what it loaded, and what to try first.

use std::{fmt::Write, net::SocketAddr, path::Path, sync::Arc};

use crate::{
    config::{
        settings::{Listener, Protocol, Server, Site, TlsVersion},
        show::grouped,
    },
    policy::{list::List, rule::Kind},
    snapshot::Snapshot,
    tls::{Certificate, CertificateOrigin},
};

/// A request to try for each kind of rule: shown when the shipped rule of that name is loaded and the demo origin answers.
const TRIES: [(&str, &str, &str); 6] = [
    (
        "try-blocked-address",
        "a blocked address",
        "--interface 127.0.0.66 https://127.0.0.1:{port}/",
    ),
    (
        "try-unknown-country",
        "a blocked country",
        "https://geo.localhost:{port}/",
    ),
    (
        "hidden-files",
        "a rule, concealed as 404",
        "https://localhost:{port}/.git/config",
    ),
    ("admin", "a locked URL", "https://localhost:{port}/admin"),
    (
        "scanners",
        "a blocked user agent",
        "-A sqlmap/1.8 https://localhost:{port}/",
    ),
    (
        "images",
        "a hotlinked image",
        "-e https://evil.example/ https://localhost:{port}/photo.jpg",
    ),
];

/// The whole text.
pub(super) fn text(
    path: &Path,
    snapshot: &Snapshot,
    listeners: &[Arc<Listener>],
    admin_address: Option<SocketAddr>,
) -> String {
    let mut lines = Lines(String::new());
    let version = env!("CARGO_PKG_VERSION");
    lines.line(&format!("Portcullis {version}, configured by {}", path.display()));
    lines.line("");
    lines.entries("listening", listeners.iter().map(|listener| listening(listener)));
    lines.entries("admin", admin(snapshot, admin_address));
    lines.entries(
        "sites",
        snapshot.sites.iter().map(|site| site_line(snapshot, &site.settings)),
    );
    lines.entries("rules", [rules(snapshot)]);
    lines.entries("lists", lists(snapshot));
    lines.entries("geo", geo(snapshot));
    lines.entries("certificates", snapshot.certificates.iter().map(certificate));
    let tries = tries(snapshot, listeners);
    if !tries.is_empty() {
        lines.line("\ntry");
        tries.iter().for_each(|line| lines.line(&format!("  {line}")));
    }
    lines.line("");
    lines.0
}

/// What is spoken on a listener.
pub(super) fn protocol(listener: &Listener) -> &'static str {
    match listener.protocol {
        Protocol::Tls { .. } => "https",
        Protocol::Plain | Protocol::Redirect { .. } => "http",
    }
}

struct Lines(String);

impl Lines {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// A name before the first entry, and all entries below each other.
    fn entries(&mut self, name: &str, entries: impl IntoIterator<Item = String>) {
        for (index, entry) in entries.into_iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            // Writing into a string does not fail.
            let _ = writeln!(self.0, "  {name:<13} {entry}");
        }
    }
}

fn listening(listener: &Listener) -> String {
    let address = format!("{}://{}", protocol(listener), listener.address);
    match listener.protocol {
        Protocol::Tls { min: TlsVersion::Tls12 } => format!("{address} (TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1)"),
        Protocol::Tls { min: TlsVersion::Tls13 } => format!("{address} (TLS 1.3, HTTP/2 and HTTP/1.1)"),
        Protocol::Plain => format!("{address} (not encrypted)"),
        Protocol::Redirect { port } => format!("{address} (redirects to https, port {port})"),
    }
}

fn admin(snapshot: &Snapshot, address: Option<SocketAddr>) -> Vec<String> {
    let address = address.map(|address| format!("http://{address} (/healthz, /readyz, /metrics)"));
    let socket = snapshot
        .settings
        .admin
        .socket
        .as_ref()
        .map(|socket| format!("{} (portcullis reload, status, upgrade)", socket.display()));
    address.into_iter().chain(socket).collect()
}

fn site_line(snapshot: &Snapshot, site: &Site) -> String {
    let hosts: Vec<String> = site.facts.hosts.iter().map(ToString::to_string).collect();
    let servers = snapshot.settings.upstreams.get(&site.facts.upstream);
    let servers: Vec<String> = servers.map_or_else(Vec::new, |up| up.servers.iter().map(server).collect());
    format!("{}: {} -> {}", site.facts.name, hosts.join(" "), servers.join(" "))
}

fn server(server: &Server) -> String {
    match server {
        Server::Http { host, port } => format!("http://{}:{port}", bracketed(host)),
        Server::Https { host, port } => format!("https://{}:{port}", bracketed(host)),
        Server::Demo => "builtin:demo (shows the requests it receives)".to_owned(),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn rules(snapshot: &Snapshot) -> String {
    let counts: Vec<(Kind, usize)> = snapshot.policy.counts().collect();
    let all: usize = counts.iter().map(|(_, count)| count).sum();
    let kinds: Vec<String> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {}", kind.as_str()))
        .collect();
    match all {
        0 => "none: everything is forwarded".to_owned(),
        _ => format!("{all} ({})", kinds.join(", ")),
    }
}

fn lists(snapshot: &Snapshot) -> Option<String> {
    let lists: Vec<String> = snapshot
        .policy
        .lists()
        .iter()
        .map(|list| format!("${} ({})", list.name(), entries(list)))
        .collect();
    (!lists.is_empty()).then(|| lists.join(", "))
}

fn entries(list: &List) -> String {
    let entries = match list.len() {
        1 => "1 entry".to_owned(),
        number => format!("{} entries", grouped(number)),
    };
    match list.folded() {
        0 => entries,
        folded => format!("{entries}, {} add nothing", grouped(folded)),
    }
}

fn geo(snapshot: &Snapshot) -> Vec<String> {
    let source = |source: crate::geo::SourceReport| format!("{} from {}: {}", source.key, source.name, source.label);
    snapshot.geo.sources().into_iter().map(source).collect()
}

fn certificate((site, certificate): (&str, &Certificate)) -> String {
    let origin = match &certificate.origin {
        CertificateOrigin::File(path) => path.display().to_string(),
        CertificateOrigin::SelfSigned => "self-signed".to_owned(),
    };
    let names = certificate.names.join(" ");
    let key = certificate.key_type.as_str();
    let until = certificate.not_after.strftime("%Y-%m-%d");
    format!("{site}: {origin}, {key}, {names}, until {until}")
}

/// Only what works: each line needs its rule, and all need the demo origin and a TLS listener.
fn tries(snapshot: &Snapshot, listeners: &[Arc<Listener>]) -> Vec<String> {
    let tls = listeners.iter().find(|listener| protocol(listener) == "https");
    let Some(port) = tls.map(|listener| listener.address.port()) else {
        return Vec::new();
    };
    let mut upstreams = snapshot.settings.upstreams.values();
    if !upstreams.any(|upstream| upstream.servers.contains(&Server::Demo)) {
        return Vec::new();
    }
    let is_loaded = |id: &str| {
        snapshot
            .policy
            .rules()
            .iter()
            .any(|rule| rule.id.as_str() == id && rule.enabled)
    };
    let line = |what: &str, arguments: &str| {
        let arguments = arguments.replace("{port}", &port.to_string());
        format!("{:<76} # {what}", format!("curl -k {arguments}"))
    };
    let allowed = line("allowed: the origin shows your request", "https://localhost:{port}/");
    let blocked = TRIES
        .iter()
        .filter(|(rule, ..)| is_loaded(rule))
        .map(|(_, what, arguments)| line(what, arguments));
    std::iter::once(allowed).chain(blocked).collect()
}
