mod model;

use std::time::Duration;

use super::super::wire::{upstream_query, walk};
use super::*;
use crate::dns::upstream::UpstreamId;

const SERVER: Server = Server::Upstream(UpstreamId(0));

fn question(number: u32) -> Question {
    Question::of(&format!("n{number}.example"), 16).unwrap()
}

/// A question and an answer to it with `size` bytes of data.
fn pair(number: u32, size: usize) -> (Question, Stored) {
    let question = question(number);
    let mut message = upstream_query(0, &question, false, false, false, Vec::new());
    message[2] |= 0x80;
    message[7] = 1;
    message.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
    message.extend((size as u16).to_be_bytes());
    message.resize(message.len() + size, 0);
    let stored = walk(&message, &question).unwrap().stored;
    (question, stored)
}

/// An answer without records.
fn failure(number: u32, code: u8) -> Stored {
    let question = question(number);
    let mut message = upstream_query(0, &question, false, false, false, Vec::new());
    message[2] |= 0x80;
    message[3] |= code;
    walk(&message, &question).unwrap().stored
}

fn key(question: &Question) -> Key<'_> {
    Key::new(question, false, false)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A lookup in words: `fresh 3`, `fresh 9 prefetch`, `stale`, `stale at once`, or nothing.
fn look(cache: &mut Cache, now: Instant, number: u32, asked: Option<SocketAddr>) -> String {
    let question = question(number);
    let found = cache.lookup(now, key(&question), asked);
    let text = match found {
        None => String::new(),
        Some(Found::Fresh { age, prefetch, .. }) => {
            format!("fresh {age}{}", if prefetch { " prefetch" } else { "" })
        }
        Some(Found::Stale { at_once, .. }) => {
            format!("stale{}", if at_once { " at once" } else { "" })
        }
    };
    cache.table.check();
    text
}

#[test]
fn the_least_recently_used_leaves_first() {
    let now = Instant::now();
    let mut cache = Cache::new(64 * 1024, 0);
    let mut number = 0;
    while cache.counters().evicted == 0 {
        let (question, stored) = pair(number, 1000);
        cache.insert(now, key(&question), SERVER, stored, 60);
        // The first is asked for again and again, and stays.
        assert_eq!(look(&mut cache, now, 0, None), "fresh 0");
        number += 1;
    }
    assert!(number > 25, "{number} answers of a kilobyte");
    assert_eq!(look(&mut cache, now, 1, None), "");
    assert_eq!(look(&mut cache, now, 2, None), "fresh 0");
    // One that has died does not count as evicted.
    let later = now + seconds(60);
    let (question, stored) = pair(number, 1000);
    cache.insert(later, key(&question), SERVER, stored, 60);
    assert_eq!(cache.counters().evicted, 1);
}

#[test]
fn an_answer_larger_than_the_cache_is_not_kept() {
    for bound in [0, 100, 4096] {
        let mut cache = Cache::new(bound, 60);
        let (question, stored) = pair(0, 5000);
        cache.insert(Instant::now(), key(&question), SERVER, stored, 60);
        assert_eq!((cache.entries(), cache.counters().stored), (0, 0));
        assert_eq!(look(&mut cache, Instant::now(), 0, None), "");
    }
    let mut cache = Cache::new(4096, 60);
    for (number, size) in [(0, 500), (1, 5000)] {
        let (question, stored) = pair(number, size);
        cache.insert(Instant::now(), key(&question), SERVER, stored, 60);
    }
    assert_eq!(
        look(&mut cache, Instant::now(), 0, None),
        "fresh 0",
        "nothing leaves for it"
    );
}

#[test]
fn a_dead_answer_is_stale_for_a_while() {
    let start = Instant::now();
    let mut cache = Cache::new(64 * 1024, 100);
    let (first, stored) = pair(0, 10);
    cache.insert(start, key(&first), SERVER, stored, 60);
    for (at, expected) in [(59, "fresh 59"), (60, "stale"), (159, "stale"), (160, "")] {
        assert_eq!(look(&mut cache, start + seconds(at), 0, None), expected);
    }
    assert_eq!(cache.counters().hits, 1, "a stale answer is no hit");
    // Of a failure nothing is left.
    cache.insert(
        start,
        key(&question(1)),
        SERVER,
        failure(1, rcode::SERVFAIL),
        1,
    );
    assert_eq!(look(&mut cache, start, 1, None), "fresh 0");
    assert_eq!(look(&mut cache, start + seconds(1), 1, None), "");
    // That there is no such name is an answer.
    cache.insert(
        start,
        key(&question(1)),
        SERVER,
        failure(1, rcode::NXDOMAIN),
        1,
    );
    assert_eq!(look(&mut cache, start + seconds(1), 1, None), "stale");
}

