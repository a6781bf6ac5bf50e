//! Who spoke last on a stream, and how long nobody may.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use crate::upstream::UploadError;

/// What both directions of a stream know of each other.
#[derive(Debug)]
pub(super) struct Talk {
    /// How long one side may be silent in the middle of its body.
    idle: Duration,
    /// A gRPC call: how long both may be silent together, once the origin has answered.
    conversation: Option<Duration>,
    /// When the client's last bytes were taken.
    asked: Cell<Instant>,
    /// When the origin's last bytes came; `None` before the head of its answer.
    answered: Cell<Option<Instant>>,
    is_waiting_for_client: Cell<bool>,
    failure: Cell<Option<UploadError>>,
}

impl Talk {
    pub(super) fn new(idle: Duration, conversation: Option<Duration>) -> Self {
        Self {
            idle,
            conversation,
            asked: Cell::new(Instant::now()),
            answered: Cell::new(None),
            is_waiting_for_client: Cell::new(false),
            failure: Cell::new(None),
        }
    }

    /// The client's body was asked for more.
    pub(super) fn client_is_awaited(&self) {
        self.is_waiting_for_client.set(true);
    }

    /// The client delivered, or has nothing more to say.
    pub(super) fn client_spoke(&self) {
        self.is_waiting_for_client.set(false);
        self.asked.set(Instant::now());
    }

    /// The client's body ends early.
    pub(super) fn client_failed(&self, error: UploadError) {
        self.is_waiting_for_client.set(false);
        self.failure.set(Some(error));
    }

    pub(super) fn failure(&self) -> Option<UploadError> {
        self.failure.get()
    }

    /// The origin sent something of its answer.
    pub(super) fn origin_spoke(&self) {
        self.answered.set(Some(Instant::now()));
    }

    /// Until when the head of the answer may take, where the origin has `patience` from the request's last byte. While the
    /// client keeps the origin waiting, the body's own limits hold.
    fn head_until(&self, patience: Duration) -> Instant {
        match self.is_waiting_for_client.get() {
            true => Instant::now() + patience,
            false => self.asked.get() + patience,
        }
    }

    /// Until when a side that has been awaited `since` then may stay silent. In a conversation what the other side says counts
    /// too: it may be the other's turn for hours.
    fn silent_until(&self, since: Instant) -> Instant {
        match (self.conversation, self.answered.get()) {
            (Some(idle), Some(answered)) => since.max(answered).max(self.asked.get()) + idle,
            (Some(_) | None, _) => since + self.idle,
        }
    }
}

/// Waits for the head of an answer; `None`: it did not come in time.
pub(super) async fn in_time<T>(answer: impl Future<Output = T>, talk: &Talk, patience: Duration) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let deadline = talk.head_until(patience);
        if let Ok(answered) = tokio::time::timeout_at(deadline, &mut answer).await {
            return Some(answered);
        }
        if talk.head_until(patience) <= Instant::now() {
            return None;
        }
    }
}

/// Measures how long a side has been awaited. The timer exists only once something was waited for.
#[derive(Debug, Default)]
pub(super) struct Silence {
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    pub(super) fn broken(&mut self) {
        self.since = None;
    }

    /// Whether the side's time is up; if not, the task is woken when it may be.
    pub(super) fn poll_too_long(&mut self, talk: &Talk, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let until = talk.silent_until(since);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if until < timer.deadline() {
            timer.as_mut().reset(until);
        }
        while timer.as_mut().poll(cx).is_ready() {
            // The other side may have spoken since the timer was set.
            let until = talk.silent_until(since);
            if until <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}
