//! What the server tells the gateway: the facts of a connection, and a request's body as it comes off the wire.

use std::{
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
use tokio::time::{Instant, Sleep};

use crate::{
    config::settings::{Listener, TlsVersion},
    gateway::pace::Pace,
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

/// A request's body on its way from the client.
///
/// Fails when the client is slower than `limits.min_rate`: time counts only while someone waits for the client's bytes,
/// so an origin that reads slowly is not held against it.
#[derive(Debug)]
pub struct RequestBody {
    source: Source,
    pace: Option<Pace>,
    deadline: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
    ended: bool,
    unread: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Source {
    Wire(Incoming),
    Whole(Option<Bytes>),
}

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum RequestBodyError {
    /// The connection or the framing broke.
    #[error("the client's request body broke off")]
    Broken(#[source] hyper::Error),
    /// The client sent less than `limits.min_rate`.
    #[error("the client's request body is slower than limits.min_rate")]
    TooSlow,
}

impl RequestBody {
    /// A body off the wire. `unread` is set when the body is dropped before its end, so that the server knows that the
    /// client may still be sending.
    pub fn new(incoming: Incoming, pace: Option<Pace>, unread: Arc<AtomicBool>) -> Self {
        Self {
            source: Source::Wire(incoming),
            pace,
            deadline: None,
            waiting_since: None,
            ended: false,
            unread,
        }
    }

    /// A body that is already here; empty `bytes` are no body.
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            source: Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
            pace: None,
            deadline: None,
            waiting_since: None,
            ended: false,
            unread: Arc::default(),
        }
    }

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

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        let incoming = match &mut this.source {
            Source::Wire(incoming) => incoming,
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.delivered(frame.data_ref().map_or(0, Bytes::len));
                // Nothing follows trailers, and who has them does not ask for more.
                this.ended = frame.is_trailers();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(RequestBodyError::Broken(error)))),
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
            Source::Wire(incoming) => self.ended || incoming.is_end_stream(),
            Source::Whole(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Wire(incoming) => incoming.size_hint(),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.unread.store(true, Ordering::Relaxed);
        }
    }
}
