//! Random events against a model that keeps everything in plain maps.

use std::rc::{Rc, Weak};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// A session of the model; the last of the list is the last used.
struct Model {
    key: Key,
    serial: u64,
    used: Instant,
    kind: Kind,
    stage: ModelStage,
    /// The client's datagrams find it.
    found: bool,
}

enum ModelStage {
    Dialling(Vec<(SocketAddr, usize)>),
    Ready(Instant),
}

/// A failure of the model; the last of a key counts.
struct Failure {
    key: Key,
    until: Instant,
    refused: bool,
}

#[derive(Debug, Clone)]
enum Event {
    Offer {
        client: u8,
        outbound: u16,
        port: u16,
        kind: Kind,
        bytes: usize,
    },
    Ready(Index),
    End(Index),
    Touch(Index),
    Expire,
    Cut(u16),
    Retire(u16),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![Just(Kind::Dns), Just(Kind::Plain), Just(Kind::Quic)];
    let offer = (0..5u8, 2..4u16, any::<u16>(), kind, 0..20usize).prop_map(
        |(client, outbound, port, kind, bytes)| Event::Offer {
            client,
            outbound,
            port,
            kind,
            bytes,
        },
    );
    prop_oneof![
        24 => offer,
        12 => any::<Index>().prop_map(Event::Ready),
        5 => any::<Index>().prop_map(Event::End),
        4 => any::<Index>().prop_map(Event::Touch),
        4 => Just(Event::Expire),
        1 => (2..4u16).prop_map(Event::Cut),
        1 => (2..4u16).prop_map(Event::Retire),
        8 => (0..3000u64).prop_map(Event::Pass),
        4 => (0..60_000u64).prop_map(Event::Pass),
    ]
}

/// Table and model, told the same.
struct Both {
    table: Table<Rc<Key>>,
    model: Vec<Model>,
    failures: Vec<Failure>,
    ids: Vec<Id>,
    workers: Vec<Weak<Key>>,
    counts: Counts,
    now: Instant,
}

impl Both {
    fn new() -> Self {
        Self {
            table: Table::new(LIMITS),
            model: Vec::new(),
            failures: Vec::new(),
            ids: Vec::new(),
            workers: Vec::new(),
            counts: Counts::default(),
            now: Instant::now(),
        }
    }

    fn step(&mut self, event: Event) {
        let id = |index: Index| (!self.ids.is_empty()).then(|| *index.get(&self.ids));
        match event {
            Event::Offer {
                client,
                outbound,
                port,
                kind,
                bytes,
            } => self.offer(key(client, outbound), destination(port), kind, bytes),
            Event::Ready(index) => id(index).into_iter().for_each(|id| self.ready(id)),
            Event::End(index) => id(index).into_iter().for_each(|id| self.end(id)),
            Event::Touch(index) => id(index).into_iter().for_each(|id| self.touch(id)),
            Event::Expire => self.expire(),
            Event::Cut(outbound) => self.cut(outbound),
            Event::Retire(outbound) => {
                self.table.retire(|key, _| key.outbound == way(outbound));
                let retired = self.model.iter_mut();
                let retired = retired.filter(|session| session.key.outbound == way(outbound));
                retired.for_each(|session| session.found = false);
            }
            Event::Pass(milliseconds) => self.now += Duration::from_millis(milliseconds),
        }
        self.check();
    }

    fn offer(&mut self, key: Key, to: SocketAddr, kind: Kind, bytes: usize) {
        let Self {
            table,
            ids,
            workers,
            ..
        } = self;
        let mut opened = false;
        let payload = vec![7; bytes];
        let arrival = Arrival {
            key,
            destination: to,
            kind,
            payload: &payload,
        };
        let offer = table.offer(arrival, self.now, |id| {
            opened = true;
            let worker = Rc::new(key);
            ids.push(id);
            workers.push(Rc::downgrade(&worker));
            worker
        });
        let taken = match offer {
            Offer::Send(worker) => {
                assert_eq!(**worker, key);
                true
            }
            Offer::Queued => true,
            Offer::Dropped => false,
        };
        let found = self
            .model
            .iter()
            .position(|session| session.found && session.key == key);
        if found.is_none() && self.refuses(key) {
            assert!(!opened && !taken);
            self.counts.dropped_failed += 1;
            return;
        }
        assert_eq!(opened, found.is_none());
        assert_eq!(taken, self.model_offer(found, arrival));
    }

