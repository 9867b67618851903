//! Relayed UDP, from the client through the router to echoes, directly and through dante.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::home::{CLIENT4, CLIENT6, ip};
use crate::scene::{Scene, is_silent, receive};
use crate::servers::{DANTE, Dante, Step, scripted, udp_echo};

#[test]
fn echoes_come_back_from_the_address_that_was_asked() {
    let scene = Scene::new(&[DANTE]);
    let _dante = Dante::start(&scene.home.internet);
    for (client, host) in [
        (CLIENT4, "203.0.113.0"),
        (CLIENT6, "2001:db8::10"),
        (CLIENT4, "203.0.113.2"),
    ] {
        let to = scene.udp(host);
        let _echo = udp_echo(&scene.home.internet, to);
        let socket = scene.client(client);
        for length in [0, 1, 1200, 1472, 4000, 60_000] {
            let payload: Vec<u8> = (0..length).map(|i| (i / 7) as u8).collect();
            socket.send_to(&payload, to).unwrap();
            assert!(receive(&socket) == (payload, to), "{length} bytes, {host}");
        }
    }
    let stats = scene.router.stats();
    assert_eq!((stats.udp.sessions.created, stats.udp.datagrams), (3, 36));
    for outbound in [0, 2] {
        let bytes = &stats.outbounds[outbound];
        assert_eq!(bytes.bytes_up, bytes.bytes_down);
        assert!(bytes.bytes_up >= 66_673);
    }
}

#[test]
fn a_session_has_one_mapping_and_hears_everybody() {
    let scene = Scene::new(&[DANTE]);
    let _dante = Dante::start(&scene.home.internet);
    // Two addresses for the same outbound each, and a stranger on another port.
    for (one, two, stranger) in [
        ("203.0.113.0", "203.0.113.16", "203.0.113.99:4000"),
        ("203.0.113.2", "203.0.113.18", "203.0.113.99:4001"),
    ] {
        let servers = [one, two].map(|host| scene.server(scene.udp(host)));
        let stranger = scene.server(stranger.parse().unwrap());
        let client = scene.client(CLIENT4);
        let mut mapped = Vec::new();
        for server in &servers {
            client
                .send_to(b"hello", server.local_addr().unwrap())
                .unwrap();
            let (payload, from) = receive(server);
            assert_eq!(payload, b"hello");
            mapped.push(from);
        }
        assert_eq!(mapped[0], mapped[1], "endpoint-independent mapping");
        for socket in [&stranger, &servers[1], &servers[0]] {
            socket.send_to(b"back", mapped[0]).unwrap();
            let expected = (b"back".to_vec(), socket.local_addr().unwrap());
            assert_eq!(receive(&client), expected, "endpoint-independent filtering");
        }
    }
    assert_eq!(scene.router.stats().udp.sessions.created, 2);
}

#[test]
fn ten_thousand_datagrams_keep_their_order() {
    const COUNT: u32 = 10_000;
    const WINDOW: u32 = 50;
    let scene = Scene::new(&[DANTE]);
    let _dante = Dante::start(&scene.home.internet);
    for host in ["203.0.113.0", "203.0.113.2"] {
        let to = scene.udp(host);
        let _echo = udp_echo(&scene.home.internet, to);
        let client = scene.client(CLIENT4);
        // The first window waits in the session's queue while it is dialled.
        for i in 0..COUNT + WINDOW {
            if i < COUNT {
                client.send_to(&i.to_be_bytes(), to).unwrap();
            }
            if let Some(expected) = i.checked_sub(WINDOW) {
                assert_eq!(receive(&client), (expected.to_be_bytes().to_vec(), to));
            }
        }
    }
}

#[test]
fn a_thousand_clients_share_a_bound_of_64_sessions() {
    let scene = Scene::with(&[], |config| config.main.max_udp_sessions = 64);
    let to = scene.udp("203.0.113.0");
    let _echo = udp_echo(&scene.home.internet, to);
    let clients: Vec<_> = (0..1000).map(|_| scene.client(CLIENT4)).collect();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for client in &clients {
        client.send_to(b"x", to).unwrap();
        assert_eq!(receive(client), (b"x".to_vec(), to));
        assert!(scene.router.stats().udp.active <= 64);
    }
    let stats = scene.router.stats().udp;
    assert_eq!(
        (stats.active, stats.sessions.created, stats.sessions.evicted),
        (64, 1000, 936)
    );
    // Other tests of this process come and go.
    assert!(
        descriptors() < before + 400,
        "an evicted session closes its socket"
    );
    // The least recently used went: the last 64 are still there.
    for client in &clients[1000 - 64..] {
        client.send_to(b"y", to).unwrap();
        receive(client);
    }
    assert_eq!(scene.router.stats().udp.sessions.created, 1000);
}

