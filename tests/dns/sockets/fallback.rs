//! An upstream whose UDP or whose connections do not work.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::*;
use crate::messages::{describe, edns_query, query};
use crate::upstream::Speaks;

/// Name, and the time that the answer takes at least and at most, milliseconds; each with an
/// upstream of which nothing is known yet.
#[test]
fn faults_of_udp_are_a_short_delay() {
    for (name, least, most, fallbacks, foreign) in [
        ("drop-first.example", 90, 400, 0, 0),
        ("drop-udp.example", 490, 900, 1, 0),
        // Five datagrams, each with its answer.
        ("garbage-udp.example", 490, 900, 1, 5),
        ("cut-udp.example", 0, 200, 1, 0),
        ("tc-udp.example", 0, 200, 1, 0),
        ("wrong-id.example", 0, 200, 0, 1),
        ("wrong-question.example", 0, 200, 0, 1),
    ] {
        let (server, _upstream) = pair("tcp+udp", Speaks::Both, &[]);
        let (answer, took) = timed(&mut server.udp(), name);
        assert_eq!(answer, format!("{GOOD} {name} A A:300:192.0.2.1"));
        assert!(took >= ms(least) && took < ms(most), "{name} took {took:?}");
        let stats = &server.stats().upstreams[0];
        assert_eq!(
            (stats.fallbacks, stats.foreign),
            (fallbacks, foreign),
            "{name}"
        );
    }
}

#[test]
fn the_second_time_udp_is_not_waited_for_where_it_does_not_work() {
    let (server, _upstream) = pair("tcp+udp", Speaks::Both, &[]);
    let mut client = server.udp();
    for (name, least, most) in [
        ("drop-udp.example", 490, 900),
        ("drop-udp.n2.example", 0, 100),
    ] {
        let (answer, took) = timed(&mut client, name);
        assert_eq!(answer, format!("{GOOD} {name} A A:300:192.0.2.1"));
        assert!(took >= ms(least) && took < ms(most), "{name} took {took:?}");
    }
    assert!(server.stats().upstreams[0].udp_dead);
}

#[test]
fn ids_and_ports_are_not_to_be_guessed() {
    let (server, upstream) = pair("udp", Speaks::Both, &[]);
    let mut client = server.udp();
    // Repetitions leave by other sockets than the first query.
    for number in 0..8 {
        client.ask(&format!("drop-first.n{number}.example"));
    }
    let ports = upstream.seen.ports.lock().unwrap();
    let different: HashSet<_> = ports.iter().map(|(port, _)| port).collect();
    let ids: HashSet<_> = ports.iter().map(|(_, id)| id).collect();
    assert!(different.len() >= 2 && ids.len() >= 14, "{ports:?}");
}

#[test]
fn a_closed_udp_port_is_no_delay() {
    let (server, upstream) = pair("tcp+udp", Speaks::OnlyTcp, &[]);
    // The socket of the helper thread is closed: ICMP says so.
    let (answer, took) = timed(&mut server.udp(), "www.example");
    assert_eq!(answer, "id=7 noerror www.example A A:300:192.0.2.1");
    assert!(took < ms(200), "{took:?}");
    assert_eq!((upstream.udp_queries(), upstream.tcp_queries()), (0, 1));
}

#[test]
fn a_truncated_answer_comes_whole_to_tcp_and_as_far_as_it_fits_to_udp() {
    let (server, _upstream) = pair("tcp+udp", Speaks::Both, &[]);
    for _ in 0..2 {
        server.tcp().send(&query(1, "tc-udp--big.example", "A"));
        let mut tcp = server.tcp();
        tcp.send(&query(1, "tc-udp--big.example", "A"));
        let answer = tcp.receive();
        assert_eq!(answer.matches(" A:300:").count(), 100, "{answer}");
        assert!(!answer.contains(" tc "));
        let mut udp = server.udp();
        udp.send(&edns_query(2, "tc-udp--big.example", "A", 600, false));
        let bytes = udp.receive_bytes().unwrap();
        let answer = describe(&bytes);
        assert!(
            bytes.len() <= 600 && bytes.len() > 580,
            "{} bytes",
            bytes.len()
        );
        assert!(
            answer.contains(" tc ") && answer.ends_with("edns=1232"),
            "{answer}"
        );
    }
}

