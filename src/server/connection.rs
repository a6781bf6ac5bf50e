//! One connection from accept to close: PROXY header, TLS handshake, HTTP, and the clock that ends it.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    rt::{Read, Write},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::HandshakeKind;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsAcceptor;

use super::{
    activity::{Activity, HttpKind},
    h1,
    proxy::{self, Preface, ProxyError},
    rate::StreamExecutor,
    service::{ConnectionService, Gate},
    stream::ClientStream,
    tls_stream::ClientTls,
    worker::{AcceptingListener, ConnectionCounts, ConnectionPermit, Phase, Worker},
};
use crate::{
    config::settings::{Limits, TlsVersion},
    gateway::{
        connection::{ConnectionFacts, TlsFacts},
        pace::Pace,
    },
    policy::{
        client::{Peer, SourceAddr},
        normalize::HostName,
    },
};

/// How long a connection that was told to close may take to do so when nothing is under way on it.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// While draining: how long a connection may wait for one more request. A client cannot know that its request and our closing
/// cross each other on the way, and would take that for a failure; the answer to its next request tells it, or the one under
/// way whose head is not out. One that is silent for longer notices the end before it asks again.
const LAST_REQUEST: Duration = Duration::from_secs(2);
/// The same after a handover: a successor serves, so nobody waits for our end.
const LAST_REQUEST_AFTER_HANDOVER: Duration = Duration::from_secs(10);

/// HTTP/2 flow-control windows: what one stream, and all streams together, may send us before we take it. They bound what a
/// client can make a connection hold. A megabyte for an upload fills a 100 Mbit/s line over 80 ms; another for all together
/// keeps one whose origin does not read from holding up the rest.
const H2_STREAM_WINDOW: u32 = 1024 * 1024;
const H2_CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;

/// Streams that a client opened and reset before they were looked at, and streams that we reset for what the client did on
/// them. Beyond either the connection ends: rapid reset (CVE-2023-44487) and its turn-about, in which the client makes us
/// send the resets (CVE-2025-8671). What is reset later, a request at a time, is counted as abandoned
/// ([`Activity::abandons_too_much`]).
const H2_PENDING_RESETS: usize = 20;
const H2_ERROR_RESETS: usize = 128;

/// Response bytes that one stream may have waiting for its client's window.
const H2_SEND_BUFFER: usize = 128 * 1024;

/// Silence after which an HTTP/2 client is asked whether it is still there, and how long it may take to say so. Finds peers
/// that vanished without a word while a response waits for them.
const H2_PING_AFTER: Duration = Duration::from_secs(60);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until it ends.
pub(super) async fn serve<G: Gate>(
    worker: Rc<Worker<G>>,
    listener: Rc<AcceptingListener>,
    mut tcp: TcpStream,
    peer: SocketAddr,
    limits: Rc<Limits>,
    permit: ConnectionPermit,
) {
    let peer = Peer(peer);
    let local = listener.settings.address;
    let activity = Activity::new();
    let counts = Arc::clone(&worker.shared.counts);
    let preface = match proxy_preface(&mut tcp, peer, &listener, &limits).await {
        Ok(preface) => preface,
        Err(error) => {
            ConnectionCounts::add(&counts.proxy_errors);
            // Any client can cause it: counted, and told only to who looks closely.
            tracing::debug!(peer = %peer.0, listener = %local, %error, "closed a connection");
            return;
        }
    };
    let client = match worker.admit_client(preface.source, &limits) {
        Ok(client) => client,
        Err(over) => return worker.count_over(over),
    };
    let pace = Pace::new(&limits);
    let stream = ClientStream::new(
        tcp,
        preface.rest,
        Arc::clone(&activity),
        pace,
        limits.total_timeout,
        permit.for_client(client),
    );
    let connection = Connection {
        worker,
        listener,
        peer,
        source: preface.source,
        activity,
        pace,
        limits,
    };
    match connection.listener.tls.clone() {
        None => connection.speak(Box::new(stream), None, HttpKind::Http1).await,
        Some(acceptor) => match connection.handshake(&acceptor, stream).await {
            Ok(stream) => {
                let (tls, kind, resumed) = agreed(stream.session());
                counts.handshakes.add(tls.version, resumed);
                connection.speak(stream, Some(tls), kind).await;
            }
            Err(error) => {
                ConnectionCounts::add(&counts.handshake_errors);
                tracing::debug!(peer = %peer.0, listener = %local, %error, "TLS handshake failed");
            }
        },
    }
}

