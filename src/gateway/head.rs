//! A request's head as the server parsed it, made sure of before anything is decided.
//!
//! What never gets here, because it is no head: folded lines, space before a colon, NUL and CR in values; over HTTP/2
//! pseudo-headers or connection headers out of place. What of an HTTP/1 head only its bytes tell, the server tells by a
//! [`WireFault`]: a fragment of the target, a bare LF as line end, a `Content-Length` beside `Transfer-Encoding`, the same
//! length said twice. What cannot be seen, harmless since the origin is sent what was parsed and nothing else: a fragment in
//! HTTP/2's `:path`, the scheme of an HTTP/2 request without `:authority`.

mod survey;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, ORIGIN, REFERER, TE, TRANSFER_ENCODING, UPGRADE,
        USER_AGENT,
    },
    request::Parts,
};

pub(super) use self::survey::{Mark, Survey, is_odd};
use super::{connection::WireFault, headers::HeaderPolicy};
use crate::policy::{
    decision::Reason,
    facts::HttpVersion,
    normalize::{Host, Malformed, PathOptions, Target},
};

/// A head in which nothing is left to interpretation. The target is parsed by [`target`] once its site is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedHead {
    /// The one valid host.
    pub host: Host,
    /// The HTTP version spoken by the client.
    pub version: HttpVersion,
    /// The protocol that the client asks to change to.
    pub upgrade: Option<Upgrade>,
    /// Whether the client reads trailers (`TE: trailers`).
    pub accepts_trailers: bool,
}

/// A protocol to change to after the origin's 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade(HeaderValue);

impl Upgrade {
    /// The protocol as the client named it.
    pub fn protocol(&self) -> &HeaderValue {
        &self.0
    }
}

/// Why a head is refused before any rule is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct HeadError {
    /// The cause in the client's and the log's terms.
    pub reason: Reason,
    /// What the client gets.
    pub status: StatusCode,
    /// What is wrong, in a few words.
    pub detail: &'static str,
}

impl HeadError {
    const fn malformed(detail: &'static str) -> Self {
        Self {
            reason: Reason::Malformed,
            status: StatusCode::BAD_REQUEST,
            detail,
        }
    }

    const fn not_supported(status: StatusCode, detail: &'static str) -> Self {
        Self {
            reason: Reason::NotSupported,
            status,
            detail,
        }
    }
}

impl From<Malformed> for HeadError {
    fn from(malformed: Malformed) -> Self {
        Self::malformed(malformed.detail)
    }
}

/// Checks everything of a head but its path, on the headers as they came.
///
/// # Errors
/// The first thing found wrong. An answer with status 426 is to name the version in `Sec-WebSocket-Version: 13`.
pub fn check(parts: &Parts, policy: &HeaderPolicy) -> Result<CheckedHead, HeadError> {
    check_surveyed(parts, policy, &Survey::of(&parts.headers))
}

/// The same for headers that were looked at already.
pub(super) fn check_surveyed(parts: &Parts, policy: &HeaderPolicy, survey: &Survey) -> Result<CheckedHead, HeadError> {
    if let Some(WireFault(detail)) = parts.extensions.get() {
        return Err(HeadError::malformed(detail));
    }
    let version = http_version(parts.version)?;
    check_method(&parts.method)?;
    let host = host(&parts.uri, &parts.headers, version)?;
    if survey.has(Mark::OddName) && policy.has_look_alike(&parts.headers) {
        return Err(HeadError::malformed("a header name imitates another one"));
    }
    check_single_headers(&parts.headers)?;
    if survey.has(Mark::Framing) {
        check_framing(&parts.headers, version)?;
    }
    if survey.has(Mark::Expect) {
        check_expectation(&parts.headers)?;
    }
    let is_trailers = |token: &[u8]| token.eq_ignore_ascii_case(b"trailers");
    Ok(CheckedHead {
        host,
        version,
        upgrade: match survey.has(Mark::Upgrade) {
            true => upgrade(parts, version)?,
            false => None,
        },
        accepts_trailers: survey.has(Mark::Te) && tokens(&parts.headers, &TE).any(is_trailers),
    })
}

