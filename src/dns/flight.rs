//! Questions on their way: one flight per question and server, however many clients wait for
//! it. Pure.
//!
//! A flight exists exactly while clients wait for it; its deadline is in the heap exactly
//! while it exists. Removal is by identity: an ID is never used again, so what comes late for
//! a flight that ended finds nothing.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::time::Instant;

use super::course::Course;
use super::route::Server;
use super::wire::{Asker, Edns, Question};

/// Most clients that wait for one flight: enough for a home, too few for one name to take
/// all places.
pub const MAX_WAITERS: usize = 256;

/// Names a flight, once and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlightId(u64);

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
    pub server: Server,
}

/// A client that waits.
#[derive(Debug)]
pub struct Waiter<C> {
    /// The client.
    pub client: C,
    id: u16,
    flags: u16,
    question: Box<[u8]>,
    edns: Option<Edns>,
    tcp: bool,
}

impl<C> Waiter<C> {
    /// A client with what its answer depends on.
    pub fn new(client: C, asker: &Asker<'_>) -> Self {
        let Asker {
            id,
            flags,
            question,
            edns,
            tcp,
        } = *asker;
        Self {
            client,
            id,
            flags,
            question: question.into(),
            edns,
            tcp,
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

/// A question on its way.
pub struct Flight<C> {
    /// What is asked.
    pub key: Rc<Key>,
    /// Who waits, the leader first.
    pub waiters: Vec<Waiter<C>>,
    /// How far it is.
    pub course: Course,
    deadline: Instant,
}

/// What became of a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined {
    /// It started this flight.
    Leader(FlightId),
    /// It waits for a flight under way.
    Follower,
    /// The client sent it again; its first copy waits already.
    Repeated,
    /// Too many wait.
    Full,
}

/// All flights.
pub struct Flights<C> {
    by_key: HashMap<Rc<Key>, FlightId>,
    flights: HashMap<FlightId, Flight<C>>,
    deadlines: BTreeSet<(Instant, FlightId)>,
    waiting: usize,
    max_waiting: usize,
    next: u64,
}

impl<C: PartialEq> Flights<C> {
    /// At most `max_waiting` clients wait, all flights together.
    pub fn new(max_waiting: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            flights: HashMap::new(),
            deadlines: BTreeSet::new(),
            waiting: 0,
            max_waiting,
            next: 0,
        }
    }

    /// Adds a client to the flight of its question, a new one made by `course` if need be.
    pub fn join(&mut self, key: Key, waiter: Waiter<C>, course: impl FnOnce() -> Course) -> Joined {
        let under_way = self.by_key.get(&key).copied();
        if let Some(flight) = under_way.and_then(|id| self.flights.get_mut(&id)) {
            let again = |other: &Waiter<C>| other.id == waiter.id && other.client == waiter.client;
            if flight.waiters.iter().any(again) {
                return Joined::Repeated;
            }
            if self.waiting >= self.max_waiting || flight.waiters.len() >= MAX_WAITERS {
                return Joined::Full;
            }
            flight.waiters.push(waiter);
            self.waiting += 1;
            return Joined::Follower;
        }
        if self.waiting >= self.max_waiting {
            return Joined::Full;
        }
        let id = FlightId(self.next);
        self.next += 1;
        let key = Rc::new(key);
        let course = course();
        let deadline = course.deadline();
        self.by_key.insert(Rc::clone(&key), id);
        self.deadlines.insert((deadline, id));
        self.flights.insert(
            id,
            Flight {
                key,
                waiters: vec![waiter],
                course,
                deadline,
            },
        );
        self.waiting += 1;
        Joined::Leader(id)
    }

    /// A flight under way.
    pub fn get(&mut self, id: FlightId) -> Option<&mut Flight<C>> {
        self.flights.get_mut(&id)
    }

    /// Takes note that the course of a flight has another deadline now.
    pub fn reschedule(&mut self, id: FlightId) {
        let Some(flight) = self.flights.get_mut(&id) else {
            return;
        };
        let deadline = flight.course.deadline();
        if deadline != flight.deadline {
            self.deadlines.remove(&(flight.deadline, id));
            self.deadlines.insert((deadline, id));
            flight.deadline = deadline;
        }
    }

    /// Ends a flight.
    pub fn remove(&mut self, id: FlightId) -> Option<Flight<C>> {
        let flight = self.flights.remove(&id)?;
        self.by_key.remove(&flight.key);
        self.deadlines.remove(&(flight.deadline, id));
        self.waiting -= flight.waiters.len();
        Some(flight)
    }

    /// The earliest deadline.
    pub fn next_deadline(&self) -> Option<(Instant, FlightId)> {
        self.deadlines.first().copied()
    }

    /// Flights under way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Clients that wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether the tables agree with each other; for tests.
    #[cfg(test)]
    pub fn is_consistent(&self) -> bool {
        let waiters: usize = self
            .flights
            .values()
            .map(|flight| flight.waiters.len())
            .sum();
        let known = |(id, flight): (&FlightId, &Flight<C>)| {
            self.by_key.get(&flight.key) == Some(id)
                && self.deadlines.contains(&(flight.course.deadline(), *id))
                && (1..=MAX_WAITERS).contains(&flight.waiters.len())
        };
        self.by_key.len() == self.flights.len()
            && self.deadlines.len() == self.flights.len()
            && waiters == self.waiting
            && self.waiting <= self.max_waiting
            && self.flights.iter().all(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Transport;

    fn key(number: u8) -> Key {
        Key {
            question: Question::of(&format!("n{number}.example"), 1).unwrap(),
            flags: 0,
            dnssec_ok: false,
            server: Server::Upstream(0),
        }
    }

    fn waiter(client: u16) -> Waiter<u16> {
        let asker = Asker {
            id: 1,
            flags: 0,
            question: &[],
            edns: None,
            tcp: false,
        };
        Waiter::new(client, &asker)
    }

    #[test]
    fn both_bounds_hold() {
        let now = Instant::now();
        let course = || Course::new(Transport::Udp, 1, now);
        let mut flights = Flights::new(MAX_WAITERS + 10);
        let Joined::Leader(first) = flights.join(key(0), waiter(0), course) else {
            panic!("the first leads");
        };
        for client in 1..MAX_WAITERS as u16 {
            assert_eq!(
                flights.join(key(0), waiter(client), course),
                Joined::Follower
            );
        }
        assert_eq!(
            flights.join(key(0), waiter(999), course),
            Joined::Full,
            "of one flight"
        );
        for number in 1..=10 {
            assert!(matches!(
                flights.join(key(number), waiter(0), course),
                Joined::Leader(_)
            ));
        }
        assert_eq!(
            flights.join(key(11), waiter(0), course),
            Joined::Full,
            "of all"
        );
        assert_eq!(
            flights.join(key(10), waiter(1), course),
            Joined::Full,
            "of all"
        );
        assert_eq!(flights.join(key(10), waiter(0), course), Joined::Repeated);
        assert!(flights.is_consistent());
        assert_eq!(flights.remove(first).unwrap().waiters.len(), MAX_WAITERS);
        assert!(flights.remove(first).is_none() && flights.is_consistent());
        assert_eq!((flights.len(), flights.waiting()), (10, 10));
        // The same question again is another flight: what comes late for the first finds none.
        let again = flights.join(key(0), waiter(0), course);
        assert!(matches!(again, Joined::Leader(id) if id != first));
    }
}
