//! Connections to one address of a server: those in use are counted, those that are not are kept for a while.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
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
    /// One permit a connection in use. As kept ones are used first, all of them together are never more.
    slots: Arc<Semaphore>,
    capacity: Cell<usize>,
    /// Connections that requests share; an HTTP/2 server's only ones.
    pub(super) http2: h2::Connections,
    warned: Cell<Option<Instant>>,
    is_reaping: Cell<bool>,
}

/// The right to one connection in use, or to one stream on a shared one.
#[derive(Debug)]
pub(super) struct Slot {
    pool: Rc<Pool>,
    _permit: OwnedSemaphorePermit,
}

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
            slots: Arc::new(Semaphore::new(0)),
            capacity: Cell::new(0),
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
        deadline: Instant,
    ) -> Result<Lease, ForwardError> {
        let slot = self.turn(quota.connections, deadline).await?;
        if let (Reuse::Idle, Some(connection)) = (reuse, self.idle(settings.keepalive)) {
            return Ok(Lease {
                is_reused: true,
                ..Lease::fresh(slot, connection, settings)
            });
        }
        // On the heap, as it is rare and large: what every request's future has room for is moved with every request.
        match Box::pin(self.connect(quota, deadline)).await {
            Ok(connection) => Ok(Lease::fresh(slot, connection, settings)),
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
    fn resize(&self, connections: usize) {
        let connections = connections.clamp(1, Semaphore::MAX_PERMITS);
        let capacity = self.capacity.get();
        if capacity < connections {
            self.slots.add_permits(connections - capacity);
            self.capacity.set(connections);
        } else if capacity > connections {
            let forgotten = self.slots.forget_permits(capacity - connections);
            self.capacity.set(capacity - forgotten);
        }
    }

    /// Waits for the right to a connection until the deadline.
    async fn slot(self: &Rc<Self>, deadline: Instant) -> Option<Slot> {
        let permit = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_none_free) => timeout_at(deadline, Arc::clone(&self.slots).acquire_owned())
                .await
                .ok()?
                .ok()?,
        };
        Some(Slot {
            pool: Rc::clone(self),
            _permit: permit,
        })
    }

    /// A kept connection that still works as far as anyone can know, and in which nothing lies: what came before a
    /// request was sent cannot be its answer.
    fn idle(&self, keepalive: Duration) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut connection, since }) = idle.pop() {
            if since.elapsed() < keepalive && connection.http.is_quiet() {
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

impl Slot {
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.pool.endpoint
    }
}

impl Lease {
    fn fresh(slot: Slot, connection: Connection, settings: &Upstream) -> Self {
        Self {
            slot,
            connection,
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
