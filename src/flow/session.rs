//! The table of UDP sessions. Pure: workers are values, time is an argument.
//!
//! A session is a client's address with an outbound; all of its datagrams share one upstream
//! socket, wherever they go. The table owns a worker per session, made when the session is
//! and dropped with it, so there are never more workers than sessions. A worker names its
//! session by [`Id`], which no later session has.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::outbound::ways::WayId;

/// What tells sessions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The client's socket.
    pub client: SocketAddr,
    /// The outbound that is asked for; of a group it is the group.
    pub outbound: WayId,
}

/// One session, never another one with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    key: Key,
    serial: u64,
}

/// Bounds of a table.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sessions; the least recently used makes room.
    pub sessions: usize,
    /// Datagrams that wait per session while it is dialled.
    pub queue: usize,
    /// Bytes that wait in all queues together.
    pub queue_bytes: usize,
    /// A session without a datagram for so long ends.
    pub idle: Duration,
    /// An outbound that failed a client is not asked again for that client for so long.
    pub retry: Duration,
}

/// A datagram that waits for its session.
#[derive(Debug, PartialEq, Eq)]
pub struct Queued {
    /// Where the client sent it.
    pub destination: SocketAddr,
    /// UDP payload.
    pub payload: Box<[u8]>,
}

/// What to do with a client's datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<'a, W> {
    /// Send it with this worker.
    Send(&'a W),
    /// It waits; [`Table::ready`] hands it out.
    Queued,
    /// It was dropped and counted.
    Dropped,
}

/// How a session ended; its worker is no longer the table's.
#[derive(Debug, PartialEq, Eq)]
pub enum End<W> {
    /// Before it was ready or soon after: the outbound is not asked again for a while.
    Failed(W),
    /// After a life.
    Closed(W),
}

/// Events since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Sessions begun.
    pub created: u64,
    /// Sessions ended for want of datagrams.
    pub expired: u64,
    /// Sessions ended to make room.
    pub evicted: u64,
    /// Sessions whose outbound failed, at once or within `Limits::retry`.
    pub failed: u64,
    /// Sessions ended by the far side.
    pub ended: u64,
    /// Datagrams dropped because the queue of a session being dialled was full.
    pub dropped_queue_full: u64,
    /// Datagrams dropped because the session's outbound failed, before or a moment ago.
    pub dropped_failed: u64,
    /// Datagrams dropped with a session that ended while being dialled.
    pub dropped_unsent: u64,
}

struct Session<W> {
    serial: u64,
    /// Key of `Table::order`.
    turn: u64,
    used: Instant,
    stage: Stage,
    /// None exactly in [`Stage::Failed`].
    worker: Option<W>,
}

enum Stage {
    Dialling { queue: Vec<Queued> },
    Ready { since: Instant },
    Failed { until: Instant },
}

/// Sessions by key, and in the order of their last use.
pub struct Table<W> {
    limits: Limits,
    sessions: HashMap<Key, Session<W>>,
    order: BTreeMap<u64, Key>,
    last_turn: u64,
    last_serial: u64,
    queued_bytes: usize,
    counts: Counts,
}

