//! `[upstream.NAME]`: a named pool of an origin's addresses.

use std::{path::PathBuf, time::Duration};

use super::{
    limits::number,
    resilience::{balance, ejection, health_check},
    settings::{Server, Upstream, UpstreamProtocol},
    values::{OrOff, keep, text, word},
};
use crate::policy::{
    fault::{Fault, Faults, Place},
    normalize::HostName,
    table::{FromToml, Placed, Table, Value},
};

/// An upstream as written.
pub(super) struct WrittenUpstream {
    pub(super) upstream: Upstream,
    pub(super) place: Place,
    pub(super) ca: Option<Place>,
    pub(super) tls_name: Option<Place>,
}

/// Reads the tables under `[upstream]`.
pub(super) fn upstreams(table: Option<Table<'_>>, faults: &mut Faults) -> Vec<Option<WrittenUpstream>> {
    let Some(mut table) = table else {
        return Vec::new();
    };
    let named = table.named();
    named
        .into_iter()
        .map(|(name, value)| {
            let table = value.table(&format!("[upstream.{}]", name.value), faults).or_else(|| {
                faults.push(
                    Fault::error(name.place.clone(), "an upstream needs a name")
                        .expected("expected a table")
                        .help("write `[upstream.app]`, and `upstream = \"app\"` in its sites"),
                );
                None
            })?;
            upstream(name, table, faults)
        })
        .collect()
}

fn upstream(name: Placed<String>, mut table: Table<'_>, faults: &mut Faults) -> Option<WrittenUpstream> {
    let servers = servers(&mut table, faults);
    let protocol = protocol(&mut table, servers.as_deref(), faults);
    let ca = table.optional::<Placed<PathBuf>>("ca", faults);
    let tls_name = table.optional::<Placed<String>>("tls_name", faults);
    let checked = table.key_place("health_check");
    let written = Upstream {
        name: name.value,
        servers: Vec::new(),
        protocol,
        connect_timeout: table.or("connect_timeout", Duration::from_secs(5), faults),
        response_timeout: table.or("response_timeout", Duration::from_secs(60), faults),
        idle_timeout: table.or("idle_timeout", Duration::from_secs(60), faults),
        keepalive: table.or("keepalive", Duration::from_secs(30), faults),
        max_idle: number(&mut table, "max_idle", 0..=100_000, faults).unwrap_or(64),
        ca: ca.as_ref().map(|ca| ca.value.clone()),
        tls_name: tls_name.as_ref().map(|name| name.value.clone()),
        balance: balance(&mut table, faults),
        retries: number(&mut table, "retries", 0..=10, faults).unwrap_or(1),
        retry_budget: number(&mut table, "retry_budget", 0..=100, faults).unwrap_or(20),
        ejection: ejection(&mut table, faults),
        slow_start: table.or("slow_start", OrOff(Some(Duration::from_secs(10))), faults).0,
        health_check: health_check(&mut table, faults),
    };
    table.finish(faults);
    if let Some(name) = &tls_name
        && HostName::parse(&name.value).is_none()
    {
        let fault = Fault::error(name.place.clone(), format!("`{}` is not a host name", name.value));
        faults.push(fault.expected("expected the name in the servers' certificates"));
    }
    let servers = servers?;
    https_only("ca", ca.as_ref().map(|ca| &ca.place), &servers, faults);
    https_only("tls_name", tls_name.as_ref().map(|name| &name.place), &servers, faults);
    if let (Some(place), true) = (checked, servers.iter().all(|server| *server == Server::Demo)) {
        let fault = Fault::error(place, "`health_check` on an upstream that has only the demo");
        faults.push(
            fault
                .expected("nothing here is asked how it is")
                .help("remove the table"),
        );
    }
    Some(WrittenUpstream {
        upstream: Upstream { servers, ..written },
        place: name.place,
        ca: ca.map(|ca| ca.place),
        tls_name: tls_name.map(|name| name.place),
    })
}

fn servers(table: &mut Table<'_>, faults: &mut Faults) -> Option<Vec<Server>> {
    const EXAMPLE: &str = "servers = [\"http://127.0.0.1:3000\"]";
    let servers = table.required::<Placed<Vec<Placed<Server>>>>("servers", EXAMPLE, faults)?;
    if servers.value.is_empty() {
        let fault = Fault::error(servers.place, format!("{} has no servers", table.name()));
        faults.push(
            fault
                .expected("expected at least one")
                .help(format!("write `{EXAMPLE}`")),
        );
        return None;
    }
    Some(distinct(servers.value, faults))
}

/// The servers, each once: twice the same one would be one server in everything but the name.
fn distinct(written: Vec<Placed<Server>>, faults: &mut Faults) -> Vec<Server> {
    let mut servers = Vec::with_capacity(written.len());
    for server in written {
        if servers.contains(&server.value) {
            let fault = Fault::error(server.place, "this server is written twice");
            faults.push(
                fault
                    .expected("expected each server once")
                    .help("all servers of an upstream get the same share"),
            );
        } else {
            servers.push(server.value);
        }
    }
    servers
}

