//! Where a response's body ends (RFC 9112 §6.3), and its pieces as they come.

use bytes::BytesMut;
use http::{
    HeaderMap, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};

use super::{WireError, head::ResponseHead};
use crate::http1::{Chunks, Malformed, Piece};

/// How a response says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::upstream) enum Length {
    /// After so many bytes.
    Known(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

impl Length {
    /// The length of the body of an answer to `method`. Its framing must have one meaning: see
    /// [`is_unambiguous`](crate::upstream::framing::is_unambiguous).
    ///
    /// # Errors
    /// HTTP/1.0 knows no chunks (RFC 9112 §6.1): where the body ends is not certain.
    pub(in crate::upstream) fn of(method: &Method, head: &ResponseHead) -> Result<Self, WireError> {
        if *method == Method::HEAD || has_never_a_body(head.status) {
            return Ok(Self::Known(0));
        }
        if head.headers.contains_key(TRANSFER_ENCODING) {
            return match head.version {
                Version::HTTP_11 => Ok(Self::Chunked),
                _ => Err(Malformed("chunks in HTTP/1.0").into()),
            };
        }
        let length = head
            .headers
            .get(CONTENT_LENGTH)
            .map(|length| length.to_str().ok()?.trim().parse().ok());
        match length {
            None => Ok(Self::UntilClose),
            Some(Some(length)) => Ok(Self::Known(length)),
            Some(None) => Err(Malformed("the length").into()),
        }
    }
}

fn has_never_a_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Whether the connection can carry another request once the response has ended.
///
/// - HTTP/1.0 would need an agreement that some origins give and do not keep.
/// - An answer that has no body but describes one may be followed by it, from origins that know no better: it would be
///   taken for the next answer. Answers to HEAD describe one by right, and are not suspected.
pub(in crate::upstream) fn is_reusable(head: &ResponseHead, length: Length) -> bool {
    let headers = &head.headers;
    let describes_body = || {
        headers.contains_key(TRANSFER_ENCODING) || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0")
    };
    head.version == Version::HTTP_11
        && length != Length::UntilClose
        && !closes(headers)
        // RFC 9112 §6.1: who says the length in two ways may mean either.
        && !(headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH))
        && !(has_never_a_body(head.status) && describes_body())
}

fn closes(headers: &HeaderMap) -> bool {
    let tokens = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    tokens
        .map(<[u8]>::trim_ascii)
        .any(|token| token.eq_ignore_ascii_case(b"close"))
}

/// Takes a body's pieces off the front of what has come.
#[derive(Debug)]
pub(in crate::upstream) enum BodyReader {
    /// So many bytes are still to come.
    Known(u64),
    /// Chunks.
    Chunked(Chunks),
    /// Whatever comes.
    UntilClose,
    /// Nothing is to come any more.
    Ended,
}

impl BodyReader {
    pub(in crate::upstream) fn new(length: Length) -> Self {
        match length {
            Length::Known(0) => Self::Ended,
            Length::Known(bytes) => Self::Known(bytes),
            Length::Chunked => Self::Chunked(Chunks::default()),
            Length::UntilClose => Self::UntilClose,
        }
    }

    /// The next piece.
    ///
    /// # Errors
    /// What came is no chunk.
    pub(in crate::upstream) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, WireError> {
        let piece = match self {
            Self::Ended => Piece::End,
            Self::Known(_) | Self::UntilClose if buffer.is_empty() => Piece::Starved,
            Self::Known(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= taken as u64;
                let data = buffer.split_to(taken).freeze();
                if *left == 0 {
                    *self = Self::Ended;
                }
                Piece::Data(data)
            }
            Self::Chunked(chunks) => {
                let piece = chunks.next(buffer)?;
                if matches!(piece, Piece::End | Piece::Trailers(_)) {
                    *self = Self::Ended;
                }
                piece
            }
            Self::UntilClose => Piece::Data(buffer.split().freeze()),
        };
        Ok(piece)
    }

    /// The origin closed the connection.
    ///
    /// # Errors
    /// The body had not ended.
    pub(in crate::upstream) fn closed(&mut self) -> Result<(), WireError> {
        match self {
            Self::Ended => Ok(()),
            Self::UntilClose => {
                *self = Self::Ended;
                Ok(())
            }
            Self::Known(_) | Self::Chunked(_) => Err(WireError::CutShort),
        }
    }

    /// Whether the body has ended.
    pub(in crate::upstream) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// How many bytes are still to come, when that is known.
    pub(in crate::upstream) fn left(&self) -> Option<u64> {
        match self {
            Self::Known(left) => Some(*left),
            Self::Ended => Some(0),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }
}
