//! Heads: the request's as it is written, the response's as it is read.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
};

use super::WireError;
use crate::http1::{HeaderLines, LinesError, Malformed, length_of_head, malformed, push_line};

/// The largest response head: an origin cannot make the gateway hold more.
const HEAD_BYTES: usize = 128 * 1024;

/// How a response begins.
const PROTOCOL: &[u8] = b"HTTP/1.";

/// Header lines for which there is room at once: those of an ordinary response, and what is added on the way.
const USUAL_LINES: usize = 12;

/// The most header lines of a response.
const HEADER_LINES: usize = 128;

/// A request's head, ready to be written: made anew from what was judged, so that no byte of the client's own framing,
/// spelling or spacing reaches an origin.
#[derive(Debug)]
pub(in crate::upstream) struct RequestHead {
    /// As the client sent it.
    pub(in crate::upstream) method: Method,
    /// The judged target: visible ASCII, see [`is_target`].
    pub(in crate::upstream) target: Box<str>,
    /// The judged host.
    pub(in crate::upstream) host: HeaderValue,
    /// The client's end-to-end headers. What concerns framing and this connection is written from the other fields, whatever
    /// they say.
    pub(in crate::upstream) headers: HeaderMap,
    /// What the origin is told beside them.
    pub(in crate::upstream) ours: Vec<(HeaderName, HeaderValue)>,
    /// Whether the client reads trailers.
    pub(in crate::upstream) accepts_trailers: bool,
    /// How long the body is.
    pub(in crate::upstream) body: BodyLength,
    /// The protocol to switch to.
    pub(in crate::upstream) upgrade: Option<HeaderValue>,
}

/// How the length of a request's body is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum BodyLength {
    /// Not at all: there is no body, and the method has none.
    Unsaid,
    /// So many bytes.
    Known(u64),
    /// Told by its chunks.
    Chunked,
}

/// Whether a request line can carry these bytes so that nobody reads another target in them.
pub(in crate::upstream) fn is_target(target: &str) -> bool {
    let is_carried = |byte: &u8| byte.is_ascii_graphic() && *byte != b'#';
    (target.starts_with('/') || target == "*") && target.as_bytes().iter().all(is_carried)
}

impl RequestHead {
    /// Appends the head, with the empty line that ends it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        self.for_each_line(|name, value| push_line(out, name.as_str(), value.as_bytes()));
        out.extend_from_slice(b"\r\n");
    }

    /// The header lines that are written.
    pub(in crate::upstream) fn lines(&self) -> HeaderMap {
        let mut lines = HeaderMap::with_capacity(self.headers.len() + 2);
        self.for_each_line(|name, value| {
            lines.append(name, value.clone());
        });
        lines
    }

    fn for_each_line(&self, mut line: impl FnMut(&HeaderName, &HeaderValue)) {
        line(&HOST, &self.host);
        for (name, value) in &self.headers {
            if !self.is_written_apart(name) {
                line(name, value);
            }
        }
        for (name, value) in &self.ours {
            line(name, value);
        }
        match self.body {
            BodyLength::Unsaid => {}
            BodyLength::Known(bytes) => line(&CONTENT_LENGTH, &HeaderValue::from(bytes)),
            BodyLength::Chunked => line(&TRANSFER_ENCODING, &HeaderValue::from_static("chunked")),
        }
        if let Some(protocol) = &self.upgrade {
            line(&UPGRADE, protocol);
        }
        if self.accepts_trailers {
            line(&TE, &HeaderValue::from_static("trailers"));
        }
        // RFC 9110 §10.1.4: who sends TE names it here.
        let connection = match (&self.upgrade, self.accepts_trailers) {
            (Some(_), true) => "upgrade, te",
            (Some(_), false) => "upgrade",
            (None, true) => "te",
            (None, false) => return,
        };
        line(&CONNECTION, &HeaderValue::from_static(connection));
    }

    /// What the map may hold and says nothing here. Only a chunked body can have trailers, so only it announces them; the
    /// gateway answers the expectation by reading the body, so nothing is left of it for the origin.
    fn is_written_apart(&self, name: &HeaderName) -> bool {
        match *name {
            HOST | CONTENT_LENGTH | TRANSFER_ENCODING | EXPECT | CONNECTION | UPGRADE | TE => true,
            TRAILER => self.body != BodyLength::Chunked,
            _ => false,
        }
    }
}

/// A response's head.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::upstream) struct ResponseHead {
    /// The status.
    pub(in crate::upstream) status: StatusCode,
    /// HTTP/1.0 or HTTP/1.1.
    pub(in crate::upstream) version: Version,
    /// The header lines.
    pub(in crate::upstream) headers: HeaderMap,
}

impl ResponseHead {
    /// Takes a head off the front of what has come; `None` when it is not complete yet. `seen` is how much of it was looked
    /// at in vain: an origin that sends byte by byte must not make every byte cost as much as all before it.
    ///
    /// # Errors
    /// What came is no head, or a larger one than is held.
    pub(super) fn take(buffer: &mut BytesMut, seen: &mut usize) -> Result<Option<Self>, WireError> {
        // What does not begin as HTTP does may never end as it does.
        let begins = buffer.len().min(PROTOCOL.len());
        if buffer.get(..begins) != PROTOCOL.get(..begins) {
            return Err(Malformed("another protocol or version").into());
        }
        if let Some(length) = length_of_head(buffer, *seen) {
            *seen = 0;
            return Self::parse(&buffer.split_to(length).freeze()).map(Some);
        }
        if *seen == 0 {
            // What is no head is told so at once.
            parse_first_line(&mut httparse::Response::new(&mut []), buffer)?;
        }
        // The last line end may be the empty line's first half.
        *seen = buffer.len().saturating_sub(3).max(1);
        match buffer.len() < HEAD_BYTES {
            true => Ok(None),
            false => Err(Malformed("the head is too long").into()),
        }
    }

    fn parse(bytes: &Bytes) -> Result<Self, WireError> {
        let first = memchr::memchr(b'\n', bytes).ok_or(Malformed("the status line"))? + 1;
        let mut response = httparse::Response::new(&mut []);
        parse_first_line(&mut response, bytes.get(..first).unwrap_or_default())?;
        let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
        let version = match response.version {
            Some(1) => Version::HTTP_11,
            Some(0) => Version::HTTP_10,
            _ => return Err(Malformed("another version of HTTP").into()),
        };
        let lines = HeaderLines::read(bytes, first, USUAL_LINES, HEADER_LINES).map_err(|error| match error {
            LinesError::TooMany => Malformed("too many header lines"),
            LinesError::Malformed(malformed) => malformed,
        })?;
        Ok(Self {
            status: status.ok_or(Malformed("the status line"))?,
            version,
            headers: lines.headers,
        })
    }
}

/// Parses no further than the first line.
fn parse_first_line<'b>(response: &mut httparse::Response<'_, 'b>, bytes: &'b [u8]) -> Result<(), Malformed> {
    match response.parse(bytes) {
        // There is room for no header.
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Ok(()),
        Err(error) => Err(malformed(error)),
    }
}
