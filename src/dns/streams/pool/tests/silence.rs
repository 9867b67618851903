//! Connections that answer late or not at all.

use super::*;

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
