//! The laws of the pool.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

type Tested = Pool<u8, u64, SocketId>;

impl Numbered for u64 {
    fn number(self) -> usize {
        self as usize % 50
    }
}

/// Good enough numbers (SplitMix64).
fn numbers(seed: u16) -> impl FnMut() -> u16 {
    let mut state = u64::from(seed);
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 40) as u16
    }
}

fn place(pool: &mut Tested, attempt: u64, fresh: bool, random: &mut dyn FnMut() -> u16) -> Place {
    let opened = |id| Ok::<_, ()>(id);
    pool.place(attempt, &0, &DIRECT, fresh, random, opened)
        .unwrap()
}

#[test]
fn queries_spread_over_four_sockets_at_random_and_no_more() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let sockets: Vec<_> = (0..60)
        .map(|attempt| place(&mut pool, attempt, false, &mut random).socket)
        .collect();
    let different: HashSet<_> = sockets[..4].iter().collect();
    assert_eq!((different.len(), pool.len()), (4, 4));
    for socket in different {
        let count = sockets.iter().filter(|other| *other == socket).count();
        assert!((5..30).contains(&count), "{socket:?} took {count} of 60");
    }
    assert!(
        sockets[4..].windows(2).any(|pair| pair[0] == pair[1]),
        "in turn, not at random: {sockets:?}"
    );
}

#[test]
fn a_socket_has_a_life_and_room_for_so_many() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let places: Vec<_> = (0..4 * DIRECT.at_once as u64)
        .map(|attempt| place(&mut pool, attempt, false, &mut random))
        .collect();
    let crowds = places.iter().map(|place| pool.waiting(place.socket).len());
    assert_eq!(crowds.max(), Some(DIRECT.at_once));
    assert!((5..9).contains(&pool.len()), "{} sockets", pool.len());
    // Answered one by one, a socket carries no more than its life.
    let (mut carried, mut attempt) = (HashMap::<SocketId, usize>::new(), 10_000);
    for place in places {
        *carried.entry(place.socket).or_default() += 1;
    }
    (0..4 * DIRECT.at_once as u64).for_each(|attempt| {
        let known = pool.attempts.get_mut(attempt).unwrap().latest;
        assert_eq!(pool.hear(known), Heard::Waiting(attempt));
        pool.end(attempt);
    });
    for _ in 0..2000 {
        attempt += 1;
        let place = place(&mut pool, attempt, false, &mut random);
        *carried.entry(place.socket).or_default() += 1;
        assert_eq!(pool.hear(place), Heard::Waiting(attempt));
        pool.end(attempt);
    }
    assert!(carried.values().all(|count| *count <= DIRECT.life));
    assert!(
        carried
            .values()
            .filter(|count| **count == DIRECT.life)
            .count()
            > 10
    );
}

#[test]
fn a_late_answer_finds_nobody() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let first = place(&mut pool, 1, false, &mut random);
    assert_eq!(pool.hear(first), Heard::Waiting(1));
    pool.end(1);
    assert_eq!(pool.hear(first), Heard::Late);
    assert_eq!(
        pool.hear(Place {
            id: !first.id,
            ..first
        }),
        Heard::Foreign
    );
    pool.fail(first.socket);
    assert_eq!(pool.hear(first), Heard::Late, "on a socket that is no more");
}

#[test]
fn a_repetition_leaves_by_a_newer_socket_and_both_are_heard() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    for attempt in 0..8 {
        place(&mut pool, attempt, false, &mut random);
    }
    let first = place(&mut pool, 100, false, &mut random);
    assert_eq!(
        place(&mut pool, 100, false, &mut random),
        first,
        "not fresh"
    );
    let second = place(&mut pool, 100, true, &mut random);
    assert!(
        second.socket > first.socket && second.socket.0 >= 4,
        "{second:?} is not newer"
    );
    assert_eq!(
        place(&mut pool, 100, true, &mut random),
        second,
        "two are enough"
    );
    assert_eq!(pool.hear(first), Heard::Waiting(100));
    assert_eq!(pool.hear(second), Heard::Waiting(100));
    // Another's repetition shares the newer socket.
    let shared = place(&mut pool, 7, true, &mut random);
    assert_eq!(shared.socket, second.socket);
    pool.end(100);
    assert_eq!(
        (pool.hear(first), pool.hear(second)),
        (Heard::Late, Heard::Late)
    );
}

