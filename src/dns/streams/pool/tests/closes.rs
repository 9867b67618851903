//! Connections that servers close.

use super::*;

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
