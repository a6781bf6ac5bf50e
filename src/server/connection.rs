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
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::HandshakeKind;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsAcceptor;

use super::{
    activity::{Activity, HttpKind},
    proxy::{self, Preface, ProxyError},
    rate::StreamExecutor,
    service::{ConnectionService, Gate},
    stream::ClientStream,
    tls_stream::ClientTls,
    wire::WireStream,
    worker::{AcceptingListener, ConnectionCounts, ConnectionPermit, Worker},
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

/// An HTTP/1.1 connection that has been idle for this long gives up what parses it, buffers of 8 KiB among it: most
/// keep-alive connections are idle most of the time, and thousands of them may be.
const REST_AFTER: Duration = Duration::from_millis(100);

/// How often one that has not been idle so far is looked at again; pauses grow up to this.
const REST_LOOK: Duration = Duration::from_secs(2);

/// Bytes of an HTTP/1.1 connection that wait to be parsed, and to be written, at most: bounds what a client that does not
/// read makes us hold.
const H1_BUFFER: usize = 128 * 1024;

/// HTTP/2 flow-control windows: what one stream, and all streams together, may send us before we take it. They bound what a
/// client can make a connection hold; a megabyte fills a 100 Mbit/s line over 80 ms.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;

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
struct Connection<G> {
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
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Readable + Unpin + Send + 'static,
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
            HttpKind::Http1 => self.speak_http1(stream, service).await,
            HttpKind::Http2 => {
                let io = TokioIo::new(stream);
                let call = service_fn(move |request| service.call(request));
                let mut connection = Box::pin(http2(&self.limits, streams).serve_connection(io, call));
                self.drive(connection.as_mut()).await
            }
        };
        self.report(ended);
    }

    /// Speaks HTTP/1.1. What parses it, with its buffers, is there only while something is going on.
    async fn speak_http1<S>(&self, stream: S, service: Rc<ConnectionService<G>>) -> Ended
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Readable + Unpin + Send + 'static,
    {
        let mut io = TokioIo::new(WireStream::new(stream, Arc::clone(&self.activity)));
        loop {
            let service = Rc::clone(&service);
            let call = service_fn(move |request| service.call(request));
            let mut connection = Box::pin(http1(&self.limits).serve_connection(io, call).with_upgrades());
            let ended = self.drive(connection.as_mut()).await;
            if !matches!(ended, Ended::AtRest) {
                return ended;
            }
            // What it has read is an empty line at most, which means nothing before a head. It goes before the rest begins.
            io = match Pin::into_inner(connection).into_parts() {
                Some(parts) => parts.io,
                // It changed protocols, which ends it before it could rest.
                None => return ended,
            };
            self.rest(io.inner().stream()).await;
        }
    }

    /// Waits, with nothing but the stream, for the client's next bytes, or for a reason to close.
    async fn rest(&self, stream: &impl Readable) {
        let _at_rest = self.worker.shared.counts.rests();
        let phase_changed = self.worker.phase_changed.notified();
        if !self.worker.phase().is_serving() {
            return;
        }
        let deadline = self.activity.deadline(&self.limits).unwrap_or_else(Instant::now);
        tokio::select! {
            () = std::future::poll_fn(|cx| stream.poll_readable(cx)) => {}
            () = phase_changed => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }

    /// Polls the connection, and closes it when it idles too long or the worker drains.
    async fn drive<C: HttpConnection>(&self, mut connection: Pin<&mut C>) -> Ended {
        let mut phase_changed = pin!(self.worker.phase_changed.notified());
        let mut pause = REST_AFTER;
        let mut clock = pin!(tokio::time::sleep_until(self.next_look(pause)));
        let mut closing = false;
        std::future::poll_fn(|cx| {
            loop {
                // Before the connection, so that the answer it is about to write says that it is the last.
                if !closing && !self.worker.phase().is_serving() {
                    closing = true;
                    connection.as_mut().close();
                    clock.as_mut().reset(Instant::now() + CLOSE_GRACE);
                }
                if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                    return Poll::Ready(Ended::ByHttp(result));
                }
                // Registers this task's waker; once notified it stays ready.
                let _ = phase_changed.as_mut().poll(cx);
                let deadline = self.activity.deadline(&self.limits);
                if let Some(sooner) = deadline.filter(|deadline| !closing && *deadline < clock.deadline()) {
                    clock.as_mut().reset(sooner);
                }
                if clock.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                match deadline {
                    Some(deadline) if deadline > Instant::now() && !closing => {
                        if self.is_at_rest() {
                            return Poll::Ready(Ended::AtRest);
                        }
                        pause = (pause * 2).min(REST_LOOK);
                        clock.as_mut().reset(self.next_look(pause));
                    }
                    Some(_) if closing => {
                        let tail = self.activity.tail_until(CLOSE_GRACE);
                        if tail <= Instant::now() {
                            return Poll::Ready(Ended::ByClock);
                        }
                        clock.as_mut().reset(tail);
                    }
                    // A grace would lengthen `header_timeout`: the rest of the head could still come, and be served.
                    Some(_) if self.activity.is_within_head() => return Poll::Ready(Ended::ByClock),
                    Some(_) => {
                        closing = true;
                        connection.as_mut().close();
                        clock.as_mut().reset(Instant::now() + CLOSE_GRACE);
                    }
                    None => {
                        pause = (pause * 2).min(REST_LOOK);
                        clock.as_mut().reset(self.next_look(pause));
                    }
                }
            }
        })
        .await
    }

    /// When to look at the connection's deadline: at it, or while a request is under way as soon as the next could pass;
    /// over HTTP/1.1 after this pause at the latest, to see whether it is at rest. Requests then never touch a timer.
    fn next_look(&self, pause: Duration) -> Instant {
        let now = Instant::now();
        let shortest = self.limits.header_timeout.min(self.limits.keepalive_timeout);
        let deadline = self.activity.deadline(&self.limits);
        let look = deadline.unwrap_or_else(|| now + shortest.max(Duration::from_millis(10)));
        match self.activity.kind() {
            HttpKind::Http1 => look.min(now + pause),
            HttpKind::Http2 => look,
        }
    }

    fn is_at_rest(&self) -> bool {
        let since = self.activity.at_rest_since();
        since.is_some_and(|since| since + REST_AFTER <= Instant::now())
    }

    fn report(&self, ended: Ended) {
        let Ended::ByHttp(Err(error)) = ended else { return };
        // hyper answers a head that it cannot parse itself (400, 414, 431) and closes; no request ever reaches the gate.
        if error.is_parse() || error.is_parse_too_large() {
            ConnectionCounts::add(&self.worker.shared.counts.malformed_heads);
            tracing::debug!(peer = %self.peer.0, source = %self.source.0, %error, "refused a malformed request head");
        } else {
            tracing::debug!(peer = %self.peer.0, source = %self.source.0, %error, "connection ended");
        }
    }
}

