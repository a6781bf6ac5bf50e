//! One worker: a thread with a single-threaded runtime, its share of every listener, and the connections it accepted.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};

use super::{
    caps::{ClientPermit, ConnectionCaps, OverCap, TotalPermit},
    connection,
    h1::Buffers,
    listen::BACKLOG,
    service::{Answered, Asked, Gate},
    slots::Slots,
    turns::HandshakeTurns,
};
use crate::{
    config::settings::{Limits, Listener, TlsVersion},
    handover::KeptElsewhere,
    http1::Scratch,
    policy::client::SourceAddr,
    telemetry::metrics::{ConnectionFigures, HandshakeFigures},
};

/// How often it is said that connections cannot be accepted; it goes on being counted.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// How long accepting pauses when the system is out of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What the workers are asked to do. Only ever goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Accept and serve.
    Serving,
    /// Accept no more, finish what is under way: a successor accepts on the same sockets.
    Leaving,
    /// Accept no more, finish what is under way.
    Draining,
    /// Drop everything.
    Stopped,
}

impl Phase {
    pub(super) fn is_serving(self) -> bool {
        self == Self::Serving
    }

    /// Whether connections made now are served, by whichever process.
    pub(super) fn is_healthy(self) -> bool {
        match self {
            Self::Serving | Self::Leaving => true,
            Self::Draining | Self::Stopped => false,
        }
    }
}

/// What became of connections, over all workers.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    /// Taken from a listener.
    pub accepted: AtomicU64,
    /// Closed at once for `limits.connections`.
    pub over_total: AtomicU64,
    /// Closed at once for `limits.connections_per_client`.
    pub over_client: AtomicU64,
    /// Times that accepting failed for want of file descriptors or memory.
    pub accept_errors: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshake_errors: AtomicU64,
    /// TLS handshakes that succeeded.
    pub handshakes: HandshakeCounts,
    /// PROXY headers missing, malformed, late, or from a peer that must not send one.
    pub proxy_errors: AtomicU64,
    /// Request heads that HTTP could not parse or that were too large; they have no access record.
    pub malformed_heads: AtomicU64,
}

impl ConnectionCounts {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// TLS handshakes that succeeded, by what they cost: a resumed one needs no signature.
#[derive(Debug, Default)]
pub struct HandshakeCounts {
    full: [AtomicU64; 2],
    resumed: [AtomicU64; 2],
}

impl HandshakeCounts {
    pub(super) fn add(&self, version: TlsVersion, resumed: bool) {
        let counters = if resumed { &self.resumed } else { &self.full };
        ConnectionCounts::add(match version {
            TlsVersion::Tls12 => &counters[0],
            TlsVersion::Tls13 => &counters[1],
        });
    }

    fn figures(&self) -> HandshakeFigures {
        let read = |counters: &[AtomicU64; 2]| counters.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        let ([full_tls12, full_tls13], [resumed_tls12, resumed_tls13]) = (read(&self.full), read(&self.resumed));
        HandshakeFigures {
            full_tls12,
            full_tls13,
            resumed_tls12,
            resumed_tls13,
        }
    }
}

/// What all workers share.
pub struct Shared {
    /// The caps on connections.
    pub caps: Arc<ConnectionCaps>,
    /// What became of connections.
    pub counts: Arc<ConnectionCounts>,
    /// The limits of the moment; a connection keeps those it began with.
    pub limits: Box<dyn Fn() -> Limits + Send + Sync>,
    /// Whether a source is a trusted proxy at the moment.
    pub trusts: Box<dyn Fn(SourceAddr) -> bool + Send + Sync>,
}

impl Shared {
    /// The figures for the metrics.
    pub fn figures(&self) -> ConnectionFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        ConnectionFigures {
            open: self.caps.open() as u64,
            accepted: read(&counts.accepted),
            over_limit: read(&counts.over_total),
            over_client_limit: read(&counts.over_client),
            proxy_header: read(&counts.proxy_errors),
            handshake: read(&counts.handshake_errors),
            handshakes: counts.handshakes.figures(),
            malformed_head: read(&counts.malformed_heads),
            accept_errors: read(&counts.accept_errors),
        }
    }
}

/// A listener's socket on this worker.
pub(super) struct WorkerListener {
    pub(super) socket: std::net::TcpListener,
    pub(super) settings: Arc<Listener>,
    /// `None` on plain listeners.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Whether the socket is another process's, too.
    pub(super) kept: KeptElsewhere,
}

