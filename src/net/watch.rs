//! Which of many sockets can be read: an epoll of our own, level-triggered. I/O.
//!
//! async-io arms every socket anew with a system call after each event, and keeps a lock and
//! wakers for each. Here one task waits for all of them; a socket costs one call in its life.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use async_io::Async;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Sockets reported per call.
const EVENTS: usize = 32;

/// A set of sockets. One that is closed leaves it by itself.
pub struct Watch(Async<Set>);

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
        Ok(Self(Async::new_nonblocking(Set(set))?))
    }

    /// Reports `socket` as `key` while it has something to read or an error.
    pub fn add(&self, socket: &impl AsFd, key: u64) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, key);
        Ok(self.0.get_ref().0.add(socket, event)?)
    }

    /// Waits until a socket may have something, and gives the keys of some that do, perhaps
    /// none. The others are given the next time.
    pub async fn ready(&self) -> io::Result<impl Iterator<Item = u64> + use<>> {
        self.0.readable().await?;
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.0.get_ref().0.wait(&mut events, EpollTimeout::ZERO)?;
        Ok(events.into_iter().take(count).map(|event| event.data()))
    }
}