    /// Whether the datagram was taken.
    fn model_offer(&mut self, found: Option<usize>, arrival: Arrival<'_>) -> bool {
        let mut session = match found {
            Some(at) => self.model.remove(at),
            None => {
                if self.model.len() == LIMITS.sessions {
                    let oldest = self.model.remove(0);
                    self.counts.dropped_unsent += oldest.waiting().0 as u64;
                    self.counts.evicted += 1;
                }
                self.counts.created += 1;
                Model {
                    key: arrival.key,
                    serial: self.counts.created,
                    used: self.now,
                    kind: arrival.kind,
                    stage: ModelStage::Dialling(Vec::new()),
                    found: true,
                }
            }
        };
        session.used = self.now;
        if LIMITS.idle[arrival.kind.index()] > LIMITS.idle[session.kind.index()] {
            session.kind = arrival.kind;
        }
        let bytes = arrival.payload.len();
        let waiting = self.waiting().1 + session.waiting().1;
        let taken = match &mut session.stage {
            ModelStage::Dialling(queue)
                if queue.len() < LIMITS.queue && waiting + bytes <= LIMITS.queue_bytes =>
            {
                queue.push((arrival.destination, bytes));
                true
            }
            ModelStage::Ready(_) => true,
            ModelStage::Dialling(_) => {
                self.counts.dropped_queue_full += 1;
                false
            }
        };
        self.model.push(session);
        taken
    }