#[test]
fn after_a_failed_refresh_nobody_waits_for_a_while() {
    let start = Instant::now();
    let mut cache = Cache::new(64 * 1024, 1000);
    let (question, stored) = pair(0, 10);
    cache.insert(start, key(&question), SERVER, stored.clone(), 60);
    let dead = start + seconds(70);
    assert_eq!(look(&mut cache, dead, 0, None), "stale");
    cache.refresh_failed(dead, key(&question), None);
    for (at, expected) in [(0, "stale at once"), (29, "stale at once"), (30, "stale")] {
        assert_eq!(look(&mut cache, dead + seconds(at), 0, None), expected);
    }
    // A SERVFAIL is a failed refresh too, not an answer.
    let later = dead + seconds(50);
    cache.insert(
        later,
        key(&question),
        SERVER,
        failure(0, rcode::SERVFAIL),
        1,
    );
    assert_eq!(look(&mut cache, later, 0, None), "stale at once");
    assert_eq!(look(&mut cache, later + seconds(30), 0, None), "stale");
    // NXDOMAIN is an answer, and a good one forgets the failure.
    cache.refresh_failed(later, key(&question), None);
    cache.insert(later, key(&question), SERVER, stored, 60);
    assert_eq!(look(&mut cache, later, 0, None), "fresh 0");
    assert_eq!(look(&mut cache, later + seconds(60), 0, None), "stale");
    cache.insert(
        later,
        key(&question),
        SERVER,
        failure(0, rcode::NXDOMAIN),
        5,
    );
    assert_eq!(look(&mut cache, later + seconds(5), 0, None), "stale");
    // While an answer lives, a failed prefetch changes nothing but what comes after.
    cache.insert(later, key(&question), SERVER, pair(0, 1).1, 60);
    cache.refresh_failed(later + seconds(58), key(&question), None);
    assert_eq!(look(&mut cache, later + seconds(59), 0, None), "fresh 59");
    assert_eq!(
        look(&mut cache, later + seconds(87), 0, None),
        "stale at once"
    );
    assert_eq!(look(&mut cache, later + seconds(88), 0, None), "stale");
}

#[test]
fn what_is_hot_is_asked_for_again_once() {
    let start = Instant::now();
    let mut cache = Cache::new(64 * 1024, 1000);
    let (question, stored) = pair(0, 10);
    let asks = |cache: &mut Cache, at: &[u64]| -> Vec<u64> {
        let prefetched =
            |at: &u64| look(cache, start + seconds(*at), 0, None) == format!("fresh {at} prefetch");
        at.iter().copied().filter(prefetched).collect()
    };
    cache.insert(start, key(&question), SERVER, stored.clone(), 100);
    assert_eq!(asks(&mut cache, &[1, 89, 90, 91, 99, 99]), [90]);
    assert_eq!(look(&mut cache, start + seconds(100), 0, None), "stale");
    cache.insert(start, key(&question), SERVER, stored.clone(), 100);
    assert_eq!(asks(&mut cache, &[95, 96, 97]), [96], "once is not hot");
    cache.insert(start, key(&question), SERVER, stored.clone(), 9);
    assert_eq!(asks(&mut cache, &[1, 2, 8, 8]), [0; 0], "too short a life");
    cache.insert(start, key(&question), SERVER, stored.clone(), 1000);
    assert_eq!(asks(&mut cache, &[899, 900]), [900]);
    cache.refresh_failed(start + seconds(904), key(&question), None);
    assert_eq!(
        asks(&mut cache, &[905, 934, 999]),
        [0; 0],
        "once, whatever came of it"
    );
    cache.insert(start, key(&question), SERVER, stored, 10);
    assert_eq!(asks(&mut cache, &[1, 2, 8, 9, 9]), [9]);
}

