//! Connections to one HTTP/2 server: opened when the others are full, pinged when they are quiet, closed when nobody needs them.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, Sleep, sleep_until, timeout_at},
};

use super::{
    CONNECTION_WINDOW, HEADER_LIST, RESET_FOR, RESET_STREAMS, SEND_BUFFER, SMALL_FRAMES, STREAM_WINDOW, STREAMS,
};
use crate::{
    config::settings::Upstream,
    telemetry::metrics::{OpenConnection, UpstreamMeter, WorkerIndex},
    upstream::{
        Quota,
        connect::Stream,
        error::{ConnectError, ForwardError},
        health::InFlight,
        origin::Endpoint,
        pool::{Pool, Slot},
    },
};

/// Silence on a connection with nothing under way after which its next request is sent with a ping: the server may have
/// vanished without a word meanwhile.
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// Silence after which a server that still owes an answer is asked whether it is there. Not shorter: gRPC servers take it amiss
/// when they are pinged more often than every five minutes while nothing is said, and close the connection.
const PING_AFTER: Duration = Duration::from_secs(310);

/// How long a ping may go without any sign of life. Then the connection is dead, and everything on it.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection that nobody needs may take to close.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// When a connection's driver acts.
#[derive(Debug, Clone, Copy)]
struct Times {
    keepalive: Duration,
    ping_after: Duration,
    ping_timeout: Duration,
}

impl Times {
    fn with(keepalive: Duration) -> Self {
        Self {
            keepalive,
            ping_after: PING_AFTER,
            ping_timeout: PING_TIMEOUT,
        }
    }
}

/// The connections of one worker to one server. How many requests they carry together is bounded by the pool's turns, and so is
/// how many there are.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Connections {
    /// The first with room is used, so that a burst's surplus falls idle and goes.
    open: RefCell<Vec<Rc<Connection>>>,
    /// At most one connection is being opened, however many requests wait for it.
    is_opening: Cell<bool>,
    /// The attempts that failed, and why the last one did.
    failures: Cell<u64>,
    failure: RefCell<Option<Arc<ConnectError>>>,
    /// A connection was opened or could not be, or one has room again.
    changed: Notify,
}

/// A connection that takes requests. Dropped, it ends when the last of them has.
#[derive(Debug)]
struct Connection {
    sender: client::SendRequest<Bytes>,
    life: Rc<Life>,
}

/// What a connection, its socket and its requests tell each other.
#[derive(Debug)]
struct Life {
    requests: Cell<usize>,
    was_used: Cell<bool>,
    idle_since: Cell<Instant>,
    /// When bytes last came.
    heard: Cell<Instant>,
    wants_ping: Cell<bool>,
    has_ended: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

/// A request's place on a connection.
#[derive(Debug)]
pub(in crate::upstream) struct Place {
    connection: Rc<Connection>,
    slot: Slot,
    /// Counts the request as under way, until its answer has ended.
    in_flight: Option<InFlight>,
}

impl Connections {
    /// A place for a request, on a connection that is open or is opened for it.
    pub(in crate::upstream) async fn place(
        pool: &Rc<Pool>,
        settings: &Upstream,
        quota: Quota<'_>,
        deadline: Instant,
    ) -> Result<Place, ForwardError> {
        let slot = pool.turn(quota.connections, deadline).await?;
        let connections = &pool.http2;
        let failures = connections.failures.get();
        let failed = |source| ForwardError::Connect {
            server: Arc::clone(pool.endpoint()),
            source,
        };
        loop {
            if let Some(connection) = connections.with_room() {
                return Ok(Place::take(connection, slot));
            }
            if connections.failures.get() != failures
                && let Some(failure) = &*connections.failure.borrow()
            {
                return Err(failed(ConnectError::Shared(Arc::clone(failure))));
            }
            let changed = connections.changed.notified();
            let may_open = connections.open.borrow().len() < quota.connections;
            if may_open && !connections.is_opening.replace(true) {
                // In a task of its own: a request that goes away must not take along what others wait for. It ends at the
                // latest after `connect_timeout`.
                let meter = quota.meter.map(|(meter, worker)| (Arc::clone(meter), worker));
                tokio::task::spawn_local(open(
                    Rc::clone(pool),
                    settings.keepalive,
                    settings.connect_timeout,
                    meter,
                ));
            }
            if timeout_at(deadline, changed).await.is_err() {
                return Err(failed(ConnectError::Timeout));
            }
        }
    }

