//! UDP sessions: how they end, and what goes on meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use crate::home::CLIENT4;
use crate::scene::{Scene, is_silent, receive};
use crate::servers::{DANTE, Dante, Step, scripted, udp_echo};

/// "a.example", A, IN.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
/// What a QUIC connection begins with: version 1, an ID of 8 bytes, one of 0.
const INITIAL: &[u8] = b"\xc3\0\0\0\x01\x08\x83\x94\xc8\xf0\x3e\x51\x57\x08\0\0\x44\x9e";

#[test]
fn sessions_live_as_long_as_their_kind() {
    let scene = Scene::with(&[], |config| {
        config.main.udp_idle_dns = 2;
        config.main.udp_idle = 5;
        config.main.udp_idle_quic = 8;
    });
    let to = scene.udp("203.0.113.0");
    let _echo = udp_echo(&scene.home.internet, to);
    let start = Instant::now();
    let clients: Vec<_> = [
        &[QUERY][..],
        &[b"hello"],
        &[INITIAL, b"short header", QUERY],
    ]
    .into_iter()
    .map(|datagrams| {
        let client = scene.client(CLIENT4);
        for datagram in datagrams {
            client.send_to(datagram, to).unwrap();
            assert_eq!(receive(&client).0, *datagram);
        }
        client
    })
    .collect();
    assert_eq!(scene.router.stats().udp.active, 3);
    for (left, seconds) in [(2, 2), (1, 5), (0, 8)] {
        scene
            .router
            .wait("one expires", |stats| stats.udp.active == left);
        let passed = start.elapsed().as_secs_f64();
        // The sweep comes once a second.
        let due = f64::from(seconds)..f64::from(seconds) + 2.5;
        assert!(due.contains(&passed), "{left} are left after {passed} s");
    }
    drop(clients);
}

/// Many clients come and go over a small bound, some by a node that never answers.
#[test]
fn there_are_as_many_workers_as_sessions_at_all_times() {
    let scene = Scene::with(&["socks5://10.78.0.2:1082"], |config| {
        config.main.max_udp_sessions = 32;
        config.main.udp_idle = 3;
    });
    let hangs = "10.78.0.2:1082".parse().unwrap();
    scripted(&scene.home.internet, hangs, vec![Step::Hang]);
    let [good, bad] = ["203.0.113.0", "203.0.113.2"].map(|host| scene.udp(host));
    let _echo = udp_echo(&scene.home.internet, good);
    let clients: Vec<_> = (0..100).map(|_| scene.client(CLIENT4)).collect();
    for round in 0..20 {
        for (number, client) in clients.iter().enumerate() {
            let to = if (number + round) % 3 == 0 { bad } else { good };
            client.send_to(b"x", to).unwrap();
        }
        let udp = scene.router.stats().udp;
        assert_eq!(udp.workers, udp.active);
        assert!(udp.active <= 32 && udp.workers_ending <= 32);
        assert!(udp.queued <= 32 * 64 && udp.queued_bytes <= 2 << 20);
    }
    let end = scene
        .router
        .wait("all have expired", |stats| stats.udp.active == 0);
    let counts = end.udp.sessions;
    assert_eq!((end.udp.workers, counts.removal_failed), (0, 0));
    scene
        .router
        .wait("tasks are gone", |stats| stats.udp.workers_ending == 0);
    assert_eq!((end.udp.queued, end.udp.queued_bytes), (0, 0));
    let ended = counts.expired + counts.evicted + counts.failed + counts.ended + counts.cut;
    assert_eq!(counts.created, ended);
    assert!(counts.created > 500, "{counts:?}");
}

#[test]
fn a_burst_of_several_clients_comes_back_whole_and_in_order() {
    // All at once fit into one receive buffer.
    const BURST: u32 = 60;
    let scene = Scene::new(&[DANTE]);
    let _dante = Dante::start(&scene.home.internet);
    for host in ["203.0.113.0", "203.0.113.2"] {
        let to = scene.udp(host);
        let server = scene.server(to);
        let clients: Vec<_> = (0..3).map(|_| scene.client(CLIENT4)).collect();
        for client in &clients {
            client.send_to(b"begin", to).unwrap();
            receive(&server);
        }
        // Of each client in turn, so that every batch has datagrams of all.
        for number in 0..BURST {
            for client in &clients {
                client.send_to(&number.to_be_bytes(), to).unwrap();
            }
        }
        let mut next = std::collections::HashMap::new();
        for _ in 0..BURST * 3 {
            let (payload, from) = receive(&server);
            let next = next.entry(from).or_insert(0u32);
            assert_eq!(payload, next.to_be_bytes());
            *next += 1;
            server.send_to(&payload, from).unwrap();
        }
        assert_eq!(next.len(), 3, "one mapping each");
        for client in &clients {
            for number in 0..BURST {
                assert_eq!(receive(client), (number.to_be_bytes().to_vec(), to));
            }
        }
    }
}