#[test]
fn dnssec_and_servers_never_mix() {
    let now = Instant::now();
    let mut cache = Cache::new(64 * 1024, 0);
    let servers = [SERVER, Server::Upstream(UpstreamId(1))];
    let asked: [SocketAddr; 2] = ["192.0.2.1:53", "192.0.2.2:53"].map(|addr| addr.parse().unwrap());
    let all = question(0);
    for (size, dnssec_ok, checking_disabled) in [
        (1, false, false),
        (2, true, false),
        (3, false, true),
        (4, true, true),
    ] {
        let key = Key::new(&all, dnssec_ok, checking_disabled);
        cache.insert(now, key, SERVER, pair(0, size).1, 60);
    }
    for (size, dnssec_ok, checking_disabled) in [
        (4, true, true),
        (1, false, false),
        (3, false, true),
        (2, true, false),
    ] {
        let key = Key::new(&all, dnssec_ok, checking_disabled);
        let Some(Found::Fresh { stored, .. }) = cache.lookup(now, key, None) else {
            panic!("{size} is there");
        };
        assert_eq!(stored, &pair(0, size).1);
    }
    assert_eq!(cache.entries(), 4);
    // Whichever upstream answered last has the one answer; a server asked has its own.
    for server in servers {
        cache.insert(now, key(&question(1)), server, pair(1, 10).1, 60);
    }
    assert_eq!(cache.entries(), 5);
    for server in asked {
        assert_eq!(look(&mut cache, now, 2, Some(server)), "");
        cache.insert(
            now,
            key(&question(2)),
            Server::AsIs(server),
            pair(2, 10).1,
            60,
        );
    }
    assert_eq!(cache.entries(), 7);
    assert_eq!(look(&mut cache, now, 2, Some(asked[1])), "fresh 0");
    assert_eq!(look(&mut cache, now, 2, None), "");
    assert_eq!(
        look(&mut cache, now, 1, Some(asked[1])),
        "fresh 0",
        "an upstream's is everybody's"
    );
    cache.refresh_failed(now, key(&question(2)), Some(asked[0]));
}

#[test]
fn answers_are_carried_over_to_another_configuration() {
    let now = Instant::now();
    let mut cache = Cache::new(64 * 1024, 50);
    for number in 0..6 {
        let server = Server::Upstream(UpstreamId(number % 3));
        let question = question(number);
        let key = Key::new(&question, number == 5, false);
        cache.insert(now, key, server, pair(number, 500).1, 60);
    }
    let mut seen = Vec::new();
    cache.retain(|question, server, flags| {
        assert_eq!((question.qtype(), question.qclass()), (16, 1));
        seen.push((question.text(), flags));
        match server {
            Server::Upstream(UpstreamId(0)) => Some(Server::Upstream(UpstreamId(9))),
            Server::Upstream(UpstreamId(1)) => None,
            other => Some(other),
        }
    });
    seen.sort();
    let names: Vec<_> = (0..6)
        .map(|n| (format!("n{n}.example"), u8::from(n == 5)))
        .collect();
    assert_eq!(seen, names);
    cache.table.check();
    assert_eq!((cache.entries(), cache.counters().evicted), (4, 0));
    let mut servers = Vec::new();
    cache.retain(|_, server, _| {
        servers.push(server);
        Some(server)
    });
    assert_eq!(
        servers
            .iter()
            .filter(|s| **s == Server::Upstream(UpstreamId(9)))
            .count(),
        2
    );

    // Another size: the most recently used stay, ages and failures with them.
    let dead = now + seconds(65);
    assert_eq!(look(&mut cache, dead, 3, None), "stale");
    cache.refresh_failed(dead, key(&question(3)), None);
    cache.reconfigure(128 * 1024, 50);
    cache.table.check();
    assert_eq!(cache.entries(), 4);
    assert_eq!(look(&mut cache, dead, 0, None), "stale");
    assert_eq!(look(&mut cache, dead, 3, None), "stale at once");
    cache.reconfigure(1500, 50);
    cache.table.check();
    assert_eq!(cache.entries(), 1);
    assert_eq!(look(&mut cache, dead, 3, None), "stale at once");
    cache.reconfigure(1500, 5);
    assert_eq!(
        look(&mut cache, dead, 3, None),
        "",
        "no longer that patient"
    );
}
