//! What a connection carries, and how many there are.

use super::*;

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

impl LinkId {
    fn into_first(self, world: &World) -> (u16, u32) {
        world.written[&self][0]
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
