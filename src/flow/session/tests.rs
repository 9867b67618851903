//! The table against a list that is searched from end to end.

use std::rc::{Rc, Weak};

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    sessions: 4,
    queue: 3,
    queue_bytes: 40,
    idle: Duration::from_secs(30),
    retry: Duration::from_secs(2),
};

fn key(client: u8, outbound: u16) -> Key {
    Key {
        client: SocketAddr::from(([192, 0, 2, client], 5000)),
        outbound: WayId::of(outbound.into()),
    }
}

fn destination(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], port))
}

/// A session of the model; the last of the list is the last used.
struct Model {
    key: Key,
    serial: u64,
    used: Instant,
    stage: ModelStage,
}

enum ModelStage {
    Dialling(Vec<(SocketAddr, usize)>),
    Ready(Instant),
    Failed(Instant),
}

#[derive(Debug, Clone)]
enum Event {
    Offer {
        client: u8,
        outbound: u16,
        port: u16,
        bytes: usize,
    },
    Ready(prop::sample::Index),
    End(prop::sample::Index),
    Touch(prop::sample::Index),
    Expire,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let offer =
        (0..5u8, 2..4u16, any::<u16>(), 0..20usize).prop_map(|(client, outbound, port, bytes)| {
            Event::Offer {
                client,
                outbound,
                port,
                bytes,
            }
        });
    prop_oneof![
        6 => offer,
        2 => any::<prop::sample::Index>().prop_map(Event::Ready),
        1 => any::<prop::sample::Index>().prop_map(Event::End),
        1 => any::<prop::sample::Index>().prop_map(Event::Touch),
        1 => Just(Event::Expire),
        3 => (0..20_000u64).prop_map(Event::Pass),
    ]
}

/// Table and model, told the same.
struct Both {
    table: Table<Rc<Id>>,
    model: Vec<Model>,
    ids: Vec<Id>,
    workers: Vec<Weak<Id>>,
    counts: Counts,
    now: Instant,
}

impl Both {
    fn new() -> Self {
        Self {
            table: Table::new(LIMITS),
            model: Vec::new(),
            ids: Vec::new(),
            workers: Vec::new(),
            counts: Counts::default(),
            now: Instant::now(),
        }
    }

    fn offer(&mut self, key: Key, to: SocketAddr, bytes: usize) {
        let Self {
            table,
            ids,
            workers,
            ..
        } = self;
        let mut opened = false;
        let offer = table.offer(key, to, &vec![7; bytes], self.now, |id| {
            opened = true;
            let worker = Rc::new(id);
            ids.push(id);
            workers.push(Rc::downgrade(&worker));
            worker
        });
        let taken = match offer {
            Offer::Send(worker) => {
                assert_eq!(worker.key, key);
                true
            }
            Offer::Queued => true,
            Offer::Dropped => false,
        };
        assert_eq!(taken, self.model_offer(key, to, bytes, opened));
    }

    /// Whether the datagram was taken.
    fn model_offer(&mut self, key: Key, to: SocketAddr, bytes: usize, opened: bool) -> bool {
        let mut found = self.model.iter().position(|session| session.key == key);
        if let Some(at) = found
            && let ModelStage::Failed(until) = self.model[at].stage
        {
            if self.now < until {
                self.counts.dropped_failed += 1;
                assert!(!opened);
                return false;
            }
            self.model.remove(at);
            found = None;
        }
        assert_eq!(opened, found.is_none());
        let mut session = match found {
            Some(at) => self.model.remove(at),
            None => {
                if self.model.len() == LIMITS.sessions {
                    let oldest = self.model.remove(0);
                    self.counts.evicted += u64::from(self.lose(oldest));
                }
                self.counts.created += 1;
                let serial = self.counts.created;
                let stage = ModelStage::Dialling(Vec::new());
                Model {
                    key,
                    serial,
                    used: self.now,
                    stage,
                }
            }
        };
        session.used = self.now;
        let waiting = self.waiting() + session.waiting();
        let taken = match &mut session.stage {
            ModelStage::Dialling(queue)
                if queue.len() < LIMITS.queue && waiting + bytes <= LIMITS.queue_bytes =>
            {
                queue.push((to, bytes));
                true
            }
            ModelStage::Ready(_) => true,
            _ => {
                self.counts.dropped_queue_full += 1;
                false
            }
        };
        self.model.push(session);
        taken
    }

