//! Dials by a group, against nodes that refuse, are silent, are slow, or say what is wrong; and
//! the checks that find out.

use std::io::ErrorKind::WouldBlock;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::net::reactor::{Timer, block_on};
use dae::outbound::dial::{self, PATIENCE};
use dae::outbound::socks5::wire::Error;
use dae::outbound::ways::{WayId, Ways};
use dae::outbound::{DialError, MAX_DATAGRAM, check};
use futures_lite::future;

use crate::home::{Home, Namespace};
use crate::servers::{DANTE, Dante, Step, WAIT, microsocks, scripted, udp_echo};

const TO: &str = "203.0.113.80:80";
const MS: Duration = Duration::from_millis(1);

fn to() -> SocketAddr {
    TO.parse().unwrap()
}

/// What a node says when it has connected, or why it has not.
fn node(namespace: &Namespace, addr: &str, reply: u8) -> Arc<AtomicUsize> {
    let script = vec![
        Step::Read(3),
        Step::Write(vec![5, 0]),
        Step::Read(10),
        Step::Write(vec![5, reply, 0, 1, 0, 0, 0, 0, 0, 0]),
        Step::Hang,
    ];
    scripted(namespace, addr.parse().unwrap(), script).1
}

/// Group `g` of two nodes in this order, and what else it says.
fn config(first: &str, second: &str, group: &str) -> String {
    format!(
        "config dae 'main'\nconfig node 'a'\n\toption url 'socks5://{first}'\n\
         config node 'b'\n\toption url 'socks5://{second}'\nconfig group 'g'\n{group}"
    )
}

/// The ways of a configuration at work in a namespace.
fn with_ways<T: Send + 'static>(
    namespace: &Namespace,
    config: String,
    work: impl AsyncFnOnce(Rc<Ways>) -> T + Send + 'static,
) -> T {
    namespace.run(move || {
        let config = Config::parse("test", config.as_bytes()).unwrap();
        let ways = Ways::new(&config, 1, Instant::now());
        let checks = async {
            check::run(Rc::clone(&ways)).await;
            unreachable!("it never ends")
        };
        block_on(future::or(work(Rc::clone(&ways)), checks))
    })
}

fn named(ways: &Ways, name: &str) -> WayId {
    let all = ways.all();
    all.iter().find(|way| *way.name == *name).unwrap().id
}

/// A node's life in a network.
fn life(ways: &Ways, node: &str, network: &str) -> &'static str {
    let report = ways.report(Instant::now());
    let mut rows = report.nodes.iter();
    let row = rows.find(|row| row.node == node && row.network == network);
    row.map_or("unknown", |row| row.life)
}

/// Waits for a life; the time that took.
async fn lives(ways: &Ways, node: &str, network: &str, wanted: &str) -> Duration {
    let start = Instant::now();
    while life(ways, node, network) != wanted {
        let report = ways.report(Instant::now());
        assert!(start.elapsed() < WAIT, "{node} {wanted}: {report:#?}");
        Timer::after(10 * MS).await;
    }
    start.elapsed()
}

/// Dials by the group; the node that carried it, and the time that took.
async fn dialled(ways: &Rc<Ways>) -> (String, Duration) {
    let start = Instant::now();
    let (way, _) = dial::tcp(ways, named(ways, "g"), to()).await.unwrap();
    (way.way.name.to_string(), start.elapsed())
}

#[test]
fn a_node_that_refuses_costs_nothing_and_dies_of_the_second_time() {
    let namespace = Namespace::new();
    node(&namespace, "127.0.0.2:1080", 0);
    // Which does not care that the other one lives already.
    let policy = "\toption policy 'random'\n";
    let text = config("127.0.0.1:1080", "127.0.0.2:1080", policy);
    with_ways(&namespace, text, async |ways| {
        let mut dials = 0;
        while life(&ways, "a", "tcp4") != "dead" {
            let (name, took) = dialled(&ways).await;
            assert_eq!(name, "b");
            assert!(took < PATIENCE, "{took:?}");
            dials += 1;
            assert!(dials < 100);
        }
        assert!(dials >= 2);
        assert_eq!(life(&ways, "b", "tcp4"), "alive");
        // The other transport and IP version know nothing of it.
        assert_eq!(life(&ways, "a", "udp4"), "unknown");
        assert_eq!(life(&ways, "a", "tcp6"), "unknown");
    });
}

