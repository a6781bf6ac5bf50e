//! Room for the requests under way: thousands of bytes each, for the time that it takes.
//!
//! A slot's future is made once and then answers one question after the other. A request so allocates no room, and what it
//! needs to remember between two awaits is never moved.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// Slots that are kept for the next requests; more of them come and go.
const KEPT: usize = 256;

/// A worker's slots, for questions `Q` whose answers are `A`.
pub(super) struct Slots<Q, A>(RefCell<Vec<Slot<Q, A>>>);

/// Room for one question.
struct Slot<Q, A> {
    desk: Rc<Desk<Q, A>>,
    /// Answers what is laid on the desk. Never ends.
    answering: Pin<Box<dyn Future<Output = ()>>>,
}

struct Desk<Q, A> {
    question: Cell<Option<Q>>,
    answer: Cell<Option<A>>,
}

/// A question under way; dropped before its answer, everything that was done for it ends.
pub(super) struct UnderWay<Q, A> {
    slots: Rc<Slots<Q, A>>,
    /// `None` once it is answered.
    slot: Option<Slot<Q, A>>,
}

impl<Q, A> Default for Slots<Q, A> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<Q: 'static, A: 'static> Slots<Q, A> {
    /// Has a question answered by `answer`, which is the same for all of them.
    pub(super) fn ask(self: &Rc<Self>, question: Q, answer: impl AsyncFn(Q) -> A + 'static) -> UnderWay<Q, A> {
        let kept = self.0.borrow_mut().pop();
        let slot = kept.unwrap_or_else(|| Slot::new(answer));
        slot.desk.question.set(Some(question));
        UnderWay {
            slots: Rc::clone(self),
            slot: Some(slot),
        }
    }
}

impl<Q: 'static, A: 'static> Slot<Q, A> {
    fn new(answer: impl AsyncFn(Q) -> A + 'static) -> Self {
        let desk = Rc::new(Desk {
            question: Cell::new(None),
            answer: Cell::new(None),
        });
        let seen = Rc::clone(&desk);
        let answering = async move {
            loop {
                let question = poll_fn(|_| seen.question.take().map_or(Poll::Pending, Poll::Ready)).await;
                seen.answer.set(Some(answer(question).await));
            }
        };
        Self {
            desk,
            answering: Box::pin(answering),
        }
    }
}

impl<Q, A> Future for UnderWay<Q, A> {
    type Output = A;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A> {
        let Some(slot) = &mut self.slot else {
            return Poll::Pending;
        };
        // Pending also with an answer: it then waits for the next question.
        let _pending = slot.answering.as_mut().poll(cx);
        let Some(answer) = slot.desk.answer.take() else {
            return Poll::Pending;
        };
        let slot = self.slot.take();
        let mut kept = self.slots.0.borrow_mut();
        if kept.len() < KEPT {
            kept.extend(slot);
        }
        drop(kept);
        Poll::Ready(answer)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    type Numbers = Slots<(u32, Rc<()>), u32>;

    fn ask(slots: &Rc<Numbers>, number: u32, witness: &Rc<()>) -> UnderWay<(u32, Rc<()>), u32> {
        slots.ask((number, Rc::clone(witness)), async |(number, _witness)| {
            if number == 0 {
                std::future::pending::<()>().await;
            }
            number + 1
        })
    }

    #[test]
    fn a_slot_is_used_again_and_nothing_of_its_last_question_is_left() {
        let (slots, witness) = (Rc::new(Numbers::default()), Rc::new(()));
        let mut cx = Context::from_waker(Waker::noop());
        for number in 1..4 {
            let mut asked = ask(&slots, number, &witness);
            assert_eq!(Pin::new(&mut asked).poll(&mut cx), Poll::Ready(number + 1));
            assert_eq!((Rc::strong_count(&witness), slots.0.borrow().len()), (1, 1));
        }
    }

    #[test]
    fn what_is_given_up_ends_and_its_slot_is_used_no_more() {
        let (slots, witness) = (Rc::new(Numbers::default()), Rc::new(()));
        let mut cx = Context::from_waker(Waker::noop());
        let mut asked = ask(&slots, 0, &witness);
        assert!(Pin::new(&mut asked).poll(&mut cx).is_pending());
        assert_eq!(Rc::strong_count(&witness), 2);
        drop(asked);
        assert_eq!((Rc::strong_count(&witness), slots.0.borrow().len()), (1, 0));
    }
}
