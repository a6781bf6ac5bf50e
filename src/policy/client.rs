//! Who is asking: a newtype per role of an address, and how the client IP is derived from them.

use std::net::{IpAddr, SocketAddr};

/// The socket's other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Peer(pub SocketAddr);

/// The PROXY header's address, else the peer's. What `trusted_proxies` is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceAddr(pub SocketAddr);

/// Who is really asking, after trusted proxies; always canonical (an IPv4-mapped address is the IPv4 address).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientIp(IpAddr);

impl ClientIp {
    /// The client at `address`.
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The canonical address.
    pub fn addr(self) -> IpAddr {
        self.0
    }
}
