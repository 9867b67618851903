//! A question on its way. Pure.
//!
//! A flight exists exactly while somebody waits for it, a client or a task of our own.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use smallvec::SmallVec;

use super::attempt::Attempt;
use super::counts::Place;
use super::course::earlier;
use super::route::GroupId;
use super::upstream::{Server, UpstreamId};
use super::wire::{Answer, Asker, Edns, Question};

/// Names a flight, once and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlightId {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl FlightId {
    /// All of it in one number.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// A number below that of all flights that there ever were at a time.
    pub fn slot(self) -> usize {
        self.slot as usize
    }
}

#[cfg(test)]
impl FlightId {
    /// One for tests.
    pub fn of(slot: u32) -> Self {
        Self {
            slot,
            generation: 0,
        }
    }
}

/// Whom a flight asks, as far as flights must be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The upstreams of a group.
    Group(GroupId),
    /// The server that the client asked.
    AsIs(SocketAddr),
    /// One upstream, to see if it answers.
    Probe(UpstreamId),
    /// One upstream by UDP, to see if that works.
    ProbeUdp(UpstreamId),
    /// The bootstrap upstream, for the address of an upstream.
    Address(UpstreamId),
}

impl Hash for Lane {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // In one number where that can be: the lane of every query is hashed several times.
        let (kind, id) = match *self {
            Self::Group(GroupId(id)) => (0, id),
            Self::Probe(UpstreamId(id)) => (1, id),
            Self::ProbeUdp(UpstreamId(id)) => (2, id),
            Self::Address(UpstreamId(id)) => (3, id),
            Self::AsIs(server) => return server.hash(state),
        };
        state.write_u64(kind << 32 | u64::from(id));
    }
}

/// What one flight asks; queries that differ here are never joined.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Name, type, class.
    pub question: Question,
    /// RD and CD of the query ([`super::wire::flag`]).
    pub flags: u16,
    /// DNSSEC records wanted.
    pub dnssec_ok: bool,
    /// Who is asked.
    pub lane: Lane,
}

/// A client that waits.
#[derive(Debug)]
pub struct Waiter<C> {
    /// The client.
    pub client: C,
    /// Its address, by which its queries are counted.
    pub from: IpAddr,
    /// Since when.
    pub since: Instant,
    /// The query came by TCP.
    pub tcp: bool,
    pub(super) id: u16,
    flags: u16,
    /// The question as the client wrote it, where that is not lower case.
    spelling: Option<Box<[u8]>>,
    edns: Option<Edns>,
    pub(super) places: Option<Places>,
}

/// Where a client that waits is counted.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) of_lane: Place,
    pub(super) of_client: Place,
}

impl<C> Waiter<C> {
    /// A client of the question in `key`, with what its answer depends on.
    pub fn new(client: C, from: IpAddr, since: Instant, asker: &Asker<'_>, key: &Key) -> Self {
        let Asker {
            id,
            flags,
            question,
            edns,
            tcp,
        } = *asker;
        let spelt_alike = question == key.question.as_bytes();
        Self {
            client,
            from,
            since,
            tcp,
            id,
            flags,
            spelling: (!spelt_alike).then(|| question.into()),
            edns,
            places: None,
        }
    }

    /// What the answer depends on; `key` is that of its flight.
    pub fn asker<'a>(&'a self, key: &'a Key) -> Asker<'a> {
        Asker {
            id: self.id,
            flags: self.flags,
            question: self.spelling.as_deref().unwrap_or(key.question.as_bytes()),
            edns: self.edns,
            tcp: self.tcp,
        }
    }
}

/// Clients that wait for a flight. Nearly always it is one.
pub type Waiters<C> = SmallVec<[Waiter<C>; 1]>;

/// A server that may be asked, by one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub server: Server,
    /// Not by the address that is preferred, but by one that the flight has not tried.
    pub another: bool,
}

/// Who is still to be asked, the next one last.
pub type Candidates = SmallVec<[Candidate; 2]>;

/// What of our own waits for a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// A cached answer shall be made new.
    Refresh,
    /// An upstream may be back.
    Probe,
    /// The address of an upstream.
    Address(UpstreamId),
    /// Another flight may answer only when this one has told whether the name has addresses of
    /// the preferred family.
    Companion(FlightId),
}

/// What the flight for the preferred family has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Companion {
    /// There is none, or it found no address: answer as usual.
    Nothing,
    /// Not yet.
    Awaited,
    /// There are addresses: those of this flight are not shown.
    Preferred,
}

/// A question on its way.
pub struct Flight<C> {
    /// What is asked.
    pub key: Key,
    /// The name in text, once somebody needed it.
    pub name: Option<Rc<str>>,
    /// Clients that wait, the leader first.
    pub waiters: Waiters<C>,
    /// What of our own waits.
    pub tasks: Vec<Task>,
    /// Who is still to be asked, the next one last.
    pub candidates: Candidates,
    /// Who has been asked.
    pub attempts: SmallVec<[Attempt; 1]>,
    /// An answer that is better than none: truncated, or an error.
    pub fallback: Option<(Server, Box<Answer>)>,
    /// An answer that waits for the companion.
    pub held: Option<(Server, Box<Answer>)>,
    /// See [`Companion`].
    pub companion: Companion,
    /// When the next candidate is asked though the last one may still answer.
    pub hedge_at: Option<Instant>,
    /// When clients get the stale answer that is there.
    pub stale_at: Option<Instant>,
    /// Clients have got it: those who come get it at once for a while.
    pub stale_given: bool,
    /// When it ends, whatever happens.
    pub ends: Instant,
    /// How often a rule sent the question on.
    pub depth: u8,
    /// It began before the settings changed: others might be asked today.
    pub is_old: bool,
    /// As in the list of deadlines; None until [`super::flights::Flights::reschedule`] puts it there.
    pub(super) deadline: Option<Instant>,
    /// Of `key`.
    pub(super) hash: u64,
}

impl<C> Flight<C> {
    pub(super) fn new(key: Key, hash: u64, ends: Instant) -> Self {
        Self {
            key,
            name: None,
            waiters: SmallVec::new(),
            tasks: Vec::new(),
            candidates: SmallVec::new(),
            attempts: SmallVec::new(),
            fallback: None,
            held: None,
            companion: Companion::Nothing,
            hedge_at: None,
            stale_at: None,
            stale_given: false,
            ends,
            depth: 0,
            is_old: false,
            deadline: None,
            hash,
        }
    }

    /// The name in text.
    pub fn name(&mut self) -> Rc<str> {
        let name = self
            .name
            .get_or_insert_with(|| self.key.question.text().into());
        Rc::clone(name)
    }

    /// Another candidate, after all others; not before `at` if there are none.
    pub fn ask_later(&mut self, candidate: Candidate, at: Instant) {
        if self.candidates.is_empty() {
            self.hedge_at = Some(at);
        }
        self.candidates.insert(0, candidate);
    }

    /// When something has to be done.
    pub(super) fn next_deadline(&self) -> Instant {
        let hedge = self.hedge_at.filter(|_| !self.candidates.is_empty());
        let mut first = earlier(hedge, self.stale_at);
        for attempt in &self.attempts {
            first = earlier(first, attempt.course.deadline());
        }
        first.map_or(self.ends, |first| first.min(self.ends))
    }
}
