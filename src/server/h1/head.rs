//! A request's head: where it ends, and one meaning or a fault.
//!
//! What is no head at all is answered barely ([`Unreadable`]). What is one, but could be read in two ways, goes to the gate
//! with a [`WireFault`]: it is refused there, with a page and a record, and is the last on its connection.

use std::mem::MaybeUninit;

use bytes::{Buf, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version, header};

use super::body::BodyLength;
use crate::{
    config::settings::Limits,
    gateway::connection::WireFault,
    http1::{LinePlace, has_bare_line, header_map, length_of_head, place_of},
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

/// Header lines of ordinary requests, for which there is room without asking for it.
const FEW_LINES: usize = 64;

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
        // Most heads come at once. What begins as something else (TLS on a plain port) is found at once as well; it may never
        // end as a head does. A client that sends single bytes has none of them looked at with all before it.
        let may_be_whole = *seen == 0 || length_of_head(buffer, *seen).is_some();
        if may_be_whole
            && !buffer.is_empty()
            && let Some(head) = Self::parse(buffer, limits)?
        {
            *seen = 0;
            return Ok(Some(head));
        }
        *seen = buffer.len().saturating_sub(3).max(usize::from(!buffer.is_empty()));
        match buffer.len() <= limits.bytes {
            true => Ok(None),
            false => Err(Unreadable::TooLarge),
        }
    }

    fn parse(buffer: &mut BytesMut, limits: &HeadLimits) -> Result<Option<Self>, Unreadable> {
        let mut few = [LinePlace::default(); FEW_LINES];
        match Line::parse(buffer, &mut [const { MaybeUninit::uninit() }; FEW_LINES], &mut few) {
            Ok(Some(line)) => Self::take_parsed(buffer, &line, &few, limits).map(Some),
            Ok(None) => Ok(None),
            Err(Unreadable::TooLarge) => {
                let mut many = vec![LinePlace::default(); limits.lines];
                let line = Line::parse(buffer, &mut vec![MaybeUninit::uninit(); limits.lines], &mut many)?;
                line.map(|line| Self::take_parsed(buffer, &line, &many, limits))
                    .transpose()
            }
            Err(unreadable) => Err(unreadable),
        }
    }

    fn take_parsed(
        buffer: &mut BytesMut,
        parsed: &Line,
        places: &[LinePlace],
        limits: &HeadLimits,
    ) -> Result<Self, Unreadable> {
        if parsed.length > limits.bytes {
            return Err(Unreadable::TooLarge);
        }
        let bytes = buffer.split_to(parsed.length).freeze();
        let headers = header_map(&bytes, places.get(..parsed.lines).unwrap_or_default());
        let headers = headers.map_err(|malformed| Unreadable::Malformed(malformed.0))?;
        let target = bytes.get(parsed.target.0..parsed.target.1);
        let target = bytes.slice_ref(target.ok_or(Unreadable::Malformed("the request target"))?);
        let version = parsed.version;
        let fault = match (has_bare_line(&bytes), target.contains(&b'#')) {
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
        let mut request = Request::new(());
        *request.method_mut() = parsed.method.clone();
        *request.uri_mut() = Uri::from_maybe_shared(target).map_err(|_| Unreadable::Malformed("the request target"))?;
        *request.version_mut() = version;
        *request.headers_mut() = headers;
        Ok(Self {
            request,
            length: length.unwrap_or(BodyLength::Known(0)),
            keeps_alive,
            expects_continue,
            accepts_trailers,
            fault: length.err(),
        })
    }
}

/// The request line, and how much there is behind it.
struct Line {
    method: Method,
    target: (usize, usize),
    version: Version,
    /// Header lines.
    lines: usize,
    /// Bytes of the whole head.
    length: usize,
}

impl Line {
    fn parse<'h>(
        buffer: &'h [u8],
        lines: &mut [MaybeUninit<httparse::Header<'h>>],
        places: &mut [LinePlace],
    ) -> Result<Option<Self>, Unreadable> {
        let mut parsed = httparse::Request::new(&mut []);
        let status = parsed
            .parse_with_uninit_headers(buffer, lines)
            .map_err(|error| match error {
                httparse::Error::TooManyHeaders => Unreadable::TooLarge,
                error => Unreadable::Malformed(crate::http1::malformed(error).0),
            })?;
        let httparse::Status::Complete(length) = status else {
            return Ok(None);
        };
        for (place, line) in places.iter_mut().zip(parsed.headers.iter()) {
            *place = LinePlace::of(line, buffer);
        }
        let method = parsed.method.unwrap_or_default();
        let target = parsed.path.ok_or(Unreadable::Malformed("the first line"))?;
        Ok(Some(Self {
            method: Method::from_bytes(method.as_bytes()).map_err(|_| Unreadable::Malformed("the method"))?,
            target: place_of(target.as_bytes(), buffer),
            version: match parsed.version {
                Some(1) => Version::HTTP_11,
                _ => Version::HTTP_10,
            },
            lines: parsed.headers.len(),
            length,
        }))
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
