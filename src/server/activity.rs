//! What happens on a connection, told by its stream and its requests, read by the timer that ends idle ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::config::settings::Limits;

/// Nothing of it is ever contended: a connection stays on one worker. Atomics, because a tunnel's stream must be `Send`.
#[derive(Debug)]
pub(super) struct Activity {
    epoch: Instant,
    in_flight: AtomicU32,
    had_request: AtomicBool,
    /// Requests that ended with their answer, and those that the client gave up before.
    answered: AtomicU32,
    abandoned: AtomicU32,
    /// Milliseconds after `epoch`; when the last request ended, or its response's last bytes left.
    idle_since: AtomicU64,
    /// Milliseconds after `epoch`; when the last request's head was complete.
    requested: AtomicU64,
    /// Milliseconds after `epoch`, plus one; when a head's first byte came. 0: none has.
    head_since: AtomicU64,
    http2: AtomicBool,
    tunnel: AtomicBool,
    /// What was read ends within a head.
    within_head: AtomicBool,
    /// A request's body was given up before its end: the client may still be sending it.
    pub(super) unread: Arc<AtomicBool>,
}

/// Bytes of an HTTP/2 response that has ended may still wait for the client's window: a frame a stream at most. This is the
/// time that they need at the default `limits.min_rate`, rounded up.
const H2_TAIL: Duration = Duration::from_secs(75);

/// Requests that an HTTP/2 client may give up on one connection, as long as it does not see more of them to their end. A request
/// that is given up at once costs us, and its origin, nearly as much as an answered one, and the client nothing: no bound on
/// concurrent streams holds it back (CVE-2023-44487). HTTP/2 itself ends what comes in one burst; this ends what comes
/// slowly. People who scrub through a film or leave pages stay far below.
const H2_ABANDONED: u32 = 100;

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
            answered: AtomicU32::new(0),
            abandoned: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            requested: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            http2: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            within_head: AtomicBool::new(false),
            unread: Arc::default(),
        })
    }

    /// The handshake chose the protocol; until then it is HTTP/1.
    pub(super) fn speaks(&self, kind: HttpKind) {
        self.http2.store(kind == HttpKind::Http2, Ordering::Relaxed);
    }

    fn kind(&self) -> HttpKind {
        if self.http2.load(Ordering::Relaxed) {
            HttpKind::Http2
        } else {
            HttpKind::Http1
        }
    }

    /// A request's head is complete; the guard lives as long as its response. Its time is taken only where it `is_timed`.
    pub(super) fn request(self: &Arc<Self>, is_timed: bool) -> InFlight {
        add(&self.in_flight, 1);
        self.had_request.store(true, Ordering::Relaxed);
        if is_timed {
            self.requested.store(self.now(), Ordering::Relaxed);
        }
        self.head_since.store(0, Ordering::Relaxed);
        InFlight {
            activity: Arc::clone(self),
            is_answered: false,
        }
    }

    /// Whether the client of an HTTP/2 connection makes requests in order to give them up ([`H2_ABANDONED`]).
    pub(super) fn abandons_too_much(&self) -> bool {
        let abandoned = self.abandoned.load(Ordering::Relaxed);
        self.kind() == HttpKind::Http2 && abandoned > H2_ABANDONED && abandoned > self.answered.load(Ordering::Relaxed)
    }

    /// When the last timed request's head was complete.
    pub(super) fn requested(&self) -> Option<Instant> {
        let had_request = self.had_request.load(Ordering::Relaxed);
        had_request.then(|| self.epoch + Duration::from_millis(self.requested.load(Ordering::Relaxed)))
    }

    /// Bytes came in.
    pub(super) fn received(&self) {
        if !self.is_busy() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// HTTP/1 was read as far as this: whether it ends within a head.
    pub(super) fn scanned(&self, within_head: bool) {
        self.within_head.store(within_head, Ordering::Relaxed);
    }

    /// Bytes went out. After an HTTP/1 request's end they are the tail of its response, which a slow reader may take its
    /// time for. Over HTTP/2 they say nothing: an idle client is pinged, and may ping us as often as it likes.
    pub(super) fn sent(&self) {
        match self.kind() {
            HttpKind::Http1 if !self.is_busy() => self.idle_since.store(self.now(), Ordering::Relaxed),
            HttpKind::Http1 | HttpKind::Http2 => {}
        }
    }

    /// The connection became a tunnel: what moves there is no HTTP any more.
    pub(super) fn become_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    pub(super) fn is_http2(&self) -> bool {
        self.kind() == HttpKind::Http2
    }

    /// Whether GOAWAY is the way to tell the client of a draining server: it loses none of its requests by that. One that
    /// has not made any could not make its first.
    pub(super) fn is_told_by_goaway(&self) -> bool {
        self.is_http2() && self.had_request.load(Ordering::Relaxed)
    }

    /// Since when nothing is under way; from the beginning, if nothing was.
    pub(super) fn idle_since(&self) -> Instant {
        self.at(self.idle_since.load(Ordering::Relaxed))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Until when the connection may stay as it is; `None` while a request is under way.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        if self.is_busy() || self.is_tunnel() {
            return None;
        }
        let (since, allowed) = match (self.kind(), self.head_since.load(Ordering::Relaxed)) {
            _ if !self.had_request.load(Ordering::Relaxed) => (0, limits.header_timeout),
            (HttpKind::Http1, since @ 1..) => (since - 1, limits.header_timeout),
            (HttpKind::Http1 | HttpKind::Http2, _) => {
                (self.idle_since.load(Ordering::Relaxed), limits.keepalive_timeout)
            }
        };
        Some(self.at(since) + allowed)
    }

    /// Whether the client has begun an HTTP/1 head and not ended it: there is nothing to end in good order then.
    pub(super) fn is_within_head(&self) -> bool {
        self.kind() == HttpKind::Http1 && !self.is_busy() && self.head_since.load(Ordering::Relaxed) > 0
    }

    /// Whether part of a head has been read, and none of the rest.
    pub(super) fn has_begun_head(&self) -> bool {
        !self.is_busy() && self.within_head.load(Ordering::Relaxed)
    }

    /// Until when the tail of a response may still be on its way, after a pause of `grace` as well: a connection that is
    /// being closed is not cut before.
    pub(super) fn tail_until(&self, grace: Duration) -> Instant {
        let since = self.idle_since();
        match self.kind() {
            HttpKind::Http2 if self.had_request.load(Ordering::Relaxed) => since + H2_TAIL,
            HttpKind::Http1 | HttpKind::Http2 => since + grace,
        }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.epoch + Duration::from_millis(milliseconds)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl InFlight {
    /// It ends as we want it to, not because the client gave it up.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let ended = match self.is_answered {
            true => &self.activity.answered,
            false => &self.activity.abandoned,
        };
        add(ended, 1);
        let now = self.activity.now();
        self.activity.idle_since.store(now, Ordering::Relaxed);
        // The next head began while this request was under way: its time runs from here.
        if self.activity.within_head.load(Ordering::Relaxed) {
            self.activity.head_since.store(now + 1, Ordering::Relaxed);
        }
        add(&self.activity.in_flight, u32::MAX);
    }
}

/// Adds to a number that this thread alone writes: no other waits for it, so the memory need not be locked.
fn add(number: &AtomicU32, more: u32) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}
