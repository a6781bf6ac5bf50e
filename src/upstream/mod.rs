//! Speaks to origins: finds a server of a named upstream, keeps connections to it, sends what was judged, and hands the
//! answer back as it streams.
//!
//! Owns connections and their reuse, names and addresses of servers, which of them is asked and which is left out, TLS
//! towards them, retries and the timeouts of all this; and the demo origin, which needs none of it. Refuses to know of clients, sites and rules; the target and the `Host` of a request come from the
//! [`Permit`] and from nowhere else.
//!
//! Every worker has its own [`Upstreams`]: connections never cross threads, so nothing here needs a lock. They live
//! outside the snapshot: a reload that leaves a server as it is keeps its connections.
//!
//! Which server: an upstream's servers, each of their addresses one, are a worker's `rotation`; `balance` says whose turn it
//! is, `health` who is left out. Health is the same for all workers, belongs to the server and not to the load of the
//! configuration (`standing`), and is written by requests that fail and by `checks`. `tour` is one request's way through the
//! rotation, with as many retries as its `budget` has left.

mod balance;
mod body;
mod budget;
mod connect;
mod exchange;
mod framing;
mod h1;
mod h2;
mod health;
mod pool;
mod resolve;
mod rotation;
mod standing;
mod tour;

pub mod checks;
pub mod demo;
pub mod error;
pub mod origin;
pub mod report;

use std::{cell::RefCell, rc::Rc, sync::Arc};

use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use tokio::time::Instant;

pub use self::{
    body::{OriginBody, OriginBodyError, Upload, UploadError},
    h1::Switched,
};
use self::{
    error::ForwardError,
    exchange::{Exchange, Failed, Prepared, Seen},
    health::InFlight,
    origin::{Endpoint, Origin},
    rotation::{Connections, Rotation},
    tour::{Reached, Tour},
};
use crate::{
    config::settings::UpstreamProtocol,
    http1::Scratch,
    policy::decision::Permit,
    telemetry::metrics::{OpenConnection, UpstreamMeter, WorkerIndex},
};

/// How often a request is sent on an HTTP/2 stream whose server says each time that it did not process it: while a server
/// restarts, its connections may say so one after the other.
const STREAM_ATTEMPTS: u32 = 3;

/// A worker's connections to all origins.
#[derive(Debug, Default)]
pub struct Upstreams {
    connections: RefCell<HashMap<Arc<Endpoint>, Rc<Connections>>>,
    /// By the address of the origin, which the rotation holds and so keeps from being another one's.
    rotations: RefCell<HashMap<*const Origin, Rc<Rotation>>>,
    /// What answers are read into.
    scratch: Rc<Scratch>,
}

/// Where a request goes: what a permit says, in the terms of HTTP/1.1. There is no other way to make one.
#[derive(Debug)]
pub struct Destination {
    target: Box<str>,
    host: HeaderValue,
}

impl Destination {
    /// The judged target and host.
    ///
    /// # Errors
    /// HTTP/1.1 cannot carry them unchanged; then they are not sent at all.
    pub fn of(permit: Permit<'_>) -> Result<Self, ForwardError> {
        let target = permit.target().forwarded();
        let host = HeaderValue::from_str(permit.host().authority()).map_err(|_| ForwardError::Unsendable)?;
        match h1::is_target(target) {
            true => Ok(Self {
                target: target.into(),
                host,
            }),
            false => Err(ForwardError::Unsendable),
        }
    }
}

/// What is sent to an origin, beside its destination: everything that hop-by-hop rules and header policy left.
#[derive(Debug)]
pub struct Outgoing {
    /// The method as the client sent it.
    pub method: Method,
    /// The client's end-to-end headers. `Host`, framing and connection headers are set here anew, whatever they say.
    pub headers: HeaderMap,
    /// What the origin is told beside them. No name is in both.
    pub ours: Vec<(HeaderName, HeaderValue)>,
    /// Whether the client reads trailers.
    pub accepts_trailers: bool,
    /// The body; `None`: the request has none, which is not the same as an empty one of unknown length.
    pub body: Option<Upload>,
    /// The protocol to switch to, when the client asks for one.
    pub upgrade: Option<HeaderValue>,
    /// A gRPC call to an HTTP/2 upstream: both sides speak when they like, and may both be silent for so long once the
    /// origin has answered. HTTP/1.1 knows no such thing.
    pub conversation: Option<std::time::Duration>,
}

/// An origin's answer and who gave it.
#[derive(Debug)]
pub struct Forwarded {
    /// What came back.
    pub answer: Answer,
    /// The server that answered.
    pub server: Arc<Endpoint>,
}

/// What came back from an origin.
#[derive(Debug)]
pub enum Answer {
    /// A response; its body streams.
    Response(Response<OriginBody>),
    /// The origin switched protocols, as asked.
    Switched {
        /// The head of its 101.
        head: Response<()>,
        /// The connection, which now speaks the new protocol.
        tunnel: Tunnel,
    },
}

/// A connection to an origin that has switched protocols. It takes no turn from requests any more: each tunnel has a
/// client's connection of its own, which `limits.connections` bounds.
#[derive(Debug)]
pub struct Tunnel {
    /// The bytes, both ways.
    pub io: Switched,
    /// Counted as open until dropped.
    _open: Option<OpenConnection>,
    /// Counted as under way, too: for the server it is a client like others.
    _in_flight: Option<InFlight>,
}

