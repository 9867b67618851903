//! The server on real sockets, with an upstream that misbehaves.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::home::{Home, ip};
use crate::messages::{answer, describe, edns_query, query};
use crate::server::{Client, Running, config};
use crate::upstream::{Speaks, Upstream};

const GOOD: &str = "id=7 noerror";

/// A server with one upstream.
fn pair(scheme: &str, speaks: Speaks, options: &[&str]) -> (Running, Upstream) {
    let upstream = Upstream::start(speaks);
    let server = Running::start(&config(&upstream.url(scheme), options));
    (server, upstream)
}

/// Asks for a name, and how long the answer took.
fn timed(client: &mut Client, name: &str) -> (String, Duration) {
    let start = Instant::now();
    let answer = client.ask(name);
    (answer, start.elapsed())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

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
    for number in 0..40 {
        client.send(&query(number, &format!("n{number}.example"), "A"));
    }
    let answers: HashSet<_> = (0..40).map(|_| client.receive()).collect();
    for number in 0..40 {
        let wanted = format!("id={number} noerror n{number}.example A A:300:192.0.2.1");
        assert!(answers.contains(&wanted), "{wanted}");
    }
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
    for number in 0..20 {
        client.send(&query(
            number,
            &format!("close-after.n{number}.example"),
            "A",
        ));
    }
    let answers: HashSet<_> = (0..20).map(|_| client.receive()).collect();
    assert_eq!(answers.len(), 20);
    assert!(
        answers.iter().all(|answer| answer.contains(" noerror ")),
        "{answers:?}"
    );
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
fn too_many_queries_are_refused_at_once_and_all_others_answered() {
    let (server, _upstream) = pair("udp", Speaks::Both, &["max_queries '64'"]);
    let mut client = server.udp();
    assert_eq!(
        client.ask("cached.example"),
        "id=7 noerror cached.example A A:300:192.0.2.1"
    );
    for id in 0..200 {
        client.send(&query(id, &format!("drop-udp.n{id}.example"), "A"));
    }
    let answers: Vec<_> = (0..152).map(|_| client.receive()).collect();
    assert!(
        answers.iter().all(|answer| answer.contains(" refused ")),
        "{answers:?}"
    );
    let stats = server.stats();
    // A quarter of the places is kept for other upstreams.
    assert_eq!(
        (stats.waiting, stats.overflowed, stats.upstream_sockets),
        (48, 152, 4)
    );
    // The cache knows no bound of this kind.
    assert_eq!(
        client.ask("cached.example"),
        "id=7 noerror cached.example A A:300:192.0.2.1"
    );
    let failed: Vec<_> = (0..48).map(|_| client.receive()).collect();
    assert!(
        failed.iter().all(|answer| answer.contains(" servfail ")),
        "{failed:?}"
    );
    assert_eq!(
        client.ask("after.example"),
        "id=7 noerror after.example A A:300:192.0.2.1"
    );
    let stats = server.wait_for("closed", |stats| stats.upstream_sockets <= 1);
    assert_eq!((stats.waiting, stats.flights), (0, 0));
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
fn slow_and_idle_tcp_clients_lock_nobody_out() {
    let (server, _upstream) = pair("udp", Speaks::Both, &["max_tcp_clients '4'"]);
    let mut clients: Vec<_> = (0..100).map(|_| server.tcp()).collect();
    assert_eq!(
        server.tcp().ask("www.example"),
        "id=7 noerror www.example A A:300:192.0.2.1"
    );
    let stats = server.stats();
    assert!(
        stats.tcp.open <= 4 && stats.tcp.displaced >= 96,
        "{:?}",
        stats.tcp
    );
    // Half a query, and nothing more: five seconds.
    let mut slow = server.tcp();
    let Client::Tcp(stream) = &mut slow else {
        unreachable!()
    };
    stream.write_all(&[0, 30, 1, 2, 3]).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(8)))
        .unwrap();
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0);
    let took = start.elapsed();
    assert!(took >= ms(4900) && took < ms(7000), "{took:?}");
    clients.clear();
    // One that asks and never reads: its answers have an end.
    let mut deaf = server.tcp();
    let Client::Tcp(stream) = &mut deaf else {
        unreachable!()
    };
    stream.set_nonblocking(true).unwrap();
    socket2::SockRef::from(&*stream)
        .set_recv_buffer_size(4096)
        .unwrap();
    let bytes = query(1, "big.example", "A").to_vec().unwrap();
    let mut frame = (bytes.len() as u16).to_be_bytes().to_vec();
    frame.extend(bytes);
    let many = frame.repeat(1000);
    let start = Instant::now();
    let mut sent = 0;
    let closed = loop {
        match stream.write(&many[sent % frame.len()..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => thread::sleep(ms(20)),
            Err(_) => break true,
        }
        if start.elapsed() > Duration::from_secs(15) {
            break false;
        }
    };
    assert!(
        closed,
        "a client that never reads is disconnected: {sent} {:?}",
        server.stats()
    );
    let stats = server.stats().tcp;
    assert_eq!(stats.timed_out, 2, "{stats:?}");
}

