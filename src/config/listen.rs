//! `[[listen]]` and `[admin]`: where clients, and operators, connect.

use std::net::SocketAddr;

use super::{
    settings::{Admin, Listener, Protocol, TlsVersion},
    values::word,
};
use crate::policy::{
    fault::{Fault, Faults, Place},
    network::{IpRange, IpSet, Network},
    table::{Placed, Table},
};

/// A listener as written.
pub(super) struct WrittenListener {
    pub(super) listener: Listener,
    pub(super) address: Place,
    pub(super) redirect: Option<Place>,
}

/// Reads a `[[listen]]` table.
pub(super) fn listener(mut table: Table<'_>, faults: &mut Faults) -> Option<WrittenListener> {
    let address = table.required::<Placed<SocketAddr>>("address", "address = \"127.0.0.1:8443\"", faults);
    let redirect_place = table.value("redirect").map(|value| value.place());
    let protocol = protocol(&mut table, faults);
    let proxy_protocol = table.optional::<Vec<Network>>("proxy_protocol", faults);
    let health = health(&mut table, faults);
    table.finish(faults);
    let address = address?;
    Some(WrittenListener {
        listener: Listener {
            address: address.value,
            protocol: protocol?,
            proxy_protocol: set(proxy_protocol.unwrap_or_default()),
            health,
        },
        address: address.place,
        redirect: redirect_place,
    })
}

/// The addresses of some networks.
pub(super) fn set(networks: Vec<Network>) -> IpSet {
    networks.into_iter().map(IpRange::from).collect()
}

fn protocol(table: &mut Table<'_>, faults: &mut Faults) -> Option<Protocol> {
    const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    let tls = table.or("tls", false, faults);
    let min = table.value("min_tls").map(|value| word(value, &VERSIONS, faults));
    let redirect = table.value("redirect").map(|value| {
        let mut inner = value.table("`redirect`", faults)?;
        let port = inner.required::<Placed<u16>>("port", "redirect = { port = 443 }", faults);
        inner.finish(faults);
        port
    });
    if !tls && let Some(place) = table.key_place("min_tls") {
        faults.push(
            Fault::error(place, "`min_tls` on a listener without TLS")
                .expected("this listener speaks plain HTTP")
                .help("add `tls = true`, or remove `min_tls`"),
        );
    }
    match (tls, redirect) {
        (true, None) => Some(Protocol::Tls {
            min: min.unwrap_or(Some(TlsVersion::Tls12))?,
        }),
        (false, None) => Some(Protocol::Plain),
        (false, Some(port)) => {
            let port = port?;
            if port.value == 0 {
                let fault = Fault::error(port.place, "a redirect to port 0 leads nowhere");
                faults.push(fault.expected("expected the port of the https listener as clients see it"));
                return None;
            }
            Some(Protocol::Redirect { port: port.value })
        }
        (true, Some(_)) => {
            let place = table.key_place("redirect").unwrap_or_else(|| table.place());
            faults.push(
                Fault::error(place, "a TLS listener cannot redirect")
                    .expected("`redirect` sends plain HTTP to https")
                    .help("remove `redirect` here, and put it on a second `[[listen]]` without `tls`"),
            );
            None
        }
    }
}

fn health(table: &mut Table<'_>, faults: &mut Faults) -> Option<String> {
    let health = table.optional::<Placed<String>>("health", faults)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.' | b'~');
    if !health.value.starts_with('/') || !health.value.bytes().all(plain) {
        faults.push(
            Fault::error(health.place, format!("`{}` is not a plain path", health.value))
                .expected("expected a path such as \"/healthz\", without query or escapes"),
        );
        return None;
    }
    Some(health.value)
}

/// `[admin]` as written.
pub(super) struct WrittenAdmin {
    pub(super) admin: Admin,
    pub(super) address: Option<Place>,
    pub(super) socket: Option<Place>,
}

/// Reads `[admin]`. Without it nothing is served to operators.
pub(super) fn admin(table: Option<Table<'_>>, faults: &mut Faults) -> WrittenAdmin {
    let Some(mut table) = table else {
        return WrittenAdmin {
            admin: Admin {
                address: None,
                socket: None,
            },
            address: None,
            socket: None,
        };
    };
    let address = table.optional::<Placed<SocketAddr>>("address", faults);
    let socket = table.optional::<Placed<std::path::PathBuf>>("socket", faults);
    table.finish(faults);
    let socket_place = socket.as_ref().map(|socket| socket.place.clone());
    WrittenAdmin {
        admin: Admin {
            address: address.as_ref().map(|address| address.value),
            socket: socket.map(|socket| socket.value),
        },
        address: address.map(|address| address.place),
        socket: socket_place,
    }
}