    fn with_room(&self) -> Option<Rc<Connection>> {
        let mut open = self.open.borrow_mut();
        open.retain_mut(Connection::takes_requests);
        open.iter().find(|connection| connection.has_room()).map(Rc::clone)
    }

    /// Whether there is a connection that a request may find a place on.
    pub(in crate::upstream) fn is_any_open(&self) -> bool {
        !self.open.borrow().is_empty()
    }

    /// Lets go of connections that take no more requests.
    fn sweep(&self) {
        self.open.borrow_mut().retain_mut(Connection::takes_requests);
    }

    fn opened(&self, opened: Result<Connection, ConnectError>) {
        self.is_opening.set(false);
        match opened {
            Ok(connection) => self.open.borrow_mut().push(Rc::new(connection)),
            Err(error) => {
                self.failures.set(self.failures.get() + 1);
                self.failure.replace(Some(Arc::new(error)));
            }
        }
        self.changed.notify_waiters();
    }
}

/// Opens a connection for whoever waits for one.
async fn open(
    pool: Rc<Pool>,
    keepalive: Duration,
    connect_timeout: Duration,
    meter: Option<(Arc<UpstreamMeter>, WorkerIndex)>,
) {
    let deadline = Instant::now() + connect_timeout;
    let opened = match timeout_at(deadline, Opening::begin(&pool, deadline)).await {
        Ok(opened) => opened,
        Err(_elapsed) => Err(ConnectError::Timeout),
    };
    pool.note(&opened);
    pool.http2.opened(opened.map(|opening| {
        let open = meter.map(|(meter, worker)| meter.connected(worker));
        opening.drive(Rc::downgrade(&pool), Times::with(keepalive), open)
    }));
}

/// A connection on which the server has answered a ping: it is there, it speaks HTTP/2, and it has said how many streams it takes.
struct Opening {
    sender: client::SendRequest<Bytes>,
    connection: client::Connection<HeardStream, Bytes>,
    pings: PingPong,
    life: Rc<Life>,
}

impl Opening {
    async fn begin(pool: &Pool, deadline: Instant) -> Result<Self, ConnectError> {
        let stream = pool.dial(deadline).await.map_err(declined_http2)?;
        if !stream.agrees_on_http2() {
            return Err(ConnectError::NotHttp2);
        }
        let life = Rc::new(Life::new());
        let stream = HeardStream {
            stream,
            life: Rc::clone(&life),
        };
        let (sender, connection) = builder().handshake(stream).await.map_err(ConnectError::Http2)?;
        Self::greet(sender, connection, life).await
    }

