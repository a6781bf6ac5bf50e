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

/// Parsed lines as a map whose values lie where the head does.
///
/// # Errors
/// A name or a value that is none.
pub fn header_map(bytes: &Bytes, lines: &[httparse::Header<'_>]) -> Result<HeaderMap, Malformed> {
    // With room for what is added on the way, which would else move all of it.
    let mut headers = HeaderMap::with_capacity(lines.len() + 3);
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok();
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).ok();
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
