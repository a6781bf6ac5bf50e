//! Responses that nobody reads: over HTTP/2, where the socket stays busy with other streams, stream by stream.
//!
//! HTTP/1.1 connections, and HTTP/2 ones that read nothing at all, are cut by their socket's writes; request bodies by
//! [`RequestBody`](crate::gateway::connection::RequestBody).

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep};

use crate::gateway::pace::Pace;

/// The pace at which one stream's client reads.
///
/// HTTP/2 asks a body for its next frame only when the one before fits the client's window. So from a frame's delivery until
/// the next is asked for, the client is waited for; all other time is the origin's.
#[derive(Debug)]
pub(super) struct StreamPace {
    pace: Cell<Option<Pace>>,
    /// When `limits.total_timeout` is over.
    until: Option<Instant>,
    waiting_since: Cell<Option<Instant>>,
}

impl StreamPace {
    pub(super) fn new(pace: Option<Pace>, until: Option<Instant>) -> Rc<Self> {
        Rc::new(Self {
            pace: Cell::new(pace),
            until,
            waiting_since: Cell::new(None),
        })
    }

    /// The client took what there was.
    pub(super) fn asked(&self) {
        if let Some(since) = self.waiting_since.take() {
            self.change(|pace| pace.waited(since.elapsed()));
        }
    }

    /// A frame was handed over.
    pub(super) fn delivered(&self, bytes: usize) {
        self.change(|pace| pace.moved(bytes));
        self.waiting_since.set(Some(Instant::now()));
    }

    fn change(&self, change: impl FnOnce(&mut Pace)) {
        let mut pace = self.pace.get();
        pace.as_mut().map(change);
        self.pace.set(pace);
    }

    /// Only while the client is waited for: the origin's time is measured elsewhere.
    fn deadline(&self) -> Option<Instant> {
        let since = self.waiting_since.get()?;
        let too_slow = self.pace.get().map(|pace| since + pace.patience());
        [too_slow, self.until].into_iter().flatten().min()
    }
}

/// Spawns a connection's streams on its worker, each with its pace.
///
/// hyper makes a stream's service future and hands the stream over in the same breath, so the pace that the service left
/// here is this stream's.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamExecutor {
    next: Rc<RefCell<Option<Rc<StreamPace>>>>,
}

impl StreamExecutor {
    /// The pace of the stream that is spawned next.
    pub(super) fn pace_next(&self, pace: Rc<StreamPace>) {
        self.next.replace(Some(pace));
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        match self.next.take() {
            Some(pace) => drop(tokio::task::spawn_local(paced(stream, pace))),
            None => drop(tokio::task::spawn_local(stream)),
        }
    }
}

/// Runs a stream; drops it, which resets it, when its client is too slow.
async fn paced(stream: impl Future<Output = ()>, pace: Rc<StreamPace>) {
    let mut stream = pin!(stream);
    let mut cut: Option<Pin<Box<Sleep>>> = None;
    std::future::poll_fn(|cx| match stream.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => poll_cut(&pace, &mut cut, cx),
    })
    .await;
}

fn poll_cut(pace: &StreamPace, cut: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> Poll<()> {
    let Some(deadline) = pace.deadline() else {
        return Poll::Pending;
    };
    let cut = cut.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
    if cut.deadline() != deadline {
        cut.as_mut().reset(deadline);
    }
    let expired = cut.as_mut().poll(cx);
    if expired.is_ready() {
        tracing::debug!(
            "reset a stream: the client reads more slowly than limits.min_rate or limits.total_timeout allow"
        );
    }
    expired
}
