//! A deadline that moves with every request and touches the timer with almost none.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for all the deadlines of a connection, one after the other. It is left running when a deadline moves later,
/// looks again when it runs out, and so is set about once in a timeout's length however many requests there are.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Clock(Option<Pin<Box<Sleep>>>);

impl Clock {
    /// Ready at the deadline; the task is woken by then.
    pub(in crate::upstream) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn a_deadline_holds_whatever_the_ones_before_were() {
        let mut clock = Clock::default();
        for (first, second) in [(SHORT, 3 * SHORT), (30_000 * SHORT, SHORT), (SHORT, SHORT)] {
            let began = Instant::now();
            poll_fn(|cx| {
                let _early = clock.poll(cx, began + first);
                Poll::Ready(())
            })
            .await;
            poll_fn(|cx| clock.poll(cx, began + second)).await;
            assert!(began + second <= Instant::now());
        }
    }
}