#[test]
fn when_nothing_helps_it_is_servfail() {
    let (server, _upstream) = pair("tcp+udp", Speaks::Both, &[]);
    // Truncated, then closed: a client by TCP cannot use what UDP brought.
    for (name, least, most) in [
        ("cut-udp--close.example", 0, 500),
        ("cut-udp--cut-tcp.example", 0, 500),
        ("drop-udp--drop-tcp.example", 4200, 4700),
    ] {
        let (answer, took) = timed(&mut server.tcp(), name);
        assert_eq!(answer, format!("id=7 servfail {name} A"));
        assert!(took >= ms(least) && took < ms(most), "{name} took {took:?}");
    }
    let stats = server.wait_for("all over", |stats| {
        stats.upstream_connections == 0 && stats.upstream_sockets == 0
    });
    assert_eq!((stats.servfail, stats.flights), (3, 0));

    let (server, _upstream) = pair("tcp", Speaks::OnlyUdp, &[]);
    // Nobody accepts; the listener is closed with its owner.
    let (answer, _) = timed(&mut server.udp(), "www.example");
    assert_eq!(answer, "id=7 servfail www.example A");
}

#[test]
fn one_tcp_connection_carries_many_queries() {
    let (server, upstream) = pair("tcp", Speaks::Both, &[]);
    let mut client = server.tcp();
    // late-tcp waits for another answer on the same connection.
    client.send(&query(1, "late-tcp.example", "A"));
    server.wait_for("one waits", |stats| stats.waiting == 1);
    client.send(&query(2, "fast.example", "A"));
    assert_eq!(
        client.receive(),
        "id=2 noerror fast.example A A:300:192.0.2.1"
    );
    assert_eq!(
        client.receive(),
        "id=1 noerror late-tcp.example A A:300:192.0.2.1"
    );
    client.ask_at_once(40, |number| format!("n{number}.example"));
    assert_eq!(upstream.seen.connections.load(Ordering::Relaxed), 1);
    assert_eq!(server.stats().upstream_connections, 1);
}

#[test]
fn closed_connections_lose_no_query() {
    let (server, upstream) = pair("tcp", Speaks::Both, &[]);
    let mut client = server.udp();
    let wanted = "id=7 noerror close-first.example A A:300:192.0.2.1";
    assert_eq!(
        client.ask("close-first.example"),
        wanted,
        "asked again on a new connection"
    );
    // A server that answers once per connection, and 20 queries at a time.
    client.ask_at_once(20, |number| format!("close-after.n{number}.example"));
    assert!(upstream.seen.connections.load(Ordering::Relaxed) >= 20);
    // One that never answers is not asked for ever.
    assert_eq!(client.ask("close.example"), "id=7 servfail close.example A");
    let closed = upstream.seen.tcp.lock().unwrap();
    assert_eq!(
        closed
            .iter()
            .filter(|name| name.starts_with("close."))
            .count(),
        2
    );
}

#[test]
fn a_connection_that_timed_out_takes_no_further_query() {
    let (server, upstream) = pair("tcp", Speaks::Both, &[]);
    assert_eq!(
        server.udp().ask("one.example"),
        "id=7 noerror one.example A A:300:192.0.2.1"
    );
    let (answer, took) = timed(&mut server.udp(), "drop-tcp.example");
    assert_eq!(answer, "id=7 servfail drop-tcp.example A");
    assert!(took >= ms(3400) && took < ms(4000), "{took:?}");
    assert_eq!(
        server.udp().ask("two.example"),
        "id=7 noerror two.example A A:300:192.0.2.1"
    );
    // The first, one that the silent query was sent by as well, and one without a fault.
    assert_eq!(upstream.seen.connections.load(Ordering::Relaxed), 3);
}
