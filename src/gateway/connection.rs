//! What the server tells the gateway: the facts of a connection, and a request's body as it comes off the wire.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::{Instant, Sleep},
};

use crate::{
    config::settings::{Listener, TlsVersion},
    gateway::pace::Pace,
    http1::{Early, Malformed},
    policy::{
        client::{Peer, SourceAddr},
        normalize::HostName,
    },
};

/// What is known of a connection before its first request; the same for all its requests.
#[derive(Debug, Clone)]
pub struct ConnectionFacts {
    /// The socket's other end.
    pub peer: Peer,
    /// The PROXY header's address, else the peer's.
    pub source: SourceAddr,
    /// The listener that accepted it, with the port actually bound.
    pub listener: Arc<Listener>,
    /// What the handshake agreed on; `None` for a plain connection.
    pub tls: Option<TlsFacts>,
}

/// What a TLS handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// The server name that the client asked for.
    pub sni: Option<HostName>,
    /// The protocol version.
    pub version: TlsVersion,
}

/// Instead of an answer: an HTTP/1.1 connection closes without one, an HTTP/2 stream is reset. What status 444 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("closed without an answer")]
pub struct Close;

/// In the extensions of a request whose head was faulty on the wire, though HTTP's parser took it: the head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireFault(pub &'static str);

/// The bytes of a client's connection that has switched protocols.
pub type Upgraded = Early<Box<dyn Duplex>>;

/// A stream both ways, of whichever kind.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// The server's end of a connection that may switch protocols.
pub struct Switching(oneshot::Sender<Upgraded>);

/// The gate's end: gives the bytes once the 101 was written. Fails when the client left before.
pub struct Switched(oneshot::Receiver<Upgraded>);

impl fmt::Debug for Switching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switching")
    }
}

impl fmt::Debug for Switched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switched")
    }
}

impl Switching {
    /// Both ends.
    pub fn pair() -> (Self, Switched) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), Switched(receiver))
    }

    /// The connection speaks another protocol from here.
    pub fn switch(self, upgraded: Upgraded) {
        // Nobody waits any more: the tunnel was given up, and the connection closes.
        drop(self.0.send(upgraded));
    }
}

impl Future for Switched {
    type Output = Option<Upgraded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Upgraded>> {
        Pin::new(&mut self.0).poll(cx).map(Result::ok)
    }
}

/// A request's body on its way from the client.
///
/// Fails when the client is slower than `limits.min_rate`: time counts only while someone waits for the client's bytes,
/// so an origin that reads slowly is not held against it.
#[derive(Debug)]
pub struct RequestBody(
    /// On the heap: most requests have none, and all are moved about. `None`: there is nothing.
    Option<Box<Coming>>,
);

/// A body that comes, or a switch of protocols that may.
#[derive(Debug)]
struct Coming {
    source: Source,
    pace: Option<Pace>,
    deadline: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    ended: bool,
    unread: Arc<AtomicBool>,
    switched: Option<Switched>,
}

enum Source {
    Http2(Incoming),
    Http1(Pin<Box<dyn Body<Data = Bytes, Error = BodyFault>>>),
    Whole(Option<Bytes>),
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http2(_) => "Http2",
            Self::Http1(_) => "Http1",
            Self::Whole(_) => "Whole",
        })
    }
}

/// Why an HTTP/1 body broke off.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// The socket, or TLS on it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What came is no body.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The connection or the framing broke.
    #[error("the client's request body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client sent less than `limits.min_rate`.
    #[error("the client's request body is slower than limits.min_rate")]
    TooSlow,
}

impl RequestBody {
    /// An HTTP/2 stream's body. `unread` is set when the body is dropped before its end, so that the server knows that the
    /// client may still be sending.
    pub fn new(incoming: Incoming, pace: Option<Pace>, unread: Arc<AtomicBool>) -> Self {
        Self::from(Source::Http2(incoming), pace, unread)
    }

    /// An HTTP/1 body. `unread` likewise.
    pub fn streamed(
        body: impl Body<Data = Bytes, Error = BodyFault> + 'static,
        pace: Option<Pace>,
        unread: Arc<AtomicBool>,
    ) -> Self {
        Self::from(Source::Http1(Box::pin(body)), pace, unread)
    }

    /// A body that is already here; empty `bytes` are no body.
    pub fn whole(bytes: Bytes) -> Self {
        match bytes.is_empty() {
            true => Self(None),
            false => Self::from(Source::Whole(Some(bytes)), None, Arc::default()),
        }
    }

    fn from(source: Source, pace: Option<Pace>, unread: Arc<AtomicBool>) -> Self {
        Self(Some(Box::new(Coming {
            source,
            pace,
            deadline: None,
            waiting_since: None,
            ended: false,
            unread,
            switched: None,
        })))
    }

    /// With the promise of the connection's bytes, should the request be answered by a switch of protocols.
    #[must_use]
    pub fn or_switched(self, switched: Switched) -> Self {
        let Self(coming) = match self.0 {
            None => Self::from(Source::Whole(None), None, Arc::default()),
            Some(_) => self,
        };
        Self(coming.map(|mut coming| {
            coming.switched = Some(switched);
            coming
        }))
    }

    /// Takes that promise.
    pub fn take_switched(&mut self) -> Option<Switched> {
        self.0.as_mut()?.switched.take()
    }

    /// A body of messages that come when there is something to say: no rate is asked of it. Whoever forwards it bounds its
    /// silence.
    #[must_use]
    pub fn of_conversation(mut self) -> Self {
        if let Some(coming) = &mut self.0 {
            coming.pace = None;
        }
        self
    }
}

impl Coming {
    /// Notes what the client delivered after however long it was waited for.
    fn delivered(&mut self, bytes: usize) {
        if let Some(pace) = &mut self.pace {
            if let Some(since) = self.waiting_since.take() {
                pace.waited(since.elapsed());
            }
            pace.moved(bytes);
        }
    }

    /// Whether the client's time is up; if not, arms the timer that says so.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pace) = &self.pace else { return Poll::Pending };
        if self.waiting_since.is_none() {
            let now = Instant::now();
            self.waiting_since = Some(now);
            let deadline = now + pace.patience();
            match &mut self.deadline {
                Some(sleep) => sleep.as_mut().reset(deadline),
                None => self.deadline = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        match &mut self.deadline {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Coming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = self;
        let polled = match &mut this.source {
            Source::Http2(incoming) => {
                let polled = Pin::new(incoming).poll_frame(cx);
                polled.map_err(|error| RequestBodyError::Broken(error.into()))
            }
            Source::Http1(body) => {
                let polled = body.as_mut().poll_frame(cx);
                polled.map_err(|fault| RequestBodyError::Broken(fault.into()))
            }
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        };
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.delivered(frame.data_ref().map_or(0, Bytes::len));
                // Nothing follows trailers, and who has them does not ask for more.
                this.ended = frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(this.poll_too_slow(cx));
                Poll::Ready(Some(Err(RequestBodyError::TooSlow)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Http2(incoming) => self.ended || incoming.is_end_stream(),
            Source::Http1(body) => self.ended || body.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Http2(incoming) => incoming.size_hint(),
            Source::Http1(body) => body.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        match &mut self.0 {
            None => Poll::Ready(None),
            Some(coming) => coming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|coming| coming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            None => SizeHint::with_exact(0),
            Some(coming) => coming.size_hint(),
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.unread.store(true, Ordering::Relaxed);
        }
    }
}