/// Both ways to be silent: nobody is there at all, and a process that hangs.
#[test]
fn a_node_that_is_silent_costs_half_a_second_and_not_for_long() {
    for silent in ["10.9.9.2:1080", "127.0.0.1:1080"] {
        let namespace = Namespace::new();
        // What is sent there is lost.
        namespace.shell(
            "ip link add d0 type veth peer name d1
             ip addr add 10.9.9.1/24 dev d0
             ip link set d0 up
             ip link set d1 up
             ip neigh add 10.9.9.2 lladdr 02:00:00:00:00:02 dev d0",
        );
        scripted(
            &namespace,
            "127.0.0.1:1080".parse().unwrap(),
            vec![Step::Hang],
        );
        node(&namespace, "127.0.0.2:1080", 0);
        let text = config(silent, "127.0.0.2:1080", "\toption policy 'random'\n");
        with_ways(&namespace, text, async |ways| {
            let mut slow = 0;
            for _ in 0..50 {
                let (name, took) = dialled(&ways).await;
                assert_eq!(name, "b");
                assert!(took < 2 * PATIENCE, "{took:?}");
                slow += u32::from(took >= PATIENCE);
            }
            assert_eq!((slow, life(&ways, "a", "tcp4")), (2, "dead"));
        });
    }
}

#[test]
fn a_node_that_has_greeted_is_waited_for_and_not_blamed() {
    let namespace = Namespace::new();
    let slow = vec![
        Step::Read(3),
        Step::Write(vec![5, 0]),
        Step::Read(10),
        Step::Hang,
    ];
    scripted(&namespace, "127.0.0.1:1080".parse().unwrap(), slow);
    let other = node(&namespace, "127.0.0.2:1080", 0);
    let text = config("127.0.0.1:1080", "127.0.0.2:1080", "");
    with_ways(&namespace, text, async |ways| {
        for _ in 0..3 {
            // The client goes away.
            let patient = async {
                Timer::after(3 * PATIENCE).await;
                None
            };
            let dialled = future::or(async { Some(dialled(&ways).await) }, patient).await;
            assert_eq!(dialled, None);
        }
        assert_eq!(life(&ways, "a", "tcp4"), "unknown");
    });
    assert_eq!(other.load(Ordering::SeqCst), 0);
}

#[test]
fn what_a_node_says_of_the_destination_is_believed() {
    let namespace = Namespace::new();
    node(&namespace, "127.0.0.1:1080", 5);
    let other = node(&namespace, "127.0.0.2:1080", 0);
    let text = config("127.0.0.1:1080", "127.0.0.2:1080", "");
    with_ways(&namespace, text, async |ways| {
        for _ in 0..3 {
            let refused = dial::tcp(&ways, named(&ways, "g"), to()).await;
            let refused = refused.map(drop).unwrap_err();
            assert!(matches!(refused, DialError::Socks5(Error::Refused(5))));
        }
        assert_eq!(life(&ways, "a", "tcp4"), "alive");
    });
    assert_eq!(other.load(Ordering::SeqCst), 0);
}

#[test]
fn a_node_that_fails_without_a_reason_is_passed_and_not_blamed() {
    let namespace = Namespace::new();
    node(&namespace, "127.0.0.1:1080", 1);
    node(&namespace, "127.0.0.2:1080", 0);
    let policy = "\toption policy 'random'\n";
    let text = config("127.0.0.1:1080", "127.0.0.2:1080", policy);
    with_ways(&namespace, text, async |ways| {
        for _ in 0..30 {
            assert_eq!(dialled(&ways).await.0, "b");
        }
        assert_eq!(life(&ways, "a", "tcp4"), "unknown");
    });
}