/// How a connection ended.
enum Ended {
    ByHttp(hyper::Result<()>),
    ByClock,
    /// It did not: nothing goes on, and nothing is left of what did.
    AtRest,
}

/// What a connection at rest waits on.
trait Readable {
    /// Whether there is something to read from the socket.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

impl Readable for Box<ClientStream> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        ClientStream::poll_readable(self, cx)
    }
}

/// At rest it has no decrypted bytes left: HTTP was told that there is nothing to read.
impl Readable for ClientTls {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll_readable(self, cx)
    }
}

/// What hyper's two kinds of connections have in common.
trait HttpConnection: Future<Output = hyper::Result<()>> {
    /// Finishes what is under way, then closes.
    fn close(self: Pin<&mut Self>);
}

impl<I, B, S> HttpConnection for http1::UpgradeableConnection<I, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: Read + Write + Unpin + Send + 'static,
    B: http_body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
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
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// HTTP/1.1 as we speak it. The head's timeout is ours ([`Activity::deadline`]): hyper's would also end idle keep-alive.
/// A client that closes its half is gone, as with nginx. `pipeline_flush` stays off: it holds an answer back, an error's too,
/// as long as anything unparsed has been read behind its request.
///
/// The limits of a head have slack here: up to it the gate answers, with a page and a record; beyond it hyper does, barely.
fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(false)
        .max_header_size(slack_bytes(limits))
        .max_buf_size(slack_bytes(limits).max(H1_BUFFER));
    // hyper has a faster way for its own number of lines than for one that it is told.
    if slack_count(limits) != HYPER_HEADERS {
        builder.max_headers(slack_count(limits));
    }
    builder
}

/// The header lines that hyper takes when it is not told otherwise.
const HYPER_HEADERS: usize = 100;

fn slack_count(limits: &Limits) -> usize {
    limits.header_count + 10
}

fn slack_bytes(limits: &Limits) -> usize {
    limits.header_bytes * 2
}

/// HTTP/2 as we speak it, with the same slack; it counts 32 bytes more for every line. Its own limits on reset and malformed streams stay at their defaults: they end the floods of
/// CVE-2023-44487 and its kin.
fn http2(limits: &Limits, streams: StreamExecutor) -> http2::Builder<StreamExecutor> {
    let header_list = slack_bytes(limits) + 32 * slack_count(limits);
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(header_list).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .keep_alive_interval(H2_PING_AFTER)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}
