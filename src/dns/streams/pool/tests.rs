//! The pool against servers that are played here.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

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

#[test]
fn one_connection_carries_many_and_ids_count_up_from_a_random_one() {
    let mut world = World::new();
    world.send(0..3);
    assert_eq!(world.dialling.len(), 1, "one dial for all that wait");
    let id = world.connect(0);
    world.send(3..10);
    let numbers: Vec<_> = world.written[&id]
        .iter()
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(
        numbers,
        [65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 0, 1, 2, 3]
    );
    (0..10).rev().for_each(|attempt| world.answer(id, attempt));
    assert_eq!(world.answered, (0..10).rev().collect::<Vec<_>>());
    assert_eq!(
        (
            world.pool.queries.len(),
            world.pool.len(),
            world.pool.next_link
        ),
        (0, 1, 1)
    );
}

#[test]
fn an_answer_is_for_one_query_once() {
    let mut world = World::new();
    world.send(0..2);
    let id = world.connect(0);
    let (number, _) = world.written[&id][0];
    assert_eq!(world.pool.answer(world.now, id, number), Some((0, [0, 0])));
    assert_eq!(world.pool.answer(world.now, id, number), None);
    assert_eq!(world.pool.answer(world.now, id, 7), None);
    // One that was given up is not found either, and its ID is not used again.
    world.end(1, false);
    assert_eq!(world.cancelled, [(id, number + 1)]);
    assert_eq!(world.pool.answer(world.now, id, number + 1), None);
    world.send(2..3);
    assert_eq!(world.written[&id][2].0, number + 2);
}

#[test]
fn a_busy_connection_has_another_beside_it_that_blocks_nobody() {
    let mut world = World::new();
    let first = world.connection(1000);
    world.send(0..63);
    assert!(world.dialling.is_empty(), "63 are not many");
    world.send(63..65);
    assert_eq!(world.dialling.len(), 1);
    assert_eq!(
        world.attempts_on(first).len(),
        66,
        "nobody waits for the dial"
    );
    let second = world.connect(0);
    world.send(65..70);
    assert_eq!(world.attempts_on(second), [65, 66, 67, 68, 69]);
    // The burst is over: the first takes all, so the second will be closed.
    (0..30).for_each(|attempt| world.answer(first, attempt));
    world.send(70..75);
    assert_eq!(world.attempts_on(second).len(), 5);
    // Four at most, however much there is.
    let mut next = 2000;
    world.send(next..next + 200);
    while !world.dialling.is_empty() {
        world.connect(0);
        next += 200;
        world.send(next..next + 200);
    }
    assert_eq!(world.up.len(), MAX_PER_TARGET);
}

#[test]
fn whichever_dial_comes_up_first_takes_what_waits() {
    let mut world = World::new();
    world.send(0..3);
    world.wait(499);
    assert_eq!(world.dialling.len(), 1);
    world.wait(1);
    assert_eq!(world.dialling.len(), 2, "the first hangs");
    let hangs = world.dialling[0].0;
    let second = world.connect(1);
    assert_eq!(world.attempts_on(second), [0, 1, 2]);
    assert_eq!(world.closed, [hangs], "nobody needs it any more");
}

#[test]
fn after_an_outage_a_fresh_dial_is_never_old() {
    let mut world = World::new();
    world.send(0..1);
    world.wait(800);
    assert_eq!(world.dialling.len(), 4);
    let first: Vec<_> = world.dialling.iter().map(|(id, _)| *id).collect();
    for _ in 0..20 {
        world.wait(100);
        let now: Vec<_> = world.dialling.iter().map(|(id, _)| *id).collect();
        assert_eq!(now[..2], first[..2], "two have all the time they need");
        assert_eq!(now.len(), 4);
    }
    assert_eq!(world.pool.next_link, 25, "one in 100 ms");
    // Nobody waits, nothing happens.
    world.end(0, true);
    world.wait(5000);
    assert_eq!(world.pool.next_link, 25);
    // One is up: patience is back.
    world.send(1..2);
    world.connect(0);
    assert_eq!(world.dialling, []);
}

