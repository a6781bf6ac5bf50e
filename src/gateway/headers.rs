//! The headers that the origin gets: what is taken from the client's, and what is ours.
//!
//! In order: [`HeaderPolicy::prepare_for_rules`], then rules see the headers, then [`HeaderPolicy::for_origin`]. So rules
//! see what the client said of itself (`X-Forwarded-For`, …), and the origin sees what we know.

use std::{fmt::Write as _, net::IpAddr};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST},
};

use super::head::{Mark, Survey, is_odd, tokens};
use crate::{
    config::settings,
    policy::{client::Hop, facts::Country, normalize::Host},
    represent::address,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// The request's id, the same in the origin's log, in ours and in the client's hands.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// For one connection only (RFC 9110 §7.6.1, and RFC 2616 §13.5.1 for those that it names no more). `Trailer` is not among
/// them: trailers pass through.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Says who the client is; believed from trusted sources only. With them goes all of `X-Forwarded-*`.
fn is_identity(name: &str) -> bool {
    matches!(
        name,
        "cf-connecting-ip"
            | "client-ip"
            | "fastly-client-ip"
            | "fly-client-ip"
            | "forwarded"
            | "forwarded-for"
            | "true-client-ip"
            | "x-azure-clientip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-forwarded"
            | "x-originating-ip"
            | "x-real-ip"
            | "x-remote-addr"
            | "x-remote-ip"
    )
}

/// Frame or route the message: no other name may be taken for one of these.
const FRAMING: [HeaderName; 3] = [HOST, CONTENT_LENGTH, EXPECT];

/// Headers by which a request is judged, answered or let in, here or at an origin: none of them comes as a trailer.
const DECIDING: [&str; 26] = [
    "authentication-info",
    "authorization",
    "cache-control",
    "cdn-loop",
    "cookie",
    "cookie2",
    "date",
    "depth",
    "destination",
    "dnt",
    "early-data",
    "from",
    "host",
    "last-event-id",
    "max-forwards",
    "origin",
    "overwrite",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "trailer",
    "user-agent",
    "via",
    "x-requested-with",
];

/// Families of such headers.
const DECIDING_PREFIXES: [&str; 25] = [
    "accept",
    "access-control-",
    "cf-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "upgrade-",
    "x-api-",
    "x-auth",
    "x-client-",
    "x-cluster-",
    "x-csrf",
    "x-forwarded",
    "x-host",
    "x-http-",
    "x-method",
    "x-original-",
    "x-real-",
    "x-remote-",
    "x-rewrite-",
    "x-role",
    "x-token",
    "x-user",
    "x-xsrf",
];

/// What a sender knows only at a body's end (RFC 9530), though the name begins as others do.
const CHECKSUMS: [&str; 2] = ["content-digest", "content-md5"];

/// Whether a request's source is one of `trusted_proxies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// What it says of its client is believed.
    Trusted,
    /// It speaks for itself only.
    Untrusted,
}

/// `[headers]`, and what `[client_ip]` says of headers, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPolicy {
    remove: Vec<HeaderName>,
    forwarded: bool,
    country: Option<HeaderName>,
    client_ip: HeaderName,
    /// How the names begin that may have to go on the way to the origin: few others do.
    going: Initials,
}

/// A set of first letters; all that is no letter counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Initials(u32);

impl Initials {
    fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self(names.fold(0, |bits, name| bits | Self::bit(name)))
    }

    fn have(self, name: &str) -> bool {
        self.0 & Self::bit(name) != 0
    }

    fn bit(name: &str) -> u32 {
        match name.as_bytes().first() {
            Some(letter @ b'a'..=b'z') => 1 << (letter - b'a'),
            _ => 1 << 31,
        }
    }
}

/// What we tell the origin of a request.
#[derive(Debug, Clone, Copy)]
pub struct ForOrigin<'a> {
    /// Whether the source is a trusted proxy.
    pub trust: Trust,
    /// The way from the source to the client, as far as it is believed; never empty.
    pub way: &'a [Hop],
    /// Whether the client speaks TLS.
    pub tls: bool,
    /// The judged host.
    pub host: &'a Host,
    /// The request's id.
    pub request_id: &'a HeaderValue,
    /// The client's country.
    pub country: Country,
}

/// What the origin is told by us, in the order in which it is written. No name in it is among the client's headers.
pub type OurHeaders = Vec<(HeaderName, HeaderValue)>;

