//! All flights: one per question and set of upstreams, however many wait for it. Pure.
//!
//! A flight's deadline counts exactly while it exists. Removal is by identity: an ID is never
//! used again, so what comes late for a flight that ended finds nothing.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Instant;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::admission::Admission;
use super::attempt::Attempt;
use super::counts::Counts;
use super::deadlines::{Deadlines, Due};
use super::flight::{Flight, FlightId, Key, Lane, Places, Task, Waiter, Waiters};

/// Most clients that wait for one flight: enough for a home, too few for one name to take
/// all places.
pub const MAX_WAITERS: usize = 256;

/// Most flights that no client began.
pub const MAX_TASKS: usize = 64;

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
    /// Slots of the flights, by the hash of their keys.
    by_key: HashTable<u32>,
    hasher: RandomState,
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    deadlines: Deadlines,
    waiting: usize,
    max_waiting: usize,
    admission: Admission,
    /// Clients that wait for each of those who are asked.
    by_lane: Counts<Lane>,
    /// Flights without a client.
    idle: usize,
}

/// Whether a flight has this deadline.
fn counts<C>(slots: &[Slot<C>], (deadline, id): Due) -> bool {
    let slot = slots.get(id.slot as usize);
    slot.is_some_and(|slot| {
        let flight = slot.flight.as_ref();
        slot.generation == id.generation && flight.is_some_and(|f| f.deadline == Some(deadline))
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
            by_key: HashTable::new(),
            hasher: RandomState::default(),
            slots: Vec::new(),
            free: Vec::new(),
            deadlines: Deadlines::default(),
            waiting: 0,
            max_waiting,
            admission: Admission::new(max_of_client),
            by_lane: Counts::default(),
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
        let hash = self.hasher.hash_one(&key);
        if let Some(id) = self.find(hash, &key)
            && let Some(flight) = self.get(id)
        {
            let again = |other: &Waiter<C>| other.id == waiter.id && other.client == waiter.client;
            if flight.waiters.iter().any(again) {
                return Joined::Repeated;
            }
            if flight.waiters.len() >= MAX_WAITERS {
                return Joined::Full;
            }
            match self.enter(key.lane, waiter.from) {
                Ok(places) => waiter.places = Some(places),
                Err(refused) => return refused,
            }
            if let Some(flight) = self.get(id) {
                flight.waiters.push(waiter);
                let first = flight.waiters.len() == 1;
                self.idle -= usize::from(first);
            }
            return Joined::Follower(id);
        }
        match self.enter(key.lane, waiter.from) {
            Ok(places) => waiter.places = Some(places),
            Err(refused) => return refused,
        }
        let id = self.insert(key, hash, ends);
        if let Some(flight) = self.get(id) {
            flight.waiters.push(waiter);
        }
        self.idle -= 1;
        Joined::Leader(id)
    }

    /// Adds a task of our own to the flight of its question, a new one if need be.
    pub fn join_task(&mut self, key: Key, task: Task, ends: Instant) -> Joined {
        let hash = self.hasher.hash_one(&key);
        if let Some(id) = self.find(hash, &key)
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
        let id = self.insert(key, hash, ends);
        if let Some(flight) = self.get(id) {
            flight.tasks.push(task);
        }
        Joined::Leader(id)
    }

    /// The flight of a question.
    fn find(&self, hash: u64, key: &Key) -> Option<FlightId> {
        let is_it = |slot: &u32| self.key_in(*slot) == Some(key);
        let slot = *self.by_key.find(hash, is_it)?;
        let generation = self.slots[slot as usize].generation;
        Some(FlightId { slot, generation })
    }

    fn key_in(&self, slot: u32) -> Option<&Key> {
        let flight = self.slots[slot as usize].flight.as_ref();
        flight.map(|flight| &flight.key)
    }

    /// A flight that nobody waits for yet. It has a deadline when it is rescheduled.
    fn insert(&mut self, key: Key, hash: u64, ends: Instant) -> FlightId {
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
        place.flight = Some(Flight::new(key, hash, ends));
        let slots = &self.slots;
        let hash_of = |slot: &u32| slots[*slot as usize].flight.as_ref().map_or(0, |f| f.hash);
        self.by_key.insert_unique(hash, slot, hash_of);
        self.idle += 1;
        id
    }

    /// A flight under way, to look at.
    pub fn peek(&self, id: FlightId) -> Option<&Flight<C>> {
        let slot = self.slots.get(id.slot as usize)?;
        let flight = slot.flight.as_ref();
        flight.filter(|_| slot.generation == id.generation)
    }

    /// A flight under way.
    pub fn get(&mut self, id: FlightId) -> Option<&mut Flight<C>> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.flight
            .as_mut()
            .filter(|_| slot.generation == id.generation)
    }

    /// Takes note that a flight has another deadline now. Whoever begins a flight, or changes
    /// what it waits for, calls this.
    pub fn reschedule(&mut self, id: FlightId) {
        let Some(flight) = self.get(id) else {
            return;
        };
        let deadline = flight.next_deadline();
        if flight.deadline.replace(deadline) != Some(deadline) {
            let (flights, slots) = (self.by_key.len(), &self.slots);
            let counts = |due| counts(slots, due);
            self.deadlines.push((deadline, id), flights, counts);
        }
    }

    /// Takes the clients of a flight, which goes on for `task`.
    pub fn release(&mut self, id: FlightId, task: Task) -> Waiters<C> {
        let Some(flight) = self.get(id) else {
            return SmallVec::new();
        };
        if !flight.tasks.contains(&task) {
            flight.tasks.push(task);
        }
        let mut waiters = std::mem::take(&mut flight.waiters);
        let places = waiters.iter_mut().filter_map(|waiter| waiter.places.take());
        places.for_each(|places| self.leave(places));
        self.idle += usize::from(!waiters.is_empty());
        waiters
    }

    /// Whether more flights than [`MAX_TASKS`] have no client.
    pub fn has_too_many_tasks(&self) -> bool {
        self.idle > MAX_TASKS
    }

    /// Ends a flight.
    pub fn remove(&mut self, id: FlightId) -> Option<Flight<C>> {
        let flight = self.get(id)?;
        let hash = flight.hash;
        let unwanted = flight.waiters.is_empty();
        let places = flight.waiters.iter_mut().map(|waiter| waiter.places.take());
        let places: SmallVec<[_; 1]> = places.flatten().collect();
        if let Ok(entry) = self.by_key.find_entry(hash, |slot| *slot == id.slot) {
            entry.remove();
        }
        places.into_iter().for_each(|places| self.leave(places));
        self.idle -= usize::from(unwanted);
        self.free.push(id.slot);
        let slot = &mut self.slots[id.slot as usize];
        // After four thousand million flights in one slot an ID comes again.
        slot.generation = slot.generation.wrapping_add(1);
        slot.flight.take()
    }

    /// Whether somebody finds no place.
    pub fn is_full(&self) -> bool {
        self.waiting >= self.max_waiting || self.by_lane.largest() >= self.max_of_lane()
    }

    /// Most clients that wait for the same ones: some places are kept for others, so that one
    /// that is silent cannot take them all.
    fn max_of_lane(&self) -> u32 {
        (self.max_waiting - self.max_waiting / 4) as u32
    }

    /// Places for a client, or why it has none.
    fn enter(&mut self, lane: Lane, from: IpAddr) -> Result<Places, Joined> {
        if self.waiting >= self.max_waiting {
            return Err(Joined::Full);
        }
        let bound = self.max_of_lane();
        let of_lane = self.by_lane.enter(lane, bound).ok_or(Joined::Full)?;
        let Some(of_client) = self.admission.enter(from) else {
            self.by_lane.leave(of_lane);
            return Err(Joined::Crowded);
        };
        self.waiting += 1;
        Ok(Places { of_lane, of_client })
    }

    fn leave(&mut self, places: Places) {
        self.waiting -= 1;
        self.by_lane.leave(places.of_lane);
        self.admission.leave(places.of_client);
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

#[cfg(test)]
mod tests {
    use super::super::route::GroupId;
    use super::super::wire::{Asker, Query, Question, flag, upstream_query};
    use super::*;

    #[test]
    fn who_is_refused_takes_no_place_of_others() {
        let mut flights = Flights::new(16, 1);
        let mut ask = |client: u8, name: &str| {
            let question = Question::of(name, 1).unwrap();
            let message = upstream_query(flag::RD, &question, true, false, false, Vec::new());
            let mut lower = Vec::new();
            let query = Query::parse(&message, &mut lower).unwrap();
            let key = Key {
                question,
                flags: flag::RD,
                dnssec_ok: false,
                lane: Lane::Group(GroupId(0)),
            };
            let (asker, now) = (Asker::of(&query, false), Instant::now());
            let from = [192, 0, 2, client].into();
            let waiter = Waiter::new(client, from, now, &asker, &key);
            flights.join(key, waiter, now)
        };
        assert!(matches!(ask(1, "a.example"), Joined::Leader(_)));
        for attempt in 0..100 {
            let refused = ask(1, &format!("n{attempt}.example"));
            assert_eq!(refused, Joined::Crowded, "attempt {attempt}");
        }
        for client in 2..13 {
            let name = format!("{client}.example");
            assert!(matches!(ask(client, &name), Joined::Leader(_)), "{client}");
        }
        assert_eq!(ask(13, "z.example"), Joined::Full, "the rest is for others");
        assert_eq!((flights.len(), flights.waiting()), (12, 12));
    }
}
