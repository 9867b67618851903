//! The pool against servers that are played here.

mod bounds;
mod chaos;
mod closes;
mod dials;
mod silence;

use std::collections::BTreeMap;

use super::*;

const IDLE: Duration = Duration::from_secs(10);
type Effect = super::Effect<u32, u8>;

/// A pool with time, and what its effects have led to.
struct World {
    pool: Pool<u32, u8>,
    now: Instant,
    dialling: Vec<(LinkId, u8)>,
    up: Vec<LinkId>,
    written: BTreeMap<LinkId, Vec<(u16, u32)>>,
    failed: Vec<(u32, Fault)>,
    answered: Vec<u32>,
    /// Dials and connections that were closed from our side.
    closed: Vec<LinkId>,
    cancelled: Vec<(LinkId, u16)>,
}

fn message(attempt: u32) -> Vec<u8> {
    [&[0, 0][..], &attempt.to_be_bytes()].concat()
}

impl World {
    fn new() -> Self {
        Self {
            pool: Pool::new(),
            now: Instant::now(),
            dialling: Vec::new(),
            up: Vec::new(),
            written: BTreeMap::new(),
            failed: Vec::new(),
            answered: Vec::new(),
            closed: Vec::new(),
            cancelled: Vec::new(),
        }
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.pool.next_effect() {
            match effect {
                Effect::Dial(id, target) => self.dialling.push((id, target)),
                Effect::Write(id) => {
                    while let Some((number, message)) = self.pool.next_write(id) {
                        let attempt = u32::from_be_bytes(message[2..].try_into().unwrap());
                        self.written.entry(id).or_default().push((number, attempt));
                    }
                }
                Effect::Close(id) => {
                    self.gone(id);
                    self.closed.push(id);
                }
                Effect::Cancel(id, number) => self.cancelled.push((id, number)),
                Effect::Failed(attempt, fault) => self.failed.push((attempt, fault)),
            }
        }
    }

    fn gone(&mut self, id: LinkId) {
        self.up.retain(|other| *other != id);
        self.dialling.retain(|(other, _)| *other != id);
    }

    fn send(&mut self, attempts: std::ops::Range<u32>) {
        for attempt in attempts {
            self.pool.send(self.now, attempt, 0, message(attempt), IDLE);
            self.carry_out();
        }
    }

    /// The dial at this place comes up.
    fn connect(&mut self, at: usize) -> LinkId {
        let (id, _) = self.dialling.remove(at);
        self.up.push(id);
        self.pool.connected(self.now, id, 65_530, usize::MAX);
        self.carry_out();
        id
    }

    /// One query and its connection, answered.
    fn connection(&mut self, attempt: u32) -> LinkId {
        self.send(attempt..attempt + 1);
        let id = self.connect(0);
        self.answer(id, attempt);
        id
    }

    fn answer(&mut self, id: LinkId, attempt: u32) {
        let written = &self.written[&id];
        let (number, _) = *written
            .iter()
            .rfind(|(_, other)| *other == attempt)
            .unwrap();
        let answer = self.pool.answer(self.now, id, number);
        self.answered.extend(answer.map(|(attempt, _)| attempt));
        self.carry_out();
    }

    fn close(&mut self, id: LinkId) {
        self.gone(id);
        self.pool.closed(self.now, id);
        self.carry_out();
    }

    fn fail_dial(&mut self, at: usize, fault: Fault) {
        let (id, _) = self.dialling.remove(at);
        self.pool.dial_failed(self.now, id, fault);
        self.carry_out();
    }

    fn end(&mut self, attempt: u32, timed_out: bool) {
        self.pool.end(self.now, attempt, timed_out);
        self.carry_out();
    }

    fn again(&mut self, attempt: u32) {
        self.pool.send_again(self.now, attempt);
        self.carry_out();
    }

    /// Lets time pass, with a tick whenever one is due.
    fn wait(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(due) = self.pool.next_due()
            && due <= end
        {
            assert!(due >= self.now, "no tick is due twice");
            self.now = self.now.max(due);
            self.pool.tick(self.now);
            self.carry_out();
        }
        self.now = end;
    }

    fn attempts_on(&self, id: LinkId) -> Vec<u32> {
        let written = self.written.get(&id).map_or(&[][..], Vec::as_slice);
        written.iter().map(|(_, attempt)| *attempt).collect()
    }
}