/// What a worker's requests may take of an upstream's connections.
#[derive(Debug, Clone, Copy)]
pub struct Quota<'m> {
    /// So many carry requests to one server at once.
    pub connections: usize,
    /// Counts the open ones, for this worker.
    pub meter: Option<(&'m Arc<UpstreamMeter>, WorkerIndex)>,
}

impl Upstreams {
    /// Sends what was permitted to a server of `origin` and returns its answer. Requests beyond the quota wait for their
    /// turn as long as `connect_timeout`. `began` is now, or nearly.
    ///
    /// # Errors
    /// No server could be reached or answered in time, or the client's body broke off or broke a limit.
    pub async fn forward(
        &self,
        destination: Destination,
        origin: &Arc<Origin>,
        request: Outgoing,
        quota: Quota<'_>,
        began: Instant,
    ) -> Result<Forwarded, ForwardError> {
        let settings = origin.settings();
        match settings.protocol {
            UpstreamProtocol::Http1 => {}
            UpstreamProtocol::Http2 => {
                let forwarded = self.forward_on_stream(destination, origin, request, quota, began);
                return Box::pin(forwarded).await;
            }
        }
        let mut prepared = Prepared::new(destination, request);
        let rotation = self.rotation(origin);
        let mut tour = Tour::begin(&rotation, quota, began).await?;
        loop {
            let lease = match tour.reach().await? {
                Reached::Server(lease) => lease,
                Reached::Demo(server) => return Box::pin(prepared.show(server, settings.idle_timeout)).await,
            };
            match Exchange::new(lease, settings).run(&mut prepared).await {
                Ok(forwarded) => {
                    tour.answered();
                    return Ok(forwarded);
                }
                // A kept connection may have been closed by the server the moment that it was used. Asking once more on a
                // fresh one is safe when nothing was sent, or when asking twice means the same as asking once.
                Err(Failed::Stale(seen, _)) if prepared.is_repeatable(seen) => tour.found_stale(),
                Err(Failed::Stale(_, error)) => return Err(error),
                Err(Failed::Final(error)) => {
                    tour.failed(&error);
                    if !error.is_of_server() || !prepared.is_repeatable(Seen::Perhaps) || !tour.retry() {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// The same over HTTP/2. What the server did not process, and says so, is sent again, to another server if there is one.
    async fn forward_on_stream(
        &self,
        destination: Destination,
        origin: &Arc<Origin>,
        request: Outgoing,
        quota: Quota<'_>,
        began: Instant,
    ) -> Result<Forwarded, ForwardError> {
        let settings = origin.settings();
        let call = h2::Call::new(destination, request, settings)?;
        let rotation = self.rotation(origin);
        let mut tour = Tour::begin(&rotation, quota, began).await?;
        let mut left = STREAM_ATTEMPTS;
        loop {
            let place = tour.place().await?;
            left -= 1;
            match call.send(place, settings).await {
                Ok(forwarded) => {
                    tour.answered();
                    return Ok(forwarded);
                }
                // Connections end, and take the requests with them that nobody has looked at: that speaks against no server.
                Err(h2::Failed::Unprocessed(_)) if left > 0 && call.rewind() => {}
                Err(h2::Failed::Lost(_)) if left > 0 && call.is_repeatable() => left = 1,
                Err(h2::Failed::Unprocessed(error) | h2::Failed::Lost(error) | h2::Failed::Final(error)) => {
                    tour.failed(&error);
                    if !error.is_of_server() || !call.is_repeatable() || !tour.retry() {
                        return Err(error);
                    }
                    left = left.max(1);
                }
            }
        }
    }

    /// Forgets the servers that none of these origins has any more, and what else is of other origins: after a reload.
    /// Requests under way keep their connections until they end.
    pub fn retain<'o>(&self, origins: impl Iterator<Item = &'o Arc<Origin>>) {
        let origins: Vec<_> = origins.collect();
        let is_used = |origin: &Arc<Origin>| origins.iter().any(|used| Arc::ptr_eq(used, origin));
        let servers = origins.iter().flat_map(|origin| origin.servers());
        self.rotations
            .borrow_mut()
            .retain(|_, rotation| is_used(&rotation.origin));
        self.connections
            .borrow_mut()
            .retain(|endpoint, _| servers.clone().any(|server| server == endpoint));
    }

    fn rotation(&self, origin: &Arc<Origin>) -> Rc<Rotation> {
        if let Some(rotation) = self.rotations.borrow().get(&Arc::as_ptr(origin)) {
            return Rc::clone(rotation);
        }
        let connections = origin.servers().iter().map(|server| self.connections(server));
        let rotation = Rc::new(Rotation::new(Arc::clone(origin), connections.collect()));
        let mut rotations = self.rotations.borrow_mut();
        rotations.insert(Arc::as_ptr(origin), Rc::clone(&rotation));
        rotation
    }

    fn connections(&self, endpoint: &Arc<Endpoint>) -> Rc<Connections> {
        let mut connections = self.connections.borrow_mut();
        let known = connections.entry(Arc::clone(endpoint));
        Rc::clone(known.or_insert_with(|| Rc::new(Connections::new(Arc::clone(endpoint), Rc::clone(&self.scratch)))))
    }
}

/// Whether a kept connection will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reuse {
    Idle,
    Never,
}

#[cfg(test)]
mod tests;