/// A worker as its connections see it.
pub(super) struct Worker<G: Gate> {
    pub(super) gate: G,
    pub(super) shared: Arc<Shared>,
    phase: Cell<Phase>,
    /// Wakes connections when the phase changes.
    pub(super) phase_changed: Notify,
    /// At the steps of TLS handshakes.
    pub(super) turns: HandshakeTurns,
    open: Arc<OpenConnections>,
    /// What HTTP/1 connections read their heads into.
    pub(super) scratch: Rc<Scratch>,
    /// Room for their requests under way.
    pub(super) slots: Rc<Slots<Asked<G>, Answered<G>>>,
    pub(super) buffers: Buffers,
    pub(super) dates: Dates,
}

impl<G: Gate> std::fmt::Debug for Worker<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

/// The worker's own connections, tunnels included.
#[derive(Debug, Default)]
struct OpenConnections {
    count: AtomicUsize,
    none_left: Notify,
}

/// A place for a connection: counted by the worker, in all, and for its client. Lives as long as the socket.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    open: Arc<OpenConnections>,
    _total: TotalPermit,
    client: Option<ClientPermit>,
}

impl ConnectionPermit {
    /// Counts the connection for its client as well, if it is counted for one.
    pub(super) fn for_client(mut self, client: Option<ClientPermit>) -> Self {
        self.client = client;
        self
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if self.open.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.open.none_left.notify_waiters();
        }
    }
}

impl<G: Gate> Worker<G> {
    pub(super) fn new(gate: G, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            gate,
            shared,
            phase: Cell::new(Phase::Serving),
            phase_changed: Notify::new(),
            turns: HandshakeTurns::new(),
            open: Arc::default(),
            scratch: Rc::default(),
            slots: Rc::default(),
            buffers: Buffers::default(),
            dates: Dates::default(),
        })
    }

    /// Serves until told to stop, or to drain and nothing is left. Says first whether it could begin.
    pub(super) async fn run(
        self: Rc<Self>,
        listeners: Vec<WorkerListener>,
        mut phase: watch::Receiver<Phase>,
        started: impl FnOnce(io::Result<()>),
    ) {
        let listeners: Vec<_> = match listeners.into_iter().map(ready).collect::<io::Result<_>>() {
            Ok(listeners) => listeners,
            Err(error) => return started(Err(error)),
        };
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|(socket, listener)| tokio::task::spawn_local(Rc::clone(&self).accept_all(socket, listener)))
            .collect();
        let renewing = tokio::task::spawn_local(Rc::clone(&self).renew_turns());
        started(Ok(()));
        // A sender that is gone means the same as one that says stop.
        let draining = phase
            .wait_for(|phase| *phase != Phase::Serving)
            .await
            .map(|phase| *phase);
        self.enter(draining.unwrap_or(Phase::Stopped));
        for listener in accepting {
            // The acceptor leaves by itself, having taken what the kernel had queued for it.
            listener.await.ok();
        }
        let stopped = phase.wait_for(|phase| *phase == Phase::Stopped);
        tokio::select! {
            () = self.none_open() => {}
            _ = stopped => {}
        }
        renewing.abort();
    }

    async fn renew_turns(self: Rc<Self>) {
        self.turns.renew(|| (self.shared.limits)().handshake_turns).await;
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.phase_changed.notify_waiters();
    }

    async fn none_open(&self) {
        loop {
            let none_left = self.open.none_left.notified();
            if self.open.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none_left.await;
        }
    }

    /// Accepts until the worker drains, then what clients had already connected, unless somebody else accepts those. The
    /// socket is closed then, whatever becomes of its connections: clients are to be refused, not to wait for nobody.
    async fn accept_all(self: Rc<Self>, socket: TcpListener, listener: Rc<AcceptingListener>) {
        loop {
            let phase_changed = self.phase_changed.notified();
            if !self.phase().is_serving() {
                break;
            }
            tokio::select! {
                accepted = socket.accept() => self.accepted(accepted, &listener).await,
                () = phase_changed => {}
            }
        }
        if !listener.kept.is_kept() {
            // Without it they are reset, as they would be by our end.
            let _failed = self.accept_queued(socket, &listener);
        }
    }

    /// Connections that the kernel completed but nobody took would be reset with the socket. A queue's length of them at
    /// most: those who keep connecting must not keep us.
    fn accept_queued(self: &Rc<Self>, socket: TcpListener, listener: &Rc<AcceptingListener>) -> io::Result<()> {
        let socket = socket.into_std()?;
        for _ in 0..BACKLOG {
            let (stream, peer) = match socket.accept() {
                Err(error) if is_of_one_connection(&error) => continue,
                accepted => accepted?,
            };
            stream.set_nonblocking(true)?;
            self.serve(TcpStream::from_std(stream)?, peer, listener);
        }
        Ok(())
    }

    async fn accepted(
        self: &Rc<Self>,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        listener: &Rc<AcceptingListener>,
    ) {
        match accepted {
            Ok((stream, peer)) => self.serve(stream, peer, listener),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                ConnectionCounts::add(&self.shared.counts.accept_errors);
                listener.warn(&error);
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }

    fn serve(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, listener: &Rc<AcceptingListener>) {
        ConnectionCounts::add(&self.shared.counts.accepted);
        let limits = Rc::new((self.shared.limits)());
        match self.shared.caps.admit(&limits) {
            Ok(total) => {
                let permit = self.permit(total);
                tokio::task::spawn_local(connection::serve(
                    Rc::clone(self),
                    Rc::clone(listener),
                    stream,
                    peer,
                    limits,
                    permit,
                ));
            }
            Err(over) => self.count_over(over),
        }
    }

    fn permit(&self, total: TotalPermit) -> ConnectionPermit {
        self.open.count.fetch_add(1, Ordering::AcqRel);
        ConnectionPermit {
            open: Arc::clone(&self.open),
            _total: total,
            client: None,
        }
    }

    /// Counts a connection for its client. A trusted proxy's are not: they are those of all its clients together.
    pub(super) fn admit_client(&self, source: SourceAddr, limits: &Limits) -> Result<Option<ClientPermit>, OverCap> {
        if (self.shared.trusts)(source) {
            return Ok(None);
        }
        self.shared.caps.admit_client(source.0.ip(), limits).map(Some)
    }

    /// Counts a connection that is closed at once because there are too many.
    pub(super) fn count_over(&self, over: OverCap) {
        ConnectionCounts::add(match over {
            OverCap::Total => &self.shared.counts.over_total,
            OverCap::Client => &self.shared.counts.over_client,
        });
        tracing::debug!(limit = over.as_str(), "closed a connection");
    }
}

