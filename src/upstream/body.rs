//! Bodies between the gateway and an origin: counted in time, not in bytes, and never held.

use std::{
    cell::Cell,
    fmt,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{h2, pool::Lease};

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

    /// The body itself.
    pub(super) fn into_body(self) -> Pin<Box<dyn Body<Data = Bytes, Error = UploadError>>> {
        self.0
    }

    /// The number of bytes, when it is known before they come.
    pub fn length(&self) -> Option<u64> {
        self.0.size_hint().exact()
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upload").field(&self.0.size_hint()).finish()
    }
}

/// What the sending of a body tells those who wait for the answer to it.
#[derive(Debug)]
pub(super) struct Progress {
    /// When the last bytes were taken.
    last: Cell<Instant>,
    /// Whether more are awaited from the client; if not, the origin is the one who keeps us waiting.
    is_waiting_for_client: Cell<bool>,
    has_ended: Cell<bool>,
    failure: Cell<Option<UploadError>>,
}

impl Progress {
    pub(super) fn last(&self) -> Instant {
        self.last.get()
    }

    pub(super) fn is_waiting_for_client(&self) -> bool {
        self.is_waiting_for_client.get()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    pub(super) fn failure(&self) -> Option<UploadError> {
        self.failure.get()
    }
}

/// What hyper sends: an upload, or nothing.
#[derive(Debug)]
pub(super) struct SentBody(Option<Sending>);

#[derive(Debug)]
struct Sending {
    upload: Upload,
    progress: Rc<Progress>,
    silence: Silence,
}

impl SentBody {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// An upload in which the client may be silent for as long as `idle`.
    pub(super) fn sending(upload: Upload, idle: Duration) -> (Self, Rc<Progress>) {
        let progress = Rc::new(Progress {
            last: Cell::new(Instant::now()),
            is_waiting_for_client: Cell::new(false),
            has_ended: Cell::new(false),
            failure: Cell::new(None),
        });
        let sending = Sending {
            upload,
            progress: Rc::clone(&progress),
            silence: Silence::new(idle),
        };
        (Self(Some(sending)), progress)
    }
}

impl Sending {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let polled = match self.upload.0.as_mut().poll_frame(cx) {
            Poll::Pending => match self.silence.poll_too_long(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(UploadError::TooSlow))),
                Poll::Pending => Poll::Pending,
            },
            ready => ready,
        };
        let progress = &*self.progress;
        progress.is_waiting_for_client.set(polled.is_pending());
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                progress.last.set(Instant::now());
                progress
                    .has_ended
                    .set(frame.is_trailers() || self.upload.0.is_end_stream());
            }
            Poll::Ready(Some(Err(error))) => progress.failure.set(Some(*error)),
            Poll::Ready(None) => progress.has_ended.set(true),
        }
        polled
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match &mut self.0 {
            Some(sending) => sending.poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|sending| sending.upload.0.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |sending| sending.upload.0.size_hint())
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
    incoming: Incoming,
    silence: Silence,
    lease: Option<Lease>,
    upload: Option<Rc<Progress>>,
}

/// Why a response's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum OriginBodyError {
    /// The connection or the framing broke.
    #[error("the origin's response broke off")]
    Broken(#[source] hyper::Error),
    /// The stream, or the HTTP/2 connection that it was on.
    #[error("the origin's stream broke off")]
    Reset(#[source] ::h2::Error),
    /// The origin was silent for longer than `idle_timeout`.
    #[error("the origin fell silent in the middle of its response")]
    Silent,
}

impl OriginBody {
    /// A body that is already here.
    pub fn whole(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn stream(body: h2::ResponseBody) -> Self {
        Self(Source::Stream(Box::new(body)))
    }

    pub(super) fn wire(incoming: Incoming, lease: Lease, upload: Option<Rc<Progress>>, idle: Duration) -> Self {
        let mut wire = Wire {
            incoming,
            silence: Silence::new(idle),
            lease: Some(lease),
            upload,
        };
        if wire.incoming.is_end_stream() {
            wire.finish();
        }
        Self(Source::Wire(Box::new(wire)))
    }
}

impl Wire {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OriginBodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.silence.broken();
                if self.incoming.is_end_stream() {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.lease = None;
                Poll::Ready(Some(Err(OriginBodyError::Broken(error))))
            }
            Poll::Pending => self.silence.poll_too_long(cx).map(|()| {
                self.lease = None;
                Some(Err(OriginBodyError::Silent))
            }),
        }
    }

    /// The response has ended. If the request has not, the origin does not want the rest of it, and the connection is
    /// of no more use: what it still reads could be taken for the next request.
    fn finish(&mut self) {
        if let Some(lease) = self.lease.take()
            && self.upload.as_ref().is_none_or(|upload| upload.has_ended())
        {
            lease.give_back();
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
            Source::Wire(wire) => wire.incoming.is_end_stream(),
            Source::Stream(stream) => stream.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Wire(wire) => wire.incoming.size_hint(),
            Source::Stream(stream) => stream.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

/// Measures how long nothing has come. The timer exists only once something was waited for.
#[derive(Debug)]
struct Silence {
    longest: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Silence {
    fn new(longest: Duration) -> Self {
        Self {
            longest,
            timer: None,
            is_running: false,
        }
    }

    fn broken(&mut self) {
        self.is_running = false;
    }

    fn poll_too_long(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.longest)));
        if !self.is_running {
            timer.as_mut().reset(Instant::now() + self.longest);
            self.is_running = true;
        }
        timer.as_mut().poll(cx)
    }
}
