//! Timers: an ordered map, no system call of their own. I/O.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::{try_with, with};

/// When, and a number that makes it unique.
type Key = (Instant, u64);

/// Timers that are waited for.
#[derive(Default)]
pub(super) struct Timers {
    waiting: RefCell<BTreeMap<Key, Waker>>,
    last: Cell<u64>,
}

impl Timers {
    /// When the first one is due.
    pub fn next(&self) -> Option<Instant> {
        let waiting = self.waiting.borrow();
        waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Wakes those that are due.
    pub fn fire(&self) {
        if self.waiting.borrow().is_empty() {
            return;
        }
        let now = Instant::now();
        while self.next().is_some_and(|at| at <= now) {
            let first = self.waiting.borrow_mut().pop_first();
            first.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    /// Timers that wait.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.waiting.borrow().len()
    }

    fn insert(&self, at: Instant, waker: &Waker) -> Key {
        self.last.set(self.last.get() + 1);
        let key = (at, self.last.get());
        self.waiting.borrow_mut().insert(key, waker.clone());
        key
    }

    /// Whether it is still waited for; `waker` is then the one to wake.
    fn renew(&self, key: Key, waker: &Waker) -> bool {
        match self.waiting.borrow_mut().get_mut(&key) {
            Some(known) => {
                known.clone_from(waker);
                true
            }
            None => false,
        }
    }
}

/// Waits for a point in time, a millisecond more at most when nothing else is to be done.
/// Gives the time that it was set to.
#[derive(Debug)]
#[must_use = "a timer does nothing unless awaited"]
pub struct Timer {
    at: Instant,
    /// Its place among those that wait; none before the first poll.
    key: Option<Key>,
}

impl Timer {
    /// Due at `at`.
    pub fn at(at: Instant) -> Self {
        Self { at, key: None }
    }

    /// Due in `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self::at(Instant::now() + duration)
    }
}

impl Future for Timer {
    type Output = Instant;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Instant> {
        // The clock is not asked: the loop takes away those that are due.
        match self.key {
            None => self.key = Some(with(|local| local.timers.insert(self.at, context.waker()))),
            Some(key) => {
                if !with(|local| local.timers.renew(key, context.waker())) {
                    return Poll::Ready(self.at);
                }
            }
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // The waker is dropped outside of the borrow.
            let _waker = try_with(|local| local.timers.waiting.borrow_mut().remove(&key));
        }
    }
}
