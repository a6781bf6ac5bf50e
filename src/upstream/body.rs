//! Bodies between the gateway and an origin: counted in time, not in bytes, and never held.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::{
    h1::{BodyReader, SendError, Sender, WireError},
    h2,
    pool::Lease,
};
use crate::http1::Piece;

/// A request's body on its way to an origin.
pub struct Upload(Pin<Box<dyn Body<Data = Bytes, Error = UploadError>>>);

/// Why a request's body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// It is longer than the limit.
    #[error("the body is longer than the limit")]
    TooLarge,
    /// The client was silent for too long, or crawled.
    #[error("the client is too slow")]
    TooSlow,
    /// The client went away, or its framing broke.
    #[error("the client broke off")]
    Broken,
}

impl Upload {
    /// A body that streams.
    pub fn new(body: impl Body<Data = Bytes, Error = UploadError> + 'static) -> Self {
        Self(Box::pin(body))
    }

    /// The number of bytes, when it is known before they come.
    pub fn length(&self) -> Option<u64> {
        self.0.size_hint().exact()
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        self.0.as_mut().poll_frame(cx)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upload").field(&self.0.size_hint()).finish()
    }
}

/// A response's body as it comes from an origin. When it has ended, its connection goes back to the others; dropped
/// before, the connection closes, so that nothing unread is ever taken for the next response.
#[derive(Debug)]
pub struct OriginBody(Source);

#[derive(Debug)]
enum Source {
    Wire(Box<Wire>),
    Stream(Box<h2::ResponseBody>),
    Whole(Option<Bytes>),
}

#[derive(Debug)]
struct Wire {
    /// `None` once the body has ended, well or not.
    lease: Option<Lease>,
    reader: BodyReader,
    /// What is still to be sent of the request: some origins answer before they have read it.
    sender: Sender,
    idle: Duration,
    /// When the origin will have been silent for too long; while it is waited for.
    silent_at: Option<Instant>,
}

/// Why a response's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum OriginBodyError {
    /// The connection or the framing broke.
    #[error("the origin's response broke off: {0}")]
    Broken(WireError),
    /// The stream, or the HTTP/2 connection that it was on.
    #[error("the origin's stream broke off")]
    Reset(#[source] ::h2::Error),
    /// The origin was silent for longer than `idle_timeout`.
    #[error("the origin fell silent in the middle of its response")]
    Silent,
    /// The request's body, which was still being sent, ended early.
    #[error("the request's body ended early")]
    Upload(#[source] UploadError),
}

impl OriginBody {
    /// A body that is already here.
    pub fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// The body whose head came on this stream.
    pub(super) fn stream(body: h2::ResponseBody) -> Self {
        Self(Source::Stream(Box::new(body)))
    }

    /// The body whose head came on this connection. Most are short, and already here: their connection serves the next
    /// request while the client still reads.
    pub(super) fn wire(mut lease: Lease, mut reader: BodyReader, sender: Sender, idle: Duration) -> Self {
        if sender.is_done()
            && let Some(bytes) = lease.connection.http.take_rest(&mut reader)
        {
            lease.give_back(sender.into_buffer());
            return Self::whole(bytes);
        }
        let mut wire = Wire {
            lease: Some(lease),
            reader,
            sender,
            idle,
            silent_at: None,
        };
        if wire.reader.has_ended() {
            wire.finish();
        }
        Self(Source::Wire(Box::new(wire)))
    }
}

impl Wire {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginBodyError>>> {
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(None);
        };
        let http = &mut lease.connection.http;
        if !self.sender.is_over()
            && let Poll::Ready(Err(SendError::Upload(error))) = http.poll_send(cx, &mut self.sender)
        {
            self.lease = None;
            return Poll::Ready(Some(Err(OriginBodyError::Upload(error))));
        }
        let Poll::Ready(piece) = http.poll_piece(cx, &mut self.reader) else {
            // An origin that answers as it reads cannot go on before its client does, who has a limit of its own.
            if self.sender.is_starved() {
                self.silent_at = None;
                return Poll::Pending;
            }
            let silent_at = *self.silent_at.get_or_insert_with(|| Instant::now() + self.idle);
            return http.clock.poll(cx, silent_at).map(|()| {
                self.lease = None;
                Some(Err(OriginBodyError::Silent))
            });
        };
        self.silent_at = None;
        if self.reader.has_ended() {
            self.finish();
        }
        Poll::Ready(match piece {
            Ok(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End | Piece::Starved) => None,
            Err(error) => {
                self.lease = None;
                Some(Err(OriginBodyError::Broken(error)))
            }
        })
    }

    /// The response has ended. If the request has not, the origin does not want the rest of it, and the connection is
    /// of no more use: what it still reads could be taken for the next request.
    fn finish(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.sender.is_done()
        {
            lease.give_back(Vec::new());
        }
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = OriginBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginBodyError>>> {
        match &mut self.0 {
            Source::Wire(wire) => wire.poll_frame(cx),
            Source::Stream(stream) => stream.poll_frame(cx),
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Wire(wire) => wire.lease.is_none(),
            Source::Stream(stream) => stream.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Stream(stream) => stream.size_hint(),
            Source::Wire(wire) => wire.reader.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
