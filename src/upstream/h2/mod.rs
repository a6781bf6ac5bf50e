//! HTTP/2 to origins: many requests share a connection, each with a stream of its own.
//!
//! Owns the connections of a worker to one HTTP/2 server ([`Connections`]), what is sent on a stream ([`Call`]) and what comes
//! back on it ([`ResponseBody`]). Both directions of a stream move at once and end by themselves, so gRPC passes in all its
//! forms; a side that resets the stream resets it for the other.
//!
//! A request that the server did not process, and says so, is sent again: what RFC 9113 §8.7 allows for any method, as long as
//! its whole body so far is still here. One whose connection was lost is sent again only if asking twice means the same as
//! asking once.

mod call;
mod connection;
mod response;
mod talk;

pub(super) use self::{
    call::{Call, Failed},
    connection::{Connections, Place},
    response::ResponseBody,
};

/// Requests on one connection at once, at most; fewer where the server says so. Beyond it another connection is opened: what a
/// single connection carries, a single TCP window and a single thread of the server carry.
const STREAMS: usize = 100;

/// What a server may send on a stream before the client took it: what a client that does not read makes us hold. 256 KiB
/// fill a line of 2 Gbit/s over one millisecond.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same over all streams of a connection: enough for each to be full. With less, a few clients that do not read would keep
/// everybody else's answers from coming.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// Bookkeeping that small DATA frames may cost before they are taken, over all streams of a connection, in bytes: a full window
/// of frames of some 16 bytes for each stream. Beyond it the connection is closed, with everybody's requests: so it must be
/// more than what clients that do not read can make a server send that sends small messages.
const SMALL_FRAMES: usize = CONNECTION_WINDOW as usize * 16;

/// Bytes of a request that wait for the server's window, per stream.
const SEND_BUFFER: usize = 128 * 1024;

/// A response's head, counted as HTTP/2 does. A server that sends more has its stream reset.
const HEADER_LIST: u32 = 128 * 1024;

/// Streams that we reset and whose late frames are thrown away, and for how long. Clients give up on requests as they like; what
/// the server had under way then is no fault of the connection's.
const RESET_STREAMS: usize = 10 * STREAMS;
const RESET_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// Bytes of a request's body that are kept until its answer begins, to send them again if the server did not process the
/// request. Holds a gRPC message, and bounds what an answer that does not come makes us hold.
const REPLAY: usize = 64 * 1024;
