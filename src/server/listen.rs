//! Binding: all listeners before the first connection is served, or none with every reason why.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::settings::Listener;

/// Connections that the kernel holds until we accept them, per worker; the kernel's own `somaxconn` caps it.
const BACKLOG: i32 = 4096;

/// Bytes of a response that wait in the kernel unsent, at most. More would only delay what goes out next, and hide from the
/// minimum data rate that a client has stopped reading.
const UNSENT_BYTES: u32 = 128 * 1024;

/// Silence after which the kernel asks whether the client's machine is still there, and how often it asks again. Finds those
/// that vanished under a quiet tunnel or a slow answer, which would else hold their connection for hours.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);

/// A listener bound once per worker, so that the kernel spreads connections and no two workers wake for one.
#[derive(Debug)]
pub struct BoundListener {
    /// Its settings, with the port that was actually bound.
    pub settings: Arc<Listener>,
    /// One socket a worker.
    pub sockets: Vec<TcpListener>,
}

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}{}", advice(.cause, *.address))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub cause: io::Error,
}

/// Binds every listener once per worker. `[::1]` is left out, with a warning, where the machine has no IPv6: what listens on
/// localhost in both families shall start there too.
///
/// # Errors
/// Every listener that cannot be bound.
pub fn bind_all(listeners: &[Listener], workers: usize) -> Result<Vec<BoundListener>, Vec<BindError>> {
    let mut bound = Vec::new();
    let mut errors = Vec::new();
    for listener in listeners {
        match bind(listener, workers) {
            Ok(listener) => bound.push(listener),
            Err(cause) if listeners.len() > 1 && lacks_ipv6(listener.address, &cause) => {
                tracing::warn!(address = %listener.address, "not listened on: this machine has no IPv6");
            }
            Err(cause) => errors.push(BindError {
                address: listener.address,
                cause,
            }),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(errors) }
}

/// Whether an address of the loopback interface failed for want of IPv6.
fn lacks_ipv6(address: SocketAddr, cause: &io::Error) -> bool {
    let no_sockets = || Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).is_err();
    address.ip() == IpAddr::V6(Ipv6Addr::LOCALHOST) && (cause.kind() == io::ErrorKind::AddrNotAvailable || no_sockets())
}

fn bind(listener: &Listener, workers: usize) -> io::Result<BoundListener> {
    // Sockets that share a port accept a second process's as well; this one would not, and says so.
    drop(socket(listener.address, Sharing::Alone)?);
    let first = socket(listener.address, Sharing::Workers)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(socket(address, Sharing::Workers)?);
    }
    for socket in &sockets {
        socket2::SockRef::from(socket).listen(BACKLOG)?;
    }
    let settings = Arc::new(Listener {
        address,
        ..listener.clone()
    });
    Ok(BoundListener { settings, sockets })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Workers,
}

/// A bound socket. Its options are inherited by the connections it accepts, which saves them the system calls.
fn socket(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Workers)?;
    if let IpAddr::V6(v6) = address.ip() {
        socket.set_only_v6(!v6.is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_EVERY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// What to do about it, where that is known.
fn advice(cause: &io::Error, address: SocketAddr) -> impl fmt::Display {
    match cause.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: give the service that capability (systemd: \
             AmbientCapabilities=CAP_NET_BIND_SERVICE), or listen on a higher port"
        }
        io::ErrorKind::AddrInUse => {
            "; another process listens there, perhaps another Portcullis: `ss -ltnp` shows which"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address: [::] is all of them",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Protocol;

    fn listener(address: &str) -> Listener {
        Listener {
            address: address.parse().expect("an address"),
            protocol: Protocol::Plain,
            proxy_protocol: crate::policy::network::IpSet::default(),
            health: None,
        }
    }

    #[test]
    fn only_a_loopback_address_of_ipv6_may_be_missing() {
        let missing = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let lacks = |address: &str| lacks_ipv6(address.parse().expect("an address"), &missing);
        assert!(lacks("[::1]:8443"));
        assert!(!lacks("[2001:db8::1]:8443") && !lacks("127.0.0.1:8443"));
    }

    #[test]
    fn all_workers_share_the_port_that_the_first_was_given() {
        let bound = bind_all(&[listener("127.0.0.1:0")], 3).expect("a free port");
        let address = bound[0].settings.address;
        assert_ne!(address.port(), 0);
        let addresses: Vec<_> = bound[0]
            .sockets
            .iter()
            .map(|s| s.local_addr().expect("bound"))
            .collect();
        assert_eq!(addresses, [address; 3]);
    }

    #[test]
    fn every_listener_that_cannot_be_bound_is_named_with_what_to_do() {
        let taken = bind_all(&[listener("127.0.0.1:0")], 1).expect("a free port");
        let address = taken[0].settings.address;
        let errors = bind_all(&[listener(&address.to_string()), listener("192.0.2.1:4000")], 2).expect_err("both fail");
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            texts[0].contains(&address.to_string()) && texts[0].contains("another process"),
            "{texts:?}"
        );
        assert!(
            texts[1].contains("192.0.2.1:4000") && texts[1].contains("no interface"),
            "{texts:?}"
        );
    }

    #[test]
    fn accepted_connections_are_kept_alive_by_the_kernel() {
        let bound = bind_all(&[listener("127.0.0.1:0")], 1).expect("a free port");
        let _client = std::net::TcpStream::connect(bound[0].settings.address).expect("it listens");
        let socket = &bound[0].sockets[0];
        socket.set_nonblocking(false).expect("a socket");
        let (accepted, _) = socket.accept().expect("connected");
        let accepted = socket2::SockRef::from(&accepted);
        let timing = (accepted.tcp_keepalive_time(), accepted.tcp_keepalive_interval());
        assert!(accepted.keepalive().expect("an option"));
        assert_eq!(
            (timing.0.expect("an option"), timing.1.expect("an option")),
            (KEEPALIVE_AFTER, KEEPALIVE_EVERY)
        );
    }

    #[test]
    fn the_unspecified_ipv6_address_takes_ipv4_connections_too() {
        let bound = bind_all(&[listener("[::]:0")], 1).expect("a free port");
        let port = bound[0].settings.address.port();
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("dual stack");
    }
}
