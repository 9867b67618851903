//! Sockets towards upstreams, with an upstream that the test answers by hand.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::Message;

use crate::home::Namespace;
use crate::messages::{answer, query};
use crate::server::{Client, Running, config};
use crate::upstream::{Speaks, Upstream};

/// An upstream's end; nothing is answered unless the test says so.
struct Hand(UdpSocket);

/// A query as the upstream sees it.
struct Taken {
    message: Message,
    from: SocketAddr,
}

impl Taken {
    fn place(&self) -> (u16, u16) {
        (self.from.port(), self.message.id())
    }
}

impl Hand {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let patience = Duration::from_secs(5);
        socket.set_read_timeout(Some(patience)).unwrap();
        Self(socket)
    }

    fn serve(&self, options: &[&str]) -> Running {
        let url = format!("udp://{}", self.0.local_addr().unwrap());
        Running::start(&config(&url, options))
    }

    fn take(&self) -> Taken {
        let mut buffer = [0; 4096];
        let (length, from) = self.0.recv_from(&mut buffer).unwrap();
        let message = Message::from_vec(&buffer[..length]).unwrap();
        Taken { message, from }
    }

    fn answer(&self, taken: &Taken) {
        let answer = answer(&taken.message, "A:300:192.0.2.1");
        self.0
            .send_to(&answer.to_vec().unwrap(), taken.from)
            .unwrap();
    }

    /// Asks for a name and answers it; where it came from.
    fn exchange(&self, client: &mut Client, name: &str) -> Taken {
        client.send(&query(7, name, "A"));
        let taken = self.take();
        self.answer(&taken);
        assert_eq!(
            client.receive(),
            format!("id=7 noerror {name} A A:300:192.0.2.1")
        );
        taken
    }
}

#[test]
fn ports_are_shared_for_a_while_and_ids_never_used_again() {
    let hand = Hand::new();
    let server = hand.serve(&["max_queries '512'"]);
    let mut client = server.udp();
    let mut queries: HashMap<u16, usize> = HashMap::new();
    let mut places = HashSet::new();
    for number in 0..800 {
        let taken = hand.exchange(&mut client, &format!("n{number}.example"));
        *queries.entry(taken.from.port()).or_default() += 1;
        assert!(places.insert(taken.place()), "{:?} again", taken.place());
    }
    assert!(queries.values().all(|count| *count <= 128), "{queries:?}");
    assert!((7..=14).contains(&queries.len()), "{queries:?}");
    // Many at once: no more than 64 from a port.
    let mut waiting: HashMap<u16, usize> = HashMap::new();
    let taken: Vec<_> = (0..200)
        .map(|number| {
            client.send(&query(number, &format!("m{number}.example"), "A"));
            hand.take()
        })
        .collect();
    for taken in &taken {
        *waiting.entry(taken.from.port()).or_default() += 1;
    }
    assert!(waiting.values().all(|count| *count <= 64), "{waiting:?}");
    taken.iter().for_each(|taken| hand.answer(taken));
    let answers: HashSet<_> = taken.iter().map(|_| client.receive()).collect();
    assert_eq!(answers.len(), 200);
    thread::sleep(Duration::from_millis(7100));
    assert_eq!(server.stats().upstream_sockets, 0, "unused ones are closed");
}

#[test]
fn a_late_answer_reaches_nobody() {
    let hand = Hand::new();
    let server = hand.serve(&[]);
    let mut client = server.udp();
    let past: Vec<_> = (0..8)
        .map(|number| hand.exchange(&mut client, &format!("n{number}.example")))
        .collect();
    client.send(&query(7, "waits.example", "A"));
    let waits = hand.take();
    assert!(
        past.iter().any(|taken| taken.from == waits.from),
        "not shared"
    );
    past.iter().for_each(|taken| hand.answer(taken));
    server.wait_for("all heard", |stats| stats.upstream_late == 8);
    hand.answer(&waits);
    assert_eq!(
        client.receive(),
        "id=7 noerror waits.example A A:300:192.0.2.1"
    );
    assert_eq!(server.stats().upstreams[0].foreign, 0);
}

