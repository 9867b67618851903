//! Clients that ask too much, too slowly, or nonsense; and nobody at all.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::messages::{answer, edns_query, query};
use crate::server::Client;
use crate::upstream::Speaks;

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
    assert_eq!(server.stats().tcp.timed_out, 1);
}

#[test]
fn a_client_that_asks_and_never_reads_is_disconnected() {
    let (server, _upstream) = pair("udp", Speaks::Both, &[]);
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
    assert_eq!(stats.timed_out, 1, "{stats:?}");
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
