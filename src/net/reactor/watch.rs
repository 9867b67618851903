//! Many sockets that one task serves. I/O.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::poller::{KEY_BITS, Place, keep};
use super::{try_with, with};

/// Keys that wait at most. What is left out is told by the next look.
const KEYS: usize = 256;

/// A set of sockets. The key of each is told while it has something to read or an error
/// (level-triggered), so a socket costs one system call in its life.
pub struct Watch {
    seen: Rc<Seen>,
    place: usize,
}

/// Keys that have been told.
#[derive(Default)]
pub(super) struct Seen {
    keys: RefCell<Vec<u64>>,
    waker: Cell<Option<Waker>>,
}

impl Seen {
    pub fn tell(&self, key: u64) {
        let mut keys = self.keys.borrow_mut();
        if keys.len() < KEYS {
            keys.push(key);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        let seen = Rc::<Seen>::default();
        let entry = Place::Watch(Rc::clone(&seen));
        let place = with(|local| local.poller.enter(entry));
        Self { seen, place }
    }
}

impl Watch {
    /// Adds a socket. It leaves when it is closed, so it must have no copy. A key is below
    /// 2^40; one that is never given to another socket cannot be mistaken.
    pub fn add(&self, socket: &impl AsFd, key: u64) -> io::Result<()> {
        if key >> KEY_BITS != 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        with(|local| local.poller.watch(socket, self.place, key))
    }

    /// Waits for keys and puts them into `keys` in place of what is there. Their sockets may be
    /// closed already. Until their sockets are read from, the loop does not sleep: one task
    /// asks, and serves what it was told before it waits for anything else.
    pub async fn ready(&self, keys: &mut Vec<u64>) {
        keys.clear();
        poll_fn(|context| {
            let mut seen = self.seen.keys.borrow_mut();
            if seen.is_empty() {
                keep(&self.seen.waker, context.waker());
                return Poll::Pending;
            }
            // Both keep their memory.
            std::mem::swap(&mut *seen, keys);
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _seen = try_with(|local| local.poller.leave(self.place));
    }
}
