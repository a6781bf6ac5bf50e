//! A second reading of HTTP/1 requests, byte by byte, to hold the one that serves against.
//!
//! Owns framing alone: where a head ends and how long its body is. It copies nothing, keeps no byte of what it read, and
//! knows nothing of hosts, paths and the other headers. Whatever it takes, it frames as the server does; what the server refuses by
//! itself (a folded line, space before a colon, control bytes, a body that breaks off) it may take or refuse, since the
//! connection then ends in any case. After a fault it reads nothing more: what follows has no certain beginning.

use memchr::{memchr, memchr2, memchr3};

/// What is wrong with a head, in a few words for the client and the log.
pub(super) type Fault = &'static str;

const BARE_LF: Fault = "a line of the head ends in LF without CR";
const BARE_CR: Fault = "CR without LF";
const REQUEST_LINE: Fault = "malformed request line";
const FRAGMENT: Fault = "fragment in the request target";
const LENGTH: Fault = "invalid Content-Length";
const LENGTHS: Fault = "more than one Content-Length";
const CODING: Fault = "Transfer-Encoding is not exactly `chunked`";
const BOTH: Fault = "Content-Length beside Transfer-Encoding";
const CHUNK: Fault = "malformed chunk";

/// What a piece of input brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Heads that ended in it, each without a fault.
    pub(super) heads: usize,
    /// What is wrong with what came after those. Told once; the scanner has stopped.
    pub(super) fault: Option<Fault>,
}

/// Where one connection's input stands.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    state: State,
    /// The body that the head read so far announces.
    body: Body,
}

#[derive(Debug, Clone, Copy, Default)]
enum Body {
    #[default]
    Unannounced,
    Length(u64),
    Chunked,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// The first of a request, or of an empty line before it (RFC 9112 §2.2).
    #[default]
    Start,
    /// The LF of such a line.
    StartLf,
    Method,
    Target,
    /// In a line of which only the end matters; whether the last byte was CR.
    Line(Lines, bool),
    /// The first of a line.
    LineStart(Lines),
    /// The LF of a line whose CR was seen.
    LineLf,
    /// The LF of the empty line that ends a head or trailers.
    EndLf(Lines),
    /// In a name that may be one of [`Framing`]'s, after so many bytes of it.
    Name(Framing, usize),
    LengthValue(Part, u64),
    /// After so many bytes of `chunked`.
    CodingValue(usize),
    /// In a body or chunk of which so many bytes are left.
    Body(u64),
    ChunkData(u64),
    ChunkDataCr,
    ChunkDataLf,
    /// The first digit of a chunk's size.
    ChunkSize,
    ChunkSizeMore(u64),
    ChunkSpace(u64),
    ChunkExtension(u64),
    ChunkSizeLf(u64),
    /// After a fault.
    Stopped,
}

/// Which lines are read.
#[derive(Debug, Clone, Copy)]
enum Lines {
    Head,
    Trailers,
}

/// The headers that say where a message ends.
#[derive(Debug, Clone, Copy)]
enum Framing {
    ContentLength,
    TransferEncoding,
}

impl Framing {
    fn name(self) -> &'static [u8] {
        match self {
            Self::ContentLength => b"content-length",
            Self::TransferEncoding => b"transfer-encoding",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Before,
    Within,
    After,
}

impl HeadScanner {
    /// Reads on. However the input is cut, the same heads and fault are found.
    pub(super) fn scan(&mut self, mut bytes: &[u8]) -> Scan {
        let mut scan = Scan::default();
        while let Some(&byte) = bytes.first() {
            match self.step(byte, bytes) {
                Ok(Step::Read(read)) => bytes = &bytes[read..],
                Ok(Step::HeadEnd) => {
                    scan.heads += 1;
                    bytes = &bytes[1..];
                }
                Ok(Step::Stopped) => break,
                Err(fault) => {
                    self.state = State::Stopped;
                    scan.fault = Some(fault);
                    break;
                }
            }
        }
        scan
    }

