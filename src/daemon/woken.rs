//! A future that is polled only when something it waits for has come.
//!
//! An executor polls the future that it runs whenever any of its tasks is due. That of the
//! daemon waits for signals, links and requests of `dae status`, each of which is a system call
//! to look for, and would be looked for with every DNS query.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// See the module.
pub struct Woken<F> {
    future: Pin<Box<F>>,
    call: Arc<Call>,
    waker: Waker,
}

struct Call {
    came: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.came.store(true, Ordering::Release);
        let outer = self.outer.lock();
        if let Some(outer) = outer.unwrap_or_else(PoisonError::into_inner).take() {
            outer.wake();
        }
    }
}

impl<F: Future> Woken<F> {
    /// Wraps a future.
    pub fn new(future: F) -> Self {
        let call = Arc::new(Call {
            came: AtomicBool::new(true),
            outer: Mutex::new(None),
        });
        Self {
            future: Box::pin(future),
            waker: Arc::clone(&call).into(),
            call,
        }
    }
}

impl<F: Future> Future for Woken<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        // Before the look: a call in between is then seen or wakes.
        let outer = this.call.outer.lock();
        *outer.unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
        if !this.call.came.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        this.future
            .as_mut()
            .poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use futures_lite::future;

    use super::*;

    #[test]
    fn others_do_not_poll_it_and_its_own_call_does() {
        let polls = Rc::new(Cell::new(0));
        let own: Rc<Cell<Option<Waker>>> = Rc::default();
        let (counted, kept) = (Rc::clone(&polls), Rc::clone(&own));
        let waits = future::poll_fn(move |context| {
            counted.set(counted.get() + 1);
            kept.set(Some(context.waker().clone()));
            if counted.get() == 3 {
                Poll::Ready(7)
            } else {
                Poll::Pending
            }
        });
        let mut woken = Box::pin(Woken::new(waits));
        future::block_on(async {
            for _ in 0..10 {
                assert_eq!(future::poll_once(&mut woken).await, None);
            }
            assert_eq!(polls.get(), 1);
            own.take().unwrap().wake();
            for _ in 0..10 {
                assert_eq!(future::poll_once(&mut woken).await, None);
            }
            assert_eq!(polls.get(), 2);
        });
        // From within a poll of somebody else's: the outer one is woken too.
        let waker = own.take().unwrap();
        let call = async {
            future::yield_now().await;
            waker.wake();
            future::pending().await
        };
        assert_eq!(future::block_on(future::or(woken, call)), 7);
    }
}