/// The request's path and query, read as its site wants them read.
///
/// # Errors
/// The target has no path, or one that is malformed or ambiguous.
pub fn target(parts: &Parts, options: PathOptions) -> Result<Target, HeadError> {
    match parts.uri.path_and_query() {
        Some(target) => Ok(Target::parse(target.as_str(), options)?),
        None => Err(HeadError::malformed("the request target has no path")),
    }
}

fn http_version(version: Version) -> Result<HttpVersion, HeadError> {
    match version {
        Version::HTTP_10 => Ok(HttpVersion::Http10),
        Version::HTTP_11 => Ok(HttpVersion::Http11),
        Version::HTTP_2 => Ok(HttpVersion::Http2),
        _ => Err(HeadError::not_supported(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "HTTP version not supported",
        )),
    }
}

/// Methods are case-sensitive, but origins differ: one that takes `get` for `GET` would do what a rule on `GET` never saw.
/// `TRACE` (and IIS's `TRACK`) echoes credentials, `CONNECT` makes us an open proxy, `PRI` is HTTP/2's preface.
pub fn check_method(method: &Method) -> Result<(), HeadError> {
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let name = method.as_str();
    if !name.bytes().all(upper) || matches!(name, "TRACE" | "TRACK" | "CONNECT" | "PRI") {
        return Err(HeadError::not_supported(
            StatusCode::NOT_IMPLEMENTED,
            "method not supported",
        ));
    }
    Ok(())
}

/// The one host that the target and the Host header agree on.
fn host(uri: &Uri, headers: &HeaderMap, version: HttpVersion) -> Result<Host, HeadError> {
    let header = host_header(headers)?;
    let Some(authority) = uri.authority() else {
        return header.ok_or(HeadError::malformed("no host"));
    };
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) => return Err(HeadError::malformed("the request target is neither http nor https")),
        None => return Err(HeadError::malformed("the request target has no path")),
    };
    let authority = Host::parse(authority.as_str())?;
    match (header, version) {
        (Some(header), _) => {
            let port = |host: &Host| host.port().unwrap_or(default_port);
            if header.name != authority.name || port(&header) != port(&authority) {
                return Err(HeadError::malformed("the request target and the Host header differ"));
            }
            Ok(header)
        }
        (None, HttpVersion::Http2) => Ok(authority),
        // RFC 9112 §3.2: also an absolute-form request has a Host.
        (None, HttpVersion::Http10 | HttpVersion::Http11) => Err(HeadError::malformed("no host")),
    }
}

fn host_header(headers: &HeaderMap) -> Result<Option<Host>, HeadError> {
    let mut lines = headers.get_all(HOST).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    if lines.next().is_some() {
        return Err(HeadError::malformed("more than one Host header"));
    }
    let text = line.to_str().map_err(|_| HeadError::malformed("invalid host"))?;
    Ok(Some(Host::parse(text)?))
}

/// What rules read as one value. Sent twice, the origin may believe the one that no rule looked at.
const SINGLE: [HeaderName; 8] = [
    USER_AGENT,
    REFERER,
    ORIGIN,
    AUTHORIZATION,
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-user"),
];

fn check_single_headers(headers: &HeaderMap) -> Result<(), HeadError> {
    let twice = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    // Nearly every head has no name twice at all.
    if headers.len() != headers.keys_len() && SINGLE.iter().any(twice) {
        return Err(HeadError::malformed("a header that has one value came twice"));
    }
    Ok(())
}