#[test]
fn a_client_that_has_no_more_queries_still_gets_its_answers() {
    let (server, _upstream) = pair("udp", Speaks::Both, &[]);
    let mut client = server.tcp();
    for id in 0..3 {
        client.send(&query(id, &format!("slow.n{id}.example"), "A"));
    }
    let Client::Tcp(stream) = &client else {
        unreachable!()
    };
    stream.shutdown(Shutdown::Write).unwrap();
    let answers: HashSet<_> = (0..3).map(|_| client.receive()).collect();
    assert_eq!(answers.len(), 3);
    assert!(client.receive_bytes().is_err(), "then it is closed");
}

#[test]
fn nonsense_is_told_so_or_dropped() {
    let (server, _upstream) = pair("udp", Speaks::Both, &[]);
    let mut client = server.udp();
    let good = query(7, "www.example", "A");
    client.send_bytes(&answer(&good, "A:1:192.0.2.1").to_vec().unwrap());
    client.send_bytes(&[1, 2, 3]);
    let mut update = good.to_vec().unwrap();
    update[2] |= 5 << 3;
    client.send_bytes(&update);
    assert!(
        client.receive().starts_with("id=7 notimp"),
        "the first two got nothing"
    );
    let mut cut = good.to_vec().unwrap();
    cut.truncate(20);
    client.send_bytes(&cut);
    assert_eq!(client.receive(), "id=7 formerr");
    let mut version = edns_query(7, "www.example", "A", 1232, false);
    version.extensions_mut().as_mut().unwrap().set_version(1);
    client.send(&version);
    let answer = client.receive();
    assert!(
        answer.contains(" badsig "),
        "{answer}: 16 is BADVERS in an OPT record"
    );
    assert_eq!(
        client.ask("nas.lan"),
        "id=7 refused nas.lan A",
        "nobody was asked"
    );
    assert_eq!(server.stats().malformed, 4);
}

#[test]
fn an_idle_server_sleeps() {
    let (server, _upstream) = pair("tcp+udp", Speaks::Both, &[]);
    let mut client = server.udp();
    client.ask("drop-udp.example");
    drop(client);
    thread::sleep(ms(300));
    // The connection to the upstream is closed after ten idle seconds; until then there is a
    // sweep a second.
    let switches = || {
        let path = format!("/proc/self/task/{}/status", server.thread_id);
        let status = std::fs::read_to_string(path).unwrap();
        let lines = status
            .lines()
            .filter_map(|line| line.split_once("ctxt_switches:"));
        lines
            .map(|(_, count)| count.trim().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    let start = switches();
    thread::sleep(Duration::from_secs(4));
    let with_connection = switches() - start;
    assert!(
        (3..=12).contains(&with_connection),
        "{with_connection} in four seconds"
    );
    thread::sleep(Duration::from_secs(8));
    assert_eq!(server.stats().upstream_connections, 0);
    thread::sleep(ms(100));
    let start = switches();
    thread::sleep(Duration::from_secs(3));
    assert_eq!(switches() - start, 0, "nothing is open, nothing wakes");
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