    /// Waits for the server's first words.
    async fn greet(
        sender: client::SendRequest<Bytes>,
        mut connection: client::Connection<HeardStream, Bytes>,
        life: Rc<Life>,
    ) -> Result<Self, ConnectError> {
        let Some(mut pings) = connection.ping_pong() else {
            return Err(ConnectError::NoStreams);
        };
        pings.send_ping(Ping::opaque()).map_err(ConnectError::Http2)?;
        let is_there = poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                let closed = || h2::Error::from(h2::Reason::NO_ERROR);
                return Poll::Ready(Err(ended.err().unwrap_or_else(closed)));
            }
            pings.poll_pong(cx).map_ok(drop)
        });
        is_there.await.map_err(ConnectError::Http2)?;
        match sender.current_max_send_streams() {
            0 => Err(ConnectError::NoStreams),
            _ => Ok(Self {
                sender,
                connection,
                pings,
                life,
            }),
        }
    }

    /// Hands the connection to a task that drives it until it ends.
    fn drive(self, pool: Weak<Pool>, times: Times, open: Option<OpenConnection>) -> Connection {
        let life = Rc::clone(&self.life);
        life.idle_since.set(Instant::now());
        let driver = Driver {
            connection: self.connection,
            pings: self.pings,
            life: self.life,
            times,
            pinged: None,
            last_ping: Instant::now(),
            closing: None,
        };
        tokio::task::spawn_local(async move {
            driver.run(&pool).await;
            drop(open);
        });
        Connection {
            sender: self.sender,
            life,
        }
    }
}

fn builder() -> client::Builder {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .data_frame_budget(SMALL_FRAMES)
        .max_header_list_size(HEADER_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(STREAMS)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .reset_stream_duration(RESET_FOR)
        // Counts answers that came too late to be of use, among others: no fault of the connection's.
        .max_local_error_reset_streams(None);
    builder
}

/// A server without HTTP/2 may say so in the handshake.
fn declined_http2(error: ConnectError) -> ConnectError {
    let alert = match &error {
        ConnectError::Tls(error) => error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()),
        _ => None,
    };
    match alert {
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol)) => ConnectError::NotHttp2,
        Some(_) | None => error,
    }
}

impl Connection {
    /// Whether it can still be sent requests on. After a GOAWAY it only finishes those that it has.
    fn takes_requests(this: &mut Rc<Self>) -> bool {
        // With no stream waiting to open, which a clone has not, this is ready at once or an error.
        let mut cx = Context::from_waker(Waker::noop());
        !this.life.has_ended.get() && !matches!(this.sender.clone().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.life.requests.get() < STREAMS.min(self.sender.current_max_send_streams())
    }
}

impl Life {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            requests: Cell::new(0),
            was_used: Cell::new(false),
            idle_since: Cell::new(now),
            heard: Cell::new(now),
            wants_ping: Cell::new(false),
            has_ended: Cell::new(false),
            driver: RefCell::new(None),
        }
    }

    fn begin(&self) {
        let requests = self.requests.get();
        self.requests.set(requests + 1);
        self.was_used.set(true);
        if requests == 0 && self.heard.get().elapsed() >= PROBE_AFTER {
            self.wants_ping.set(true);
            self.wake_driver();
        }
    }

    fn end(&self) {
        let requests = self.requests.get().saturating_sub(1);
        self.requests.set(requests);
        if requests == 0 {
            self.idle_since.set(Instant::now());
            self.wake_driver();
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }
}

impl Place {
    fn take(connection: Rc<Connection>, slot: Slot) -> Self {
        connection.life.begin();
        Self {
            connection,
            slot,
            in_flight: None,
        }
    }

    /// With the count of its server's requests under way.
    pub(in crate::upstream) fn counting(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }

    pub(super) fn sender(&self) -> client::SendRequest<Bytes> {
        self.connection.sender.clone()
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.slot.endpoint()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.life.end();
        // Those who wait for a connection to be opened can have this place.
        self.slot.pool().http2.changed.notify_waiters();
    }
}

/// Moves a connection's frames, and knows when it is to end.
struct Driver {
    connection: client::Connection<HeardStream, Bytes>,
    pings: PingPong,
    life: Rc<Life>,
    times: Times,
    /// When the ping was sent that has no answer yet.
    pinged: Option<Instant>,
    last_ping: Instant,
    /// When it began to close because nobody needs it.
    closing: Option<Instant>,
}

/// Why a connection ended.
enum Ended {
    ByHttp2(Result<(), h2::Error>),
    Dead,
    Unused,
}