#[test]
fn a_dial_that_moves_on_has_time() {
    let mut world = World::new();
    world.send(0..1);
    world.wait(450);
    let (id, _) = world.dialling[0];
    world.pool.moved(world.now, id);
    world.wait(450);
    assert_eq!(world.dialling.len(), 1);
    world.wait(50);
    assert_eq!(world.dialling.len(), 2);
}

#[test]
fn a_dial_that_fails_fails_all_that_wait_for_it() {
    for fault in [Fault::Remote, Fault::Local] {
        let mut world = World::new();
        world.send(0..3);
        world.fail_dial(0, fault);
        assert_eq!(world.failed, [(0, fault), (1, fault), (2, fault)]);
        assert!(world.pool.is_empty() && world.pool.sites.is_empty());
        // Who comes later is not made to wait.
        world.send(3..4);
        assert_eq!(world.dialling.len(), 1);
    }
}

#[test]
fn a_failed_dial_is_no_harm_while_another_is_under_way() {
    let mut world = World::new();
    world.send(0..1);
    world.wait(500);
    world.fail_dial(0, Fault::Remote);
    assert_eq!((world.failed.len(), world.dialling.len()), (0, 1));
    // Refused at once, again and again: ten dials a second, not a thousand.
    world.wait(50);
    let dials = world.pool.next_link;
    for _ in 0..100 {
        world.wait(10);
        if world.dialling.len() > 1 {
            world.fail_dial(1, Fault::Remote);
        }
    }
    assert!(
        (5..=11).contains(&(world.pool.next_link - dials)),
        "{}",
        world.pool.next_link - dials
    );
    world.connect(0);
    assert_eq!(world.attempts_on(world.up[0]), [0]);
}

#[test]
fn queries_of_a_closed_connection_are_sent_again() {
    let mut world = World::new();
    let first = world.connection(99);
    world.send(0..3);
    world.answer(first, 1);
    world.close(first);
    world.send(3..4);
    let second = world.connect(0);
    // In their order, in front of what came later; one answer in a connection's life was
    // seen last, but there were two here.
    assert_eq!(world.attempts_on(second), [0, 2]);
    world.answer(second, 0);
    world.answer(second, 2);
    assert_eq!(world.attempts_on(second), [0, 2, 3]);
    assert_eq!(world.failed, []);
}

#[test]
fn but_only_once_when_the_server_answers_nothing() {
    let mut world = World::new();
    world.send(0..2);
    for round in 0..2 {
        assert_eq!(world.failed, [], "{round}");
        let id = world.connect(0);
        assert_eq!(world.attempts_on(id), [0, 1]);
        world.close(id);
    }
    assert_eq!(world.failed, [(0, Fault::Remote), (1, Fault::Remote)]);
    assert_eq!(world.pool.next_link, 2);
}

/// Every connection gives one answer, then it is closed, whatever was sent on it.
#[test]
fn a_server_that_closes_after_each_answer_answers_all() {
    for answers in [1, 2, 5] {
        let mut world = World::new();
        world.send(0..100);
        let mut rounds = 0;
        while world.answered.len() < 100 {
            assert!(world.failed.is_empty(), "{:?}", world.failed);
            while !world.dialling.is_empty() {
                world.connect(0);
            }
            // All connections in turn, as they would be in parallel.
            for id in world.up.clone() {
                for _ in 0..answers {
                    let next = world.attempts_on(id).into_iter();
                    let next = next
                        .filter(|attempt| !world.answered.contains(attempt))
                        .min();
                    if let Some(attempt) = next {
                        world.answer(id, attempt);
                    }
                }
                world.close(id);
            }
            rounds += 1;
        }
        let sent: usize = world.written.values().map(Vec::len).sum();
        assert!(
            rounds <= 100 / answers / 4 + 3,
            "{answers}: {rounds} rounds"
        );
        assert!(
            sent <= 100 + 100 + 100 * 2 / answers,
            "{answers}: sent {sent}"
        );
    }
}

