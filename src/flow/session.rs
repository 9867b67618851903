//! The table of UDP sessions. Pure: workers are values, time is an argument.
//!
//! A session is a client's address with an outbound; all of its datagrams share one upstream
//! socket, wherever they go. The table owns a worker per session, made when the session is
//! and dropped with it, so there are exactly as many workers as sessions. A worker names its
//! session by [`Id`], which no later session has.

mod failures;
mod order;
mod terms;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::kind::{KINDS, Kind};
use failures::Failures;
use order::Lists;

pub use terms::{Arrival, Counts, End, Id, Key, Limits, Offer, Queued};

struct Session<W> {
    key: Key,
    serial: u64,
    used: Instant,
    /// The kind with the longest idle time of those that came.
    kind: Kind,
    stage: Stage,
    worker: W,
}

enum Stage {
    Dialling { queue: Vec<Queued> },
    Ready { since: Instant },
}

/// Sessions by key, and in the order of their last use.
pub struct Table<W> {
    limits: Limits,
    places: HashMap<Key, u32, RandomState>,
    /// A list per kind, as each has its own idle time.
    sessions: Lists<Session<W>, KINDS>,
    failures: Failures<Key>,
    last_serial: u64,
    queued_bytes: usize,
    counts: Counts,
}

impl<W> Table<W> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            places: HashMap::default(),
            sessions: Lists::new(),
            failures: Failures::new(limits.sessions, limits.retry),
            last_serial: 0,
            queued_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// True when nothing is there to expire.
    pub fn is_empty(&self) -> bool {
        self.sessions.len() == 0 && self.failures.is_empty()
    }

    /// Sessions, and so workers.
    pub fn active(&self) -> usize {
        self.sessions.len()
    }

    /// Datagrams and bytes that wait in all queues.
    pub fn queued(&self) -> (usize, usize) {
        let waiting = |session: &Session<W>| match &session.stage {
            Stage::Dialling { queue } => queue.len(),
            Stage::Ready { .. } => 0,
        };
        let datagrams = self.sessions.iter().map(|(_, session)| waiting(session));
        (datagrams.sum(), self.queued_bytes)
    }

    /// Workers of all sessions and when each was used last, in no order.
    pub fn workers(&self) -> impl Iterator<Item = (&W, Kind, Instant)> {
        let sessions = self.sessions.iter().map(|(_, session)| session);
        sessions.map(|session| (&session.worker, session.kind, session.used))
    }

    /// Events since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Other idle times, from now on; of [`Limits::idle`].
    pub fn set_idle(&mut self, idle: [Duration; KINDS]) {
        self.limits.idle = idle;
    }

    /// Another bound of sessions; those that are too many end, the least recently used first.
    pub fn set_limit(&mut self, sessions: usize) {
        self.limits.sessions = sessions.max(1);
        while self.sessions.len() > self.limits.sessions
            && let Some(oldest) = self.sessions.oldest_of_all()
        {
            self.drop_unsent(oldest);
            self.counts.evicted += 1;
        }
    }

    /// A client's datagram. `open` is called when it begins a session, and returns the worker
    /// that shall dial and then call [`Table::ready`] or [`Table::end`].
    pub fn offer(
        &mut self,
        arrival: Arrival<'_>,
        now: Instant,
        open: impl FnOnce(Id) -> W,
    ) -> Offer<'_, W> {
        let Arrival { key, payload, .. } = arrival;
        let place = match self.places.get(&key) {
            Some(&place) => {
                self.renew(place, Some(arrival.kind), now);
                place
            }
            None if self.failures.refuses(&key, now) => {
                self.counts.dropped_failed += 1;
                return Offer::Dropped;
            }
            None => self.insert(key, arrival.kind, now, open),
        };
        match self.sessions.get_mut(place) {
            Some(Session {
                stage: Stage::Ready { .. },
                worker,
                ..
            }) => Offer::Send(worker),
            Some(Session {
                stage: Stage::Dialling { queue },
                ..
            }) if queue.len() < self.limits.queue
                && self.queued_bytes + payload.len() <= self.limits.queue_bytes =>
            {
                queue.push(Queued {
                    destination: arrival.destination,
                    payload: payload.into(),
                });
                self.queued_bytes += payload.len();
                Offer::Queued
            }
            _ => {
                self.counts.dropped_queue_full += 1;
                Offer::Dropped
            }
        }
    }

    /// The session's outbound is there: the worker, and what waited for it, oldest first.
    /// None when the session has ended meanwhile.
    pub fn ready(&mut self, id: Id, now: Instant) -> Option<(&mut W, Vec<Queued>)> {
        let session = current(&mut self.sessions, id)?;
        let Stage::Dialling { queue } = &mut session.stage else {
            return None;
        };
        let queue = std::mem::take(queue);
        session.stage = Stage::Ready { since: now };
        self.queued_bytes -= bytes(&queue);
        Some((&mut session.worker, queue))
    }

    /// A datagram came back: the session lives on. False when it has ended.
    pub fn touch(&mut self, id: Id, now: Instant) -> bool {
        let is_there = current(&mut self.sessions, id).is_some();
        if is_there {
            self.renew(id.place, None, now);
        }
        is_there
    }

    /// The outbound failed, or the far side ended the session. None when it has ended already.
    pub fn end(&mut self, id: Id, now: Instant) -> Option<End<W>> {
        if current(&mut self.sessions, id).is_none() {
            self.counts.removal_failed += 1;
            return None;
        }
        let session = self.take(id.place)?;
        let failed = match &session.stage {
            Stage::Dialling { queue } => {
                self.counts.dropped_failed += queue.len() as u64;
                self.failures.refuse(session.key, now);
                true
            }
            Stage::Ready { since } => {
                let soon = now.saturating_duration_since(*since) < self.limits.retry;
                soon && self.failures.ended_soon(session.key, now)
            }
        };
        if failed {
            self.counts.failed += 1;
            Some(End::Failed(session.worker))
        } else {
            self.counts.ended += 1;
            Some(End::Closed(session.worker))
        }
    }

    /// Ends sessions that have not been used for the time of their kind.
    pub fn expire(&mut self, now: Instant) {
        for kind in Kind::ALL {
            let idle = self.limits.idle[kind.index()];
            while let Some((place, session)) = self.sessions.oldest(kind.index())
                && now.saturating_duration_since(session.used) >= idle
            {
                self.drop_unsent(place);
                self.counts.expired += 1;
            }
        }
        self.failures.expire(now);
    }

    /// Ends those sessions; how many there were.
    pub fn cut(&mut self, which: impl Fn(&Key, &W) -> bool) -> usize {
        let places = self.find(which);
        for place in &places {
            self.drop_unsent(*place);
        }
        self.counts.cut += places.len() as u64;
        places.len()
    }

    /// The client's next datagrams begin other sessions. Those that are there hand back answers
    /// until they end.
    pub fn retire(&mut self, which: impl Fn(&Key, &W) -> bool) {
        for place in self.find(which) {
            if let Some(session) = self.sessions.get_mut(place) {
                forget(&mut self.places, &session.key, place);
            }
        }
    }

    /// Ends all sessions.
    pub fn clear(&mut self) {
        self.places.clear();
        self.sessions = Lists::new();
        self.failures.clear();
        self.queued_bytes = 0;
    }

    fn find(&self, which: impl Fn(&Key, &W) -> bool) -> Vec<u32> {
        let sessions = self.sessions.iter();
        let found = sessions.filter(|(_, session)| which(&session.key, &session.worker));
        found.map(|(place, _)| place).collect()
    }

    fn insert(&mut self, key: Key, kind: Kind, now: Instant, open: impl FnOnce(Id) -> W) -> u32 {
        if self.sessions.len() >= self.limits.sessions
            && let Some(oldest) = self.sessions.oldest_of_all()
        {
            self.drop_unsent(oldest);
            self.counts.evicted += 1;
        }
        self.last_serial += 1;
        self.counts.created += 1;
        let serial = self.last_serial;
        let place = self.sessions.next_place();
        let session = Session {
            key,
            serial,
            used: now,
            kind,
            stage: Stage::Dialling { queue: Vec::new() },
            worker: open(Id { place, serial }),
        };
        let inserted = self.sessions.insert(kind.index(), session);
        debug_assert_eq!(inserted, place);
        self.places.insert(key, place);
        place
    }

    fn renew(&mut self, place: u32, kind: Option<Kind>, now: Instant) {
        let idle = &self.limits.idle;
        let Some(session) = self.sessions.get_mut(place) else {
            return;
        };
        session.used = now;
        if let Some(kind) = kind
            && idle[kind.index()] > idle[session.kind.index()]
        {
            session.kind = kind;
        }
        let list = session.kind.index();
        self.sessions.renew(place, list);
    }

    /// Ends a session, and with it what waited.
    fn drop_unsent(&mut self, place: u32) {
        if let Some(session) = self.take(place)
            && let Stage::Dialling { queue } = &session.stage
        {
            self.counts.dropped_unsent += queue.len() as u64;
        }
    }

    fn take(&mut self, place: u32) -> Option<Session<W>> {
        let session = self.sessions.remove(place)?;
        forget(&mut self.places, &session.key, place);
        if let Stage::Dialling { queue } = &session.stage {
            self.queued_bytes -= bytes(queue);
        }
        Some(session)
    }
}

/// The session that a worker means, unless another one has taken its place.
fn current<W>(sessions: &mut Lists<Session<W>, KINDS>, id: Id) -> Option<&mut Session<W>> {
    let session = sessions.get_mut(id.place);
    session.filter(|session| session.serial == id.serial)
}

/// Takes a session's key away, but not that of a later one.
fn forget(places: &mut HashMap<Key, u32, RandomState>, key: &Key, place: u32) {
    if places.get(key) == Some(&place) {
        places.remove(key);
    }
}

fn bytes(queue: &[Queued]) -> usize {
    queue.iter().map(|queued| queued.payload.len()).sum()
}

#[cfg(test)]
mod tests;
