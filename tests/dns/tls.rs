//! Upstreams by TLS (RFC 7858), against servers that misbehave.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::messages::query;
use crate::server::{Running, config};
use crate::tls_server::{Authority, Identity, Manner, TlsServer};

fn count(counter: &std::sync::atomic::AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

/// A server with an upstream by TLS and these lines in its section.
fn start(upstream: &TlsServer, lines: &[String]) -> Running {
    let lines: String = lines.iter().map(|line| format!("\t{line}\n")).collect();
    let url = format!("tls://{}", upstream.addr);
    Running::start(&(config(&url, &[]) + &lines))
}

/// A server with an upstream by TLS that it trusts by its address.
fn pair(manner: Manner) -> (TlsServer, Running) {
    let authority = Authority::new();
    let upstream = TlsServer::start(&authority.issue(&["127.0.0.1"]), manner);
    let server = start(&upstream, &[ca(&authority)]);
    (upstream, server)
}

fn ca(authority: &Authority) -> String {
    format!("option ca '{}'", authority.file.display())
}

fn name(name: &str) -> String {
    format!("option tls_name '{name}'")
}

fn pin(pin: &str) -> String {
    format!("list pin '{pin}'")
}

const WWW: &str = "id=7 noerror www.example A A:300:192.0.2.1";
const NONE: &str = "id=7 servfail www.example A";

/// An answer without the extended error, which says why there is none.
fn ask(server: &Running) -> String {
    let answer = server.udp().ask("www.example");
    answer.split(" ede").next().unwrap().to_owned()
}

#[test]
fn a_server_with_the_right_name_is_asked() {
    let authority = Authority::new();
    let identity = authority.issue(&["dns.example", "127.0.0.1"]);
    for lines in [
        vec![ca(&authority), name("dns.example")],
        vec![ca(&authority)],
        vec![ca(&authority), name("127.0.0.1")],
    ] {
        let upstream = TlsServer::start(&identity, Manner::Good);
        let server = start(&upstream, &lines);
        assert_eq!(ask(&server), WWW, "{lines:?}");
    }
}

#[test]
fn another_server_gets_no_query() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = || authority.issue(&["dns.example"]);
    let cases: [(&str, Identity, Vec<String>); 6] = [
        (
            "another name",
            good(),
            vec![ca(&authority), name("other.example")],
        ),
        ("not its address", good(), vec![ca(&authority)]),
        (
            "expired",
            authority.issue_expired(&["dns.example"]),
            vec![ca(&authority), name("dns.example")],
        ),
        (
            "unknown authority",
            good(),
            vec![ca(&other), name("dns.example")],
        ),
        ("nobody's but Mozilla's", good(), vec![name("dns.example")]),
        (
            "another key",
            good(),
            vec![ca(&authority), name("dns.example"), pin(&good().pin)],
        ),
    ];
    for (what, identity, lines) in cases {
        let upstream = TlsServer::start(&identity, Manner::Good);
        let server = start(&upstream, &lines);
        let begin = Instant::now();
        assert_eq!(ask(&server), NONE, "{what}");
        assert!(
            begin.elapsed() < Duration::from_millis(500),
            "{what}: at once"
        );
        assert_eq!(upstream.names(), 0, "{what}");
    }
}

#[test]
fn pins_decide_alone_or_beside_the_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let identity = authority.issue(&["dns.example"]);
    let wrong = other.issue(&["dns.example"]).pin;
    let right = &identity.pin;
    for (lines, answer) in [
        // Alone: neither the authority nor the name is looked at.
        (vec![pin(right)], WWW),
        (vec![pin(&wrong), pin(right)], WWW),
        (vec![pin(&wrong)], NONE),
        // The authority's key proves nothing when the chain is not checked.
        (vec![pin(&authority.pin())], NONE),
        // Beside: any key of the chain, and all the rest as well.
        (vec![ca(&authority), name("dns.example"), pin(right)], WWW),
        (
            vec![ca(&authority), name("dns.example"), pin(&authority.pin())],
            WWW,
        ),
        (
            vec![ca(&authority), name("other.example"), pin(right)],
            NONE,
        ),
        (vec![ca(&other), name("dns.example"), pin(right)], NONE),
    ] {
        let upstream = TlsServer::start(&identity, Manner::Good);
        let server = start(&upstream, &lines);
        assert_eq!(ask(&server), answer, "{lines:?}");
    }
    let identity = authority.issue(&["dns.example"]).alone();
    let upstream = TlsServer::start(&identity, Manner::Good);
    let root = pin(&authority.pin());
    let server = start(&upstream, &[ca(&authority), name("dns.example"), root]);
    assert_eq!(ask(&server), WWW, "the root's key, though it is not sent");
}

