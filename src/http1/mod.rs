//! What HTTP/1.1 is made of, whichever side sends it: heads and their lines, chunks, trailers (RFC 9112).
//!
//! A leaf; all but [`Scratch`] and [`Early`] is pure over bytes that are already here. Strict: what could be read in two ways is [`Malformed`].

mod chunked;
mod early;
mod lines;
mod names;
mod scratch;

use bytes::Bytes;
use http::HeaderMap;

pub use self::{
    chunked::{ChunkWriter, Chunks},
    early::Early,
    lines::{HeaderLines, LinesError, length_of_head, malformed, push_line},
    scratch::Scratch,
};

/// What came is no HTTP/1.1, and what of it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not HTTP/1.1: {0}")]
pub struct Malformed(pub &'static str);

/// What reading a body came to.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// Headers behind the last chunk; the body has ended.
    Trailers(HeaderMap),
    /// The body has ended.
    End,
    /// More has to come first.
    Starved,
}