    /// Takes at least the first byte, which is given for itself as well.
    fn step(&mut self, byte: u8, bytes: &[u8]) -> Result<Step, Fault> {
        let mut read = 1;
        self.state = match self.state {
            State::Start => match byte {
                b'\r' => State::StartLf,
                b'\n' => return Err(BARE_LF),
                _ => return self.method(bytes),
            },
            State::StartLf => after_lf(byte, State::Start)?,
            State::Method => return self.method(bytes),
            State::Target => return self.target(bytes),
            State::Line(lines, cr) => return self.skip_line(lines, cr, bytes),
            State::LineStart(lines) => match (byte, lines) {
                (b'\r', _) => State::EndLf(lines),
                (b'\n', _) => return Err(BARE_LF),
                (b'c' | b'C', Lines::Head) => State::Name(Framing::ContentLength, 1),
                (b't' | b'T', Lines::Head) => State::Name(Framing::TransferEncoding, 1),
                _ => return self.skip_line(lines, false, bytes),
            },
            State::LineLf => after_lf(byte, State::LineStart(Lines::Head))?,
            State::EndLf(Lines::Trailers) => after_lf(byte, State::Start)?,
            State::EndLf(Lines::Head) => {
                self.state = after_lf(byte, self.after_head())?;
                self.body = Body::Unannounced;
                return Ok(Step::HeadEnd);
            }
            State::Name(framing, matched) => match (common(&framing.name()[matched..], bytes), byte) {
                (0, b':') if matched == framing.name().len() => self.framing_value(framing)?,
                // Another name after all.
                (0, _) => return self.skip_line(Lines::Head, false, bytes),
                (more, _) => {
                    read = more;
                    State::Name(framing, matched + more)
                }
            },
            State::LengthValue(part, length) => self.length_value(part, length, byte)?,
            State::CodingValue(matched) => self.coding_value(matched, byte)?,
            State::Body(left) | State::ChunkData(left) => return Ok(self.skip_data(left, bytes)),
            State::ChunkDataCr
            | State::ChunkDataLf
            | State::ChunkSize
            | State::ChunkSizeMore(_)
            | State::ChunkSpace(_)
            | State::ChunkSizeLf(_) => self.chunk_line(byte)?,
            State::ChunkExtension(size) => {
                read = memchr2(b'\r', b'\n', bytes).map_or(bytes.len(), |end| end + 1);
                match bytes[read - 1] {
                    b'\r' => State::ChunkSizeLf(size),
                    b'\n' => return Err(CHUNK),
                    _ => State::ChunkExtension(size),
                }
            }
            State::Stopped => return Ok(Step::Stopped),
        };
        Ok(Step::Read(read))
    }

    /// `#` is a letter that methods may have.
    fn method(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let end = memchr2(b' ', b'\n', bytes);
        self.word(bytes, end, State::Method, State::Target)
    }

    fn target(&mut self, bytes: &[u8]) -> Result<Step, Fault> {
        let end = memchr3(b' ', b'#', b'\n', bytes);
        self.word(bytes, end, State::Target, State::Line(Lines::Head, false))
    }

    /// A word of the request line, up to its space.
    fn word(&mut self, bytes: &[u8], end: Option<usize>, within: State, next: State) -> Result<Step, Fault> {
        let Some(end) = end else {
            self.state = within;
            return Ok(Step::Read(bytes.len()));
        };
        match bytes[end] {
            b' ' => self.state = next,
            b'#' => return Err(FRAGMENT),
            _ => return Err(REQUEST_LINE),
        }
        Ok(Step::Read(end + 1))
    }

