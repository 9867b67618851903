//! Questions on their way: one flight per question and set of upstreams, however many wait for
//! it. Pure.
//!
//! A flight exists exactly while somebody waits for it, a client or a task of our own; its
//! deadline counts exactly while it exists. Removal is by identity: an ID is never used
//! again, so what comes late for a flight that ended finds nothing.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Instant;

use super::admission::{Admission, Place};
use super::attempt::Attempt;
use super::deadlines::{Deadlines, Due};
use super::route::GroupId;
use super::upstream::{Server, UpstreamId};
use super::wire::{Answer, Asker, Edns, Question};
use crate::hash::KeyedMap;

/// Most clients that wait for one flight: enough for a home, too few for one name to take
/// all places.
pub const MAX_WAITERS: usize = 256;

/// Most flights that no client began.
pub const MAX_TASKS: usize = 64;

/// Names a flight, once and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlightId {
    slot: u32,
    generation: u32,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// What one flight asks; queries that differ here are never joined.
#[derive(Debug, PartialEq, Eq, Hash)]
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
    id: u16,
    flags: u16,
    question: Box<[u8]>,
    edns: Option<Edns>,
    tcp: bool,
    place: Option<Place>,
}

impl<C> Waiter<C> {
    /// A client with what its answer depends on.
    pub fn new(client: C, from: IpAddr, since: Instant, asker: &Asker<'_>) -> Self {
        let Asker {
            id,
            flags,
            question,
            edns,
            tcp,
        } = *asker;
        Self {
            client,
            from,
            since,
            id,
            flags,
            question: question.into(),
            edns,
            tcp,
            place: None,
        }
    }

    /// What the answer depends on.
    pub fn asker(&self) -> Asker<'_> {
        let Self {
            id,
            flags,
            ref question,
            edns,
            tcp,
            ..
        } = *self;
        Asker {
            id,
            flags,
            question,
            edns,
            tcp,
        }
    }
}

/// A server that may be asked, by one of its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub server: Server,
    /// Which address, counted from the one that is preferred.
    pub address: usize,
}

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
    pub key: Rc<Key>,
    /// Clients that wait, the leader first.
    pub waiters: Vec<Waiter<C>>,
    /// What of our own waits.
    pub tasks: Vec<Task>,
    /// Who is still to be asked, the next one last.
    pub candidates: Vec<Candidate>,
    /// Who has been asked.
    pub attempts: Vec<Attempt>,
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
    /// As in the list of deadlines.
    deadline: Instant,
}

impl<C> Flight<C> {
    fn new(key: Rc<Key>, ends: Instant) -> Self {
        Self {
            key,
            waiters: Vec::new(),
            tasks: Vec::new(),
            candidates: Vec::new(),
            attempts: Vec::new(),
            fallback: None,
            held: None,
            companion: Companion::Nothing,
            hedge_at: None,
            stale_at: None,
            stale_given: false,
            ends,
            depth: 0,
            is_old: false,
            deadline: ends,
        }
    }

    /// When something has to be done.
    fn next_deadline(&self) -> Instant {
        let attempts = self.attempts.iter().filter_map(|a| a.course.deadline());
        let hedge = self.hedge_at.filter(|_| !self.candidates.is_empty());
        let all = attempts.chain(hedge).chain(self.stale_at);
        all.min().unwrap_or(self.ends).min(self.ends)
    }
}

/// What became of a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// It began this flight.
    Leader(FlightId),
    /// It waits for this flight under way.
    Follower(FlightId),
    /// The client sent it again; its first copy waits already.
    Repeated,
    /// Too many wait.
    Full,
    /// Too many of this client wait.
    Crowded,
}

/// All flights.
pub struct Flights<C> {
    by_key: KeyedMap<Rc<Key>, FlightId>,
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    deadlines: Deadlines,
    waiting: usize,
    max_waiting: usize,
    admission: Admission,
    /// Clients that wait for each of those who are asked; none that is zero.
    by_lane: KeyedMap<Lane, usize>,
    /// Flights without a client.
    idle: usize,
}

fn flight_is_full<C>(flight: Option<&mut Flight<C>>) -> bool {
    flight.is_none_or(|flight| flight.waiters.len() >= MAX_WAITERS)
}

/// Whether a flight has this deadline.
fn counts<C>(slots: &[Slot<C>], (deadline, id): Due) -> bool {
    let slot = slots.get(id.slot as usize);
    slot.is_some_and(|slot| {
        let flight = slot.flight.as_ref();
        slot.generation == id.generation && flight.is_some_and(|f| f.deadline == deadline)
    })
}

struct Slot<C> {
    generation: u32,
    flight: Option<Flight<C>>,
}

impl<C: PartialEq> Flights<C> {
    /// At most `max_waiting` queries wait, all flights together, and `max_of_client` of each
    /// client.
    pub fn new(max_waiting: usize, max_of_client: u32) -> Self {
        Self {
            by_key: KeyedMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            deadlines: Deadlines::default(),
            waiting: 0,
            max_waiting,
            admission: Admission::new(max_of_client),
            by_lane: KeyedMap::default(),
            idle: 0,
        }
    }

    /// Other settings: bounds for those that come from now on. Those under way are old.
    pub fn change(&mut self, max_waiting: usize, max_of_client: u32) {
        let under_way = self
            .slots
            .iter_mut()
            .filter_map(|slot| slot.flight.as_mut());
        under_way.for_each(|flight| flight.is_old = true);
        self.max_waiting = max_waiting;
        self.admission.set_bound(max_of_client);
    }

