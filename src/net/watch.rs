//! Which of many sockets can be read: an epoll of our own, level-triggered. I/O.
//!
//! async-io arms every socket anew with a system call after each event, and keeps a lock and
//! wakers for each. Here one task waits for all of them; a socket costs one call in its life.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use async_io::Async;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Sockets reported per call.
const EVENTS: usize = 32;

/// After so many looks in a row that found something, all other tasks have their turn.
const LOOKS: u32 = 8;

/// A set of sockets. One that is closed leaves it by itself.
pub struct Watch {
    set: Async<Set>,
    /// Times in a row that nobody had to wait.
    looks: Cell<u32>,
}

struct Set(Epoll);

impl AsFd for Set {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.as_fd()
    }
}

impl Watch {
    /// No sockets.
    pub fn new() -> io::Result<Self> {
        let set = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Never blocks: it is only ever asked with a timeout of zero.
        Ok(Self {
            set: Async::new_nonblocking(Set(set))?,
            looks: Cell::new(0),
        })
    }

    /// Reports `socket` as `key` while it has something to read or an error.
    pub fn add(&self, socket: &impl AsFd, key: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, key);
        Ok(self.set.get_ref().0.add(socket, event)?)
    }

    /// Waits until a socket may have something, and gives the keys of some that do, perhaps
    /// none. The others are given the next time.
    pub async fn ready(&self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        let mut events = [EpollEvent::empty(); EVENTS];
        // Under load the next ones are there already, and to look costs far less than to wait.
        let mut count = 0;
        if self.looks.replace(self.looks.get() + 1) < LOOKS {
            count = self.set.get_ref().0.wait(&mut events, EpollTimeout::ZERO)?;
        }
        if count == 0 {
            self.looks.set(0);
            self.set.readable().await?;
            count = self.set.get_ref().0.wait(&mut events, EpollTimeout::ZERO)?;
        }
        Ok(events.into_iter().take(count).map(|event| event.data()))
    }
}
