//! HTTP/1.1 as we speak it to origins: one request and its response at a time, on one connection, in the task that asks.
//!
//! - [`head`] writes request heads and reads response heads, [`framing`] finds where a response's body ends: pure, strict,
//!   over bytes that are already here.
//! - [`Sender`] puts a request on the wire, head and first bytes of the body in one write.
//! - [`Connection`] reads what comes back.
//!
//! There is no task behind a connection: whoever waits for an answer drives it, so a request costs no switch of tasks, no
//! channel and no copy of its headers. A connection that nobody uses is looked at when it is used next.

mod clock;
mod connection;
mod framing;
mod head;
mod sender;

use std::io;

use crate::http1::Malformed;

pub use self::connection::Switched;
pub(super) use self::{
    clock::Clock,
    connection::Connection,
    framing::{BodyReader, Length, is_reusable},
    head::{BodyLength, RequestHead, ResponseHead, is_target},
    sender::{SendError, Sender},
};

/// What an origin did to the wire.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket, or TLS on it, failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It closed the connection before anything of an answer came.
    #[error("closed without an answer")]
    Closed,
    /// It closed the connection in the middle of an answer.
    #[error("closed in the middle of its answer")]
    CutShort,
    /// What came is no HTTP/1.1 response.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

#[cfg(test)]
mod tests;
