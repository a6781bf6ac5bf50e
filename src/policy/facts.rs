//! Everything a rule may know of a request. Borrowed from the request itself; nothing here is computed twice.

use std::net::IpAddr;

use super::{
    client::ClientIp,
    normalize::{Host, Target},
    rule::Timestamp,
    site::SiteFacts,
};

/// The facts of one request, as the gateway, a log line or a test states them.
#[derive(Debug, Clone, Copy)]
pub struct RequestFacts<'a> {
    /// When the request's head was read.
    pub now: Timestamp,
    /// The site that the host leads to.
    pub site: &'a SiteFacts,
    /// TLS on our socket, or what a trusted source says.
    pub tls: bool,
    /// The HTTP version spoken by the client.
    pub version: HttpVersion,
    /// The method as sent; methods are case-sensitive (RFC 9110 §9.1).
    pub method: &'a str,
    /// The one valid host.
    pub host: &'a Host,
    /// Path and query, with all their readings.
    pub target: &'a Target,
    /// The headers as sent, without the hop-by-hop ones.
    pub headers: &'a http::HeaderMap,
    /// Who is asking.
    pub client: ClientFacts,
}

/// What is known of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientFacts {
    /// Who is really asking, after trusted proxies.
    pub ip: ClientIp,
    /// Where that address is.
    pub geo: GeoFacts,
}

/// What the geo sources say of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeoFacts {
    /// ISO 3166-1 alpha-2, `XX` when unknown, `T1` for Tor exits when a list of them is configured.
    pub country: Country,
    /// The continent of the country; `XX` when unknown.
    pub continent: Continent,
    /// The autonomous system's number; 0 when unknown.
    pub asn: u32,
}

impl GeoFacts {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        country: Country::UNKNOWN,
        continent: Continent::UNKNOWN,
        asn: 0,
    };
}

/// Two upper-case characters: a country as rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    /// `XX`: no source knows the address.
    pub const UNKNOWN: Self = Self(*b"XX");
    /// `T1`: a Tor exit.
    pub const TOR: Self = Self(*b"T1");

    /// A code of two ASCII letters or digits, in either case.
    pub fn new(code: &str) -> Option<Self> {
        two(code).map(Self)
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX")
    }
}

/// Two upper-case letters: `AF`, `AN`, `AS`, `EU`, `NA`, `OC`, `SA`, or `XX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Continent([u8; 2]);

impl Continent {
    /// `XX`: no source knows the address.
    pub const UNKNOWN: Self = Self(*b"XX");

    /// A code of two ASCII letters, in either case.
    pub fn new(code: &str) -> Option<Self> {
        two(code).map(Self)
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX")
    }
}

fn two(code: &str) -> Option<[u8; 2]> {
    match code.as_bytes() {
        [a, b] if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() => {
            Some([a.to_ascii_uppercase(), b.to_ascii_uppercase()])
        }
        _ => None,
    }
}

/// The version a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl HttpVersion {
    /// As Cloudflare's `http.request.version` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// The address in its one canonical form: an IPv4-mapped IPv6 address is the IPv4 address.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