/// The source, and what was read ahead to find it. Without `proxy_protocol` nothing is read: a header is then simply
/// malformed TLS or HTTP.
async fn proxy_preface(
    tcp: &mut TcpStream,
    peer: Peer,
    listener: &AcceptingListener,
    limits: &Limits,
) -> Result<Preface, ProxyError> {
    let listed = &listener.settings.proxy_protocol;
    if listed.is_empty() {
        return Ok(Preface {
            source: SourceAddr(peer.0),
            rest: Bytes::new(),
        });
    }
    let preface = if proxy::is_listed(peer, listed) {
        tokio::time::timeout(limits.proxy_header_timeout, proxy::read_header(tcp, peer)).await
    } else {
        tokio::time::timeout(limits.header_timeout, proxy::refuse_header(tcp, peer)).await
    };
    preface.unwrap_or_else(|_| Err(ProxyError::Io(io::ErrorKind::TimedOut.into())))
}

/// What the handshake agreed on, and whether it resumed a session.
fn agreed(session: &rustls::ServerConnection) -> (TlsFacts, HttpKind, bool) {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
        // Not our enum; the listener accepts these two alone.
        _ => TlsVersion::Tls13,
    };
    let kind = if session.alpn_protocol() == Some(b"h2") {
        HttpKind::Http2
    } else {
        HttpKind::Http1
    };
    // A resumed session names its server anew, and is taken only if the name is that of its ticket.
    let sni = session.server_name().and_then(HostName::parse);
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    (TlsFacts { sni, version }, kind, resumed)
}

/// A connection whose source is known.
struct Connection<G: Gate> {
    worker: Rc<Worker<G>>,
    listener: Rc<AcceptingListener>,
    peer: Peer,
    source: SourceAddr,
    activity: Arc<Activity>,
    pace: Option<Pace>,
    limits: Rc<Limits>,
}