#[test]
fn without_a_route_nobody_is_at_fault() {
    let namespace = Namespace::new();
    let text = config("192.0.2.1:1080", "192.0.2.2:1080", "");
    with_ways(&namespace, text, async |ways| {
        for _ in 0..3 {
            let failed = dial::tcp(&ways, named(&ways, "g"), to()).await;
            let failed = failed.map(drop).unwrap_err().to_string();
            assert!(failed.contains("unreachable"), "{failed}");
        }
        assert_eq!(life(&ways, "a", "tcp4"), "unknown");
        assert_eq!(life(&ways, "b", "tcp4"), "unknown");
    });
}

#[test]
fn when_all_are_dead_the_fallback_carries() {
    let namespace = Namespace::new();
    let text = config(
        "127.0.0.1:1080",
        "127.0.0.2:1080",
        "\toption fallback 'direct'\n",
    );
    let server = namespace.run(|| std::net::TcpListener::bind("127.0.0.9:80").unwrap());
    with_ways(&namespace, text, async |ways| {
        let to = "127.0.0.9:80".parse().unwrap();
        let dial = async || {
            let dialled = dial::tcp(&ways, named(&ways, "g"), to).await;
            dialled.map(|(carrier, _)| carrier.way.name.to_string())
        };
        assert!(dial().await.is_err());
        assert!(dial().await.is_err());
        assert_eq!(life(&ways, "a", "tcp4"), "dead");
        assert_eq!(dial().await.unwrap(), "direct");
    });
    drop(server);
}

#[test]
fn a_group_that_is_gone_says_so() {
    let namespace = Namespace::new();
    let text = config("127.0.0.1:1080", "127.0.0.2:1080", "");
    with_ways(&namespace, text, async |ways| {
        let asked = named(&ways, "g");
        let config = Config::parse("test", b"config dae 'main'\n").unwrap();
        ways.reconfigure(&config, Instant::now());
        let gone = dial::tcp(&ways, asked, to()).await.map(drop).unwrap_err();
        assert!(matches!(gone, DialError::Gone));
    });
}

