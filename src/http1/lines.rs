//! Heads and trailers as lines.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::Malformed;

/// How long the head at the front is, with the empty line that ends it, if it is all there. The empty line is not looked for
/// before `from`.
pub fn length_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let unseen = bytes.get(from..)?;
    // Nearly all heads; one whose lines end in LF alone ends where two of these meet.
    let proper = memchr::memmem::find(unseen, b"\r\n\r\n").map(|at| at + 4);
    let within = unseen.get(..proper.unwrap_or(unseen.len()))?;
    match has_bare_line(within) {
        false => proper.map(|length| from + length),
        true => memchr::memchr_iter(b'\n', within).find_map(|at| match within.get(at + 1..)? {
            [b'\n', ..] => Some(from + at + 2),
            [b'\r', b'\n', ..] => Some(from + at + 3),
            _ => None,
        }),
    }
}

/// Whether a line ends in LF without CR: to some that is a line's end, to others a part of the line. Looks at all pairs of
/// bytes without a way out in between, so that the compiler compares many at once.
pub fn has_bare_line(head: &[u8]) -> bool {
    let pairs = head.iter().zip(head.iter().skip(1));
    let within = pairs.fold(false, |bare, (before, byte)| {
        bare | ((*byte == b'\n') & (*before != b'\r'))
    });
    within || head.starts_with(b"\n")
}

/// Where in a buffer a parsed line's name and value lie.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinePlace {
    name: (usize, usize),
    value: (usize, usize),
}

impl LinePlace {
    /// The place of a line that was parsed in this buffer.
    pub fn of(line: &httparse::Header<'_>, buffer: &[u8]) -> Self {
        Self {
            name: place_of(line.name.as_bytes(), buffer),
            value: place_of(line.value, buffer),
        }
    }
}

/// Where a part of a buffer begins and ends in it.
pub fn place_of(part: &[u8], buffer: &[u8]) -> (usize, usize) {
    let start = (part.as_ptr() as usize).wrapping_sub(buffer.as_ptr() as usize);
    (start, start.wrapping_add(part.len()))
}

/// The lines at these places as a map whose values lie where the head does.
///
/// # Errors
/// A name or a value that is none.
pub fn header_map(bytes: &Bytes, places: &[LinePlace]) -> Result<HeaderMap, Malformed> {
    // With room for what is added on the way, which would else move all of it.
    let mut headers = HeaderMap::with_capacity(places.len() + 3);
    for place in places {
        let name = bytes.get(place.name.0..place.name.1);
        let name = name.and_then(|name| HeaderName::from_bytes(name).ok());
        // An empty value may lie anywhere.
        let value = match place.value.1.checked_sub(place.value.0) {
            Some(1..) if place.value.1 <= bytes.len() => {
                HeaderValue::from_maybe_shared(bytes.slice(place.value.0..place.value.1)).ok()
            }
            _ => Some(HeaderValue::from_static("")),
        };
        let (name, value) = name.zip(value).ok_or(Malformed("a header line"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Appends a header line.
pub fn push_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// What the parser of heads found.
pub fn malformed(error: httparse::Error) -> Malformed {
    Malformed(match error {
        httparse::Error::HeaderName => "a header's name",
        httparse::Error::HeaderValue => "a header's value",
        httparse::Error::NewLine => "a line's end",
        httparse::Error::Status => "the status line",
        httparse::Error::Token => "the first line",
        httparse::Error::TooManyHeaders => "too many header lines",
        httparse::Error::Version => "another protocol or version",
    })
}