#[test]
fn a_server_that_closed_once_is_trusted_again() {
    let mut world = World::new();
    let first = world.connection(0);
    world.send(1..9);
    world.close(first);
    let second = world.connect(0);
    // At first one, then as many as are answered.
    assert_eq!(world.attempts_on(second), [1]);
    let mut next = 1;
    while next < 9 {
        world.answer(second, next);
        next += 1;
    }
    world.send(9..200);
    let mut at = 9;
    while world.attempts_on(second).len() < 199 {
        world.answer(second, at);
        at += 1;
        assert!(at < 80, "{}", world.attempts_on(second).len());
    }
}

#[test]
fn a_query_that_kills_connections_ends() {
    let mut world = World::new();
    world.send(0..1);
    let mut rounds = 0;
    let mut next = 1;
    while !world.failed.iter().any(|(attempt, _)| *attempt == 0) {
        let id = world.connect(0);
        world.send(next..next + 1);
        if world.attempts_on(id).contains(&next) {
            world.answer(id, next);
        }
        next += 1;
        world.close(id);
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(rounds > 2);
}

#[test]
fn a_connection_that_is_silent_takes_no_new_queries() {
    let mut world = World::new();
    let first = world.connection(99);
    world.wait(10);
    world.send(0..2);
    world.wait(3500);
    world.end(0, true);
    world.send(2..3);
    assert_eq!((world.dialling.len(), world.closed.len()), (1, 0));
    // What waits on it may still be answered; then it ends.
    world.answer(first, 1);
    assert_eq!(world.closed, [first]);
    let second = world.connect(0);
    // A query that times out while others are answered is the name's fault.
    world.send(3..5);
    world.answer(second, 2);
    world.wait(1000);
    world.answer(second, 3);
    world.end(4, true);
    world.send(5..6);
    assert_eq!(world.attempts_on(second), [2, 3, 4, 5]);
    // And one that was given up for another reason says nothing.
    world.end(5, false);
    world.send(6..7);
    assert_eq!(world.attempts_on(second).last(), Some(&6));
}

#[test]
fn a_query_that_waits_for_long_goes_by_another_connection_too() {
    for answered_by_first in [true, false] {
        let mut world = World::new();
        let first = world.connection(99);
        world.wait(10);
        world.send(0..1);
        world.wait(500);
        world.again(0);
        assert_eq!(world.dialling.len(), 1, "the first may be dead");
        // Until another is up it is better than nothing.
        world.send(1..2);
        assert_eq!(world.attempts_on(first), [99, 0, 1]);
        let second = world.connect(0);
        assert_eq!(world.attempts_on(second), [0]);
        world.send(2..3);
        assert_eq!(world.attempts_on(second), [0, 2]);
        world.answer(if answered_by_first { first } else { second }, 0);
        assert_eq!(world.answered, [99, 0]);
        assert_eq!(world.cancelled.len(), 1, "nobody wants the other answer");
        assert_eq!(world.pool.queries.len(), 2);
        world.send(3..4);
        let by_first = world.attempts_on(first).contains(&3);
        assert_eq!(by_first, answered_by_first, "a silent one is not used");
    }
}

#[test]
fn but_not_when_its_connection_answers_others() {
    let mut world = World::new();
    let first = world.connection(99);
    world.send(0..2);
    world.wait(10);
    world.answer(first, 1);
    world.again(0);
    assert!(world.dialling.is_empty() && world.cancelled.is_empty());
    // Nor when there is nothing that could answer yet.
    world.pool.send(world.now, 5, 1, message(5), IDLE);
    world.carry_out();
    world.again(5);
    assert_eq!((world.dialling.len(), world.pool.queries.len()), (1, 2));
}

#[test]
fn a_query_sent_twice_ends_once() {
    let mut world = World::new();
    let first = world.connection(99);
    world.wait(10);
    world.send(0..3);
    world.again(0);
    // The dial for it fails: it stays where it is, and there will be another.
    world.fail_dial(0, Fault::Remote);
    assert_eq!(world.failed, []);
    assert_eq!(world.pool.queries.len(), 3);
    world.wait(100);
    world.again(1);
    let second = world.connect(0);
    assert_eq!(world.attempts_on(second), [0, 1]);
    // The first breaks: only 2 has to be sent again.
    world.close(first);
    assert_eq!(world.attempts_on(second), [0, 1, 2]);
    world.end(0, true);
    world.answer(second, 1);
    world.answer(second, 2);
    assert_eq!((world.failed.len(), world.pool.queries.len()), (0, 0));
    assert!(
        world
            .pool
            .sites
            .values()
            .all(|site| site.waiting.is_empty())
    );
}

#[test]
fn the_first_connection_may_answer_while_another_is_dialled() {
    let mut world = World::new();
    let first = world.connection(99);
    world.wait(10);
    world.send(0..2);
    world.again(0);
    world.answer(first, 0);
    assert_eq!(world.pool.sites[&0].waiting.len(), 0);
    let second = world.connect(0);
    assert!(world.attempts_on(second).is_empty());
}

#[test]
fn suspect_connections_make_room() {
    let mut world = World::new();
    world.send(0..1);
    for round in 1..7 {
        world.connect(0);
        world.send(round..round + 1);
        world.wait(10);
        world.again(round);
        assert!(world.pool.len() <= MAX_PER_TARGET);
        assert_eq!(world.dialling.len(), 1, "{round}");
    }
    assert_eq!((world.failed.len(), world.closed.len()), (0, 3));
}

#[test]
fn retired_connections_make_room() {
    let mut world = World::new();
    for round in 0..6 {
        world.send(round * 2..round * 2 + 2);
        let id = world.connect(0);
        world.wait(10);
        world.end(round * 2, true);
        assert_eq!(world.attempts_on(id).last(), Some(&(round * 2 + 1)));
    }
    assert_eq!(world.pool.len(), 4);
    // What waited on the first ones was put on later ones, once.
    assert_eq!(world.closed.len(), 2);
    assert_eq!(world.failed, []);
}

#[test]
fn a_limit_of_the_server_is_kept() {
    let mut world = World::new();
    world.send(0..1);
    let id = world.connect(0);
    world.pool.set_limit(world.now, id, 3);
    world.send(1..6);
    assert_eq!(world.attempts_on(id), [0, 1, 2]);
    assert_eq!(world.dialling.len(), 1, "another connection for the rest");
    world.answer(id, 1);
    assert_eq!(world.attempts_on(id), [0, 1, 2, 3]);
    // It says that it has too many: the query waits, and is sent when there is room.
    let (number, _) = world.written[&id][3];
    world.pool.refused(world.now, id, number);
    world.carry_out();
    world.answer(id, 0);
    assert_eq!(world.attempts_on(id), [0, 1, 2, 3, 3]);
    // It wants no more.
    world.pool.retire(world.now, id);
    world.answer(id, 2);
    world.answer(id, 3);
    assert_eq!(world.closed, [id]);
    let (number, _) = (world.connect(0), ()).0.into_first(&world);
    world.pool.failed(world.now, world.up[0], number);
    world.carry_out();
    assert_eq!(world.failed, [(4, Fault::Remote)]);
}

impl LinkId {
    fn into_first(self, world: &World) -> (u16, u32) {
        world.written[&self][0]
    }
}

#[test]
fn ids_are_not_used_twice_on_a_connection() {
    let mut world = World::new();
    let first = world.connection(99_999);
    for attempt in 1..MAX_QUERIES {
        world.send(attempt..attempt + 1);
        world.answer(first, attempt);
    }
    assert_eq!(world.closed, [first]);
    assert_eq!(world.written[&first].len(), 65_000);
    world.send(70_000..70_001);
    assert_eq!(world.dialling.len(), 1);
}

#[test]
fn idle_connections_are_closed() {
    let mut world = World::new();
    let first = world.connection(0);
    world.wait(9_999);
    world.pool.sweep(world.now);
    world.carry_out();
    assert_eq!(world.closed, []);
    world.send(1..2);
    world.wait(20_000);
    world.pool.sweep(world.now);
    world.answer(first, 1);
    assert_eq!(world.closed, [], "a query waits on it");
    world.wait(10_000);
    world.pool.sweep(world.now);
    world.carry_out();
    assert_eq!(world.closed, [first]);
    assert!(world.pool.sites.is_empty());
}

#[test]
fn over_the_bound_the_oldest_idle_one_goes_else_nobody_is_blamed() {
    let mut world = World::new();
    for target in 0..64u32 {
        world
            .pool
            .send(world.now, target, target as u8, message(target), IDLE);
        world.carry_out();
        world.connect(0);
        world.wait(1);
    }
    assert_eq!(world.pool.len(), MAX_LINKS);
    world.pool.send(world.now, 64, 64, message(64), IDLE);
    world.carry_out();
    assert_eq!(world.failed, [(64, Fault::Local)]);
    let fifth = world.up[5];
    world.answer(fifth, 5);
    world.pool.send(world.now, 65, 65, message(65), IDLE);
    world.carry_out();
    assert_eq!(world.closed, [fifth]);
    assert_eq!((world.pool.len(), world.dialling.len()), (MAX_LINKS, 1));
    // A target with a connection only gets no further one.
    world.send(100..200);
    assert_eq!((world.failed.len(), world.pool.len()), (1, MAX_LINKS));
}

#[test]
fn a_target_that_is_reached_otherwise_now_gets_new_connections() {
    let mut world = World::new();
    world.send(0..2);
    let old = world.connect(0);
    world.pool.send(world.now, 2, 1, message(2), IDLE);
    world.carry_out();
    world.pool.retire_all(world.now, |_| true);
    world.carry_out();
    assert_eq!(world.closed.len(), 1, "a dial is of no use");
    assert_eq!(
        world.dialling.len(),
        1,
        "but what waits for it needs another"
    );
    world.send(3..4);
    assert_eq!(world.dialling.len(), 2);
    world.answer(old, 0);
    world.answer(old, 1);
    assert_eq!(world.closed.last(), Some(&old));
    let targets: HashSet<_> = world.pool.targets().copied().collect();
    assert_eq!(targets, HashSet::from([0, 1]));
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Send(u8),
    Connect(usize),
    FailDial(usize, bool),
    Answer(usize, usize),
    Refuse(usize, usize),
    Close(usize),
    Retire(usize),
    Limit(usize, usize),
    End(usize, bool),
    Again(usize),
    Wait(u64),
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u8..3).prop_map(Op::Send),
        4 => (0usize..4).prop_map(Op::Connect),
        1 => (0usize..4, any::<bool>()).prop_map(|(at, local)| Op::FailDial(at, local)),
        8 => (0usize..8, 0usize..80).prop_map(|(link, at)| Op::Answer(link, at)),
        1 => (0usize..8, 0usize..80).prop_map(|(link, at)| Op::Refuse(link, at)),
        2 => (0usize..8).prop_map(Op::Close),
        1 => (0usize..8).prop_map(Op::Retire),
        1 => (0usize..8, 0usize..9).prop_map(|(link, limit)| Op::Limit(link, limit)),
        2 => (0usize..80, any::<bool>()).prop_map(|(at, late)| Op::End(at, late)),
        2 => (0usize..80).prop_map(Op::Again),
        2 => (0u64..1500).prop_map(Op::Wait),
        1 => Just(Op::Sweep),
    ]
}

