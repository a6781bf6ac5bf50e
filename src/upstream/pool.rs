//! Connections to one address of a server: those in use are counted, those that are not are kept for a while.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Quota, Reuse,
    connect::{self, Stream},
    error::{ConnectError, ForwardError},
    h1, h2,
    health::InFlight,
    origin::Endpoint,
};
use crate::{config::settings::Upstream, http1::Scratch, telemetry::metrics::OpenConnection};

/// How often it is said that a server cannot be reached; the access log has every request.
const WARN_EVERY: Duration = Duration::from_secs(3);

/// The connections of one worker to one address of a server.
#[derive(Debug)]
pub(super) struct Pool {
    endpoint: Arc<Endpoint>,
    address: SocketAddr,
    scratch: Rc<Scratch>,
    /// The last is the one used last: a burst's surplus grows old and goes, while a few stay warm.
    idle: RefCell<Vec<Idle>>,
    /// One a connection in use. As kept ones are used first, all of them together are never more.
    slots: Slots,
    /// Connections that requests share; an HTTP/2 server's only ones.
    pub(super) http2: h2::Connections,
    warned: Cell<Option<Instant>>,
    is_reaping: Cell<bool>,
}

/// The right to one connection in use, or to one stream on a shared one.
#[derive(Debug)]
pub(super) struct Slot {
    pool: Rc<Pool>,
}

/// How many slots are free, and who waits for one. All on one thread: a semaphore without its locks.
#[derive(Debug, Default)]
struct Slots {
    /// Below zero after the number was made smaller than that of the slots in use.
    free: Cell<isize>,
    capacity: Cell<isize>,
    waiting: RefCell<VecDeque<oneshot::Sender<Slot>>>,
    /// How many waited when those who gave up were last taken out.
    swept: Cell<usize>,
}

/// A queue of so many is not looked through for those who gave up.
const FEW_WAITING: usize = 64;

/// A connection, counted. Dropped, it closes at once, whatever is under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) http: h1::Connection,
    pub(super) open: Option<OpenConnection>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection in use. Dropped, it closes; only [`Lease::give_back`] keeps it.
#[derive(Debug)]
pub(super) struct Lease {
    slot: Slot,
    pub(super) connection: Connection,
    /// Since when it is in use.
    pub(super) since: Instant,
    is_reused: bool,
    /// Whether it can be used again after the exchange under way.
    is_good: bool,
    keepalive: Duration,
    max_idle: usize,
    /// Counts the request as under way, until its answer has ended.
    in_flight: Option<InFlight>,
}