/// Where the body ends must be beyond doubt: on any other reading the rest of it is a request that nobody judged.
fn check_framing(headers: &HeaderMap, version: HttpVersion) -> Result<(), HeadError> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err(HeadError::malformed("Transfer-Encoding is not exactly `chunked`"));
        }
        if version != HttpVersion::Http11 {
            return Err(HeadError::malformed("Transfer-Encoding outside of HTTP/1.1"));
        }
        if headers.contains_key(CONTENT_LENGTH) {
            return Err(HeadError::malformed("Content-Length beside Transfer-Encoding"));
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next()
        && (lengths.next().is_some() || content_length(length).is_none())
    {
        return Err(HeadError::malformed("invalid Content-Length"));
    }
    Ok(())
}

/// RFC 9110 §8.6: digits and nothing else.
fn content_length(value: &HeaderValue) -> Option<u64> {
    let digits = value.to_str().ok()?;
    digits
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// `100-continue` is the only expectation there is (RFC 9110 §10.1.1); reading the body answers it.
fn check_expectation(headers: &HeaderMap) -> Result<(), HeadError> {
    let mut expectations = headers.get_all(EXPECT).iter();
    match (expectations.next(), expectations.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        (Some(_), _) => Err(HeadError::not_supported(
            StatusCode::EXPECTATION_FAILED,
            "expectation not supported",
        )),
    }
}

/// The protocol that the client may change to, if the origin agrees.
///
/// A change to another HTTP version or to TLS is declined by answering in HTTP/1.1 (RFC 9110 §7.8): in such a tunnel the
/// client would speak to the origin requests that nobody judges. `curl --http2` and Java's client ask for `h2c` by habit.
fn upgrade(parts: &Parts, version: HttpVersion) -> Result<Option<Upgrade>, HeadError> {
    let headers = &parts.headers;
    let asked = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(b"upgrade"));
    let mut protocols = headers.get_all(UPGRADE).iter();
    let Some(protocol) = protocols.next().filter(|_| asked && version == HttpVersion::Http11) else {
        return Ok(None);
    };
    if protocols.next().is_some() || !is_protocol(protocol.as_bytes()) {
        return Err(HeadError::malformed("Upgrade does not name exactly one protocol"));
    }
    if carries_http(protocol.as_bytes()) {
        return Ok(None);
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| content_length(length) != Some(0));
    if parts.method != Method::GET || has_body {
        return Err(HeadError::malformed("an Upgrade is a GET without a body"));
    }
    if protocol.as_bytes().eq_ignore_ascii_case(b"websocket") {
        check_web_socket(headers)?;
    }
    Ok(Some(Upgrade(protocol.clone())))
}

/// RFC 9110 §7.8: a token, perhaps with a version after a slash.
fn is_protocol(protocol: &[u8]) -> bool {
    let token = |part: &[u8]| {
        let mark = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        !part.is_empty() && part.iter().all(mark)
    };
    let mut parts = protocol.split(|b| *b == b'/');
    parts.next().is_some_and(token) && parts.next().is_none_or(token) && parts.next().is_none()
}

fn carries_http(protocol: &[u8]) -> bool {
    ["h2", "h3", "http", "tls", "ssl"].iter().any(|name| {
        protocol
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// RFC 6455 §4.2.1. An origin that refuses a handshake answers like any other request; a client that then goes on in
/// WebSocket frames, or pipelines what it hid behind them, is to find no tunnel.
fn check_web_socket(headers: &HeaderMap) -> Result<(), HeadError> {
    const VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
    const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
    if only(headers, &VERSION).is_none_or(|version| version != "13") {
        return Err(HeadError::not_supported(
            StatusCode::UPGRADE_REQUIRED,
            "WebSocket version not supported",
        ));
    }
    if only(headers, &KEY).is_none_or(|key| !is_web_socket_key(key.as_bytes())) {
        return Err(HeadError::malformed("invalid Sec-WebSocket-Key"));
    }
    Ok(())
}

/// Sixteen bytes in base64.
fn is_web_socket_key(key: &[u8]) -> bool {
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(base64) && key.ends_with(b"==")
}

fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// The elements of a comma-separated header, over all its lines, trimmed.
pub(super) fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests;