fn pick<T: Copy>(list: &[T], at: usize) -> Option<T> {
    list.get(at % list.len().max(1)).copied()
}

impl World {
    /// Does one thing; `live` are the attempts that have no end yet, `next` is a new one.
    fn apply(&mut self, op: Op, live: &mut Vec<u32>, next: u32) {
        match op {
            Op::Send(target) => {
                // Often more than one, so that connections are busy.
                for attempt in next..next + 20 {
                    live.push(attempt);
                    self.pool
                        .send(self.now, attempt, target, message(attempt), IDLE);
                }
            }
            Op::Connect(at) if at < self.dialling.len() => drop(self.connect(at)),
            Op::FailDial(at, local) if at < self.dialling.len() => {
                self.fail_dial(at, if local { Fault::Local } else { Fault::Remote });
            }
            Op::Answer(link, at) | Op::Refuse(link, at) => {
                let Some(id) = pick(&self.up, link) else {
                    return;
                };
                let written = self.written.get(&id).map_or(&[][..], Vec::as_slice);
                let Some((number, _)) = pick(written, at) else {
                    return;
                };
                if matches!(op, Op::Refuse(..)) {
                    self.pool.refused(self.now, id, number);
                } else if let Some((attempt, _)) = self.pool.answer(self.now, id, number) {
                    self.answered.push(attempt);
                }
            }
            Op::Close(link) => {
                if let Some(id) = pick(&self.up, link) {
                    self.close(id);
                }
            }
            Op::Retire(link) => {
                if let Some(id) = pick(&self.up, link) {
                    self.pool.retire(self.now, id);
                }
            }
            Op::Limit(link, limit) => {
                if let Some(id) = pick(&self.up, link) {
                    self.pool.set_limit(self.now, id, limit);
                }
            }
            Op::End(at, late) => {
                if let Some(attempt) = pick(live, at) {
                    self.end(attempt, late);
                    live.retain(|other| *other != attempt);
                }
            }
            Op::Again(at) => {
                if let Some(attempt) = pick(live, at) {
                    self.again(attempt);
                }
            }
            Op::Wait(time) => self.wait(time),
            Op::Sweep => self.pool.sweep(self.now),
            Op::Connect(_) | Op::FailDial(..) => {}
        }
        self.carry_out();
    }