impl Pool {
    pub(super) fn new(endpoint: Arc<Endpoint>, address: SocketAddr, scratch: Rc<Scratch>) -> Self {
        Self {
            endpoint,
            address,
            scratch,
            idle: RefCell::default(),
            slots: Slots::default(),
            http2: h2::Connections::default(),
            warned: Cell::new(None),
            is_reaping: Cell::new(false),
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a connection may be at hand, so that none needs to be made.
    pub(super) fn has_idle(&self) -> bool {
        !self.idle.borrow().is_empty() || self.http2.is_any_open()
    }

    /// A connection to send a request on: a kept one, else a new one.
    pub(super) async fn lease(
        self: &Rc<Self>,
        settings: &Upstream,
        quota: Quota<'_>,
        reuse: Reuse,
        mut now: Instant,
        deadline: Instant,
    ) -> Result<Lease, ForwardError> {
        self.resize(quota.connections);
        let slot = match self.free_slot() {
            Some(slot) => slot,
            None => {
                let slot = Box::pin(self.turn(quota.connections, deadline)).await?;
                now = Instant::now();
                slot
            }
        };
        if let (Reuse::Idle, Some(connection)) = (reuse, self.idle(settings.keepalive, now)) {
            return Ok(Lease {
                is_reused: true,
                ..Lease::fresh(slot, connection, settings, now)
            });
        }
        // On the heap, as it is rare and large: what every request's future has room for is moved with every request.
        match Box::pin(self.connect(quota, deadline)).await {
            Ok(connection) => Ok(Lease::fresh(slot, connection, settings, Instant::now())),
            Err(source) => Err(ForwardError::Connect {
                server: Arc::clone(&self.endpoint),
                source,
            }),
        }
    }

    /// The right to send one request, of so many at once. First come, first served.
    pub(super) async fn turn(self: &Rc<Self>, connections: usize, deadline: Instant) -> Result<Slot, ForwardError> {
        self.resize(connections);
        self.slot(deadline).await.ok_or_else(|| ForwardError::Overloaded {
            server: Arc::clone(&self.endpoint),
        })
    }

    /// Takes over the configured number of connections. A smaller one is reached as connections in use end.
    fn resize(self: &Rc<Self>, connections: usize) {
        let capacity = isize::try_from(connections.max(1)).unwrap_or(isize::MAX);
        let before = self.slots.capacity.replace(capacity);
        if before != capacity {
            self.slots.free.set(self.slots.free.get() + (capacity - before));
            self.serve_waiting();
        }
    }

    /// A slot, if one is free and nobody waits for it.
    fn free_slot(self: &Rc<Self>) -> Option<Slot> {
        let slots = &self.slots;
        let free = slots.free.get();
        if free <= 0 || !slots.waiting.borrow().is_empty() {
            return None;
        }
        slots.free.set(free - 1);
        Some(Slot { pool: Rc::clone(self) })
    }

    /// Waits for the right to a connection until the deadline.
    async fn slot(self: &Rc<Self>, deadline: Instant) -> Option<Slot> {
        if let Some(slot) = self.free_slot() {
            return Some(slot);
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.slots.waiting.borrow_mut();
            // Those who gave up must not pile up: when half of a queue may be theirs, they go.
            if waiting.len() >= 2 * self.slots.swept.get().max(FEW_WAITING) {
                waiting.retain(|sender| !sender.is_closed());
                self.slots.swept.set(waiting.len());
            }
            waiting.push_back(sender);
        }
        timeout_at(deadline, receiver).await.ok()?.ok()
    }

    /// Gives free slots to those who wait, the first first. Who has given up gives its slot back at once.
    fn serve_waiting(self: &Rc<Self>) {
        while self.slots.free.get() > 0 {
            let Some(next) = self.slots.waiting.borrow_mut().pop_front() else {
                return;
            };
            if !next.is_closed() {
                self.slots.free.set(self.slots.free.get() - 1);
                drop(next.send(Slot { pool: Rc::clone(self) }));
            }
        }
    }

    /// A kept connection that still works as far as anyone can know, and in which nothing lies: what came before a
    /// request was sent cannot be its answer.
    fn idle(&self, keepalive: Duration, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if now.saturating_duration_since(since) < keepalive && connection.http.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// A new connection.
    async fn connect(&self, quota: Quota<'_>, deadline: Instant) -> Result<Connection, ConnectError> {
        let connected = match timeout_at(deadline, self.try_connect(quota, deadline)).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(ConnectError::Timeout),
        };
        self.note(&connected);
        connected
    }

    /// Tells, once in a while, that the server could not be reached.
    pub(super) fn note<T>(&self, connected: &Result<T, ConnectError>) {
        if let Err(error) = connected
            && self.warned.get().is_none_or(|at| at.elapsed() >= WARN_EVERY)
        {
            self.warned.set(Some(Instant::now()));
            tracing::warn!(server = %self.endpoint, address = %self.address, %error, "no connection to server");
        }
    }

    /// The bytes of a new connection.
    pub(super) async fn dial(&self, deadline: Instant) -> Result<Stream, ConnectError> {
        connect::connect(&self.endpoint, std::iter::once(self.address), deadline).await
    }

    async fn try_connect(&self, quota: Quota<'_>, deadline: Instant) -> Result<Connection, ConnectError> {
        let stream = self.dial(deadline).await?;
        Ok(Connection {
            http: h1::Connection::new(stream, Rc::clone(&self.scratch)),
            open: quota.meter.map(|(meter, worker)| meter.connected(worker)),
        })
    }

    fn keep(self: &Rc<Self>, connection: Connection, keepalive: Duration, max_idle: usize) {
        let since = Instant::now();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= max_idle {
            idle.retain_mut(|idle| idle.connection.http.is_quiet());
        }
        if idle.len() < max_idle && !keepalive.is_zero() {
            idle.push(Idle { connection, since });
            if !self.is_reaping.replace(true) {
                tokio::task::spawn_local(reap(Rc::downgrade(self), keepalive));
            }
        }
    }
}

/// Closes connections that nobody used for as long as they may be kept. Ends when none are left.
async fn reap(pool: Weak<Pool>, keepalive: Duration) {
    loop {
        let next = {
            let Some(pool) = pool.upgrade() else { return };
            let mut idle = pool.idle.borrow_mut();
            idle.retain_mut(|idle| idle.since.elapsed() < keepalive && idle.connection.http.is_quiet());
            match idle.first() {
                Some(oldest) => oldest.since + keepalive,
                None => {
                    pool.is_reaping.set(false);
                    return;
                }
            }
        };
        sleep_until(next).await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let free = &self.pool.slots.free;
        free.set(free.get() + 1);
        if !self.pool.slots.waiting.borrow().is_empty() {
            self.pool.serve_waiting();
        }
    }
}

impl Slot {
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.pool.endpoint
    }
}

impl Lease {
    fn fresh(slot: Slot, connection: Connection, settings: &Upstream, since: Instant) -> Self {
        Self {
            slot,
            connection,
            since,
            is_reused: false,
            is_good: true,
            keepalive: settings.keepalive,
            max_idle: settings.max_idle,
            in_flight: None,
        }
    }

    /// Counts the request that it is for as under way as long as it is.
    pub(super) fn counting(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }

    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        self.slot.endpoint()
    }

    /// Makes the exchange under way the connection's last.
    pub(super) fn spoil(&mut self) {
        self.is_good = false;
    }

    /// Lets the slot go while the connection goes its own way.
    pub(super) fn into_connection(self) -> (Connection, Option<InFlight>) {
        (self.connection, self.in_flight)
    }

    /// Keeps the connection for others, with a buffer to write heads into. Both messages must have ended.
    pub(super) fn give_back(self, spare: Vec<u8>) {
        let Self {
            slot,
            mut connection,
            is_good,
            keepalive,
            max_idle,
            ..
        } = self;
        if is_good && connection.http.is_clean() {
            connection.http.spare = spare;
            connection.http.rest();
            slot.pool.keep(connection, keepalive, max_idle);
        }
    }
}