    fn skip_line(&mut self, lines: Lines, cr: bool, bytes: &[u8]) -> Result<Step, Fault> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.state = State::Line(lines, bytes.ends_with(b"\r"));
            return Ok(Step::Read(bytes.len()));
        };
        let cr = match end {
            0 => cr,
            _ => bytes[end - 1] == b'\r',
        };
        if !cr {
            return Err(BARE_LF);
        }
        self.state = State::LineStart(lines);
        Ok(Step::Read(end + 1))
    }

    /// A framing header's colon: nothing may have said before where the message ends.
    fn framing_value(&self, framing: Framing) -> Result<State, Fault> {
        match (framing, self.body) {
            (Framing::ContentLength, Body::Unannounced) => Ok(State::LengthValue(Part::Before, 0)),
            (Framing::TransferEncoding, Body::Unannounced) => Ok(State::CodingValue(0)),
            (Framing::ContentLength, Body::Length(_)) => Err(LENGTHS),
            (Framing::TransferEncoding, Body::Chunked) => Err(CODING),
            (Framing::ContentLength, Body::Chunked) | (Framing::TransferEncoding, Body::Length(_)) => Err(BOTH),
        }
    }

    /// RFC 9110 §8.6: digits and nothing else.
    fn length_value(&mut self, part: Part, length: u64, byte: u8) -> Result<State, Fault> {
        match (part, byte) {
            (_, b'\n') => Err(BARE_LF),
            (Part::Before, b' ' | b'\t') => Ok(State::LengthValue(part, length)),
            (Part::Before | Part::Within, b'0'..=b'9') => {
                let longer = length
                    .checked_mul(10)
                    .and_then(|l| l.checked_add(u64::from(byte - b'0')));
                Ok(State::LengthValue(Part::Within, longer.ok_or(LENGTH)?))
            }
            (Part::Within | Part::After, b' ' | b'\t') => Ok(State::LengthValue(Part::After, length)),
            (Part::Within | Part::After, b'\r') => {
                self.body = Body::Length(length);
                Ok(State::LineLf)
            }
            _ => Err(LENGTH),
        }
    }

    fn coding_value(&mut self, matched: usize, byte: u8) -> Result<State, Fault> {
        const CHUNKED: &[u8] = b"chunked";
        match (CHUNKED.get(matched), byte) {
            (_, b'\n') => Err(BARE_LF),
            (Some(expected), _) if byte.eq_ignore_ascii_case(expected) => Ok(State::CodingValue(matched + 1)),
            (Some(_), b' ' | b'\t') if matched == 0 => Ok(State::CodingValue(0)),
            (None, b' ' | b'\t') => Ok(State::CodingValue(matched)),
            (None, b'\r') => {
                self.body = Body::Chunked;
                Ok(State::LineLf)
            }
            (Some(_) | None, _) => Err(CODING),
        }
    }

    fn after_head(&self) -> State {
        match self.body {
            Body::Unannounced | Body::Length(0) => State::Start,
            Body::Length(length) => State::Body(length),
            Body::Chunked => State::ChunkSize,
        }
    }

    fn skip_data(&mut self, left: u64, bytes: &[u8]) -> Step {
        let read = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left - read as u64;
        self.state = match (self.state, left) {
            (State::ChunkData(_), 0) => State::ChunkDataCr,
            (State::ChunkData(_), _) => State::ChunkData(left),
            (_, 0) => State::Start,
            (_, _) => State::Body(left),
        };
        Step::Read(read)
    }

    /// Between two chunks' data, extensions apart.
    fn chunk_line(&self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::ChunkDataCr, b'\r') => Ok(State::ChunkDataLf),
            (State::ChunkDataLf, b'\n') => Ok(State::ChunkSize),
            (State::ChunkSize, _) => Ok(State::ChunkSizeMore(hex(byte).ok_or(CHUNK)?)),
            (State::ChunkSizeMore(size) | State::ChunkSpace(size), b' ' | b'\t') => Ok(State::ChunkSpace(size)),
            (State::ChunkSizeMore(size) | State::ChunkSpace(size), b';') => Ok(State::ChunkExtension(size)),
            (State::ChunkSizeMore(size) | State::ChunkSpace(size), b'\r') => Ok(State::ChunkSizeLf(size)),
            (State::ChunkSizeMore(size), _) => {
                let digit = hex(byte).ok_or(CHUNK)?;
                let size = size.checked_mul(16).and_then(|size| size.checked_add(digit));
                Ok(State::ChunkSizeMore(size.ok_or(CHUNK)?))
            }
            (State::ChunkSizeLf(0), b'\n') => Ok(State::LineStart(Lines::Trailers)),
            (State::ChunkSizeLf(size), b'\n') => Ok(State::ChunkData(size)),
            _ => Err(CHUNK),
        }
    }
}

/// How many bytes of the name come next, in whichever case.
fn common(name: &[u8], bytes: &[u8]) -> usize {
    let pairs = name.iter().zip(bytes);
    pairs.take_while(|(name, byte)| name.eq_ignore_ascii_case(byte)).count()
}

/// What a look at the input did.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many bytes are done with.
    Read(usize),
    /// The first byte was a head's last.
    HeadEnd,
    Stopped,
}

fn after_lf(byte: u8, next: State) -> Result<State, Fault> {
    match byte {
        b'\n' => Ok(next),
        _ => Err(BARE_CR),
    }
}

fn hex(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests;