/// Writes `Date` headers, and remembers the second: all answers of one share it.
#[derive(Debug, Default)]
pub(super) struct Dates(Cell<Option<(u64, Date)>>);

/// RFC 9110 §5.6.7.
type Date = [u8; "Thu, 01 Jan 1970 00:00:00 GMT".len()];

impl Dates {
    pub(super) fn now(&self) -> Date {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.0.get() {
            Some((known, date)) if known == second => date,
            _ => {
                let date = date(now);
                self.0.set(Some((second, date)));
                date
            }
        }
    }
}

fn date(time: SystemTime) -> Date {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let shown = jiff::fmt::strtime::format("%a, %d %b %Y %H:%M:%S GMT", time).unwrap_or_default();
    shown.as_bytes().try_into().unwrap_or(*b"Thu, 01 Jan 1970 00:00:00 GMT")
}

/// What the connections of a listener's socket share. Not the socket: they outlive it.
pub(super) struct AcceptingListener {
    pub(super) settings: Arc<Listener>,
    pub(super) tls: Option<tokio_rustls::TlsAcceptor>,
    kept: KeptElsewhere,
    warned: Cell<Option<Instant>>,
}

impl AcceptingListener {
    fn warn(&self, error: &io::Error) {
        if self.warned.get().is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned.set(Some(Instant::now()));
            tracing::warn!(address = %self.settings.address, %error, "cannot accept connections for a moment");
        }
    }
}

/// Registers a listener's socket with the worker's runtime.
fn ready(listener: WorkerListener) -> io::Result<(TcpListener, Rc<AcceptingListener>)> {
    let socket = TcpListener::from_std(listener.socket)?;
    let listener = AcceptingListener {
        settings: listener.settings,
        tls: listener.tls.map(tokio_rustls::TlsAcceptor::from),
        kept: listener.kept,
        warned: Cell::new(None),
    };
    Ok((socket, Rc::new(listener)))
}

/// Errors of a connection that went away before it was accepted; all others are the system's.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