#[test]
fn an_idle_session_ends_and_a_busy_one_stays() {
    let scene = Scene::with(&[], |config| config.main.udp_idle = 2);
    let to = scene.udp("203.0.113.0");
    let server = scene.server(to);
    let (idle, busy) = (scene.client(CLIENT4), scene.client(CLIENT4));
    idle.send_to(b"x", to).unwrap();
    receive(&server);
    busy.send_to(b"x", to).unwrap();
    let (_, mapped) = receive(&server);
    // Answers alone keep it.
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(500));
        server.send_to(b"y", mapped).unwrap();
        receive(&busy);
    }
    let stats = scene.router.stats().udp;
    assert_eq!((stats.active, stats.sessions.expired), (1, 1));
    scene
        .router
        .wait("the busy one expires", |stats| stats.udp.active == 0);
    idle.send_to(b"again", to).unwrap();
    assert_eq!(receive(&server).0, b"again");
}

#[test]
fn while_it_is_dialled_a_session_keeps_64_datagrams() {
    let scene = Scene::new(&["socks5://10.78.0.2:1082"]);
    let addr = "10.78.0.2:1082".parse().unwrap();
    scripted(&scene.home.internet, addr, vec![Step::Hang]);
    let client = scene.client(CLIENT4);
    for _ in 0..100 {
        client
            .send_to(&[0; 1000], scene.udp("203.0.113.2"))
            .unwrap();
    }
    scene.router.wait("dropped", |stats| {
        stats.udp.sessions.dropped_queue_full == 36
    });
    // The handshake's deadline passes.
    let start = Instant::now();
    scene
        .router
        .wait("failed", |stats| stats.udp.sessions.failed == 1);
    assert!(start.elapsed() < Duration::from_secs(10));
    let stats = scene.router.stats().udp;
    assert_eq!((stats.active, stats.sessions.dropped_failed), (0, 64));
}

#[test]
fn an_outbound_that_failed_is_left_alone_for_two_seconds() {
    let scene = Scene::new(&["socks5://10.78.0.2:1082"]);
    let addr = "10.78.0.2:1082".parse().unwrap();
    let refuses = vec![Step::Read(3), Step::Write(vec![5, 0xff])];
    let (_, connections) = scripted(&scene.home.internet, addr, refuses);
    let to = scene.udp("203.0.113.2");
    let client = scene.client(CLIENT4);
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(5000) {
        client.send_to(b"x", to).unwrap();
        sent += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    let dials = connections.load(Ordering::SeqCst);
    assert_eq!(dials, 3, "at 0, 2 and 4 s");
    let stats = scene
        .router
        .wait("failed", |stats| stats.udp.sessions.failed == 3)
        .udp;
    assert_eq!(stats.sessions.dropped_failed, sent);
    // Another client is not affected.
    scene.client(CLIENT4).send_to(b"x", to).unwrap();
    scene
        .router
        .wait("failed", |stats| stats.udp.sessions.failed == 4);
}

#[test]
fn a_session_whose_proxy_went_away_begins_anew() {
    let scene = Scene::new(&[DANTE]);
    let dante = Dante::start(&scene.home.internet);
    let to = scene.udp("203.0.113.2");
    let _echo = udp_echo(&scene.home.internet, to);
    let client = scene.client(CLIENT4);
    client.send_to(b"one", to).unwrap();
    assert_eq!(receive(&client).0, b"one");
    // Long enough to count as a life.
    std::thread::sleep(Duration::from_millis(2100));
    drop(dante);
    scene.router.wait("ended", |stats| {
        stats.udp.sessions.ended == 1 && stats.udp.active == 0
    });
    let _dante = Dante::start(&scene.home.internet);
    client.send_to(b"two", to).unwrap();
    assert_eq!(receive(&client).0, b"two");
}

#[test]
fn what_is_blocked_is_dropped_and_counted() {
    let scene = Scene::new(&[]);
    let to = scene.udp("203.0.113.1");
    let server = scene.server(to);
    scene.client(CLIENT4).send_to(b"x", to).unwrap();
    // Somebody on the router talks to the socket itself.
    let own = SocketAddr::new(ip("127.0.0.16"), to.port());
    scene.home.router.run(move || {
        UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .send_to(b"x", own)
            .unwrap();
    });
    scene
        .router
        .wait("dropped", |stats| stats.udp.dropped_blocked == 2);
    assert!(is_silent(&server));
    assert_eq!(scene.router.stats().udp.sessions.created, 0);
}
