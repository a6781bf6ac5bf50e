//! Who is asking: a newtype per role of an address, and how the client IP is derived from them.
//!
//! A header is believed only as far as trusted proxies vouch for it: read from the right, each address was written by the
//! one before it, so the first untrusted address is the last one that somebody trusted has seen.

mod elements;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use super::{network::IpSet, normalize::Malformed};

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

/// Which proxies are believed, and which header of theirs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIpSettings {
    trusted: IpSet,
    header: HeaderName,
    form: Form,
}

/// How a header names the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `X-Forwarded-For`: each proxy appends who asked it.
    List,
    /// RFC 7239's `Forwarded`: the same, with parameters.
    Forwarded,
    /// `CF-Connecting-IP`, `True-Client-IP`, `X-Real-IP` and their like: one address.
    Single,
}

impl ClientIpSettings {
    /// Believes `header` from the addresses in `trusted`. `forwarded` is read as RFC 7239 says, a name that ends in
    /// `forwarded-for` as a list; any other holds one address.
    pub fn new(trusted: IpSet, header: HeaderName) -> Self {
        let form = if header == FORWARDED {
            Form::Forwarded
        } else if header.as_str().ends_with("forwarded-for") {
            Form::List
        } else {
            Form::Single
        };
        Self { trusted, header, form }
    }

    /// Whether headers from this source are believed.
    pub fn trusts(&self, source: SourceAddr) -> bool {
        self.trusted.contains(source.0.ip())
    }

    /// The header that names the client.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }
}

/// The client IP, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Derivation {
    /// Who is really asking.
    pub ip: ClientIp,
    /// What said so.
    pub from: DerivedFrom,
}

/// What a client IP was derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DerivedFrom {
    /// The connection: its source is not trusted, or sent no such header.
    Source,
    /// The header of a trusted source.
    Header,
}

/// An address on the way from the source to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// The address.
    pub ip: ClientIp,
    /// Whether it is one of `trusted_proxies`, so that what it says of the next hop is believed.
    pub trusted: bool,
}

/// Derives the client IP from the source and the headers as they came (hop-by-hop ones included, or a client could have
/// the proxy's word removed by naming it in `Connection`).
///
/// # Errors
/// An element that was reached is no address, or a header of one address came twice.
pub fn client_ip(
    source: SourceAddr,
    headers: &HeaderMap,
    settings: &ClientIpSettings,
) -> Result<Derivation, Malformed> {
    walk(source, headers, settings, |_| {})
}

/// The same way, told hop by hop: from the source to the client, both included.
///
/// # Errors
/// As [`client_ip`].
pub fn hops(source: SourceAddr, headers: &HeaderMap, settings: &ClientIpSettings) -> Result<Vec<Hop>, Malformed> {
    let mut hops = Vec::new();
    walk(source, headers, settings, |hop| hops.push(hop))?;
    Ok(hops)
}

fn walk(
    source: SourceAddr,
    headers: &HeaderMap,
    settings: &ClientIpSettings,
    mut visit: impl FnMut(Hop),
) -> Result<Derivation, Malformed> {
    let mut way = Way {
        settings,
        visit: &mut visit,
        last: ClientIp::new(source.0.ip()),
        from: DerivedFrom::Source,
    };
    if !way.arrive(way.last) {
        return Ok(way.end());
    }
    let lines = headers.get_all(&settings.header);
    match settings.form {
        Form::List => way.follow(lines.iter().rev().flat_map(elements::from_right).map(elements::address)),
        Form::Forwarded => {
            let elements = elements::forwarded(lines.iter())?;
            way.follow(elements.iter().rev().map(|element| element.client()))
        }
        Form::Single => {
            let line = at_most_one(lines.iter(), "the header that names the client came twice")?;
            way.follow(line.into_iter().map(|line| elements::address(line.as_bytes())))
        }
    }
}

/// The way from the source towards the client.
struct Way<'w, F: FnMut(Hop)> {
    settings: &'w ClientIpSettings,
    visit: &'w mut F,
    last: ClientIp,
    from: DerivedFrom,
}

impl<F: FnMut(Hop)> Way<'_, F> {
    /// Whether what this address says is believed.
    fn arrive(&mut self, ip: ClientIp) -> bool {
        let trusted = self.settings.trusted.contains(ip.addr());
        (self.visit)(Hop { ip, trusted });
        self.last = ip;
        trusted
    }

    /// Goes on to the first untrusted address, or to the last there is.
    fn follow(mut self, elements: impl Iterator<Item = Option<IpAddr>>) -> Result<Derivation, Malformed> {
        for element in elements {
            let address = element.ok_or(Malformed::new("no address where a proxy should name its client"))?;
            self.from = DerivedFrom::Header;
            if !self.arrive(ClientIp::new(address)) {
                break;
            }
        }
        Ok(self.end())
    }

    fn end(self) -> Derivation {
        Derivation {
            ip: self.last,
            from: self.from,
        }
    }
}

fn at_most_one<'h>(
    mut lines: impl Iterator<Item = &'h HeaderValue>,
    twice: &'static str,
) -> Result<Option<&'h HeaderValue>, Malformed> {
    let first = lines.next();
    match lines.next() {
        Some(_) => Err(Malformed::new(twice)),
        None => Ok(first),
    }
}

/// Whether the client speaks TLS: what a trusted source says (`X-Forwarded-Proto`; the client's `proto` when the header
/// is `Forwarded`), else what our socket does.
///
/// `ws` and `wss` are what Traefik sends with a WebSocket's handshake.
///
/// # Errors
/// A trusted source says something else than http or https, or says it twice.
pub fn client_tls(
    on_socket: bool,
    source: SourceAddr,
    headers: &HeaderMap,
    settings: &ClientIpSettings,
) -> Result<bool, Malformed> {
    const PROTO: &str = "x-forwarded-proto";
    if !settings.trusts(source) {
        return Ok(on_socket);
    }
    let said = match settings.form {
        Form::Forwarded => {
            let elements = elements::forwarded(headers.get_all(&settings.header).iter())?;
            let client = elements
                .iter()
                .rev()
                .find(|element| !element.is_by_one_of(&settings.trusted));
            return match client.or(elements.first()).and_then(|element| element.proto) {
                Some(proto) => tls_of(proto.as_bytes()),
                None => Ok(on_socket),
            };
        }
        Form::List | Form::Single => at_most_one(headers.get_all(PROTO).iter(), "two X-Forwarded-Proto headers")?,
    };
    said.map_or(Ok(on_socket), |proto| tls_of(proto.as_bytes()))
}

fn tls_of(proto: &[u8]) -> Result<bool, Malformed> {
    let is = |name: &str| proto.eq_ignore_ascii_case(name.as_bytes());
    if is("https") || is("wss") {
        Ok(true)
    } else if is("http") || is("ws") {
        Ok(false)
    } else {
        Err(Malformed::new("a proxy forwards from neither http nor https"))
    }
}

#[cfg(test)]
mod tests;
