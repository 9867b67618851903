//! One connection and one place that connections lead to, as data. Pure.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Names a connection, once and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub(super) u64);

#[cfg(test)]
impl LinkId {
    /// One for tests.
    pub fn of(number: u64) -> Self {
        Self(number)
    }
}

/// Queries that one connection carries in its life; IDs end at 65,536.
pub const MAX_QUERIES: u32 = 65_000;

/// With so many queries that wait, a connection is busy and another one is opened.
pub const BUSY: usize = 64;

/// A dial that shows nothing new for so long has a second one beside it.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// The same after one has hung, until one comes up: the network may be back any moment.
pub const IMPATIENCE: Duration = Duration::from_millis(100);

/// After a dial has failed at once, and others go on, no further one begins for so long.
pub const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Link<A, T> {
    pub target: T,
    pub state: State,
    /// By ID on this connection.
    pub pending: HashMap<u16, Pending<A>>,
    /// IDs of queries not written yet.
    pub to_write: VecDeque<u16>,
    pub next_id: u16,
    pub carried: u32,
    pub answered: u32,
    pub last_answer: Option<Instant>,
    pub active: Instant,
    /// Takes no new queries.
    pub retired: bool,
    /// A query had to be sent again elsewhere, and nothing has been answered since: it is used
    /// when there is no other.
    pub suspect: bool,
    /// Most queries that may wait on it.
    pub limit: usize,
    /// How long it is kept without a query.
    pub idle: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Dialling {
        /// Since when it has shown nothing new.
        moved: Instant,
    },
    Up,
}

#[derive(Debug)]
pub(super) struct Pending<A> {
    pub attempt: A,
    pub since: Instant,
}

impl<A, T> Link<A, T> {
    pub fn dialling(target: T, now: Instant, idle: Duration) -> Self {
        Self {
            target,
            state: State::Dialling { moved: now },
            pending: HashMap::new(),
            to_write: VecDeque::new(),
            next_id: 0,
            carried: 0,
            answered: 0,
            last_answer: None,
            active: now,
            retired: false,
            suspect: false,
            limit: usize::MAX,
            idle,
        }
    }

    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// When a dial showed something new last.
    pub fn moved(&self) -> Option<Instant> {
        match self.state {
            State::Dialling { moved } => Some(moved),
            State::Up => None,
        }
    }

    /// Up, and will take queries, now or when others are answered.
    pub fn is_usable(&self) -> bool {
        self.is_up() && !self.retired && self.carried < MAX_QUERIES
    }

    /// The server said something of use.
    pub fn heard(&mut self, now: Instant) {
        (self.active, self.last_answer) = (now, Some(now));
        self.suspect = false;
    }

    /// Up, and nothing waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.is_up() && self.pending.is_empty()
    }

    /// Whether it can take a query now. `window`: how many answers the server gives on one
    /// connection before it closes it, as far as known; behind that it is tried one by one.
    pub fn has_room(&self, window: u32) -> bool {
        let within = self.carried < window || self.pending.is_empty();
        self.is_usable() && self.pending.len() < self.limit && within
    }
}

/// One address of one upstream.
#[derive(Debug)]
pub(super) struct Site<A> {
    /// Queries without a connection, in the order they came.
    pub waiting: BTreeMap<u64, A>,
    /// Oldest first.
    pub links: Vec<LinkId>,
    /// Answers that the server gives on a connection before it closes it with queries on it;
    /// [`u32::MAX`] while it does not do that.
    pub window: u32,
    /// A dial has hung, and none came up since.
    pub hanging: bool,
    /// A dial failed last.
    pub failed: Option<Instant>,
}

impl<A> Default for Site<A> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            links: Vec::new(),
            window: u32::MAX,
            hanging: false,
            failed: None,
        }
    }
}

impl<A> Site<A> {
    pub fn patience(&self) -> Duration {
        if self.hanging { IMPATIENCE } else { PATIENCE }
    }

    /// Queries that a fresh connection is expected to take.
    pub fn share(&self) -> usize {
        BUSY.min(self.window as usize)
    }

    /// A connection has answered so many queries.
    pub fn widen(&mut self, answered: u32) {
        if self.window != u32::MAX && answered > self.window {
            self.window *= 2;
            if self.window as usize >= BUSY {
                self.window = u32::MAX;
            }
        }
    }

    /// A connection with queries on it was closed after so many answers.
    pub fn narrow(&mut self, answered: u32) {
        if answered > 0 && (answered as usize) < BUSY {
            self.window = answered;
        }
    }
}
