//! What clients get, and what it costs.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::thread;

use super::*;
use crate::home::{Home, ip};
use crate::messages::{edns_query, query};
use crate::server::{Client, Running, config};
use crate::upstream::{Speaks, Upstream};

#[test]
fn answers_are_the_clients_own_and_cached_ones_cost_no_packet() {
    let (server, upstream) = pair("tcp+udp", Speaks::Both, &[]);
    let mut udp = server.udp();
    assert_eq!(
        udp.ask("WwW.Example"),
        "id=7 noerror WwW.Example A A:300:192.0.2.1"
    );
    udp.send(&edns_query(0xfffe, "www.eXample", "A", 1232, false));
    assert_eq!(
        udp.receive(),
        "id=65534 noerror www.eXample A A:300:192.0.2.1 edns=1232"
    );
    assert_eq!(
        server.tcp().ask("www.example"),
        "id=7 noerror www.example A A:300:192.0.2.1"
    );
    thread::sleep(ms(1100));
    assert_eq!(
        udp.ask("www.example"),
        "id=7 noerror www.example A A:299:192.0.2.1"
    );
    assert_eq!((upstream.udp_queries(), upstream.tcp_queries()), (1, 0));
    let learnt = server.learnt.lock().unwrap().clone();
    assert_eq!(
        learnt,
        [("www.example".to_owned(), vec![ip("192.0.2.1")], 300)]
    );
    let stats = server.stats();
    assert_eq!(
        (stats.queries, stats.cache.hits, stats.cache.entries),
        (4, 3, 1)
    );
    assert_eq!(
        (stats.flights, stats.waiting, stats.upstream_sockets),
        (0, 0, 1)
    );
}

#[test]
fn negative_answers_are_cached_and_short_ones_end() {
    let (server, upstream) = pair("udp", Speaks::Both, &[]);
    let mut client = server.udp();
    for _ in 0..3 {
        assert_eq!(
            client.ask("nx.example"),
            "id=7 nxdomain nx.example A SOA:900:60"
        );
    }
    assert_eq!(upstream.udp_queries(), 1);
    for _ in 0..2 {
        assert_eq!(
            client.ask("short.example"),
            "id=7 noerror short.example A A:1:192.0.2.1"
        );
        thread::sleep(ms(1050));
    }
    assert_eq!(upstream.udp_queries(), 3);
}

#[test]
fn the_cache_keeps_to_its_bytes() {
    let (server, _upstream) = pair("udp", Speaks::Both, &["cache_bytes '65536'"]);
    let mut client = server.udp();
    for id in 0..600 {
        client.send(&query(id, &format!("n{id}.example"), "A"));
        client.receive();
    }
    let cache = server.stats().cache;
    assert!(
        cache.bytes <= 65_536 && cache.evicted > 200 && cache.entries > 100,
        "{cache:?}"
    );
    let before = server.stats().upstreams[0].sent_udp;
    client.send(&query(1, "n599.example", "A"));
    client.receive();
    assert_eq!(
        server.stats().upstreams[0].sent_udp,
        before,
        "the newest is still there"
    );
    client.send(&query(1, "n0.example", "A"));
    client.receive();
    assert_eq!(
        server.stats().upstreams[0].sent_udp,
        before + 1,
        "the oldest has left"
    );
}

#[test]
fn a_hundred_identical_queries_are_one_upstream() {
    let (server, upstream) = pair("udp", Speaks::Both, &[]);
    let mut clients: Vec<_> = (0..100).map(|_| server.udp()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(&query(id as u16, "slow.example", "A"));
    }
    for (id, client) in clients.iter_mut().enumerate() {
        assert_eq!(
            client.receive(),
            format!("id={id} noerror slow.example A A:300:192.0.2.1")
        );
    }
    // A repetition after 100 ms is no other query.
    let names: HashSet<_> = upstream.seen.udp.lock().unwrap().drain(..).collect();
    assert_eq!(names.len(), 1);
    let stats = server.stats();
    assert_eq!((stats.followers, stats.departures), (99, 1));
}

#[test]
fn a_leader_that_leaves_takes_nobody_along() {
    let (server, upstream) = pair("udp", Speaks::Both, &[]);
    let mut leader = server.tcp();
    leader.send(&query(1, "slow.example", "A"));
    server.wait_for("the leader waits", |stats| stats.waiting == 1);
    let mut follower = server.udp();
    follower.send(&query(2, "slow.example", "A"));
    server.wait_for("the follower waits", |stats| stats.waiting == 2);
    drop(leader);
    assert_eq!(
        follower.receive(),
        "id=2 noerror slow.example A A:300:192.0.2.1"
    );
    assert!(upstream.udp_queries() >= 1);
    assert_eq!(server.stats().departures, 1);
    server.wait_for("the connection is gone", |stats| stats.tcp.open == 0);
}

#[test]
fn whoever_was_asked_seems_to_answer() {
    let home = Home::new();
    // The internet's own resolver, which answers for names that go asis.
    let asked = home
        .internet
        .run(|| Upstream::start_at("203.0.113.53:53", Speaks::Both));
    let upstream = home
        .internet
        .run(|| Upstream::start_at("203.0.113.54:5300", Speaks::Both));
    let server = Running::start_transparent(&config(&upstream.url("tcp+udp"), &[]), &home.router);
    let ask = |addr: &'static str, tcp: bool, name: &'static str| {
        home.client.run(move || {
            let addr: SocketAddr = addr.parse().unwrap();
            let mut client = if tcp {
                Client::tcp(addr)
            } else {
                Client::udp(addr)
            };
            client.ask(name)
        })
    };
    for addr in [
        "203.0.113.53:53",
        "10.77.0.1:53",
        "[2001:db8::53]:53",
        "[fd77::1]:53",
    ] {
        for tcp in [false, true] {
            let answer = ask(addr, tcp, "www.example");
            assert_eq!(
                answer, "id=7 noerror www.example A A:300:192.0.2.1",
                "{addr} {tcp}"
            );
        }
    }
    assert_eq!((upstream.udp_queries(), asked.udp_queries()), (1, 0));
    // A local name goes to the server that was asked, and teaches as well.
    for name in ["nas.lan", "printer", "drop-udp.lan"] {
        let answer = ask("203.0.113.53:53", false, name);
        assert_eq!(answer, format!("id=7 noerror {name} A A:300:192.0.2.1"));
    }
    assert_eq!((upstream.udp_queries(), asked.tcp_queries()), (1, 1));
    // The local listener is a wildcard: the answer leaves from the address asked, which is
    // nobody's to ask `asis`.
    let local = SocketAddr::new(ip("10.77.0.1"), server.addr.port());
    for name in ["www.example", "nas2.lan"] {
        let answer = home.client.run(move || Client::udp(local).ask(name));
        assert_eq!(answer.contains(" refused "), name == "nas2.lan", "{answer}");
    }
    let asis = &server.stats().upstreams[1];
    assert_eq!(
        (asis.sent_udp, asis.sent_stream),
        (7, 1),
        "five times for drop-udp.lan; nobody was asked for nas2.lan"
    );
    let learnt = server.learnt.lock().unwrap();
    let names: Vec<_> = learnt.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["www.example", "nas.lan", "printer", "drop-udp.lan"]);
}