impl HeaderPolicy {
    /// The policy of these settings, where `client_ip` is the header in which trusted proxies name the client.
    pub fn new(settings: &settings::Headers, client_ip: HeaderName) -> Self {
        let own = settings.remove.iter().chain(&settings.country).chain([&client_ip]);
        // Whatever says who the client is begins like one of the last four.
        let going = own.map(HeaderName::as_str).chain(["x", "f", "c", "t"]);
        Self {
            going: Initials::of(going),
            remove: settings.remove.clone(),
            forwarded: settings.forwarded,
            country: settings.country.clone(),
            client_ip,
        }
    }

    /// Whether a name becomes one that we set, strip or trust once an origin has folded its odd characters: CGI, WSGI and
    /// PHP know `X_Forwarded_For` and `X-Forwarded-For` by the same name, and older servers fold every mark like `_`.
    pub fn has_look_alike(&self, headers: &HeaderMap) -> bool {
        headers
            .keys()
            .filter(|name| is_odd(name.as_str()))
            .any(|name| self.is_ours(&folded(name)))
    }

    fn is_ours(&self, name: &str) -> bool {
        let lists = [&FRAMING[..], &self.remove, self.country.as_slice()];
        is_hop_by_hop(name)
            || self.says_who(name)
            || name == X_REQUEST_ID
            || lists.iter().any(|list| list.iter().any(|ours| ours == name))
    }

    /// Whether a header of this name says who or where the client is.
    fn says_who(&self, name: &str) -> bool {
        // Few names begin as any of these do.
        let may_be = matches!(name.as_bytes().first(), Some(b'x' | b'f' | b'c' | b't'));
        (may_be && (name.starts_with("x-forwarded-") || is_identity(name))) || self.client_ip == name
    }

    /// Makes the client's headers what rules and the origin both see: without those that are for this connection only or
    /// that the client names so in `Connection`, and with one `Cookie`.
    ///
    /// A client behind a trusted proxy that passes `Connection` on could name the proxy's own headers there, and so take
    /// away the proxy's word: these stay, as does what frames the message.
    pub fn prepare_for_rules(&self, headers: &mut HeaderMap, trust: Trust) {
        let survey = Survey::of(headers);
        self.prepare(headers, trust, &survey);
    }

    /// The same for headers that were looked at already.
    pub(super) fn prepare(&self, headers: &mut HeaderMap, trust: Trust, survey: &Survey) {
        if survey.has(Mark::HopByHop) {
            remove_connection_headers(headers, |name| {
                FRAMING.contains(name) || (trust == Trust::Trusted && self.says_who(name.as_str()))
            });
        }
        if survey.has(Mark::Cookies) {
            join_cookies(headers);
        }
    }

    /// Leaves of the client's headers what the origin may have, and says what it is told by us beside them. They must have
    /// been through [`Self::prepare_for_rules`].
    ///
    /// - What could override the judged path or host (`[headers] remove`) goes.
    /// - What says who the client is goes, unless a trusted proxy sent it.
    /// - `X-Forwarded-For` is the believed way from the client to the source: for an untrusted source its address alone, as
    ///   nginx's and Caddy's users expect; behind proxies it begins with the client IP that was judged. What a client
    ///   forged to the left of that is dropped, since many applications read the leftmost address.
    /// - `X-Forwarded-Proto` and `X-Forwarded-Host` are the client's protocol and the judged host. There is no `Via`: it
    ///   makes some origins withhold compression.
    pub fn for_origin(&self, headers: &mut HeaderMap, facts: &ForOrigin<'_>) -> OurHeaders {
        let proto = if facts.tls { "https" } else { "http" };
        let mut ours = Vec::with_capacity(6);
        ours.push((X_FORWARDED_FOR, forwarded_for(facts.way)));
        ours.push((X_FORWARDED_PROTO, HeaderValue::from_static(proto)));
        ours.push((X_FORWARDED_HOST, text(facts.host.authority())));
        ours.push((X_REQUEST_ID, facts.request_id.clone()));
        if self.forwarded {
            ours.push((FORWARDED, text(&forwarded(facts.way, facts.host, proto))));
        }
        if let Some(country) = &self.country {
            ours.push((country.clone(), text(facts.country.as_str())));
        }
        remove_where(headers, |name| {
            if !self.going.have(name.as_str()) {
                return false;
            }
            let identity = facts.trust == Trust::Untrusted && self.says_who(name.as_str());
            identity || self.remove.contains(name) || ours.iter().any(|(our, _)| our == name)
        });
        ours
    }

