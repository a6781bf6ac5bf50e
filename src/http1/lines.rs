//! Heads and trailers as lines.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{Malformed, names};

/// How long the head at the front is, with the empty line that ends it, if it is all there. The empty line is not looked for
/// before `from`.
pub fn length_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes.get(from..)?).find_map(|at| match bytes.get(from + at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// Header lines, up to the empty one.
#[derive(Debug)]
pub struct HeaderLines {
    /// Their names and values, which lie where the lines do.
    pub headers: HeaderMap,
    /// Where the empty line ends.
    pub end: usize,
    /// Whether one of them ends in LF without CR: to some that is a line's end, to others a part of the line.
    pub has_bare_line: bool,
}

/// Why lines are no headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinesError {
    /// More than are taken.
    TooMany,
    /// One of them is none, or there is no empty one.
    Malformed(Malformed),
}

impl HeaderLines {
    /// Reads the lines that begin at a place (RFC 9112 §5): a name, a colon, a value between optional blanks. No line goes on
    /// in the next, and nothing stands between a name and its colon. At most `most`; there is room for the `usual` number.
    ///
    /// # Errors
    /// See [`LinesError`].
    pub fn read(bytes: &Bytes, from: usize, usual: usize, most: usize) -> Result<Self, LinesError> {
        const MALFORMED: LinesError = LinesError::Malformed(Malformed("a header line"));
        let mut headers = HeaderMap::with_capacity(usual);
        let mut has_bare_line = false;
        let mut begin = from;
        loop {
            let rest = bytes.get(begin..).ok_or(MALFORMED)?;
            let end = memchr::memchr(b'\n', rest).ok_or(MALFORMED)?;
            let line = rest.get(..end).ok_or(MALFORMED)?;
            let line = line.strip_suffix(b"\r").unwrap_or_else(|| {
                has_bare_line = true;
                line
            });
            if line.is_empty() {
                let end = begin + end + 1;
                return Ok(Self {
                    headers,
                    end,
                    has_bare_line,
                });
            }
            if headers.len() == most {
                return Err(LinesError::TooMany);
            }
            let colon = memchr::memchr(b':', line).ok_or(MALFORMED)?;
            let (name, value) = line.split_at(colon);
            let name = names::header_name(name).ok_or(MALFORMED)?;
            let (value, blanks) = trimmed(value.get(1..).unwrap_or_default());
            let place = begin + colon + 1 + blanks;
            let value = bytes.slice(place..place + value.len());
            headers.append(name, HeaderValue::from_maybe_shared(value).map_err(|_| MALFORMED)?);
            begin += end + 1;
        }
    }
}

/// A value without the blanks around it (RFC 9110 §5.6.3), and how many stood before.
fn trimmed(mut value: &[u8]) -> (&[u8], usize) {
    let mut before = 0;
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
        before += 1;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    (value, before)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_with_its_first_empty_line() {
        for (bytes, length) in [
            (&b"a\r\nb\r\n\r\nc\r\n\r\n"[..], 8),
            (b"a\r\n\r\n\n", 5),
            (b"a\n\nb", 3),
            (b"a\n\r\nb", 4),
            (b"a\r\nb\nc\r\n\r\n", 10),
        ] {
            assert_eq!(length_of_head(bytes, 0), Some(length), "{bytes:?}");
        }
        for part in [&b""[..], b"a", b"a\r\n", b"a\r\nb\r\n\r", b"a\n", b"\r\n\r"] {
            assert_eq!(length_of_head(part, 0), None, "{part:?}");
        }
    }

    /// Names and values, and where the empty line ends.
    type Read = (Vec<(String, Vec<u8>)>, usize);

    /// What the parser that hyper uses makes of the same lines.
    fn by_httparse(lines: &[u8]) -> Option<Read> {
        let mut found = [httparse::EMPTY_HEADER; 32];
        match httparse::parse_headers(lines, &mut found) {
            Ok(httparse::Status::Complete((end, found))) => {
                let line = |line: &httparse::Header<'_>| (line.name.to_ascii_lowercase(), line.value.to_vec());
                Some((found.iter().map(line).collect(), end))
            }
            Ok(httparse::Status::Partial) | Err(_) => None,
        }
    }

    fn read(lines: &[u8]) -> Option<Read> {
        let read = HeaderLines::read(&Bytes::copy_from_slice(lines), 0, 4, 32).ok()?;
        let line = |(name, value): (&http::HeaderName, &HeaderValue)| (name.to_string(), value.as_bytes().to_vec());
        Some((read.headers.iter().map(line).collect(), read.end))
    }

    fn sorted((mut lines, end): Read) -> Read {
        lines.sort_by(|(a, _), (b, _)| a.cmp(b));
        (lines, end)
    }

    #[test]
    fn no_more_lines_are_taken_than_may_be() {
        let lines = Bytes::from_static(b"a: 1\r\na: 2\r\nb: 3\r\n\r\n");
        assert_eq!(HeaderLines::read(&lines, 0, 1, 2).err(), Some(LinesError::TooMany));
        assert!(HeaderLines::read(&lines, 0, 1, 3).is_ok_and(|read| read.headers.len() == 3 && !read.has_bare_line));
    }

    proptest! {
        #[test]
        fn a_head_is_found_however_it_comes(head in "([a:\r\n]){0,12}", split in 0_usize..12) {
            let bytes = head.as_bytes();
            let first = bytes.get(..split).unwrap_or(bytes);
            prop_assume!(length_of_head(first, 0).is_none());
            let from = first.len().saturating_sub(3);
            prop_assert_eq!(length_of_head(bytes, from), length_of_head(bytes, 0));
        }

        /// Two parsers, one meaning: where they differed, one of them would see another request.
        #[test]
        fn lines_mean_what_they_mean_to_others(
            lines in prop_oneof![
                "([aB-][a-z]{0,3}: ?[!-~\t ]{0,6}\r?\n){0,5}\r\n[a: \r\n]{0,6}".prop_map(String::into_bytes),
                "[aB:\t \r\n_é\x7f]{0,24}\r?\n\r?\n".prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..30),
            ],
            at in 0_usize..30,
            byte: u8,
        ) {
            let mut changed = lines.clone();
            if let Some(place) = changed.get_mut(at) {
                *place = byte;
            }
            for lines in [lines, changed] {
                prop_assert_eq!(read(&lines).map(sorted), by_httparse(&lines).map(sorted), "{:?}", String::from_utf8_lossy(&lines));
            }
        }
    }
}
