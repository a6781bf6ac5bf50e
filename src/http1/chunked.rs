//! Chunks (RFC 9112 §7.1), taken apart strictly: a size is hexadecimal digits, a line ends in CR LF, and what follows a
//! chunk's bytes is a line's end and nothing else.

use std::io::Write as _;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, header::TRAILER};

use super::{
    Malformed, Piece,
    lines::{HeaderLines, LinesError, length_of_head, push_line},
};

/// The longest line of a chunk's size, extensions included: they mean nothing to us, and must not be a way to make us read
/// forever without a byte of body.
const SIZE_LINE_BYTES: usize = 4096;

/// The longest trailers, and the most lines of them.
const TRAILER_BYTES: usize = 16 * 1024;
const TRAILER_LINES: usize = 64;

/// Sixteen digits are a 64-bit number.
const SIZE_DIGITS: usize = 16;

/// Where in the chunks the reader is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Chunks {
    /// Before a chunk's size.
    #[default]
    Size,
    /// Within a chunk of which so many bytes are left.
    Data(u64),
    /// Behind a chunk's bytes, before the line end that follows them.
    DataEnd,
    /// Behind the last chunk. So much was searched for the trailers' end in vain.
    Trailers(usize),
}

impl Chunks {
    /// The next piece, off the front of what has come.
    ///
    /// # Errors
    /// What came is no chunk.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, Malformed> {
        loop {
            match *self {
                Self::Size => match take_size(buffer)? {
                    None => return Ok(Piece::Starved),
                    Some(0) => *self = Self::Trailers(0),
                    Some(size) => *self = Self::Data(size),
                },
                Self::Data(_) if buffer.is_empty() => return Ok(Piece::Starved),
                Self::Data(left) => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    *self = match left - taken as u64 {
                        0 => Self::DataEnd,
                        left => Self::Data(left),
                    };
                    return Ok(Piece::Data(buffer.split_to(taken).freeze()));
                }
                Self::DataEnd => match buffer.get(..2) {
                    Some(b"\r\n") => {
                        let _line_end = buffer.split_to(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(Malformed("a chunk is longer than its size")),
                    None => return Ok(Piece::Starved),
                },
                Self::Trailers(seen) => return self.take_trailers(buffer, seen),
            }
        }
    }

    fn take_trailers(&mut self, buffer: &mut BytesMut, seen: usize) -> Result<Piece, Malformed> {
        if buffer.starts_with(b"\r\n") {
            let _empty_line = buffer.split_to(2);
            return Ok(Piece::End);
        }
        let Some(length) = length_of_head(buffer, seen) else {
            *self = Self::Trailers(buffer.len().saturating_sub(3));
            return match buffer.len() < TRAILER_BYTES {
                true => Ok(Piece::Starved),
                false => Err(Malformed("the trailers are too long")),
            };
        };
        let bytes = buffer.split_to(length).freeze();
        match HeaderLines::read(&bytes, 0, 4, TRAILER_LINES) {
            Ok(lines) if lines.end == length && !lines.has_bare_line => Ok(Piece::Trailers(lines.headers)),
            Ok(_) => Err(Malformed("the trailers")),
            Err(LinesError::TooMany) => Err(Malformed("too many header lines")),
            Err(LinesError::Malformed(malformed)) => Err(malformed),
        }
    }
}

/// A chunk's size and the end of its line, off the front; `None` when the line is not complete.
fn take_size(buffer: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    let searched = buffer.get(..SIZE_LINE_BYTES).unwrap_or(buffer);
    let Some(end) = memchr::memchr(b'\n', searched) else {
        return match buffer.len() < SIZE_LINE_BYTES {
            true => Ok(None),
            false => Err(Malformed("a chunk's size is too long")),
        };
    };
    let line = searched.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    let size = line.and_then(size).ok_or(Malformed("a chunk's size"))?;
    let _line = buffer.split_to(end + 1);
    Ok(Some(size))
}

/// The number at the beginning of a size line; behind it there may be extensions, and the blanks that some origins pad with.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at_checked(digits)?;
    if !(1..=SIZE_DIGITS).contains(&digits) || rest.contains(&b'\r') {
        return None;
    }
    let rest = rest.trim_ascii_start();
    let is_padding = rest.is_empty() || rest.starts_with(b";");
    is_padding.then(|| u64::from_str_radix(std::str::from_utf8(number).ok()?, 16).ok())?
}

/// Writes a body in chunks.
#[derive(Debug)]
pub struct ChunkWriter {
    /// A chunk was written, whose line end is still to come.
    is_open: bool,
    /// The trailers that the head announced: no others are sent.
    announced: Vec<HeaderName>,
}

impl ChunkWriter {
    /// For the body of a message with these headers.
    pub fn new(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(TRAILER).iter();
        let tokens = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        Self {
            is_open: false,
            announced: tokens
                .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
                .collect(),
        }
    }

    /// Writes what stands before so many bytes of data. None is no chunk: an empty one would be the last.
    pub fn begin(&mut self, data: usize, out: &mut Vec<u8>) {
        if data > 0 {
            let before = if std::mem::replace(&mut self.is_open, true) {
                "\r\n"
            } else {
                ""
            };
            // Writing into memory does not fail.
            let _infallible = write!(out, "{before}{data:x}\r\n");
        }
    }

    /// Writes the end, with the trailers that were announced.
    pub fn end(&self, trailers: &HeaderMap, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_open { b"\r\n0\r\n" } else { b"0\r\n" });
        for (name, value) in trailers.iter().filter(|(name, _)| self.announced.contains(name)) {
            push_line(out, name.as_str(), value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}