    /// Removes from a request's trailers what could pass for a header. Some origins merge trailers into the headers
    /// (RFC 9110 §6.5.1 warns of it), and would act there on a cookie, an agent or an address that no rule ever saw. So
    /// goes what is ours to say, what requests are told by, and what `is_judged` says of a folded name.
    pub fn remove_from_trailers(&self, trailers: &mut HeaderMap, is_judged: impl Fn(&str) -> bool) {
        remove_where(trailers, |name| {
            let name = folded(name);
            self.is_ours(&name) || is_request_field(&name) || is_judged(&name)
        });
    }
}

/// Removes from a response's trailers what its head has to say: how the message is framed, coded and kept, and what is set at the
/// client. Some clients merge trailers into the headers (RFC 9110 §6.5.1).
pub fn remove_from_response_trailers(trailers: &mut HeaderMap) {
    const PREFIXES: [&str; 3] = ["content-", "access-control-", "proxy-"];
    remove_hop_by_hop_of_response(trailers);
    remove_where(trailers, |name| {
        let name = name.as_str();
        let begins = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let says = matches!(
            name,
            "age"
                | "authorization"
                | "cache-control"
                | "date"
                | "expires"
                | "host"
                | "location"
                | "pragma"
                | "retry-after"
                | "set-cookie"
                | "strict-transport-security"
                | "trailer"
                | "vary"
                | "warning"
                | "www-authenticate"
        );
        says || (begins && !CHECKSUMS.contains(&name))
    });
}

/// A name as origins know it that fold its odd characters.
pub(super) fn folded(name: &HeaderName) -> String {
    name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// Whether origins decide by a header of this name.
fn is_request_field(name: &str) -> bool {
    let is_one_of = |prefix: &&str| name.starts_with(*prefix);
    !CHECKSUMS.contains(&name) && (DECIDING.contains(&name) || DECIDING_PREFIXES.iter().any(is_one_of))
}

/// HTTP/2 clients send a cookie a line; HTTP/1.1 knows one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for line in [second].into_iter().chain(lines) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(cookie) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, cookie);
    }
}

/// Removes a response's headers that are for one connection only.
pub fn remove_hop_by_hop_of_response(headers: &mut HeaderMap) {
    remove_connection_headers(headers, |name| FRAMING.contains(name));
}

fn remove_connection_headers(headers: &mut HeaderMap, stays: impl Fn(&HeaderName) -> bool) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter(|token| !is_about_the_connection(token))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !stays(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    remove_where(headers, |name| is_hop_by_hop(name.as_str()));
}

/// What `Connection` says in most messages: options of its own, and names that go in any case.
fn is_about_the_connection(token: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade", b"te"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}

fn remove_where(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The id that a trusted proxy gave the request. From anyone else, and if it could break a log line, it is none: an id that
/// a client may choose lets it hide its requests behind those of another.
pub fn request_id(headers: &HeaderMap, trust: Trust) -> Option<&HeaderValue> {
    const MAX: usize = 128;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let mut ids = headers.get_all(X_REQUEST_ID).iter();
    let id = ids.next().filter(|_| trust == Trust::Trusted && ids.next().is_none())?;
    ((1..=MAX).contains(&id.len()) && id.as_bytes().iter().all(plain)).then_some(id)
}

/// `client, proxy, …, source`
fn forwarded_for(way: &[Hop]) -> HeaderValue {
    let mut chain = Vec::with_capacity(way.len() * "255.255.255.255, ".len());
    for hop in way.iter().rev() {
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        address::push(&mut chain, hop.ip.addr());
    }
    HeaderValue::from_maybe_shared(Bytes::from(chain)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// RFC 7239, with protocol and host where readers look for them: in the client's element, the first.
fn forwarded(way: &[Hop], host: &Host, proto: &str) -> String {
    let nodes = way.iter().rev().map(|hop| match hop.ip.addr() {
        IpAddr::V4(v4) => format!("for={v4}"),
        IpAddr::V6(v6) => format!("for=\"[{v6}]\""),
    });
    let mut nodes: Vec<String> = nodes.collect();
    if let Some(client) = nodes.first_mut() {
        let _ = write!(client, ";host=\"{host}\";proto={proto}", host = host.authority());
    }
    nodes.join(", ")
}

/// Addresses, hosts and country codes are visible ASCII.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
