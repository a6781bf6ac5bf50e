//! Having listeners: bound, or passed by who had them before. All before the first connection is served, or none with every
//! reason why.

use std::{
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::{
    config::settings::Listener,
    handover::{KeptElsewhere, Offered, Passed, PassedTcp, Purpose},
};

/// Connections that the kernel holds until we accept them, per worker; the kernel's own `somaxconn` caps it.
pub(super) const BACKLOG: i32 = 4096;

/// Bytes of a response that wait in the kernel unsent, at most. More would only delay what goes out next, and hide from the
/// minimum data rate that a client has stopped reading.
const UNSENT_BYTES: u32 = 128 * 1024;

/// Silence after which the kernel asks whether the client's machine is still there, and how often it asks again. Finds those
/// that vanished under a quiet tunnel or a slow answer, which would else hold their connection for hours.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);

/// A listener bound once per worker, so that the kernel spreads connections and no two workers wake for one. Sockets that
/// were passed may be more than there are workers, and fewer when nobody may bind another beside them.
#[derive(Debug)]
pub struct BoundListener {
    /// Its settings, with the port that was actually bound.
    pub settings: Arc<Listener>,
    /// The address in the configuration: its port may be 0.
    configured: SocketAddr,
    /// Each is another one; all of them must be accepted on, since the kernel spreads connections over all.
    pub sockets: Vec<TcpListener>,
    /// Whether they are another process's, too.
    pub(super) kept: KeptElsewhere,
}

impl BoundListener {
    /// Accepts connections from now on, in the kernel's queue.
    pub(super) fn listen(&self) -> io::Result<()> {
        self.sockets.iter().try_for_each(listen)
    }

    /// A worker's sockets: every socket is somebody's, and nobody has none.
    pub(super) fn share(&self, worker: usize, workers: usize) -> io::Result<Vec<TcpListener>> {
        let count = self.sockets.len();
        let own = (worker..count).step_by(workers.max(1));
        // Fewer sockets than workers: some are accepted on by several.
        let shared = (worker >= count && count > 0).then(|| worker % count);
        own.chain(shared).map(|index| self.sockets[index].try_clone()).collect()
    }

    /// Other handles of the sockets, for a gateway that takes over.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn offered(&self) -> io::Result<Offered> {
        let sockets = self.sockets.iter().map(|socket| socket.try_clone().map(Into::into));
        Ok(Offered {
            purpose: Purpose::Listener,
            address: Some(self.configured),
            file: None,
            sockets: sockets.collect::<io::Result<_>>()?,
            kept: self.kept.clone(),
        })
    }
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

/// Takes the sockets that were passed for a listener, or binds it once per worker. `[::1]` is left out, with a warning, where
/// the machine has no IPv6: what listens on localhost in both families shall start there too.
///
/// # Errors
/// Every listener that cannot be bound.
pub fn bind_all(
    listeners: &[Listener],
    workers: usize,
    passed: &mut Passed,
) -> Result<Vec<BoundListener>, Vec<BindError>> {
    let mut bound = Vec::new();
    let mut errors = Vec::new();
    for listener in listeners {
        let sockets = passed.take_listener(listener.address);
        let had = if sockets.is_empty() {
            bind(listener, workers)
        } else {
            adopt(listener, workers, sockets)
        };
        match had {
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
    sockets.iter().try_for_each(listen)?;
    bound(listener, sockets, KeptElsewhere::default())
}

/// Sockets that were passed are not looked for anywhere else: that nobody else binds there is for who bound them to know.
fn adopt(listener: &Listener, workers: usize, passed: Vec<PassedTcp>) -> io::Result<BoundListener> {
    let kept = passed.iter().any(|passed| passed.kept);
    let mut sockets: Vec<TcpListener> = passed.into_iter().map(|passed| passed.socket).collect();
    for socket in &sockets {
        set_options(&SockRef::from(socket))?;
    }
    if !kept && let Some(first) = sockets.first() {
        let address = first.local_addr()?;
        for _ in sockets.len()..workers {
            match socket(address, Sharing::Workers) {
                // It is listened on last of all: what the kernel queues there is lost if this start fails.
                Ok(another) => sockets.push(another),
                Err(error) => {
                    tracing::debug!(%address, %error, "workers share a socket: none can be bound beside those passed");
                    break;
                }
            }
        }
    }
    bound(listener, sockets, KeptElsewhere::new(kept))
}

fn bound(listener: &Listener, sockets: Vec<TcpListener>, kept: KeptElsewhere) -> io::Result<BoundListener> {
    let first = sockets
        .first()
        .ok_or_else(|| io::Error::other("there are no workers"))?;
    let settings = Arc::new(Listener {
        address: first.local_addr()?,
        ..listener.clone()
    });
    Ok(BoundListener {
        settings,
        configured: listener.address,
        sockets,
        kept,
    })
}

/// On a socket that listens already it changes nothing but the length of the queue.
fn listen(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Workers,
}

/// A bound socket.
fn socket(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Workers)?;
    if let IpAddr::V6(v6) = address.ip() {
        socket.set_only_v6(!v6.is_unspecified())?;
    }
    set_options(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Options that the connections inherit, which saves them the system calls.
fn set_options(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_EVERY))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

/// What to do about it, where that is known.
fn advice(cause: &io::Error, address: SocketAddr) -> impl fmt::Display {
    match cause.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: give the service that capability (systemd: \
             AmbientCapabilities=CAP_NET_BIND_SERVICE), or listen on a higher port"
        }
        io::ErrorKind::AddrInUse => {
            "; another process listens there, perhaps another Portcullis: `ss -ltnp` shows which. To put this version \
             in the place of the one that runs, use `portcullis upgrade`"
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

    fn had(listeners: &[Listener], workers: usize) -> Result<Vec<BoundListener>, Vec<BindError>> {
        bind_all(listeners, workers, &mut Passed::default())
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
        let bound = had(&[listener("127.0.0.1:0")], 3).expect("a free port");
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
        let taken = had(&[listener("127.0.0.1:0")], 1).expect("a free port");
        let address = taken[0].settings.address;
        let errors = had(&[listener(&address.to_string()), listener("192.0.2.1:4000")], 2).expect_err("both fail");
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

    /// Sockets of one listener as another process had them, for so many workers, and each worker's share of them.
    fn adopted(had_by: usize, workers: usize, kept: bool) -> (usize, Vec<usize>) {
        let theirs = had(&[listener("127.0.0.1:0")], had_by).expect("a free port").remove(0);
        let address = theirs.settings.address;
        let sockets = theirs
            .sockets
            .iter()
            .map(|socket| socket.try_clone().expect("a descriptor"));
        let mut passed = Passed::of_listener(address, sockets.collect(), kept);
        let mut ours = bind_all(&[listener(&address.to_string())], workers, &mut passed).expect("passed");
        assert!(passed.is_empty());
        let ours = ours.remove(0);
        let shares = (0..workers).map(|worker| ours.share(worker, workers).expect("descriptors").len());
        (ours.sockets.len(), shares.collect())
    }

    #[test]
    fn with_fewer_workers_than_sockets_no_socket_is_left_out() {
        assert_eq!(adopted(5, 2, false), (5, vec![3, 2]));
    }

    #[test]
    fn with_more_workers_sockets_are_bound_beside_those_passed() {
        assert_eq!(adopted(1, 3, false), (3, vec![1, 1, 1]));
    }

    #[test]
    fn sockets_of_a_service_manager_are_shared_by_the_workers() {
        assert_eq!(adopted(2, 3, true), (2, vec![1, 1, 1]));
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_only_had_by_being_passed() {
        let theirs = had(&[listener("127.0.0.1:0")], 2).expect("a free port").remove(0);
        let address = theirs.settings.address;
        had(&[listener(&address.to_string())], 2).expect_err("another process listens there");
        let socket = theirs.sockets[0].try_clone().expect("a descriptor");
        let mut passed = Passed::of_listener(address, vec![socket], false);
        bind_all(&[listener(&address.to_string())], 2, &mut passed).expect("passed");
    }

    #[test]
    fn accepted_connections_are_kept_alive_by_the_kernel() {
        let bound = had(&[listener("127.0.0.1:0")], 1).expect("a free port");
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
        let bound = had(&[listener("[::]:0")], 1).expect("a free port");
        let port = bound[0].settings.address.port();
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("dual stack");
    }
}