    /// Adds a client to the flight of its question, a new one that ends at `ends` if need be.
    pub fn join(&mut self, key: Key, mut waiter: Waiter<C>, ends: Instant) -> Joined {
        let under_way = self.by_key.get(&key).copied();
        if let Some(id) = under_way
            && let Some(flight) = self.get(id)
        {
            let again = |other: &Waiter<C>| other.id == waiter.id && other.client == waiter.client;
            if flight.waiters.iter().any(again) {
                return Joined::Repeated;
            }
            if self.is_full_for(key.lane) || flight_is_full(self.get(id)) {
                return Joined::Full;
            }
            waiter.place = self.admission.enter(waiter.from);
            let (Some(_), Some(flight)) = (&waiter.place, self.get(id)) else {
                return Joined::Crowded;
            };
            flight.waiters.push(waiter);
            let first = flight.waiters.len() == 1;
            self.count(key.lane);
            self.idle -= usize::from(first);
            return Joined::Follower(id);
        }
        if self.is_full_for(key.lane) {
            return Joined::Full;
        }
        waiter.place = self.admission.enter(waiter.from);
        if waiter.place.is_none() {
            return Joined::Crowded;
        }
        self.count(key.lane);
        let id = self.insert(key, ends);
        if let Some(flight) = self.get(id) {
            flight.waiters.push(waiter);
        }
        self.idle -= 1;
        Joined::Leader(id)
    }

    /// Adds a task of our own to the flight of its question, a new one if need be.
    pub fn join_task(&mut self, key: Key, task: Task, ends: Instant) -> Joined {
        if let Some(id) = self.by_key.get(&key).copied()
            && let Some(flight) = self.get(id)
        {
            if flight.tasks.contains(&task) {
                return Joined::Repeated;
            }
            flight.tasks.push(task);
            return Joined::Follower(id);
        }
        if self.idle >= MAX_TASKS {
            return Joined::Full;
        }
        let id = self.insert(key, ends);
        if let Some(flight) = self.get(id) {
            flight.tasks.push(task);
        }
        Joined::Leader(id)
    }

    /// A flight that nobody waits for yet.
    fn insert(&mut self, key: Key, ends: Instant) -> FlightId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                flight: None,
            });
            self.slots.len() as u32 - 1
        });
        let place = &mut self.slots[slot as usize];
        let id = FlightId {
            slot,
            generation: place.generation,
        };
        let key = Rc::new(key);
        place.flight = Some(Flight::new(Rc::clone(&key), ends));
        self.by_key.insert(key, id);
        self.expect((ends, id));
        self.idle += 1;
        id
    }

    /// A flight under way.
    pub fn get(&mut self, id: FlightId) -> Option<&mut Flight<C>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.flight
            .as_mut()
            .filter(|_| slot.generation == id.generation)
    }

    /// Takes note that a flight has another deadline now.
    pub fn reschedule(&mut self, id: FlightId) {
        let Some(flight) = self.get(id) else {
            return;
        };
        let (old, deadline) = (flight.deadline, flight.next_deadline());
        if deadline != old {
            flight.deadline = deadline;
            self.expect((deadline, id));
        }
    }

    fn expect(&mut self, due: Due) {
        let (flights, slots) = (self.by_key.len(), &self.slots);
        self.deadlines.push(due, flights, |due| counts(slots, due));
    }

    /// Takes the clients of a flight, which goes on for `task`.
    pub fn release(&mut self, id: FlightId, task: Task) -> Vec<Waiter<C>> {
        let Some(flight) = self.get(id) else {
            return Vec::new();
        };
        if !flight.tasks.contains(&task) {
            flight.tasks.push(task);
        }
        let mut waiters = std::mem::take(&mut flight.waiters);
        let lane = flight.key.lane;
        self.leave(lane, &mut waiters);
        self.idle += usize::from(!waiters.is_empty());
        waiters
    }

    /// Whether more flights than [`MAX_TASKS`] have no client.
    pub fn has_too_many_tasks(&self) -> bool {
        self.idle > MAX_TASKS
    }

    /// Ends a flight.
    pub fn remove(&mut self, id: FlightId) -> Option<Flight<C>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let mut flight = slot.flight.take()?;
        // After four thousand million flights in one slot an ID comes again.
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        self.by_key.remove(&flight.key);
        self.leave(flight.key.lane, &mut flight.waiters);
        self.idle -= usize::from(flight.waiters.is_empty());
        Some(flight)
    }

    /// Whether no client finds a place to wait for these. Some places are kept for others, so
    /// that one that is silent cannot take them all.
    pub fn is_full_for(&self, lane: Lane) -> bool {
        let waiting = self.by_lane.get(&lane).copied().unwrap_or(0);
        self.waiting >= self.max_waiting || waiting >= self.max_waiting - self.max_waiting / 4
    }

    /// Whether somebody finds no place.
    pub fn is_full(&self) -> bool {
        self.by_lane.keys().any(|lane| self.is_full_for(*lane))
    }

    fn count(&mut self, lane: Lane) {
        self.waiting += 1;
        *self.by_lane.entry(lane).or_default() += 1;
    }

    fn leave(&mut self, lane: Lane, waiters: &mut [Waiter<C>]) {
        self.waiting -= waiters.len();
        if let Some(waiting) = self.by_lane.get_mut(&lane) {
            *waiting -= waiters.len();
            if *waiting == 0 {
                self.by_lane.remove(&lane);
            }
        }
        let places = waiters.iter_mut().filter_map(|waiter| waiter.place.take());
        places.for_each(|place| self.admission.leave(place));
    }

    /// All attempts, those that are over included.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        let flights = self.slots.iter().filter_map(|slot| slot.flight.as_ref());
        flights.flat_map(|flight| &flight.attempts)
    }

    /// The flight that needs something next.
    pub fn next_deadline(&mut self) -> Option<Due> {
        self.deadlines.first(|due| counts(&self.slots, due))
    }

    /// Flights now.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Clients that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}
