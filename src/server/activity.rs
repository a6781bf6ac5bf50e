//! What happens on a connection, told by its stream and its requests, read by the timer that ends idle ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::wire::Verdicts;
use crate::config::settings::Limits;

/// Nothing of it is ever contended: a connection stays on one worker. Atomics, because a tunnel's stream must be `Send`.
#[derive(Debug)]
pub(super) struct Activity {
    epoch: Instant,
    in_flight: AtomicU32,
    had_request: AtomicBool,
    /// Milliseconds after `epoch`; when the last request ended, or its response's last bytes left.
    idle_since: AtomicU64,
    /// Milliseconds after `epoch`, plus one; when a head's first byte came. 0: none has.
    head_since: AtomicU64,
    tunnel: AtomicBool,
    /// A request's body was given up before its end: the client may still be sending it.
    pub(super) unread: Arc<AtomicBool>,
    /// On the heads of an HTTP/1 connection.
    pub(super) verdicts: Verdicts,
}

/// Which protocol decides what idle means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HttpKind {
    Http1,
    Http2,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            in_flight: AtomicU32::new(0),
            had_request: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            tunnel: AtomicBool::new(false),
            unread: Arc::default(),
            verdicts: Verdicts::default(),
        })
    }

    /// A request's head is complete; the guard lives as long as its response.
    pub(super) fn request(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.had_request.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Bytes came in.
    pub(super) fn received(&self) {
        if !self.is_busy() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Bytes went out. After a request's end they are the tail of its response, which a slow reader may take its time for.
    pub(super) fn sent(&self) {
        if !self.is_busy() {
            self.idle_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The connection became a tunnel: what moves there is no HTTP any more.
    pub(super) fn become_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Until when the connection may stay as it is; `None` while a request is under way.
    pub(super) fn deadline(&self, kind: HttpKind, limits: &Limits) -> Option<Instant> {
        if self.is_busy() || self.is_tunnel() {
            return None;
        }
        let (since, allowed) = match (kind, self.head_since.load(Ordering::Relaxed)) {
            (HttpKind::Http1, _) if !self.had_request.load(Ordering::Relaxed) => (0, limits.header_timeout),
            (HttpKind::Http1, since @ 1..) => (since - 1, limits.header_timeout),
            (HttpKind::Http1 | HttpKind::Http2, _) => {
                (self.idle_since.load(Ordering::Relaxed), limits.keepalive_timeout)
            }
        };
        Some(self.epoch + Duration::from_millis(since) + allowed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
