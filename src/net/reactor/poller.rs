//! The thread's epoll, and who is told of its events. I/O.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::slab::Slab;
use super::watch::Seen;

/// Events taken per look.
const EVENTS: usize = 64;

/// An event carries a place, and above it the key of a socket that a watch has. The system has
/// far fewer descriptors than there are places.
const PLACE_BITS: u32 = 24;

/// What is left for keys.
pub(super) const KEY_BITS: u32 = u64::BITS - PLACE_BITS;

/// Sources and watches of a thread.
#[derive(Default)]
pub(super) struct Poller {
    /// None until something is registered.
    epoll: OnceCell<Epoll>,
    places: RefCell<Slab<Place>>,
}

/// Who is told of an event.
pub(super) enum Place {
    Source(Rc<State>),
    Watch(Rc<Seen>),
}

/// What events to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, for listeners and UDP: there, every datagram sent would count as an
    /// event of the other direction.
    Read,
    /// Both directions of a stream.
    Both,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        let read = EpollFlags::EPOLLET | EpollFlags::EPOLLIN;
        match self {
            Self::Read => read,
            Self::Both => read | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP,
        }
    }
}

/// What is known of a source.
#[derive(Default)]
pub(super) struct State {
    pub read: Direction,
    pub write: Direction,
    /// The peer sends no more, or the connection broke: that event does not come again.
    pub ended: Cell<bool>,
}

impl State {
    fn tell(&self, events: EpollFlags) {
        let broken = EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP;
        let ended = broken | EpollFlags::EPOLLRDHUP;
        if events.intersects(ended) {
            self.ended.set(true);
        }
        if events.intersects(ended | EpollFlags::EPOLLIN) {
            self.read.wake();
        }
        if events.intersects(broken | EpollFlags::EPOLLOUT) {
            self.write.wake();
        }
    }
}

/// One direction of a source.
pub(super) struct Direction {
    /// False after WouldBlock, until an event.
    ready: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            ready: Cell::new(true),
            waker: Cell::default(),
        }
    }
}

impl Direction {
    /// The next event is to be waited for.
    pub fn clear(&self) {
        self.ready.set(false);
    }

    fn wake(&self) {
        self.ready.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Pending until it may be ready.
    pub fn poll(&self, waker: &Waker) -> Poll<()> {
        if self.ready.get() {
            return Poll::Ready(());
        }
        keep(&self.waker, waker);
        Poll::Pending
    }

    /// Does what may succeed; WouldBlock, of the act or at once, when there is an event to
    /// wait for first.
    pub fn attempt<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.ready.get() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = act();
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::WouldBlock
        {
            self.clear();
        }
        result
    }
}

/// Notes whom to wake.
pub(super) fn keep(place: &Cell<Option<Waker>>, waker: &Waker) {
    let known = place.take().filter(|known| known.will_wake(waker));
    place.set(known.or_else(|| Some(waker.clone())));
}

impl Poller {
    fn epoll(&self) -> io::Result<&Epoll> {
        if let Some(epoll) = self.epoll.get() {
            return Ok(epoll);
        }
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        Ok(self.epoll.get_or_init(|| epoll))
    }

    /// Registers a source. Its state, and its place.
    pub fn add(&self, io: &impl AsFd, interest: Interest) -> io::Result<(Rc<State>, usize)> {
        let epoll = self.epoll()?;
        let state = Rc::new(State::default());
        let place = self.enter(Place::Source(Rc::clone(&state)));
        let event = EpollEvent::new(interest.flags(), place as u64);
        if let Err(error) = epoll.add(io, event) {
            self.leave(place);
            return Err(error.into());
        }
        Ok((state, place))
    }

    /// Forgets a source that is still open.
    pub fn remove(&self, io: &impl AsFd, place: usize) {
        if let Some(epoll) = self.epoll.get() {
            // It is registered. Merely closed, a copy of it would still tell events.
            let _ = epoll.delete(io);
        }
        self.leave(place);
    }

    /// Registers a socket of a watch.
    pub fn watch(&self, socket: &impl AsFd, place: usize, key: u64) -> io::Result<()> {
        let number = key << PLACE_BITS | place as u64;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
        Ok(self.epoll()?.add(socket, event)?)
    }

    /// Sources and watches that are there.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.places.borrow().iter().count()
    }

    /// A place for somebody new.
    pub fn enter(&self, who: Place) -> usize {
        self.places.borrow_mut().insert(who)
    }

    /// Nobody is to be told any more.
    pub fn leave(&self, place: usize) -> Option<Place> {
        self.places.borrow_mut().remove(place)
    }

    /// Waits for events, `limit` at most, and tells whom they concern.
    pub fn wait(&self, limit: Option<Duration>) {
        let Some(epoll) = self.epoll.get() else {
            // Without a source only time can change anything.
            return std::thread::sleep(limit.unwrap_or(Duration::MAX));
        };
        let mut events = [EpollEvent::empty(); EVENTS];
        // The one error of a set of ours is that a signal came in between: no events.
        let count = epoll.wait(&mut events, timeout(limit)).unwrap_or(0);
        let places = self.places.borrow();
        for event in &events[..count] {
            let place = event.data() as usize & ((1 << PLACE_BITS) - 1);
            match places.get(place) {
                Some(Place::Source(state)) => state.tell(event.events()),
                Some(Place::Watch(seen)) => seen.tell(event.data() >> PLACE_BITS),
                None => {}
            }
        }
    }
}

/// In milliseconds, rounded up: a timer is never looked at too early.
fn timeout(limit: Option<Duration>) -> EpollTimeout {
    let Some(limit) = limit else {
        return EpollTimeout::NONE;
    };
    let part = limit.subsec_nanos().div_ceil(1_000_000);
    let whole = limit.as_secs().saturating_mul(1000);
    EpollTimeout::try_from(whole.saturating_add(part.into())).unwrap_or(EpollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_or_an_error_is_told_to_both_directions() {
        for (events, told) in [
            (EpollFlags::EPOLLIN, (true, false, false)),
            (EpollFlags::EPOLLOUT, (false, true, false)),
            (EpollFlags::EPOLLRDHUP, (true, false, true)),
            (EpollFlags::EPOLLHUP, (true, true, true)),
            (EpollFlags::EPOLLERR, (true, true, true)),
        ] {
            let state = State::default();
            state.read.clear();
            state.write.clear();
            state.tell(events);
            let seen = (&state.read.ready, &state.write.ready, &state.ended);
            assert_eq!(
                (seen.0.get(), seen.1.get(), seen.2.get()),
                told,
                "{events:?}"
            );
        }
    }

    #[test]
    fn limits_are_rounded_up_to_milliseconds() {
        let rounded = |limit| timeout(Some(limit)).as_millis();
        assert!(timeout(None).is_none());
        assert_eq!(rounded(Duration::ZERO), Some(0));
        assert_eq!(rounded(Duration::from_nanos(1)), Some(1));
        assert_eq!(rounded(Duration::from_micros(1001)), Some(2));
        assert_eq!(rounded(Duration::from_secs(5)), Some(5000));
        assert_eq!(rounded(Duration::MAX), Some(i32::MAX as u32));
    }
}
