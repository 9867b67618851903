//! The table against a list that is searched from end to end.

mod model;

use std::net::SocketAddr;

use super::*;
use crate::outbound::ways::WayId;

const LIMITS: Limits = Limits {
    sessions: 4,
    queue: 3,
    queue_bytes: 40,
    idle: [
        Duration::from_secs(17),
        Duration::from_secs(30),
        Duration::from_secs(120),
    ],
    retry: Duration::from_secs(2),
};

fn way(outbound: u16) -> WayId {
    WayId::of(outbound.into())
}

fn key(client: u8, outbound: u16) -> Key {
    Key {
        client: SocketAddr::from(([192, 0, 2, client], 5000)),
        outbound: way(outbound),
    }
}

fn destination(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], port))
}

fn arrival(key: Key, kind: Kind) -> Arrival<'static> {
    Arrival {
        key,
        destination: destination(4000),
        kind,
        payload: b"x",
    }
}

/// A session of client 1 that is ready.
fn ready(table: &mut Table<()>, kind: Kind, now: Instant) -> Id {
    let mut opened = None;
    table.offer(arrival(key(1, 2), kind), now, |id| opened = Some(id));
    let id = opened.unwrap();
    table.ready(id, now).unwrap();
    id
}

#[test]
fn a_late_worker_does_not_touch_its_successor() {
    let mut table = Table::new(LIMITS);
    let now = Instant::now();
    let first = ready(&mut table, Kind::Plain, now);
    assert_eq!(table.end(first, now + LIMITS.retry), Some(End::Closed(())));
    let later = now + 2 * LIMITS.retry;
    let second = ready(&mut table, Kind::Plain, later);
    assert_eq!(first.place, second.place);
    assert_eq!(table.ready(first, later), None);
    assert_eq!(table.end(first, later), None);
    assert!(!table.touch(first, later));
    assert_eq!((table.active(), table.counts().removal_failed), (1, 1));
}

#[test]
fn a_session_lives_as_long_as_the_longest_of_its_kinds() {
    for (kinds, seconds) in [
        (&[Kind::Dns][..], 17),
        (&[Kind::Plain], 30),
        (&[Kind::Quic], 120),
        (&[Kind::Dns, Kind::Plain], 30),
        (&[Kind::Quic, Kind::Plain, Kind::Dns], 120),
    ] {
        let mut table = Table::new(LIMITS);
        let now = Instant::now();
        for kind in kinds {
            table.offer(arrival(key(1, 2), *kind), now, |_| ());
        }
        let end = now + Duration::from_secs(seconds);
        table.expire(end - Duration::from_nanos(1));
        assert_eq!(table.active(), 1, "{kinds:?}");
        table.expire(end);
        assert_eq!(table.active(), 0, "{kinds:?}");
    }
}

#[test]
fn what_ended_soon_begins_anew_at_once_but_not_for_ever() {
    let mut table = Table::new(LIMITS);
    let mut now = Instant::now();
    let dropped = |table: &mut Table<()>, now| {
        let offer = table.offer(arrival(key(1, 2), Kind::Plain), now, |_| ());
        offer == Offer::Dropped
    };
    for end in [End::Closed(()), End::Failed(())] {
        let id = ready(&mut table, Kind::Plain, now);
        now += LIMITS.retry / 4;
        assert_eq!(table.end(id, now), Some(end));
    }
    assert!(dropped(&mut table, now));
    assert!(!dropped(&mut table, now + LIMITS.retry));
}

#[test]
fn a_retired_session_hands_back_answers_and_leaves_its_place_alone() {
    let mut table = Table::new(LIMITS);
    let now = Instant::now();
    let old = ready(&mut table, Kind::Plain, now);
    table.retire(|_, ()| true);
    let new = ready(&mut table, Kind::Plain, now);
    assert!(table.touch(old, now) && table.touch(new, now));
    assert_eq!(table.end(old, now + LIMITS.retry), Some(End::Closed(())));
    let offer = table.offer(arrival(key(1, 2), Kind::Plain), now, |_| {
        panic!("it is there")
    });
    assert_eq!(offer, Offer::Send(&()));
}