    fn check(&self, live: &[u32]) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.pool.queries.len(), live.len());
        prop_assert!(self.pool.len() <= MAX_LINKS);
        prop_assert_eq!(self.pool.len(), self.up.len() + self.dialling.len());
        for site in self.pool.sites.values() {
            prop_assert!(site.links.len() <= MAX_PER_TARGET);
            prop_assert!(
                !site.links.is_empty(),
                "a site has connections, or is no more"
            );
        }
        let waiting: usize = self
            .pool
            .sites
            .values()
            .map(|site| site.waiting.len())
            .sum();
        let pending: usize = self
            .pool
            .links
            .values()
            .map(|link| link.pending.len())
            .sum();
        let queries = self.pool.queries.values();
        let placed: usize = queries.clone().map(|query| query.places().count()).sum();
        prop_assert_eq!(pending, placed);
        prop_assert_eq!(
            waiting,
            queries.filter(|query| query.place.is_none()).count()
        );
        for written in self.written.values() {
            let numbers: HashSet<_> = written.iter().map(|(number, _)| number).collect();
            prop_assert_eq!(numbers.len(), written.len(), "an ID was used twice");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_query_ends_once_and_nothing_grows(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        let mut live = Vec::new();
        for (number, op) in ops.into_iter().enumerate() {
            world.apply(op, &mut live, number as u32 * 100);
            for attempt in world.answered.drain(..).chain(world.failed.drain(..).map(|(a, _)| a)) {
                let at = live.iter().position(|other| *other == attempt);
                prop_assert!(at.is_some(), "{} ended twice", attempt);
                live.remove(at.unwrap());
            }
            world.check(&live)?;
        }
        // A server that answers everything ends everything.
        for _ in 0..20_000 {
            if live.is_empty() {
                break;
            }
            while !world.dialling.is_empty() {
                world.connect(0);
            }
            for id in world.up.clone() {
                world.pool.set_limit(world.now, id, 100);
                world.carry_out();
                let written = world.written.get(&id).cloned().unwrap_or_default();
                for (number, _) in written {
                    if let Some((attempt, _)) = world.pool.answer(world.now, id, number) {
                        live.retain(|other| *other != attempt);
                    }
                    world.carry_out();
                }
            }
            world.wait(100);
            // Some had been sent again as often as may be.
            for (failed, _) in world.failed.drain(..) {
                live.retain(|other| *other != failed);
            }
        }
        prop_assert!(live.is_empty(), "{} wait for ever", live.len());
        prop_assert!(world.pool.queries.is_empty(), "what has ended is off the books");
    }
}