#[test]
fn a_guesser_is_noticed_by_all_who_wait_on_the_port() {
    let hand = Hand::new();
    let server = hand.serve(&[]);
    let mut client = server.udp();
    let taken: Vec<_> = (0..16)
        .map(|number| {
            client.send(&query(number, &format!("n{number}.example"), "A"));
            hand.take()
        })
        .collect();
    let ports: HashSet<_> = taken.iter().map(|taken| taken.from).collect();
    assert!(ports.len() >= 4, "{ports:?}");
    let port = taken[0].from;
    let (there, elsewhere): (Vec<_>, Vec<_>) = taken.iter().partition(|one| one.from == port);
    let ids: HashSet<_> = there.iter().map(|taken| taken.message.id()).collect();
    let wrong = (0..=u16::MAX).filter(|id| !ids.contains(id)).take(16);
    for id in wrong {
        let mut guess = there[0].message.clone();
        guess.set_id(id);
        hand.answer(&Taken {
            message: guess,
            from: port,
        });
    }
    // This upstream has no other way.
    for _ in &there {
        assert!(client.receive().contains(" servfail "));
    }
    assert_eq!(server.stats().upstreams[0].foreign, 16 * there.len() as u64);
    elsewhere.iter().for_each(|taken| hand.answer(taken));
    for _ in &elsewhere {
        assert!(client.receive().contains(" noerror "));
    }
}

#[test]
fn a_repetition_has_its_own_port_and_either_answer_will_do() {
    let hand = Hand::new();
    let server = hand.serve(&[]);
    let mut client = server.udp();
    for answered in [0, 1] {
        let name = format!("n{answered}.example");
        client.send(&query(7, &name, "A"));
        let both = [hand.take(), hand.take()];
        assert_ne!(both[0].from, both[1].from);
        hand.answer(&both[answered]);
        assert_eq!(
            client.receive(),
            format!("id=7 noerror {name} A A:300:192.0.2.1")
        );
        hand.answer(&both[1 - answered]);
        server.wait_for("late", |stats| stats.upstream_late == 1 + answered as u64);
    }
}

/// The old address is gone, which the kernel says; or answers to it are lost, which nobody says.
#[test]
fn a_new_address_of_the_wan_costs_a_repetition_per_socket_at_most() {
    let lost = "ip route del local 198.51.100.2 table local
                ip route add blackhole 198.51.100.2 table local";
    let gone = slow_after_a_new_address("ip addr del 198.51.100.2/32 dev lo");
    assert_eq!(gone, 0);
    let lost = slow_after_a_new_address(lost);
    assert!((1..=4).contains(&lost), "{lost} were slow");
}

fn slow_after_a_new_address(farewell: &str) -> usize {
    let home = Namespace::new();
    let route = "ip route replace local 198.51.100.53 dev lo table local src";
    home.shell(&format!(
        "ip addr add 198.51.100.53/32 dev lo
         ip addr add 198.51.100.2/32 dev lo
         {route} 198.51.100.2"
    ));
    let upstream = home.run(|| Upstream::start_at("198.51.100.53:5300", Speaks::OnlyUdp));
    let server = Running::start_transparent(&config(&upstream.url("udp"), &[]), &home);
    let port = server.addr.port();
    let count_slow = |names: std::ops::Range<u32>| {
        home.run(move || {
            let mut client = Client::udp(([127, 0, 0, 1], port).into());
            let mut is_slow = |number: &u32| {
                let start = Instant::now();
                let answer = client.ask(&format!("n{number}.example"));
                assert!(answer.contains(" noerror "), "{answer}");
                start.elapsed() > Duration::from_millis(35)
            };
            names.filter(&mut is_slow).count()
        })
    };
    assert_eq!(count_slow(0..8), 0);
    home.shell(&format!(
        "ip addr add 198.51.100.3/32 dev lo\n{route} 198.51.100.3\n{farewell}"
    ));
    let slow = count_slow(8..40);
    assert_eq!(count_slow(40..60), 0);
    slow
}

/// A SOCKS5 server (RFC 1928) that only knows UDP ASSOCIATE, and what it has seen.
struct Node {
    addr: SocketAddr,
    associations: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
}

impl Node {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let associations = Arc::new(AtomicUsize::new(0));
        let refuses = Arc::new(AtomicBool::new(false));
        let (count, refusing) = (Arc::clone(&associations), Arc::clone(&refuses));
        thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, Ordering::Relaxed);
                let refuses = refusing.load(Ordering::Relaxed);
                thread::spawn(move || relay(stream.unwrap(), refuses));
            }
        });
        Self {
            addr,
            associations,
            refuses,
        }
    }
}

