//! Room for the requests under way: thousands of bytes each, for the time that it takes.

use std::{
    any::Any,
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Slots that are kept for the next requests; more of them come and go.
const KEPT: usize = 64;

/// A worker's slots. A connection that waits for its next request has none, and taking one allocates nothing.
#[derive(Debug, Default)]
pub(in crate::server) struct Slots(RefCell<Vec<Box<dyn Any>>>);

/// A future in its slot.
pub(super) struct Held<'s, F: 'static> {
    slots: &'s Slots,
    /// `None` only when it is dropped.
    slot: Option<Box<Slot<F>>>,
}

type Slot<F> = Pin<Box<Option<F>>>;

impl Slots {
    pub(super) fn hold<F: Future + 'static>(&self, future: F) -> Held<'_, F> {
        // All are of one kind: a worker has one gate.
        let kept = self
            .0
            .borrow_mut()
            .pop()
            .and_then(|slot| slot.downcast::<Slot<F>>().ok());
        let slot = match kept {
            Some(mut slot) => {
                slot.set(Some(future));
                slot
            }
            None => Box::new(Box::pin(Some(future))),
        };
        Held {
            slots: self,
            slot: Some(slot),
        }
    }
}

impl<F: Future + 'static> Held<'_, F> {
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        let future = self.slot.as_mut().and_then(|slot| slot.as_mut().as_mut().as_pin_mut());
        future.map_or(Poll::Pending, |future| future.poll(cx))
    }
}

impl<F: 'static> Drop for Held<'_, F> {
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        slot.set(None);
        let mut kept = self.slots.0.borrow_mut();
        if kept.len() < KEPT {
            kept.push(slot);
        }
    }
}

/// Buffers that answers are gathered in, kept for the next ones.
#[derive(Debug, Default)]
pub(in crate::server) struct Buffers(RefCell<Vec<Vec<u8>>>);

impl Buffers {
    /// An empty one.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(2048))
    }

    /// Gives one back.
    pub(super) fn give(&self, mut buffer: Vec<u8>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT {
            buffer.clear();
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_slot_is_used_again_and_nothing_of_its_last_future_is_left() {
        let slots = Slots::default();
        let mut cx = Context::from_waker(Waker::noop());
        for number in 0..3 {
            let witness = std::rc::Rc::new(number);
            let held_by = std::rc::Rc::clone(&witness);
            let make = || async move { *held_by };
            let mut held = slots.hold(make_of(make));
            assert_eq!(held.poll(&mut cx), Poll::Ready(number));
            drop(held);
            assert_eq!((std::rc::Rc::strong_count(&witness), slots.0.borrow().len()), (1, 1));
        }
    }

    fn make_of<F: Future>(make: impl FnOnce() -> F) -> F {
        make()
    }
}
