//! Relayed TCP, from the client through the router to a server or a real SOCKS5 server.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::home::ip;
use crate::scene::{Scene, is_reset, reset};
use crate::servers::{DANTE, Dante, MICROSOCKS, microsocks};

const SOON: Duration = Duration::from_secs(2);

const PIECE: usize = 1_000_003;

fn piece(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(PIECE).collect()
}

fn send_all(mut stream: &TcpStream, seed: u8, length: usize) {
    let piece = piece(seed);
    let mut left = length;
    while left > 0 {
        let next = left.min(PIECE);
        stream.write_all(&piece[..next]).unwrap();
        left -= next;
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn expect_all(mut stream: &TcpStream, seed: u8, length: usize) {
    let piece = piece(seed);
    let mut buffer = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let next = left.min(PIECE);
        stream.read_exact(&mut buffer[..next]).unwrap();
        assert!(
            buffer[..next] == piece[..next],
            "{left} bytes before the end"
        );
        left -= next;
    }
    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
}

/// `length` bytes each way at once, to the end of both directions.
fn exchange(scene: &Scene, host: &str, length: usize) {
    let client = scene.connect(host);
    std::thread::scope(|scope| {
        scope.spawn(|| send_all(&client, 1, length));
        expect_all(&client, 2, length);
    });
}

fn serve_exchange(length: usize) -> impl Fn(TcpStream) + Send + Sync + Clone + 'static {
    move |stream| {
        std::thread::scope(|scope| {
            scope.spawn(|| send_all(&stream, 2, length));
            expect_all(&stream, 1, length);
        });
    }
}

#[test]
fn a_hundred_megabytes_arrive_intact_both_ways_at_once() {
    const LENGTH: usize = 100_000_000;
    let scene = Scene::new(&[DANTE, MICROSOCKS]);
    let _dante = Dante::start(&scene.home.internet);
    let _microsocks = microsocks(&scene.home.internet);
    scene.serve(serve_exchange(LENGTH));
    exchange(&scene, "203.0.113.0", LENGTH);
    exchange(&scene, "203.0.113.2", LENGTH);
    let stats = scene.router.wait("ended", |stats| stats.tcp.active == 0);
    for outbound in [0, 2] {
        assert_eq!(stats.outbounds[outbound].bytes_up, LENGTH as u64);
        assert_eq!(stats.outbounds[outbound].bytes_down, LENGTH as u64);
    }
    assert_eq!((stats.tcp.opened, stats.tcp.broken), (2, 0));
}

#[test]
fn both_ip_versions_go_directly_and_through_real_servers() {
    let scene = Scene::new(&[DANTE, MICROSOCKS]);
    let _dante = Dante::start(&scene.home.internet);
    let _microsocks = microsocks(&scene.home.internet);
    let accepted = scene.accept();
    for (host, seen) in [
        ("203.0.113.0", "10.78.0.1"),
        ("2001:db8::", "fd78::1"),
        ("203.0.113.2", "203.0.113.2"),
        ("203.0.113.3", "203.0.113.3"),
        ("2001:db8::3", "2001:db8::3"),
    ] {
        let (client, server) = scene.pair(&accepted, host);
        assert_eq!(client.peer_addr().unwrap(), scene.tcp(host));
        assert_eq!(server.local_addr().unwrap(), scene.tcp(host));
        // Directly it is the router; a proxy of the internet is on the server's own machine.
        if seen != host {
            assert_eq!(server.peer_addr().unwrap().ip(), ip(seen));
        }
        // Without half-close: microsocks has none.
        for (from, to, seed) in [(&client, &server, 1), (&server, &client, 2)] {
            let sent = piece(seed);
            let mut buffer = vec![0; PIECE];
            std::thread::scope(|scope| {
                scope.spawn(|| (&*from).write_all(&sent).unwrap());
                (&*to).read_exact(&mut buffer).unwrap();
            });
            assert!(buffer == sent);
        }
    }
}

#[test]
fn either_side_may_finish_first_and_still_hear_the_other() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    for client_first in [true, false] {
        let (client, server) = scene.pair(&accepted, "203.0.113.0");
        let (mut first, mut second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        first.write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let start = Instant::now();
        let mut text = String::new();
        second.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        assert!(start.elapsed() < SOON, "the end is passed on at once");
        std::thread::sleep(Duration::from_millis(1500));
        second.write_all(b"answer").unwrap();
        drop(second);
        text.clear();
        first.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        let stats = scene.router.wait("ended", |stats| stats.tcp.active == 0);
        assert_eq!(stats.tcp.broken, 0);
    }
}

#[test]
fn a_reset_of_one_side_resets_the_other() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    for client_first in [true, false] {
        let (client, server) = scene.pair(&accepted, "203.0.113.0");
        let (first, second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        let start = Instant::now();
        reset(first);
        assert!(is_reset(&second));
        assert!(start.elapsed() < SOON);
        scene.router.wait("ended", |stats| stats.tcp.active == 0);
    }
    // A server may be so quick that it is the dial that fails.
    let stats = scene.router.stats().tcp;
    assert_eq!(stats.broken + stats.dial_failed, 2);
}

#[test]
fn a_reset_after_a_fin_is_noticed_too() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    let (client, mut server) = scene.pair(&accepted, "203.0.113.0");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
    // The server says nothing, so nobody writes to the client.
    let start = Instant::now();
    reset(client);
    scene.router.wait("ended", |stats| stats.tcp.active == 0);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    // Its FIN said that the client was complete; it is closed, not reset, and learns by writing.
    let refused = (0..20).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        server.write_all(b"x").is_err()
    });
    assert!(refused);
}

#[test]
fn a_reset_while_the_other_side_takes_nothing_is_noticed_too() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    let (mut client, server) = scene.pair(&accepted, "203.0.113.0");
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while client.write(&[0; 65_536]).is_ok() {}
    let start = Instant::now();
    reset(client);
    scene.router.wait("ended", |stats| stats.tcp.active == 0);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(is_reset(&server));
}

#[test]
fn a_group_carries_flows_by_the_member_that_is_chosen() {
    const LENGTH: usize = 100_000;
    let scene = Scene::with(&[MICROSOCKS, DANTE], |config| {
        let text = format!(
            "config dae 'main'\nconfig node 'n0'\n\toption url '{MICROSOCKS}'\n\
             config node 'n1'\n\toption url '{DANTE}'\n\
             config group 'g'\n\toption policy 'fixed'\n\toption fixed 'n1'\n"
        );
        let grouped = dae::config::Config::parse("test", text.as_bytes()).unwrap();
        config.outbounds = grouped.outbounds;
    });
    scene.serve(serve_exchange(LENGTH));
    // Nothing goes out another way while the node is not there.
    let refused = scene.connect("203.0.113.4");
    assert!(is_reset(&refused));
    let _dante = Dante::start(&scene.home.internet);
    exchange(&scene, "203.0.113.4", LENGTH);
    let stats = scene.router.wait("ended", |stats| stats.tcp.active == 0);
    assert_eq!(stats.outbounds[3].bytes_up, LENGTH as u64);
    assert_eq!(stats.tcp.dial_failed, 1);
}