#[test]
fn what_is_stuck_delays_nobody_else() {
    let scene = Scene::new(&["socks5://10.78.0.2:1082"]);
    let hangs = "10.78.0.2:1082".parse().unwrap();
    scripted(&scene.home.internet, hangs, vec![Step::Hang]);
    // A device that lets hardly anything through, and its queue holds what it is given.
    scene.home.router.shell(
        "ip link add stuck type veth peer name nowhere
         ip addr add 10.79.0.1/24 dev stuck
         ip link set nowhere up
         ip link set stuck up
         ip route add 198.51.100.0/24 dev stuck
         ip neigh add 198.51.100.0 lladdr 02:00:00:00:00:99 dev stuck
         tc qdisc add dev stuck root tbf rate 8kbit burst 2000 limit 100000000",
    );
    let good = scene.udp("203.0.113.0");
    let _echo = udp_echo(&scene.home.internet, good);
    let client = scene.client(CLIENT4);
    let stuck = scene.client(CLIENT4);
    client.send_to(b"begin", good).unwrap();
    receive(&client);
    let mut took = Vec::new();
    for _ in 0..50 {
        for _ in 0..40 {
            stuck
                .send_to(&[0; 1200], scene.udp("198.51.100.0"))
                .unwrap();
            stuck.send_to(&[0; 1200], scene.udp("203.0.113.2")).unwrap();
        }
        let start = Instant::now();
        client.send_to(b"hello", good).unwrap();
        receive(&client);
        took.push(start.elapsed());
    }
    let udp = scene.router.stats().udp;
    assert!(udp.dropped_send > 1000, "{udp:?}");
    assert!(udp.sessions.dropped_queue_full > 1000, "{udp:?}");
    took.sort_unstable();
    assert!(took[25] < Duration::from_millis(50), "{took:?}");
}

#[test]
fn a_reload_asks_the_rules_anew() {
    let scene = Scene::new(&[DANTE]);
    let _dante = Dante::start(&scene.home.internet);
    let to = scene.udp("203.0.113.0");
    let _echo = udp_echo(&scene.home.internet, to);
    let client = scene.client(CLIENT4);
    let said = |text: &[u8]| {
        client.send_to(text, to).unwrap();
        assert_eq!(receive(&client), (text.to_vec(), to));
        scene.router.stats().outbounds[2].bytes_up
    };
    assert_eq!(said(b"directly"), 0);
    scene.router.inside(|inside| inside.shift.set(2));
    assert_eq!(said(b"as was decided"), 0);
    scene.router.inside(|inside| inside.proxy.forget_verdicts());
    assert_eq!(said(b"by node"), 7);
}

/// A SOCKS5 server that gives one association, hears one datagram, and is gone.
fn dies_after_one_datagram(scene: &Scene) -> SocketAddr {
    let listener = scene
        .home
        .internet
        .run(|| TcpListener::bind("10.78.0.2:1084").unwrap());
    let relay = scene
        .home
        .internet
        .run(|| UdpSocket::bind("10.78.0.2:0").unwrap());
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 3]).unwrap();
        stream.write_all(&[5, 0]).unwrap();
        stream.read_exact(&mut [0; 10]).unwrap();
        let [high, low] = relay.local_addr().unwrap().port().to_be_bytes();
        stream
            .write_all(&[5, 0, 0, 1, 10, 78, 0, 2, high, low])
            .unwrap();
        relay.recv(&mut [0; 100]).unwrap();
    });
    addr
}

#[test]
fn when_a_node_dies_the_next_datagram_goes_by_another() {
    let scene = Scene::with(&[DANTE, "socks5://10.78.0.2:1084"], |config| {
        let text = format!(
            "config dae 'main'\nconfig node 'n0'\n\toption url '{DANTE}'\n\
             config node 'n1'\n\toption url 'socks5://10.78.0.2:1084'\n\
             config group 'g'\n\tlist node 'n1'\n\tlist node 'n0'\n"
        );
        let grouped = dae::config::Config::parse("test", text.as_bytes()).unwrap();
        config.outbounds = grouped.outbounds;
    });
    let _dante = Dante::start(&scene.home.internet);
    dies_after_one_datagram(&scene);
    let to = scene.udp("203.0.113.4");
    let _echo = udp_echo(&scene.home.internet, to);
    let client = scene.client(CLIENT4);
    client.send_to(b"lost", to).unwrap();
    scene
        .router
        .wait("the node died", |stats| stats.udp.sessions.ended == 1);
    let start = Instant::now();
    client.send_to(b"again", to).unwrap();
    assert_eq!(receive(&client), (b"again".to_vec(), to));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let udp = scene.router.stats().udp;
    assert_eq!((udp.sessions.failed, udp.active, udp.workers), (0, 1, 1));
}

#[test]
fn sessions_of_a_way_that_goes_are_drained_and_then_cut() {
    let scene = Scene::new(&[]);
    let to = scene.udp("203.0.113.0");
    let server = scene.server(to);
    let client = scene.client(CLIENT4);
    client.send_to(b"one", to).unwrap();
    let (_, old) = receive(&server);
    scene.router.inside(|inside| {
        let direct = inside.way(0);
        inside.proxy.drain(&[direct], Duration::from_secs(2));
    });
    // The old session still answers; the next datagram begins another.
    server.send_to(b"answer", old).unwrap();
    assert_eq!(receive(&client).0, b"answer");
    client.send_to(b"two", to).unwrap();
    let (payload, new) = receive(&server);
    assert_eq!(payload, b"two");
    assert_ne!(old, new);
    assert_eq!(scene.router.stats().udp.active, 2);
    let stats = scene.router.wait("cut", |stats| stats.udp.active == 0);
    assert_eq!((stats.udp.sessions.cut, stats.udp.workers), (2, 0));
    server.send_to(b"too late", old).unwrap();
    assert!(is_silent(&client));
}