impl Driver {
    async fn run(mut self, pool: &Weak<Pool>) {
        let mut clock = pin!(sleep_until(self.deadline()));
        let ended = poll_fn(|cx| self.poll(clock.as_mut(), pool, cx)).await;
        match ended {
            Ended::ByHttp2(Ok(())) | Ended::Unused => {}
            Ended::ByHttp2(Err(error)) => tracing::debug!(%error, "an HTTP/2 connection to an origin ended"),
            Ended::Dead => tracing::debug!("an HTTP/2 connection to an origin is dead: no answer to a ping"),
        }
        self.life.has_ended.set(true);
        if let Some(pool) = pool.upgrade() {
            pool.http2.sweep();
            pool.http2.changed.notify_waiters();
        }
    }

    fn poll(&mut self, mut clock: Pin<&mut Sleep>, pool: &Weak<Pool>, cx: &mut Context<'_>) -> Poll<Ended> {
        self.life.driver.replace(Some(cx.waker().clone()));
        loop {
            if self.life.wants_ping.take() {
                self.ping();
            }
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(Ended::ByHttp2(ended));
            }
            if self.pinged.is_some() && self.pings.poll_pong(cx).is_ready() {
                self.pinged = None;
            }
            let deadline = self.deadline();
            if deadline < clock.deadline() {
                clock.as_mut().reset(deadline);
            }
            if clock.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if deadline > Instant::now() {
                clock.as_mut().reset(deadline);
                continue;
            }
            match (self.closing, self.pinged) {
                (Some(_), _) => return Poll::Ready(Ended::Unused),
                (None, Some(_)) => return Poll::Ready(Ended::Dead),
                (None, None) if self.life.requests.get() == 0 => {
                    // Without its sender it says goodbye and closes.
                    self.closing = Some(Instant::now());
                    self.life.has_ended.set(true);
                    if let Some(pool) = pool.upgrade() {
                        pool.http2.sweep();
                    }
                }
                (None, None) => self.ping(),
            }
            clock.as_mut().reset(self.deadline());
        }
    }

    fn ping(&mut self) {
        if self.pinged.is_none() && self.pings.send_ping(Ping::opaque()).is_ok() {
            let now = Instant::now();
            self.pinged = Some(now);
            self.last_ping = now;
        }
    }

    /// How long it may be unused. Whoever had it opened must have the time to take it, however short `keepalive` is.
    fn patience(&self) -> Duration {
        match self.life.was_used.get() {
            true => self.times.keepalive,
            false => self.times.keepalive.max(CLOSE_GRACE),
        }
    }

    fn deadline(&self) -> Instant {
        let life = &self.life;
        match (self.closing, self.pinged) {
            (Some(closing), _) => closing + CLOSE_GRACE,
            // Whatever comes is a sign of life: the answer may stand behind it.
            (None, Some(pinged)) => life.heard.get().max(pinged) + self.times.ping_timeout,
            (None, None) if life.requests.get() == 0 => life.idle_since.get() + self.patience(),
            (None, None) => life.heard.get().max(self.last_ping) + self.times.ping_after,
        }
    }
}

/// A server's bytes, and when they last came.
#[derive(Debug)]
struct HeardStream {
    stream: Stream,
    life: Rc<Life>,
}

impl AsyncRead for HeardStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.life.heard.set(Instant::now());
        }
        polled
    }
}

