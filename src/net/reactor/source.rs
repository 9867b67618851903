//! Sockets, and whatever else epoll knows, as things to await. I/O.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite};
use nix::sys::socket::{Shutdown, shutdown};

use super::poller::{Direction, Interest, State};
use super::{try_with, with};

/// A descriptor that does not block, registered with the thread's epoll until it is dropped.
///
/// Events are edge-triggered: they tell that something came, not that something is there. So
/// whoever wants to read tries first and waits when that said WouldBlock. Everything that may
/// say so is to be done by one of the methods here, which note it. In each direction one task
/// may wait at a time; another one would take its place.
pub struct Source<T: AsFd> {
    state: Rc<State>,
    place: usize,
    io: T,
}

impl<T: AsFd> Source<T> {
    /// Registers `io`, which must not block. An error is that of the system: out of
    /// descriptors, memory or watches.
    pub fn new(io: T, interest: Interest) -> io::Result<Self> {
        let (state, place) = with(|local| local.poller.add(&io, interest))?;
        Ok(Self { state, place, io })
    }

    /// For what cannot say WouldBlock.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// Reads by `act` as soon as that does not say WouldBlock.
    pub async fn read_with<R>(&self, act: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.done_with(&self.state.read, act).await
    }

    /// Writes by `act` as soon as that does not say WouldBlock. Needs [`Interest::Both`].
    pub async fn write_with<R>(&self, act: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.done_with(&self.state.write, act).await
    }

    /// Reads by `act` without waiting.
    pub fn try_read<R>(&self, act: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.state.read.attempt(|| act(&self.io))
    }

    /// Writes by `act` without waiting.
    pub fn try_write<R>(&self, act: impl FnOnce(&T) -> io::Result<R>) -> io::Result<R> {
        self.state.write.attempt(|| act(&self.io))
    }

    /// Waits until there may be something to read: at once unless the last look said
    /// WouldBlock.
    pub async fn readable(&self) {
        poll_fn(|context| self.state.read.poll(context.waker())).await;
    }

    /// Waits until there may be room to write: at once unless the last look said WouldBlock.
    /// Needs [`Interest::Both`].
    pub async fn writable(&self) {
        poll_fn(|context| self.state.write.poll(context.waker())).await;
    }

    /// The last read took all there was, as good as a WouldBlock. Of a stream that cannot be
    /// known: its end may have come with the bytes, and is not told again.
    pub fn drained(&self) {
        self.state.read.clear();
    }

    /// Nothing can be written yet, as good as a WouldBlock.
    pub fn filled(&self) {
        self.state.write.clear();
    }

    async fn done_with<R>(
        &self,
        direction: &Direction,
        mut act: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        poll_fn(|context| self.poll_with(direction, context.waker(), &mut act)).await
    }

    fn poll_with<R>(
        &self,
        direction: &Direction,
        waker: &Waker,
        act: impl FnOnce(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match direction.attempt(|| act(&self.io)) {
            // Not ready any more, so this is Pending.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                direction.poll(waker).map(|()| Err(error))
            }
            result => Poll::Ready(result),
        }
    }
}

impl<T: AsFd> Drop for Source<T> {
    fn drop(&mut self) {
        try_with(|local| local.poller.remove(&self.io, self.place));
    }
}

impl<T: AsFd> AsFd for Source<T> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<T: AsFd + fmt::Debug> fmt::Debug for Source<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Source").field(&self.io).finish()
    }
}

/// For streams, whose end is an event of its own ([`Interest::Both`]).
impl<T: AsFd> AsyncRead for &Source<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = &self.state.read;
        let result = self.poll_with(read, context.waker(), |mut io| io.read(buffer));
        // A read that is cut short took all there was (epoll(7)).
        if let Poll::Ready(Ok(count)) = &result
            && *count < buffer.len()
            && !self.state.ended.get()
        {
            self.drained();
        }
        result
    }
}

impl<T: AsFd> AsyncWrite for &Source<T>
where
    for<'a> &'a T: Write,
{
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let write = &self.state.write;
        self.poll_with(write, context.waker(), |mut io| io.write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that no more bytes will come.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = shutdown(self.io.as_fd().as_raw_fd(), Shutdown::Write);
        Poll::Ready(closed.map_err(io::Error::from))
    }
}