#[test]
fn tls_1_2_will_do() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let old = identity.config_of(&[&rustls::version::TLS12], &[]);
    let upstream = TlsServer::with_config(old, Manner::Good);
    let server = start(&upstream, &[ca(&authority)]);
    let mut client = server.udp();
    for number in 0..3 {
        let name = format!("close-after--{number}.example");
        assert_eq!(
            client.ask(&name),
            format!("id=7 noerror {name} A A:300:192.0.2.1")
        );
    }
    assert_eq!(
        (count(&upstream.seen.full), count(&upstream.seen.resumed)),
        (1, 2)
    );
}

#[test]
fn sessions_are_resumed() {
    let (upstream, server) = pair(Manner::Good);
    let mut client = server.udp();
    for number in 0..4 {
        let name = format!("close-after--{number}.example");
        assert_eq!(
            client.ask(&name),
            format!("id=7 noerror {name} A A:300:192.0.2.1")
        );
        // The server's goodbye takes a moment; then nothing is there to be asked.
        server.wait_for("closed", |stats| stats.upstream_connections == 0);
    }
    assert_eq!(
        (count(&upstream.seen.full), count(&upstream.seen.resumed)),
        (1, 3)
    );
}

#[test]
fn one_connection_carries_many_queries_in_any_order() {
    let (upstream, server) = pair(Manner::Good);
    let mut client = server.tcp();
    // late-tcp waits for another answer on the same connection.
    client.send(&query(1, "late-tcp.example", "A"));
    server.wait_for("one waits", |stats| stats.waiting == 1);
    client.send(&query(2, "big--fast.example", "A"));
    let first = client.receive();
    assert_eq!(first.matches(" A:300:").count(), 100, "{first}");
    assert_eq!(
        client.receive(),
        "id=1 noerror late-tcp.example A A:300:192.0.2.1"
    );
    client.ask_at_once(30, |number| format!("n{number}.example"));
    assert_eq!(count(&upstream.seen.connections), 1);
}

#[test]
fn a_server_that_closes_after_each_answer_answers_a_hundred() {
    let (upstream, server) = pair(Manner::OneAnswer);
    let mut client = server.udp();
    let begin = Instant::now();
    client.ask_at_once(100, |number| format!("n{number}.example"));
    assert!(
        begin.elapsed() < Duration::from_millis(3500),
        "{:?}",
        begin.elapsed()
    );
    let seen = &upstream.seen;
    assert!(
        count(&seen.full) <= 8,
        "{} full handshakes",
        count(&seen.full)
    );
    assert!(
        count(&seen.connections) <= 240,
        "{} connections",
        count(&seen.connections)
    );
    // On a slow machine some wait for long enough to be sent by another connection, too.
    assert!(upstream.names() <= 200, "{} queries read", upstream.names());
}

#[test]
fn a_handshake_that_hangs_is_given_up_and_holds_nobody_up() {
    let (upstream, server) = pair(Manner::HangsOnce);
    let begin = Instant::now();
    assert_eq!(ask(&server), WWW);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(450) && took < Duration::from_millis(900),
        "{took:?}"
    );
    assert_eq!(count(&upstream.seen.connections), 2);
    // The first is not kept for ever.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(count(&upstream.seen.open), 1);

    let (upstream, server) = pair(Manner::Hangs);
    let begin = Instant::now();
    assert_eq!(ask(&server), NONE);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(3400) && took < Duration::from_millis(5000),
        "{took:?}"
    );
    assert!(count(&upstream.seen.open) <= 4);
}

#[test]
fn a_silent_connection_is_left_and_a_slow_one_is_not() {
    let (upstream, server) = pair(Manner::Good);
    let mut client = server.udp();
    let slow = client.ask("slow.example");
    assert_eq!(slow, "id=7 noerror slow.example A A:300:192.0.2.1");
    assert_eq!(count(&upstream.seen.connections), 1);
    let answer = client.ask("drop-tcp.example");
    assert!(
        answer.starts_with("id=7 servfail drop-tcp.example"),
        "{answer}"
    );
    assert_eq!(ask(&server), WWW);
    assert!(count(&upstream.seen.connections) >= 2);
}

#[test]
fn a_message_that_is_none_ends_the_connection() {
    let (_upstream, server) = pair(Manner::Good);
    let begin = Instant::now();
    let answer = server.udp().ask("onebyte.example");
    assert!(
        answer.starts_with("id=7 servfail onebyte.example"),
        "{answer}"
    );
    assert!(begin.elapsed() < Duration::from_secs(2), "at once");
    assert_eq!(ask(&server), WWW);
}

#[test]
fn idle_connections_end_after_twenty_seconds_with_a_goodbye() {
    let (upstream, server) = pair(Manner::Good);
    assert_eq!(ask(&server), WWW);
    thread::sleep(Duration::from_secs(18));
    assert_eq!(count(&upstream.seen.open), 1);
    thread::sleep(Duration::from_secs(4));
    assert_eq!(count(&upstream.seen.open), 0);
    assert_eq!(server.stats().upstream_connections, 0);
}