#[test]
fn a_socket_that_left_a_query_unanswered_takes_no_more() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let silent = place(&mut pool, 1, false, &mut random);
    pool.end(1);
    for attempt in 2..200 {
        let place = place(&mut pool, attempt, false, &mut random);
        assert_ne!(place.socket, silent.socket);
        pool.hear(place);
        pool.end(attempt);
    }
    // A node's association is given up only after several in a row.
    let opened = |id| Ok::<_, ()>(id);
    let mut ask = |attempt, answered: bool| {
        let place = pool.place(attempt, &1, &NODE, false, &mut random, opened);
        let place = place.unwrap();
        if answered {
            pool.hear(place);
        }
        pool.end(attempt);
        place.socket
    };
    let first = ask(1000, false);
    for attempt in 1001..1003 {
        assert_eq!(ask(attempt, false), first);
    }
    assert_eq!(ask(1003, true), first);
    for attempt in 1004..1008 {
        assert_eq!(ask(attempt, false), first);
    }
    assert_ne!(ask(1008, false), first);
}

#[test]
fn an_error_fails_all_who_wait_and_leaves_no_place() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let places: Vec<_> = (0..40)
        .map(|attempt| place(&mut pool, attempt, false, &mut random))
        .collect();
    let broken = places[0].socket;
    let with_second = (0..40).find(|at| places[*at as usize].socket == broken);
    let second = place(&mut pool, with_second.unwrap(), true, &mut random);
    let failed: HashSet<_> = pool.fail(broken).into_iter().collect();
    let there = (0..40).filter(|at| places[*at as usize].socket == broken);
    assert_eq!(failed, there.collect());
    // Who had a second place waits there still; another is given a new one.
    assert_eq!(
        place(&mut pool, with_second.unwrap(), false, &mut random),
        second
    );
    assert!(pool.get(broken).is_none());
    for attempt in failed {
        assert_ne!(place(&mut pool, attempt, false, &mut random).socket, broken);
    }
    (0..40).for_each(|attempt| pool.end(attempt));
    assert!(pool.attempts.len() == 0);
}

#[test]
fn sockets_grow_neither_old_nor_idle() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let mut last = 0;
    let mut ask = |pool: &mut Tested| {
        last += 1;
        let place = place(pool, last, false, &mut random);
        assert_eq!(pool.hear(place), Heard::Waiting(last));
        pool.end(last);
        place.socket
    };
    let mut seen: HashMap<SocketId, u16> = HashMap::new();
    for second in 0..100 {
        for _ in 0..8 {
            let first = *seen.entry(ask(&mut pool)).or_insert(second);
            assert!(second - first < 10, "used for {} s", second - first);
        }
        pool.sweep(|_| false);
        assert!(pool.len() <= 12, "{} sockets", pool.len());
    }
    for _ in 0..5 {
        assert!(!pool.is_empty());
        pool.sweep(|_| false);
    }
    pool.sweep(|_| false);
    assert!(pool.is_empty());
    assert!(pool.ready.is_empty());
}

#[test]
fn what_is_stale_takes_no_further_query_and_still_hears() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let stale: Vec<_> = (0..8)
        .map(|attempt| place(&mut pool, attempt, false, &mut random))
        .collect();
    pool.sweep(|_| true);
    assert_eq!(pool.len(), 4);
    for attempt in 8..60 {
        let fresh = place(&mut pool, attempt, false, &mut random).socket;
        assert!(stale.iter().all(|place| place.socket != fresh));
    }
    for (attempt, place) in (0..).zip(stale) {
        assert_eq!(pool.hear(place), Heard::Waiting(attempt));
    }
}

