//! When another connection is dialled, and what waits for it.

use std::collections::HashSet;

use super::*;

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