    /// Datagrams and bytes.
    fn waiting(&self) -> (usize, usize) {
        let add = |sum: (usize, usize), one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1);
        self.model.iter().map(Model::waiting).fold((0, 0), add)
    }

    fn find(&self, id: Id) -> Option<usize> {
        let mut sessions = self.model.iter();
        sessions.position(|session| session.serial == id.serial)
    }

    fn noted(&self, key: Key) -> Option<&Failure> {
        let last = self.failures.iter().rev().find(|note| note.key == key);
        last.filter(|note| self.now < note.until)
    }

    fn refuses(&self, key: Key) -> bool {
        self.noted(key).is_some_and(|note| note.refused)
    }

    fn note(&mut self, key: Key, refused: bool) {
        self.failures.retain(|note| self.now < note.until);
        if self.failures.len() == LIMITS.sessions {
            self.failures.remove(0);
        }
        let until = self.now + LIMITS.retry;
        self.failures.push(Failure {
            key,
            until,
            refused,
        });
    }

    fn ready(&mut self, id: Id) {
        let queue = self.table.ready(id, self.now).map(|(_, queue)| {
            let queue = queue.iter();
            queue
                .map(|queued| (queued.destination, queued.payload.len()))
                .collect()
        });
        let mut expected = None;
        if let Some(at) = self.find(id)
            && let ModelStage::Dialling(queue) = &mut self.model[at].stage
        {
            expected = Some(std::mem::take(queue));
            self.model[at].stage = ModelStage::Ready(self.now);
        }
        assert_eq!(queue, expected);
    }

    fn end(&mut self, id: Id) {
        let end = self.table.end(id, self.now);
        let Some(at) = self.find(id) else {
            self.counts.removal_failed += 1;
            return assert_eq!(end, None);
        };
        let session = self.model.remove(at);
        let key = session.key;
        let failed = match session.stage {
            ModelStage::Dialling(queue) => {
                self.counts.dropped_failed += queue.len() as u64;
                self.note(key, true);
                true
            }
            ModelStage::Ready(since) if self.now < since + LIMITS.retry => {
                let again = self.noted(key).is_some();
                self.note(key, again);
                again
            }
            ModelStage::Ready(_) => false,
        };
        if failed {
            self.counts.failed += 1;
            assert_eq!(end, Some(End::Failed(Rc::new(key))));
        } else {
            self.counts.ended += 1;
            assert_eq!(end, Some(End::Closed(Rc::new(key))));
        }
    }

    fn touch(&mut self, id: Id) {
        let found = self.find(id);
        assert_eq!(self.table.touch(id, self.now), found.is_some());
        if let Some(at) = found {
            let mut session = self.model.remove(at);
            session.used = self.now;
            self.model.push(session);
        }
    }

    fn expire(&mut self) {
        self.table.expire(self.now);
        let now = self.now;
        let idle = |session: &Model| now >= session.used + LIMITS.idle[session.kind.index()];
        self.counts.expired += self.lose(idle);
        self.failures.retain(|note| now < note.until);
    }

    fn cut(&mut self, outbound: u16) {
        let cut = self.table.cut(|key, worker| {
            assert_eq!(**worker, *key);
            key.outbound == way(outbound)
        });
        let expected = self.lose(|session| session.key.outbound == way(outbound));
        assert_eq!(cut as u64, expected);
        self.counts.cut += expected;
    }

    /// Ends sessions; how many.
    fn lose(&mut self, which: impl Fn(&Model) -> bool) -> u64 {
        let (lost, kept) = std::mem::take(&mut self.model).into_iter().partition(which);
        self.model = kept;
        let lost: Vec<Model> = lost;
        let unsent = lost.iter().map(|session| session.waiting().0 as u64);
        self.counts.dropped_unsent += unsent.sum::<u64>();
        lost.len() as u64
    }

    fn check(&self) {
        let alive = self
            .workers
            .iter()
            .filter(|worker| worker.strong_count() > 0);
        let sessions = self.model.len();
        assert_eq!(alive.count(), sessions, "as many workers as sessions");
        assert_eq!(self.table.active(), sessions);
        assert_eq!(self.table.sessions.len(), sessions);
        assert_eq!(self.table.workers().count(), sessions);
        assert!(sessions <= LIMITS.sessions);
        let found = self.model.iter().filter(|session| session.found);
        assert_eq!(self.table.places.len(), found.count());
        assert_eq!(self.table.queued(), self.waiting());
        assert!(self.waiting().1 <= LIMITS.queue_bytes);
        assert!(
            self.model
                .iter()
                .all(|session| session.waiting().0 <= LIMITS.queue)
        );
        let counts = self.table.counts();
        assert_eq!(counts, self.counts);
        let ended = counts.expired + counts.evicted + counts.failed + counts.ended + counts.cut;
        assert_eq!(counts.created - ended, sessions as u64);
    }

    /// However long they live, they all end.
    fn finish(mut self) {
        self.now += LIMITS.idle[Kind::Quic.index()];
        self.expire();
        self.check();
        assert!(self.model.is_empty() && self.table.is_empty());
    }
}

impl Model {
    /// Datagrams and bytes.
    fn waiting(&self) -> (usize, usize) {
        match &self.stage {
            ModelStage::Dialling(queue) => {
                (queue.len(), queue.iter().map(|(_, bytes)| bytes).sum())
            }
            ModelStage::Ready(_) => (0, 0),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn it_does_what_a_plain_list_does(events in prop::collection::vec(event(), 0..200)) {
        let mut both = Both::new();
        for event in events {
            both.step(event);
        }
        both.finish();
    }

    #[test]
    fn clearing_ends_all(events in prop::collection::vec(event(), 0..50)) {
        let mut both = Both::new();
        for event in events {
            both.step(event);
        }
        both.table.clear();
        prop_assert!(both.workers.iter().all(|worker| worker.strong_count() == 0));
        prop_assert!(both.table.is_empty() && both.table.queued() == (0, 0));
    }
}