impl<G: Gate> Connection<G> {
    /// Shakes hands, in turn with the worker's other handshakes. What that takes is on the heap, and gone with it: a task is
    /// as large as the largest thing that it ever holds.
    async fn handshake(&self, acceptor: &TlsAcceptor, stream: ClientStream) -> io::Result<ClientTls> {
        let handshake = Box::pin(async {
            // Who says nothing needs no turn.
            std::future::poll_fn(|cx| stream.poll_readable(cx)).await;
            self.worker.turns.advance(acceptor.accept(stream)).await
        });
        let handshake = tokio::time::timeout(self.limits.handshake_timeout, handshake);
        match handshake.await {
            Ok(done) => done.map(ClientTls::new),
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Speaks HTTP until the connection ends.
    async fn speak<S>(&self, stream: S, tls: Option<TlsFacts>, kind: HttpKind)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        self.activity.speaks(kind);
        let streams = StreamExecutor::default();
        let service = Rc::new(ConnectionService {
            worker: Rc::clone(&self.worker),
            facts: Arc::new(ConnectionFacts {
                peer: self.peer,
                source: self.source,
                listener: Arc::clone(&self.listener.settings),
                tls,
            }),
            activity: Arc::clone(&self.activity),
            pace: self.pace,
            total: self.limits.total_timeout,
            kind,
            streams: streams.clone(),
        });
        let ended = match kind {
            HttpKind::Http1 => {
                let mut connection = h1::serve(stream, service, &self.limits);
                self.drive(Pin::new(&mut connection)).await
            }
            HttpKind::Http2 => {
                let io = TokioIo::new(stream);
                let call = service_fn(move |request| service.call_http2(request));
                // On the heap, or a task that speaks HTTP/1.1 were as large.
                let mut connection = Box::pin(http2(&self.limits, streams).serve_connection(io, call));
                self.drive(connection.as_mut()).await
            }
        };
        self.report(ended);
    }

    /// Polls the connection, and closes it when it idles too long or the worker drains.
    async fn drive<C: HttpConnection>(&self, mut connection: Pin<&mut C>) -> Ended {
        let mut phase_changed = pin!(self.worker.phase_changed.notified());
        let mut clock = pin!(tokio::time::sleep_until(self.next_look()));
        let mut closing = false;
        let mut draining_since = None;
        std::future::poll_fn(|cx| {
            loop {
                // Before the connection, so that the answer it is about to write says that it is the last.
                if !closing && !self.worker.phase().is_serving() {
                    if self.activity.is_told_by_goaway() {
                        closing = true;
                        connection.as_mut().close();
                        clock.as_mut().reset(Instant::now() + CLOSE_GRACE);
                    } else {
                        draining_since.get_or_insert_with(Instant::now);
                    }
                }
                if let Poll::Ready(result) = connection.as_mut().poll_end(cx) {
                    return Poll::Ready(Ended::Http(result));
                }
                if self.activity.abandons_too_much() {
                    return Poll::Ready(Ended::Resets);
                }
                // Registers this task's waker; once notified it stays ready.
                let _ = phase_changed.as_mut().poll(cx);
                let deadline = self.deadline(draining_since);
                if let Some(sooner) = deadline.filter(|deadline| !closing && *deadline < clock.deadline()) {
                    clock.as_mut().reset(sooner);
                }
                if clock.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                match deadline {
                    Some(deadline) if deadline > Instant::now() && !closing => clock.as_mut().reset(deadline),
                    Some(_) if closing => {
                        let tail = self.activity.tail_until(CLOSE_GRACE);
                        if tail <= Instant::now() {
                            return Poll::Ready(Ended::Clock);
                        }
                        clock.as_mut().reset(tail);
                    }
                    // A grace would lengthen `header_timeout`: the rest of the head could still come, and be served.
                    Some(_) if self.activity.is_within_head() => return Poll::Ready(Ended::Clock),
                    Some(_) => {
                        closing = true;
                        connection.as_mut().close();
                        clock.as_mut().reset(Instant::now() + CLOSE_GRACE);
                    }
                    None => clock.as_mut().reset(self.next_look()),
                }
            }
        })
        .await
    }

    /// Until when the connection may stay as it is. A head that has begun may be ended also while draining.
    fn deadline(&self, draining_since: Option<Instant>) -> Option<Instant> {
        let deadline = self.activity.deadline(&self.limits);
        let patience = match self.worker.phase() {
            Phase::Leaving => LAST_REQUEST_AFTER_HANDOVER,
            Phase::Serving | Phase::Draining | Phase::Stopped => LAST_REQUEST,
        };
        match draining_since {
            Some(since) if !self.activity.has_begun_head() => {
                let last = since.max(self.activity.idle_since()) + patience;
                deadline.map(|deadline| deadline.min(last))
            }
            Some(_) | None => deadline,
        }
    }

    /// When to look at the connection's deadline: at it, or while a request is under way as soon as the next could pass.
    /// Requests then never touch a timer.
    fn next_look(&self) -> Instant {
        let shortest = self.limits.header_timeout.min(self.limits.keepalive_timeout);
        let deadline = self.activity.deadline(&self.limits);
        deadline.unwrap_or_else(|| Instant::now() + shortest.max(Duration::from_millis(10)))
    }

    fn report(&self, ended: Ended) {
        let error = match ended {
            Ended::Http(Ok(())) | Ended::Clock => return,
            Ended::Http(Err(error)) => error,
            Ended::Resets => {
                tracing::debug!(peer = %self.peer.0, source = %self.source.0, "closed a connection: it gives up too many requests");
                return;
            }
        };
        // What is no head is answered barely; no request ever reaches the gate.
        if let ConnectionError::Http1(h1::Broken::Unreadable(_)) = &error {
            ConnectionCounts::add(&self.worker.shared.counts.malformed_heads);
            tracing::debug!(peer = %self.peer.0, source = %self.source.0, %error, "refused a malformed request head");
        } else {
            tracing::debug!(peer = %self.peer.0, source = %self.source.0, %error, "connection ended");
        }
    }
}

/// How a connection ended.
enum Ended {
    Http(Result<(), ConnectionError>),
    Clock,
    /// The client gives up more requests than it sees to their end.
    Resets,
}

/// How a connection ended that did not end well.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Http1(#[from] h1::Broken),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

/// What the two kinds of connections have in common.
trait HttpConnection {
    /// Drives it; ready when it has ended.
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>>;

    /// Finishes what is under way, then closes.
    fn close(self: Pin<&mut Self>);
}

impl<F: Future<Output = Result<(), h1::Broken>> + Unpin> HttpConnection for h1::Http1<F> {
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.poll(cx).map_err(ConnectionError::from)
    }

    fn close(self: Pin<&mut Self>) {
        Self::close(self);
    }
}

impl<I, B, S, E> HttpConnection for http2::Connection<I, S, E>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: Read + Write + Unpin,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.poll(cx).map_err(ConnectionError::from)
    }

    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn slack_count(limits: &Limits) -> usize {
    limits.header_count + limits.header_count / 4 + 8
}

fn slack_bytes(limits: &Limits) -> usize {
    limits.header_bytes * 2
}

/// HTTP/2 as we speak it, with the same slack; it counts 32 bytes more for every line. What the codec bounds by itself, and tests
/// here attack: CONTINUATION frames by what the header list may hold, empty DATA frames (100 in a row), small ones by the window,
/// and answers to PING and SETTINGS, of which one waits at most, so that who does not read them is not read.
fn http2(limits: &Limits, streams: StreamExecutor) -> http2::Builder<StreamExecutor> {
    let header_list = slack_bytes(limits) + 32 * slack_count(limits);
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_ERROR_RESETS)
        .max_header_list_size(u32::try_from(header_list).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .keep_alive_interval(H2_PING_AFTER)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}