impl<W> Table<W> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            sessions: HashMap::new(),
            order: BTreeMap::new(),
            last_turn: 0,
            last_serial: 0,
            queued_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// True when nothing is there to expire.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Sessions with a worker.
    pub fn active(&self) -> usize {
        self.sessions
            .values()
            .filter(|session| session.worker.is_some())
            .count()
    }

    /// Events since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A client's datagram. `open` is called when it begins a session, and returns the worker
    /// that shall dial and then call [`Table::ready`] or [`Table::end`].
    pub fn offer(
        &mut self,
        key: Key,
        destination: SocketAddr,
        payload: &[u8],
        now: Instant,
        open: impl FnOnce(Id) -> W,
    ) -> Offer<'_, W> {
        match self.sessions.get(&key).map(|session| &session.stage) {
            Some(Stage::Failed { until }) if now < *until => {
                self.counts.dropped_failed += 1;
                return Offer::Dropped;
            }
            Some(Stage::Failed { .. }) => {
                self.remove(key);
                self.insert(key, now, open);
            }
            Some(_) => self.renew(key, now),
            None => self.insert(key, now, open),
        }
        match self.sessions.get_mut(&key) {
            Some(Session {
                stage: Stage::Ready { .. },
                worker: Some(worker),
                ..
            }) => Offer::Send(worker),
            Some(Session {
                stage: Stage::Dialling { queue },
                ..
            }) if queue.len() < self.limits.queue
                && self.queued_bytes + payload.len() <= self.limits.queue_bytes =>
            {
                queue.push(Queued {
                    destination,
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
        let session = self.current(id)?;
        let Stage::Dialling { queue } = &mut session.stage else {
            return None;
        };
        let queue = std::mem::take(queue);
        session.stage = Stage::Ready { since: now };
        self.queued_bytes -= bytes(&queue);
        let worker = self.current(id)?.worker.as_mut()?;
        Some((worker, queue))
    }

    /// A datagram came back: the session lives on. False when it has ended.
    pub fn touch(&mut self, id: Id, now: Instant) -> bool {
        let current = self.current(id).is_some();
        if current {
            self.renew(id.key, now);
        }
        current
    }

    /// The outbound failed, or the far side ended the session. If that was soon, it is
    /// remembered. None when the session has ended already.
    pub fn end(&mut self, id: Id, now: Instant) -> Option<End<W>> {
        let retry = self.limits.retry;
        let session = self.current(id)?;
        let queue = match &mut session.stage {
            Stage::Dialling { queue } => std::mem::take(queue),
            Stage::Ready { since } if now.saturating_duration_since(*since) < retry => Vec::new(),
            Stage::Ready { .. } => {
                self.counts.ended += 1;
                return self.remove(id.key).map(End::Closed);
            }
            Stage::Failed { .. } => return None,
        };
        session.stage = Stage::Failed { until: now + retry };
        let worker = session.worker.take();
        self.counts.failed += 1;
        self.counts.dropped_failed += queue.len() as u64;
        self.queued_bytes -= bytes(&queue);
        worker.map(End::Failed)
    }

    /// Ends sessions that have not been used for `Limits::idle`.
    pub fn expire(&mut self, now: Instant) {
        while let Some((_, &key)) = self.order.first_key_value() {
            let used = self.sessions.get(&key).map_or(now, |session| session.used);
            if now.saturating_duration_since(used) < self.limits.idle {
                break;
            }
            if self.remove(key).is_some() {
                self.counts.expired += 1;
            }
        }
    }

    /// Ends all sessions.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.order.clear();
        self.queued_bytes = 0;
    }

    fn current(&mut self, id: Id) -> Option<&mut Session<W>> {
        self.sessions
            .get_mut(&id.key)
            .filter(|session| session.serial == id.serial)
    }

    fn insert(&mut self, key: Key, now: Instant, open: impl FnOnce(Id) -> W) {
        if self.sessions.len() >= self.limits.sessions
            && let Some((_, &oldest)) = self.order.first_key_value()
            && self.remove(oldest).is_some()
        {
            self.counts.evicted += 1;
        }
        self.last_serial += 1;
        self.last_turn += 1;
        let serial = self.last_serial;
        let worker = open(Id { key, serial });
        let session = Session {
            serial,
            turn: self.last_turn,
            used: now,
            stage: Stage::Dialling { queue: Vec::new() },
            worker: Some(worker),
        };
        self.sessions.insert(key, session);
        self.order.insert(self.last_turn, key);
        self.counts.created += 1;
    }

    fn renew(&mut self, key: Key, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        session.used = now;
        if session.turn != self.last_turn {
            self.order.remove(&session.turn);
            self.last_turn += 1;
            session.turn = self.last_turn;
            self.order.insert(self.last_turn, key);
        }
    }

    fn remove(&mut self, key: Key) -> Option<W> {
        let session = self.sessions.remove(&key)?;
        self.order.remove(&session.turn);
        if let Stage::Dialling { queue } = &session.stage {
            self.queued_bytes -= bytes(queue);
            self.counts.dropped_unsent += queue.len() as u64;
        }
        session.worker
    }
}

fn bytes(queue: &[Queued]) -> usize {
    queue.iter().map(|queued| queued.payload.len()).sum()
}

#[cfg(test)]
mod tests;