    fn waiting(&self) -> usize {
        self.model.iter().map(Model::waiting).sum()
    }

    /// Books what goes with a session; true when it had a worker.
    fn lose(&mut self, session: Model) -> bool {
        if let ModelStage::Dialling(queue) = &session.stage {
            self.counts.dropped_unsent += queue.len() as u64;
        }
        !matches!(session.stage, ModelStage::Failed(_))
    }

    fn find(&self, id: Id) -> Option<usize> {
        self.model
            .iter()
            .position(|session| session.serial == id.serial)
    }

    fn ready(&mut self, id: Id) {
        let queue = self.table.ready(id, self.now).map(|(worker, queue)| {
            assert_eq!(**worker, id);
            queue
                .iter()
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
            return assert_eq!(end, None);
        };
        match &mut self.model[at].stage {
            ModelStage::Failed(_) => assert_eq!(end, None),
            ModelStage::Ready(since) if self.now >= *since + LIMITS.retry => {
                assert_eq!(end, Some(End::Closed(Rc::new(id))));
                self.counts.ended += 1;
                self.model.remove(at);
            }
            stage => {
                assert_eq!(end, Some(End::Failed(Rc::new(id))));
                if let ModelStage::Dialling(queue) = stage {
                    self.counts.dropped_failed += queue.len() as u64;
                }
                self.counts.failed += 1;
                *stage = ModelStage::Failed(self.now + LIMITS.retry);
            }
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
        let (gone, kept) = std::mem::take(&mut self.model)
            .into_iter()
            .partition(|session| self.now >= session.used + LIMITS.idle);
        self.model = kept;
        for session in gone {
            self.counts.expired += u64::from(self.lose(session));
        }
    }

    fn check(&self) {
        let active = self
            .model
            .iter()
            .filter(|s| !matches!(s.stage, ModelStage::Failed(_)))
            .count();
        let workers = self
            .workers
            .iter()
            .filter(|worker| worker.strong_count() > 0)
            .count();
        assert_eq!(workers, active, "as many workers as sessions");
        assert_eq!(self.table.active(), active);
        assert_eq!(self.table.sessions.len(), self.model.len());
        assert!(self.table.sessions.len() <= LIMITS.sessions);
        assert_eq!(self.table.order.len(), self.table.sessions.len());
        assert_eq!(self.table.queued_bytes, self.waiting());
        assert_eq!(self.table.counts(), self.counts);
    }
}

impl Model {
    fn waiting(&self) -> usize {
        match &self.stage {
            ModelStage::Dialling(queue) => queue.iter().map(|(_, bytes)| bytes).sum(),
            _ => 0,
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_a_plain_list_does(events in prop::collection::vec(event(), 0..200)) {
        let mut both = Both::new();
        for event in events {
            let id = |index: prop::sample::Index| (!both.ids.is_empty()).then(|| *index.get(&both.ids));
            match event {
                Event::Offer { client, outbound, port, bytes } => {
                    both.offer(key(client, outbound), destination(port), bytes);
                }
                Event::Ready(index) => if let Some(id) = id(index) { both.ready(id) },
                Event::End(index) => if let Some(id) = id(index) { both.end(id) },
                Event::Touch(index) => if let Some(id) = id(index) { both.touch(id) },
                Event::Expire => both.expire(),
                Event::Pass(milliseconds) => both.now += Duration::from_millis(milliseconds),
            }
            both.check();
        }
        both.table.clear();
        prop_assert!(both.workers.iter().all(|worker| worker.strong_count() == 0));
    }
}

#[test]
fn a_late_worker_does_not_touch_its_successor() {
    let mut table = Table::new(LIMITS);
    let now = Instant::now();
    let mut first = None;
    let open = |id| first = Some(id);
    assert_eq!(
        table.offer(key(1, 2), destination(53), b"a", now, open),
        Offer::Queued
    );
    let first = first.unwrap();
    assert_eq!(table.end(first, now), Some(End::Failed(())));
    let later = now + LIMITS.retry;
    assert_eq!(
        table.offer(key(1, 2), destination(53), b"b", later, |_| ()),
        Offer::Queued
    );
    assert_eq!(table.ready(first, later), None);
    assert_eq!(table.end(first, later), None);
    assert!(!table.touch(first, later));
    assert_eq!(table.active(), 1);
}