impl AsyncWrite for HeardStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        config::settings::{Server, UpstreamProtocol},
        policy::{
            decision::Permit,
            normalize::{Host, PathOptions, Target},
        },
        upstream::{
            Destination, Outgoing,
            h2::{Call, Failed},
            origin::Origin,
        },
    };

    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(50);

    fn settings(port: u16) -> Upstream {
        Upstream {
            name: "app".to_owned(),
            servers: vec![Server::Http {
                host: "127.0.0.1".to_owned(),
                port,
            }],
            protocol: UpstreamProtocol::Http2,
            connect_timeout: LONG,
            response_timeout: LONG,
            idle_timeout: LONG,
            keepalive: LONG,
            max_idle: 8,
            ca: None,
            tls_name: None,
            balance: crate::config::settings::Balance::RoundRobin,
            retries: 1,
            retry_budget: 20,
            ejection: None,
            slow_start: None,
            health_check: None,
        }
    }

    /// Reads a frame, and gives its kind.
    async fn read(stream: &mut TcpStream) -> Option<u8> {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.ok()?;
        Some(head[3])
    }

    /// A server that answers the first ping and nothing after it, and tells the kinds of all frames that come.
    async fn mute(listener: TcpListener) -> Vec<u8> {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        stream.write_all(&[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
        let mut kinds = Vec::new();
        while let Some(kind) = read(&mut stream).await {
            if kind == PING && !kinds.contains(&PING) {
                // h2 tells its pings by their payload.
                let pong = [
                    0, 0, 8, PING, 1, 0, 0, 0, 0, 0x3b, 0x7c, 0xdb, 0x7a, 0x0b, 0x87, 0x16, 0xb4,
                ];
                stream.write_all(&pong).await.unwrap();
            }
            kinds.push(kind);
        }
        kinds
    }

    /// A pool with one connection to the server, driven by these times.
    async fn connected(settings: &Upstream, times: Times) -> Rc<Pool> {
        let origin = Origin::load(Arc::new(settings.clone())).unwrap();
        let server = &origin.servers()[0];
        let Server::Http { port, .. } = *server.server() else {
            panic!("it speaks no TLS");
        };
        let address = ([127, 0, 0, 1], port).into();
        let pool = Rc::new(Pool::new(Arc::clone(server), address, Rc::default()));
        let opening = Opening::begin(&pool, Instant::now() + LONG).await.unwrap();
        pool.http2.opened(Ok(opening.drive(Rc::downgrade(&pool), times, None)));
        pool
    }

    async fn place(pool: &Rc<Pool>, settings: &Upstream) -> Place {
        let quota = Quota {
            connections: 4,
            meter: None,
        };
        Connections::place(pool, settings, quota, Instant::now() + LONG)
            .await
            .unwrap()
    }

    #[tokio::test(flavor = "local")]
    async fn a_server_that_vanished_is_found_by_a_ping() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = settings(listener.local_addr().unwrap().port());
        let server = tokio::task::spawn_local(mute(listener));
        let times = Times {
            ping_after: SHORT,
            ping_timeout: SHORT,
            ..Times::with(LONG)
        };
        let pool = connected(&settings, times).await;
        let target = Target::parse("/", PathOptions::default()).unwrap();
        let host = Host::parse("example.com").unwrap();
        let request = Outgoing {
            method: http::Method::GET,
            headers: http::HeaderMap::new(),
            ours: Vec::new(),
            accepts_trailers: false,
            body: None,
            upgrade: None,
            conversation: None,
        };
        let destination = Destination::of(Permit::unjudged(&target, &host)).unwrap();
        let call = Call::new(destination, request, &settings).unwrap();
        let place = place(&pool, &settings).await;
        let outcome = call.send(place, &settings).await;
        assert!(matches!(outcome, Err(Failed::Lost(_))), "{outcome:?}");
        assert!(pool.http2.with_room().is_none());
        let pings = server.await.unwrap().into_iter().filter(|kind| *kind == PING);
        assert_eq!(pings.count(), 2);
    }

    #[tokio::test(flavor = "local")]
    async fn a_connection_that_nobody_needs_says_goodbye() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = settings(listener.local_addr().unwrap().port());
        let server = tokio::task::spawn_local(mute(listener));
        let pool = connected(&settings, Times::with(SHORT)).await;
        drop(place(&pool, &settings).await);
        assert_eq!(server.await.unwrap().last(), Some(&GOAWAY));
        assert!(pool.http2.with_room().is_none());
    }
}