/// One association, as long as its connection lives.
fn relay(mut stream: TcpStream, refuses: bool) {
    let mut request = [0; 10];
    stream.read_exact(&mut request[..3]).unwrap();
    stream.write_all(&[5, 0]).unwrap();
    stream.read_exact(&mut request).unwrap();
    if refuses {
        return;
    }
    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Queries sent meanwhile have to wait.
    thread::sleep(Duration::from_millis(60));
    let mut reply = vec![5, 0, 0, 1, 127, 0, 0, 1];
    reply.extend(near.local_addr().unwrap().port().to_be_bytes());
    stream.write_all(&reply).unwrap();
    let mut buffer = [0; 2048];
    let (length, client) = near.recv_from(&mut buffer).unwrap();
    let header = buffer[..10].to_vec();
    let port = u16::from_be_bytes([header[8], header[9]]);
    far.send_to(&buffer[10..length], ("127.0.0.1", port))
        .unwrap();
    let (near_in, far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(length) = near_in.recv(&mut buffer) {
            far_out
                .send_to(&buffer[10..length], ("127.0.0.1", port))
                .unwrap();
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok(length) = far.recv(&mut buffer) {
            let datagram = [&header, &buffer[..length]].concat();
            near.send_to(&datagram, client).unwrap();
        }
    });
    let _ended = stream.read(&mut request);
}

#[test]
fn a_node_carries_the_queries_of_an_upstream_by_one_association() {
    let (hand, node) = (Hand::new(), Node::start());
    let upstream = hand.0.local_addr().unwrap();
    let mut text = config(&format!("udp://{upstream}"), &[]);
    text += &format!(
        "\toption outbound 'n'\nconfig node 'n'\n\toption url 'socks5://{}'\n",
        node.addr
    );
    let server = Running::start(&text);
    let mut client = server.udp();
    for number in 0..20 {
        client.send(&query(number, &format!("n{number}.example"), "A"));
    }
    let taken: Vec<_> = (0..20).map(|_| hand.take()).collect();
    let ids: HashSet<_> = taken.iter().map(|taken| taken.message.id()).collect();
    assert_eq!(ids.len(), 20);
    taken.iter().rev().for_each(|taken| hand.answer(taken));
    for _ in 0..20 {
        assert!(client.receive().contains(" noerror "));
    }
    let sent = server.stats().upstreams[0].sent_udp;
    assert!(sent < 40, "{sent}: what waited was not sent");
    for number in 20..40 {
        hand.exchange(&mut client, &format!("n{number}.example"));
    }
    assert_eq!(node.associations.load(Ordering::Relaxed), 1);
    assert_eq!(server.stats().upstream_sockets, 1);
    drop(server);
    // One that refuses is an upstream that fails; nothing goes out another way.
    node.refuses.store(true, Ordering::Relaxed);
    let server = Running::start(&text);
    let mut client = server.udp();
    let start = Instant::now();
    assert_eq!(
        client.ask("refused.example"),
        "id=7 servfail refused.example A"
    );
    assert!(start.elapsed() < Duration::from_secs(2));
    hand.0
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(hand.0.recv(&mut [0; 512]).is_err(), "asked directly");
    server.wait_for("closed", |stats| stats.upstream_sockets == 0);
}

#[test]
fn an_upstream_through_a_group_uses_the_member_that_is_chosen() {
    let (hand, one, two) = (Hand::new(), Node::start(), Node::start());
    let upstream = hand.0.local_addr().unwrap();
    let mut text = config(&format!("udp://{upstream}"), &[]);
    text +=
        "\toption outbound 'g'\nconfig group 'g'\n\toption policy 'fixed'\n\toption fixed 'two'\n";
    for (name, node) in [("one", &one), ("two", &two)] {
        text += &format!(
            "config node '{name}'\n\toption url 'socks5://{}'\n",
            node.addr
        );
    }
    let server = Running::start(&text);
    let mut client = server.udp();
    hand.exchange(&mut client, "grouped.example");
    let taken = [one, two].map(|node| node.associations.load(Ordering::Relaxed));
    assert_eq!(taken, [0, 1]);
}