fn protocol(table: &mut Table<'_>, servers: Option<&[Server]>, faults: &mut Faults) -> UpstreamProtocol {
    const WORDS: [(&str, UpstreamProtocol); 2] =
        [("http1", UpstreamProtocol::Http1), ("http2", UpstreamProtocol::Http2)];
    let Some(value) = table.value("protocol") else {
        return UpstreamProtocol::Http1;
    };
    let protocol = word(value, &WORDS, faults).unwrap_or(UpstreamProtocol::Http1);
    if protocol == UpstreamProtocol::Http1 {
        return protocol;
    }
    if servers.is_some_and(|servers| servers.contains(&Server::Demo)) {
        faults.push(
            Fault::error(value.place(), "`builtin:demo` does not speak HTTP/2")
                .expected("it is inside the gateway and speaks nothing at all")
                .help("remove `protocol`, or name servers that speak HTTP/2"),
        );
    }
    if let Some(place) = table.key_place("max_idle") {
        faults.push(
            Fault::error(place, "`max_idle` on an upstream that speaks HTTP/2")
                .expected("requests share its connections: no more are open than they need")
                .help("remove `max_idle`; `keepalive` says how long the last one stays"),
        );
    }
    protocol
}

fn https_only(key: &str, place: Option<&Place>, servers: &[Server], faults: &mut Faults) {
    let https = servers.iter().any(|server| matches!(server, Server::Https { .. }));
    if let Some(place) = place
        && !https
    {
        faults.push(
            Fault::error(place.clone(), format!("`{key}` on an upstream without https servers"))
                .expected("nothing here is verified")
                .help(format!("write `https://` before the servers, or remove `{key}`")),
        );
    }
}

impl FromToml for Server {
    fn from_toml(value: Value<'_>, faults: &mut Faults) -> Option<Self> {
        let text = text(value, "a server such as \"http://127.0.0.1:3000\"", faults)?;
        let server = server(text).map_err(|(message, help)| {
            let fault = value.invalid(
                message,
                "\"http://host:port\", \"https://host:port\" or \"builtin:demo\"",
            );
            if help.is_empty() { fault } else { fault.help(help) }
        });
        keep(server, faults)
    }
}

/// The server, or what is wrong and what to do.
fn server(text: &str) -> Result<Server, (String, String)> {
    if text == "builtin:demo" {
        return Ok(Server::Demo);
    }
    let Some((scheme, authority)) = text.split_once("://") else {
        let help = if text.starts_with("builtin:") {
            "the only built-in origin is `builtin:demo`".to_owned()
        } else {
            format!("write `\"http://{text}\"` or `\"https://{text}\"`")
        };
        return Err((format!("`{text}` has no scheme"), help));
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if let Some(at) = authority.find(['/', '?', '#']) {
        let origin = authority.get(..at).unwrap_or_default();
        return Err((
            format!("`{text}` has a path"),
            format!("requests keep their own path: write `\"{scheme}://{origin}\"`"),
        ));
    }
    if authority.contains('@') {
        return Err((
            format!("`{text}` has a user name"),
            "leave everything before `@` out".to_owned(),
        ));
    }
    match scheme {
        "http" => host_port(authority, 80).map(|(host, port)| Server::Http { host, port }),
        "https" => host_port(authority, 443).map(|(host, port)| Server::Https { host, port }),
        _ => Err((
            format!("unknown scheme `{scheme}`"),
            "write `http://` or `https://`: WebSockets go through both, and gRPC with `protocol = \"http2\"`"
                .to_owned(),
        )),
    }
}

fn host_port(authority: &str, default: u16) -> Result<(String, u16), (String, String)> {
    let (host, port) = match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let port = match port {
        None => default,
        Some(text) => match text.parse() {
            Ok(port) if port != 0 => port,
            Ok(_) | Err(_) => {
                return Err((format!("`{text}` is not a port"), "ports are 1 to 65535".to_owned()));
            }
        },
    };
    let Some(name) = HostName::parse(host) else {
        let help = match host.parse::<std::net::Ipv6Addr>() {
            Ok(_) => format!("an IPv6 address needs brackets: `[{host}]`"),
            Err(_) => String::new(),
        };
        return Err((format!("`{host}` is not a host name or address"), help));
    };
    let name = name.as_str();
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Ok((bare.unwrap_or(name).to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_scheme_a_host_and_a_port() {
        let http = |host: &str, port| {
            Ok(Server::Http {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(server("http://127.0.0.1:3000"), http("127.0.0.1", 3000));
        assert_eq!(server("http://App.internal/"), http("app.internal", 80));
        assert_eq!(server("http://[::1]"), http("::1", 80));
        assert_eq!(server("http://[::1]:81"), http("::1", 81));
        assert_eq!(server("builtin:demo"), Ok(Server::Demo));
    }

    #[test]
    fn what_is_no_server_says_what_to_write() {
        for (text, part) in [
            ("127.0.0.1:3000", "write `\"http://127.0.0.1:3000\"`"),
            ("http://app/base", "write `\"http://app\"`"),
            ("http://user@app", "before `@`"),
            ("ws://app", "unknown scheme `ws`"),
            ("http://app:0", "ports are 1 to 65535"),
            ("http://app:http", "`http` is not a port"),
            ("http://", "`` is not a host"),
            ("builtin:echo", "`builtin:demo`"),
        ] {
            let (message, help) = server(text).expect_err(text);
            assert!(format!("{message}; {help}").contains(part), "{text}: {message}; {help}");
        }
    }
}