#[test]
fn the_caps_hold_and_a_full_pool_says_so() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let all = (MAX_SOCKETS * DIRECT.at_once) as u64;
    for attempt in 0..all {
        place(&mut pool, attempt, false, &mut random);
    }
    assert_eq!(pool.len(), MAX_SOCKETS);
    let opened = |id| Ok::<_, ()>(id);
    let more = pool.place(all, &0, &DIRECT, false, &mut random, opened);
    assert_eq!(more, Err(Unplaced::Full));
    let other = pool.place(all, &1, &DIRECT, false, &mut random, opened);
    assert_eq!(other, Err(Unplaced::Full), "of another peer");
    // A repetition goes the same way again.
    let known = pool.attempts.get_mut(0).unwrap().latest;
    assert_eq!(place(&mut pool, 0, true, &mut random), known);
    // One on which nobody waits makes room.
    let emptied = pool.waiting(known.socket);
    emptied.iter().for_each(|attempt| pool.end(*attempt));
    pool.place(all, &1, &DIRECT, false, &mut random, opened)
        .unwrap();
    assert!(pool.get(known.socket).is_none());
    for attempt in 0..=all {
        if let Some(known) = pool.attempts.get_mut(attempt).map(|known| known.latest) {
            pool.hear(known);
        }
        pool.end(attempt);
    }
    pool.sweep(|_| false);
    assert_eq!(pool.len(), MAX_IDLE);
}

#[test]
fn what_cannot_be_opened_is_told_unless_another_will_do() {
    let (mut pool, mut random) = (Tested::new(), numbers(1));
    let refused = pool.place(1, &0, &DIRECT, false, &mut random, |_| Err("no"));
    assert_eq!(refused, Err(Unplaced::Open("no")));
    assert!(pool.is_empty() && pool.attempts.len() == 0);
    let first = place(&mut pool, 1, false, &mut random);
    let second = pool.place(2, &0, &DIRECT, false, &mut random, |_| Err("no"));
    assert_eq!(second.unwrap().socket, first.socket);
}

proptest! {
    /// Any order of events: no ID twice on a socket, an answer finds its attempt as long as it
    /// waits, tables are no larger than what waits.
    #[test]
    fn any_interleaving_keeps_the_laws(
        seed: u16,
        steps in proptest::collection::vec((0u8..12, 0u64..40, 0u8..3), 0..400),
    ) {
        let (mut pool, mut random) = (Tested::new(), numbers(seed));
        let mut used = HashSet::new();
        let mut waiting: HashMap<u64, Vec<Place>> = HashMap::new();
        let mut past: HashMap<u64, Vec<Place>> = HashMap::new();
        for (step, attempt, peer) in steps {
            match step {
                0..=5 => {
                    let opened = |id| Ok::<_, ()>(id);
                    let placed =
                        pool.place(attempt, &peer, &DIRECT, step == 0, &mut random, opened).unwrap();
                    let known = waiting.entry(attempt).or_default();
                    if !known.contains(&placed) {
                        prop_assert!(used.insert((placed.socket, placed.id)), "{placed:?} twice");
                        known.push(placed);
                    }
                    prop_assert!(known.len() <= 2);
                }
                6..=8 => {
                    for place in waiting.get(&attempt).into_iter().flatten() {
                        prop_assert_eq!(pool.hear(*place), Heard::Waiting(attempt));
                    }
                    for place in past.get(&attempt).into_iter().flatten() {
                        prop_assert_eq!(pool.hear(*place), Heard::Late);
                    }
                }
                9 => {
                    pool.end(attempt);
                    let ended = waiting.remove(&attempt).unwrap_or_default();
                    past.entry(attempt).or_default().extend(ended);
                }
                10 => pool.sweep(|_| false),
                _ => {
                    let Some(broken) = waiting.get(&attempt).and_then(|known| known.last()) else {
                        continue;
                    };
                    let broken = broken.socket;
                    let failed: HashSet<_> = pool.fail(broken).into_iter().collect();
                    let there = |known: &Vec<Place>| known.iter().any(|at| at.socket == broken);
                    let wanted = waiting.iter().filter(|(_, known)| there(known));
                    prop_assert_eq!(&failed, &wanted.map(|(attempt, _)| *attempt).collect());
                    for known in waiting.values_mut() {
                        known.retain(|at| at.socket != broken);
                    }
                    waiting.retain(|_, known| !known.is_empty());
                }
            }
            prop_assert_eq!(pool.attempts.len(), waiting.len());
            let on_sockets: usize = pool.sockets.iter().map(|(_, socket)| socket).map(|one| one.ids.waiting().len()).sum();
            prop_assert_eq!(on_sockets, waiting.values().map(Vec::len).sum::<usize>());
            let ready: Vec<_> = pool.ready.iter().flat_map(|(_, sockets)| sockets).collect();
            let open = pool.sockets.iter().map(|(_, socket)| socket).filter(|socket| !socket.retired).count();
            prop_assert_eq!(ready.len(), open, "none is full, so all that may be are ready");
        }
    }
}
