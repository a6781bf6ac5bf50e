//! Turns at TLS handshakes: what keeps a flood of them from holding up everything else on its worker.
//!
//! A full handshake takes the worker's thread for longer than several requests do, and a thousand clients that connect at
//! once make a thousand of them ready at once. A scheduler that takes its tasks in order would let every established
//! connection wait for all. So a step of a handshake takes a turn; there are `limits.handshake_turns` of them until the
//! worker has looked at its sockets again and run all that was ready. Who comes later waits in order.

use std::{future::Future, pin::pin, task::Poll};

use tokio::sync::{Notify, Semaphore};

/// The turns of one worker.
#[derive(Debug)]
pub(super) struct HandshakeTurns {
    /// Those left in this round. Waits are in order, and as many as there are connections at most.
    left: Semaphore,
    taken: Notify,
}

impl HandshakeTurns {
    /// The first round is as good as over: its turns come with [`Self::renew`].
    pub(super) fn new() -> Self {
        Self {
            left: Semaphore::const_new(0),
            taken: Notify::const_new(),
        }
    }

    /// Gives every round its turns, for as long as it is polled.
    pub(super) async fn renew(&self, turns: impl Fn() -> usize) {
        loop {
            let missing = turns().saturating_sub(self.left.available_permits());
            self.left.add_permits(missing);
            self.taken.notified().await;
            // The runtime wakes who yields only after it has run all that was ready, and has then looked at its sockets.
            tokio::task::yield_now().await;
        }
    }

    /// Runs a handshake, each of its steps in a turn of its own.
    pub(super) async fn advance<F: Future>(&self, handshake: F) -> F::Output {
        let mut handshake = pin!(handshake);
        loop {
            self.take().await;
            let step = std::future::poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx)));
            if let Poll::Ready(done) = step.await {
                return done;
            }
            woken().await;
        }
    }

    async fn take(&self) {
        // It is never closed.
        if let Ok(turn) = self.left.acquire().await {
            turn.forget();
        }
        self.taken.notify_one();
    }
}

/// Until this task is woken by what it polled before.
async fn woken() {
    let mut waited = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use super::*;

    /// What happens in which order when so many handshakes of one step become ready at once, beside a task that is ready
    /// in every round.
    async fn order(turns: usize, handshakes: usize) -> Vec<&'static str> {
        let shared = Rc::new(HandshakeTurns::new());
        let seen = Rc::new(RefCell::new(Vec::new()));
        let renewing = Rc::clone(&shared);
        let renewal = tokio::task::spawn_local(async move { renewing.renew(|| turns).await });
        let tasks: Vec<_> = (0..handshakes)
            .map(|_| {
                let (shared, seen) = (Rc::clone(&shared), Rc::clone(&seen));
                tokio::task::spawn_local(async move {
                    shared.advance(async { seen.borrow_mut().push("handshake") }).await;
                })
            })
            .collect();
        let beside = {
            let seen = Rc::clone(&seen);
            tokio::task::spawn_local(async move {
                loop {
                    tokio::task::yield_now().await;
                    seen.borrow_mut().push("other");
                }
            })
        };
        for task in tasks {
            task.await.expect("no panic");
        }
        renewal.abort();
        beside.abort();
        Rc::try_unwrap(seen).map_or_else(|seen| seen.borrow().clone(), RefCell::into_inner)
    }

    #[tokio::test(flavor = "local")]
    async fn others_run_between_the_turns_of_a_flood() {
        let order = order(3, 30).await;
        let longest = order.split(|what| *what == "other").map(<[_]>::len).max();
        assert_eq!(longest, Some(3), "{order:?}");
        assert_eq!(order.iter().filter(|what| **what == "handshake").count(), 30);
    }

    #[tokio::test(flavor = "local")]
    async fn a_handshake_takes_a_turn_for_each_of_its_steps_and_in_order() {
        let shared = Rc::new(HandshakeTurns::new());
        let renewing = Rc::clone(&shared);
        let renewal = tokio::task::spawn_local(async move { renewing.renew(|| 1).await });
        let seen = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..3)
            .map(|number| {
                let (shared, seen) = (Rc::clone(&shared), Rc::clone(&seen));
                tokio::task::spawn_local(async move {
                    let steps = async {
                        for step in 0..2 {
                            seen.borrow_mut().push((step, number));
                            tokio::task::yield_now().await;
                        }
                    };
                    shared.advance(steps).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        renewal.abort();
        assert_eq!(*seen.borrow(), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
    }
}
