//! A request's head: where it ends, and one meaning or a fault.
//!
//! What is no head at all is answered barely ([`Unreadable`]). What is one, but could be read in two ways, goes to the gate
//! with a [`WireFault`]: it is refused there, with a page and a record, and is the last on its connection.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, header};

use super::body::BodyLength;
use crate::{
    config::settings::Limits,
    gateway::connection::WireFault,
    http1::{HeaderLines, LinesError, length_of_head, malformed},
};

const BARE_LF: WireFault = WireFault("a line of the head ends in LF without CR");
const FRAGMENT: WireFault = WireFault("fragment in the request target");
const LENGTH: WireFault = WireFault("invalid Content-Length");
const LENGTHS: WireFault = WireFault("more than one Content-Length");
const CODING: WireFault = WireFault("Transfer-Encoding is not exactly `chunked`");
const BOTH: WireFault = WireFault("Content-Length beside Transfer-Encoding");

/// The largest head that is read, and the most lines. The gate refuses smaller ones already, with a page and a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    bytes: usize,
    lines: usize,
}

impl HeadLimits {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            bytes: limits.header_bytes * 2,
            lines: limits.header_count + limits.header_count / 4 + 8,
        }
    }
}

/// What is no longer than this is taken for one head, until it turns out to be several: putting the others back costs little.
const ALONE: usize = 4 * 1024;

/// Header lines for which there is room at once: those of an ordinary request, and what is added on the way.
const USUAL_LINES: usize = 24;

/// What is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::server) enum Unreadable {
    /// Not HTTP/1.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Beyond [`HeadLimits`].
    #[error("the head is far too large")]
    TooLarge,
}

impl Unreadable {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }
}

/// A request's head, and what it says of its body and its connection.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request<()>,
    pub(super) length: BodyLength,
    pub(super) keeps_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) accepts_trailers: bool,
    pub(super) fault: Option<WireFault>,
}

impl Head {
    /// Takes a head off the front of what has come; `None` when it is not complete yet. `seen` is how much was looked at in
    /// vain.
    pub(super) fn take(
        buffer: &mut BytesMut,
        seen: &mut usize,
        limits: &HeadLimits,
    ) -> Result<Option<Self>, Unreadable> {
        // RFC 9112 §2.2: an empty line before a request is none.
        while *seen <= 1 && buffer.starts_with(b"\r\n") {
            buffer.advance(2);
            *seen = 0;
        }
        // A line that is nothing but LF: not skipped, or each of many would be looked at with all before it.
        if buffer.starts_with(b"\n") {
            return Err(Unreadable::Malformed("an empty line that ends in LF alone"));
        }
        // Nearly every head comes at once and alone; should others be behind it, they are put back. A client that sends single
        // bytes has none of them looked at with all before it.
        let length = match buffer.len() <= ALONE && buffer.ends_with(b"\r\n\r\n") {
            true => Some(buffer.len()),
            false => length_of_head(buffer, *seen),
        };
        if let Some(length) = length {
            *seen = 0;
            let bytes = buffer.split_to(length).freeze();
            let (head, length) = Self::parse(&bytes, limits)?;
            if length < bytes.len() {
                let behind = bytes.get(length..).unwrap_or_default();
                *buffer = [behind, buffer].concat().as_slice().into();
            }
            return Ok(Some(head));
        }
        if *seen == 0 && !buffer.is_empty() {
            // What begins as something else (TLS on a plain port) is told so at once: it may never end as a head does.
            parse_first_line(&mut httparse::Request::new(&mut []), buffer)?;
        }
        *seen = buffer.len().saturating_sub(3).max(usize::from(!buffer.is_empty()));
        match buffer.len() <= limits.bytes {
            true => Ok(None),
            false => Err(Unreadable::TooLarge),
        }
    }

    /// The head at the front of these bytes, in which there is one, and how long it is.
    fn parse(bytes: &Bytes, limits: &HeadLimits) -> Result<(Self, usize), Unreadable> {
        let first = memchr::memchr(b'\n', bytes).ok_or(Unreadable::Malformed("the first line"))? + 1;
        let line = bytes.get(..first).unwrap_or_default();
        let mut parsed = httparse::Request::new(&mut []);
        parse_first_line(&mut parsed, line)?;
        let method = parsed.method.ok_or(Unreadable::Malformed("the first line"))?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| Unreadable::Malformed("the method"))?;
        let target = parsed.path.ok_or(Unreadable::Malformed("the first line"))?;
        let version = match parsed.version {
            Some(1) => Version::HTTP_11,
            Some(0) => Version::HTTP_10,
            _ => return Err(Unreadable::Malformed("the first line")),
        };
        let lines = HeaderLines::read(bytes, first, USUAL_LINES, limits.lines).map_err(|error| match error {
            LinesError::TooMany => Unreadable::TooLarge,
            LinesError::Malformed(malformed) => Unreadable::Malformed(malformed.0),
        })?;
        if lines.end > limits.bytes {
            return Err(Unreadable::TooLarge);
        }
        let headers = lines.headers;
        let has_bare_line = lines.has_bare_line || !line.ends_with(b"\r\n");
        let fault = match (has_bare_line, target.contains('#')) {
            (true, _) => Err(BARE_LF),
            (_, true) => Err(FRAGMENT),
            (false, false) => Ok(()),
        };
        let length = fault.and_then(|()| length(&headers));
        let says = |name, token: &str| tokens(&headers, name).any(|said| said.eq_ignore_ascii_case(token.as_bytes()));
        let keeps_alive = match version {
            Version::HTTP_11 => !says(header::CONNECTION, "close"),
            _ => says(header::CONNECTION, "keep-alive") && !says(header::CONNECTION, "close"),
        };
        let expects_continue = version == Version::HTTP_11 && headers.contains_key(header::EXPECT);
        let accepts_trailers = says(header::TE, "trailers");
        let target = Uri::from_maybe_shared(bytes.slice_ref(target.as_bytes()));
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.map_err(|_| Unreadable::Malformed("the request target"))?;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        let head = Self {
            request,
            length: length.unwrap_or(BodyLength::Known(0)),
            keeps_alive,
            expects_continue,
            accepts_trailers,
            fault: length.err(),
        };
        Ok((head, lines.end))
    }
}

/// Parses no further than the first line.
fn parse_first_line<'b>(request: &mut httparse::Request<'_, 'b>, bytes: &'b [u8]) -> Result<(), Unreadable> {
    match request.parse(bytes) {
        // There is room for no header.
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Ok(()),
        Err(error) => Err(Unreadable::Malformed(malformed(error).0)),
    }
}

/// How long the body is (RFC 9112 §6.3): beyond doubt, or a fault. On any other reading the rest of it is a request that
/// nobody judged.
fn length(headers: &HeaderMap) -> Result<BodyLength, WireFault> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(BodyLength::Known(0)),
        (Some(_), Some(_)) => Err(BOTH),
        (Some(coding), None) => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
            is_chunked.then_some(BodyLength::Chunked).ok_or(CODING)
        }
        (None, Some(_)) if lengths.next().is_some() => Err(LENGTHS),
        (None, Some(length)) => {
            // RFC 9110 §8.6: digits and nothing else; `parse` takes a sign as well.
            let digits = length
                .to_str()
                .ok()
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse().ok());
            length.map(BodyLength::Known).ok_or(LENGTH)
        }
    }
}

fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}