/// A DNS server that answers everything, with nothing.
fn dns_server(namespace: &Namespace, addr: &str) {
    let addr: SocketAddr = addr.parse().unwrap();
    let socket = namespace.run(move || UdpSocket::bind(addr).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            buffer[2] |= 0x80;
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
}

#[test]
fn checks_tell_tcp_from_udp_and_see_nodes_die_and_come_back() {
    let home = Home::new();
    let server = crate::servers::tcp_server(
        &home.internet,
        "203.0.113.80:80".parse().unwrap(),
        |mut stream| {
            use std::io::{Read, Write};
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            assert!(request[..length].starts_with(b"GET /204 HTTP/1.1\r\nHost: 203.0.113.80\r\n"));
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        },
    );
    assert_eq!(server.port(), 80);
    dns_server(&home.internet, "203.0.113.53:53");
    // Microsocks carries no UDP.
    let _microsocks = microsocks(&home.internet);
    let internet = home.internet.clone_handle();
    let text = config(
        "10.78.0.2:1080",
        "me:secret@[fd78::2]:1081",
        "\toption check_interval '5'\n\toption check_url 'http://203.0.113.80/204'\n\
         \tlist check_dns '203.0.113.53'\n",
    );
    assert_eq!(DANTE, "socks5://10.78.0.2:1080");
    with_ways(&home.router, text, async move |ways| {
        lives(&ways, "b", "tcp4", "alive").await;
        lives(&ways, "b", "udp4", "dead").await;
        lives(&ways, "a", "tcp4", "dead").await;
        let dante = Dante::start(&internet);
        let took = lives(&ways, "a", "tcp4", "alive").await;
        assert!(took < Duration::from_secs(5), "{took:?}");
        lives(&ways, "a", "udp4", "alive").await;
        drop(dante);
        lives(&ways, "a", "tcp4", "dead").await;
        lives(&ways, "a", "udp4", "dead").await;
        assert_eq!(life(&ways, "b", "tcp4"), "alive");
        let report = ways.report(Instant::now());
        assert!(report.checks.deaths >= 4, "{report:?}");
        assert_eq!(report.checks.outages, 0, "{report:?}");
        assert!(report.checks.under_way <= 4);
    });
}

#[test]
fn nothing_works_and_nobody_is_at_fault() {
    let home = Home::new();
    crate::servers::tcp_server(
        &home.internet,
        "203.0.113.80:80".parse().unwrap(),
        |mut stream| {
            use std::io::{Read, Write};
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        },
    );
    let _dante = Dante::start(&home.internet);
    let internet = home.internet.clone_handle();
    let text = config(
        "10.78.0.2:1080",
        "10.78.0.2:1080",
        "\toption check_interval '5'\n\toption check_url 'http://203.0.113.80/204'\n",
    );
    with_ways(&home.router, text, async move |ways| {
        lives(&ways, "a", "tcp4", "alive").await;
        lives(&ways, "b", "tcp4", "alive").await;
        // Packets leave and nothing comes back.
        internet.shell("ip rule add pref 0 to 10.78.0.1 blackhole");
        let start = Instant::now();
        while !ways.report(Instant::now()).checks.down.tcp4 {
            assert!(start.elapsed() < 2 * WAIT);
            Timer::after(50 * MS).await;
        }
        for node in ["a", "b"] {
            assert_eq!(life(&ways, node, "tcp4"), "alive");
        }
        internet.shell("ip rule del pref 0 to 10.78.0.1 blackhole");
        let start = Instant::now();
        while ways.report(Instant::now()).checks.down.tcp4 {
            assert!(start.elapsed() < WAIT);
            Timer::after(50 * MS).await;
        }
        assert_eq!(ways.report(Instant::now()).checks.deaths, 0);
    });
}

#[test]
fn an_association_is_by_the_node_that_gives_one_and_a_datagram_is_the_proof() {
    let home = Home::new();
    let _echo = udp_echo(&home.internet, "203.0.113.80:80".parse().unwrap());
    let _dante = Dante::start(&home.internet);
    let text = config(
        "10.78.0.2:9",
        "10.78.0.2:1080",
        "\toption policy 'random'\n",
    );
    with_ways(&home.router, text, async |ways| {
        let link = dial::udp(&ways, named(&ways, "g"), to()).await.unwrap();
        assert_eq!(*link.carrier.way.name, *"b");
        assert_eq!(life(&ways, "b", "udp4"), "unknown");
        link.send(to(), b"ping").unwrap();
        let mut buffer = vec![0; MAX_DATAGRAM];
        assert_eq!(link.recv(&mut buffer).unwrap_err().kind(), WouldBlock);
        link.readable().await;
        assert_eq!(link.recv(&mut buffer).unwrap(), (to(), &b"ping"[..]));
        assert_eq!(life(&ways, "b", "udp4"), "alive");
        // Policy random does not care that the other one lives.
        for _ in 0..50 {
            let link = dial::udp(&ways, named(&ways, "g"), to()).await.unwrap();
            assert_eq!(*link.carrier.way.name, *"b");
        }
        assert_eq!(life(&ways, "a", "udp4"), "dead");
    });
}

#[test]
fn what_a_node_carries_is_stale_when_another_one_would_be_chosen() {
    let home = Home::new();
    let _up = node(&home.internet, "10.78.0.2:1080", 0);
    let text = |second: &str, group: &str| config("10.78.0.2:1080", second, group);
    let parse = |text: &str| Config::parse("test", text.as_bytes()).unwrap();
    let first = text("10.78.0.2:1082", "");
    let same = parse(&first);
    let other_node = parse(&text("10.78.0.2:1083", ""));
    let other_group = parse(&text("10.78.0.2:1083", "\toption policy 'fixed'\n"));
    with_ways(&home.router, first, async move |ways| {
        let (one, _) = dial::tcp(&ways, named(&ways, "g"), to()).await.unwrap();
        ways.reconfigure(&same, Instant::now());
        assert!(!one.is_stale(), "nothing has changed");
        ways.choose("g", Some("b")).unwrap();
        assert!(one.is_stale(), "another one was chosen");
        ways.choose("g", None).unwrap();
        for config in [other_node, other_group] {
            let (one, _) = dial::tcp(&ways, named(&ways, "g"), to()).await.unwrap();
            assert!(!one.is_stale());
            ways.reconfigure(&config, Instant::now());
            assert!(one.is_stale());
        }
    });
}
