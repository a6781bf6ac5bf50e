//! Speaks to origins: finds a server of a named upstream, keeps connections to it, sends what was judged, and hands the
//! answer back as it streams.
//!
//! Owns connections and their reuse, names and addresses of servers, TLS towards them, retries and the timeouts of all
//! this; and the demo origin, which needs none of it. Refuses to know of clients, sites and rules; the target and the `Host` of a request come from the
//! [`Permit`] and from nowhere else.
//!
//! Every worker has its own [`Upstreams`]: connections never cross threads, so nothing here needs a lock. They live
//! outside the snapshot: a reload that leaves a server as it is keeps its connections.

mod body;
mod connect;
mod exchange;
mod framing;
mod h1;
mod pool;
mod resolve;

pub mod demo;
pub mod error;
pub mod origin;

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use tokio::time::Instant;

pub use self::{
    body::{OriginBody, OriginBodyError, Upload, UploadError},
    h1::Switched,
};
use self::{
    error::ForwardError,
    exchange::{Exchange, Failed, Prepared},
    origin::{Endpoint, Origin},
    pool::{Lease, Pool},
};
use crate::{
    config::settings::Server,
    http1::Scratch,
    policy::decision::Permit,
    telemetry::metrics::{OpenConnection, UpstreamMeter, WorkerIndex},
};

/// A worker's connections to all origins.
#[derive(Debug, Default)]
pub struct Upstreams {
    pools: RefCell<HashMap<Arc<Endpoint>, Rc<Pool>>>,
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
    /// turn as long as `connect_timeout`.
    ///
    /// # Errors
    /// No server could be reached or answered in time, or the client's body broke off or broke a limit.
    pub async fn forward(
        &self,
        destination: Destination,
        origin: &Origin,
        request: Outgoing,
        quota: Quota<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let settings = origin.settings();
        let mut prepared = Prepared::new(destination, request);
        let mut reached = self.reach(origin, quota, Reuse::Idle).await?;
        loop {
            let lease = match reached {
                Reached::Server(lease) => lease,
                Reached::Demo(server) => return prepared.show(server, settings.idle_timeout).await,
            };
            match Exchange::new(lease, settings).run(&mut prepared).await {
                Ok(forwarded) => return Ok(forwarded),
                // A kept connection may have been closed by the server the moment that it was used. Asking once more on a
                // fresh one is safe when nothing was sent, or when asking twice means the same as asking once.
                Err(Failed::Stale(seen, _)) if prepared.is_repeatable(seen) => {}
                Err(Failed::Stale(_, error) | Failed::Final(error)) => return Err(error),
            }
            reached = self.reach(origin, quota, Reuse::Never).await?;
        }
    }

    /// Forgets the pools of servers that `keeps` does not want any more: after a reload. Requests under way keep their
    /// connections until they end.
    pub fn retain(&self, keeps: impl Fn(&Endpoint) -> bool) {
        self.pools.borrow_mut().retain(|endpoint, _| keeps(endpoint));
    }

    /// A connection to the first server, in turn, that has one to give. A silent server costs only its share of the time.
    async fn reach(&self, origin: &Origin, quota: Quota<'_>, reuse: Reuse) -> Result<Reached, ForwardError> {
        let settings = origin.settings();
        let end = Instant::now() + settings.connect_timeout;
        let pools = self.in_turn(origin);
        let mut left = pools.len() as u32;
        let mut failure = ForwardError::NoServer;
        for pool in pools {
            let now = Instant::now();
            let deadline = now + end.saturating_duration_since(now) / left;
            left -= 1;
            if *pool.endpoint().server() == Server::Demo {
                return Ok(Reached::Demo(Arc::clone(pool.endpoint())));
            }
            match pool.lease(settings, quota, reuse, deadline).await {
                Ok(lease) => return Ok(Reached::Server(lease)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The origin's pools, starting with the one whose turn it is; those that could just not be reached come last.
    fn in_turn(&self, origin: &Origin) -> Vec<Rc<Pool>> {
        let mut pools: Vec<_> = origin.in_turn().map(|endpoint| self.pool(endpoint)).collect();
        if pools.len() > 1 {
            pools.sort_by_key(|pool| pool.has_just_failed());
        }
        pools
    }

    fn pool(&self, endpoint: &Arc<Endpoint>) -> Rc<Pool> {
        if let Some(pool) = self.pools.borrow().get(endpoint) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(Pool::new(Arc::clone(endpoint), Rc::clone(&self.scratch)));
        self.pools.borrow_mut().insert(Arc::clone(endpoint), Rc::clone(&pool));
        pool
    }
}

/// Who is going to answer.
#[derive(Debug)]
enum Reached {
    Server(Lease),
    Demo(Arc<Endpoint>),
}

/// Whether a kept connection will do.
#[derive(Debug, Clone, Copy)]
enum Reuse {
    Idle,
    Never,
}

#[cfg(test)]
mod tests;
