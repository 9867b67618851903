//! Other rules under a running datapath: nothing that was under way ends, nothing is judged by
//! neither.

use std::io::ErrorKind;
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dae::config::Attach;
use dae::kernel::abi::Count;
use dae::kernel::{Counters, Datapath, DatapathConfig, FlowEntry, FlowKey, Object};
use dae::rules::names::NameTable;
use dae::rules::{Action, Family, Kept, Proto, Rule, Selector};

use crate::bpf;
use crate::bpf::netns::{Namespace, Network};
use crate::bpf::peers::{self, Listeners};
use crate::scene::{
    HOOKS, SERVER4, addr, config, echo, proxied, replace, rule, says, says_to, without_early_demux,
};

/// Reached by marked packets only.
const FAR: &str = "198.18.0.2";

/// Connections that were begun before the rules changed.
struct UnderWay {
    /// Each with our end.
    proxied: [(TcpStream, TcpStream); 2],
    direct: TcpStream,
    marked: TcpStream,
}

impl UnderWay {
    fn begin(client: &Namespace, listeners: &Listeners) -> Self {
        let [one, other] = [80, 91].map(|port| {
            let mut stream = connect(client, SERVER4, port);
            let ours = through(&mut stream, listeners);
            (stream, ours)
        });
        Self {
            proxied: [one, other],
            direct: connect(client, SERVER4, 90),
            marked: connect(client, FAR, 82),
        }
    }

    /// All go where they went.
    fn goes_on(&mut self) {
        for (stream, ours) in &mut self.proxied {
            says_to(stream, ours);
        }
        says(&mut self.direct, b"direct");
        says(&mut self.marked, b"marked");
    }
}

fn connect(client: &Namespace, host: &str, port: u16) -> TcpStream {
    client.enter(|| TcpStream::connect(addr(host, port)).unwrap())
}

/// Our end of a connection that comes to us.
fn through(stream: &mut TcpStream, listeners: &Listeners) -> TcpStream {
    let (mut ours, from) = listeners.accept(Family::V4, false);
    assert_eq!(from, stream.local_addr().unwrap());
    says_to(stream, &mut ours);
    ours
}

fn entry(datapath: &Datapath, stream: &TcpStream) -> FlowEntry {
    let key = FlowKey {
        src: stream.local_addr().unwrap(),
        dst: stream.peer_addr().unwrap(),
        proto: Proto::Tcp,
    };
    datapath.flow(&key).unwrap()
}

/// Echoes, and a second way to one of them for what is marked.
fn network() -> Network {
    let network = Network::new();
    let Network { router, server, .. } = &network;
    server.ip(&format!("addr add {FAR}/32 dev lo"));
    without_early_demux(router);
    router.ip("rule add fwmark 0x10 lookup 100");
    router.ip(&format!("route add {FAR}/32 via {SERVER4} table 100"));
    server.enter(|| {
        for (host, port) in [(SERVER4, 80), (SERVER4, 90), (SERVER4, 91), (FAR, 82)] {
            echo(addr(host, port));
        }
    });
    network
}

#[test]
fn connections_go_on_and_new_ones_meet_the_new_rules() {
    for (attach, hook) in HOOKS {
        let Network { client, router, .. } = &network();
        router.enter(|| {
            let listeners = Listeners::open();
            let config = config(attach, &listeners);
            let old = [proxied(80), rule(82, Action::Direct, 0, 0x10), proxied(91)];
            let mut datapath = Datapath::start(&bpf::image(&old), config.clone()).unwrap();
            let mut under_way = UnderWay::begin(client, &listeners);
            under_way.goes_on();
            let before = datapath.counters().unwrap();

            // Port 90 is proxied now, and 80 by a rule of another number, to a node of another
            // number; the rest is gone.
            let new = [proxied(90), rule(80, Action::Proxy, 3, 0)];
            let said = |rule: &Rule| rule.dest_port.clone();
            let kept = Kept::find(3, 2, true, |a, b| said(&old[a]) == said(&new[b]));
            assert_eq!(kept.rules, [Some(1), None, None]);
            replace(&mut datapath, &new, &config, &kept);

            let devices: Vec<_> = datapath.devices().collect();
            assert_eq!((devices.len(), devices[0].hook), (1, hook));
            let after = datapath.counters().unwrap();
            assert!(after.rule(1).packets >= before.rule(0).packets);
            assert_eq!(after.rule(0).packets, 0, "a new rule begins with nothing");
            let default = |counters: &Counters| counters.fate(Count::Default).packets;
            assert!(default(&after) >= default(&before));

            let kept = entry(&datapath, &under_way.proxied[0].0);
            let verdict = kept.verdict;
            assert_eq!((kept.rule, verdict.action), (Some(1), Action::Proxy));
            assert_eq!(verdict.outbound, 3);
            under_way.goes_on();
            let kept = entry(&datapath, &under_way.marked);
            assert_eq!(kept.verdict.mark, 0x10);
            assert!(listeners.is_idle());

            // What is new is decided by the new rules.
            drop(through(&mut connect(client, SERVER4, 90), &listeners));
            says(&mut connect(client, SERVER4, 91), b"direct now");
            let router = client.enter(|| TcpStream::connect(addr("10.9.0.1", 90)));
            let refused = router.unwrap_err().kind();
            assert_eq!(refused, ErrorKind::ConnectionRefused, "its own address");
            assert!(listeners.is_idle());
            let counters = datapath.counters().unwrap();
            assert!(counters.rule(0).packets > 0);
            assert_eq!(counters.fate(Count::FailOpen).packets, 0);

            // And again, with nothing in common: sockets and streams are enough.
            replace(&mut datapath, &[], &config, &Kept::default());
            under_way.goes_on();
            assert!(datapath.stop().is_empty());
        });
    }
}

/// A client's packets to a port that goes direct and to one that is ours, one pair at a time.
struct Pairs<'a> {
    client: UdpSocket,
    /// Where what goes direct arrives.
    direct: UdpSocket,
    listeners: &'a Listeners,
    sent: usize,
}

impl Pairs<'_> {
    /// Sends one to each, and waits until both are where they belong.
    fn next(&mut self) {
        self.client.send_to(b"direct", addr(SERVER4, 90)).unwrap();
        self.client.send_to(b"ours", addr(SERVER4, 443)).unwrap();
        self.sent += 1;
        let mut buffer = [0; 64];
        let came = peers::until(|| self.direct.recv_from(&mut buffer).ok());
        assert!(came.is_some(), "number {} did not go direct", self.sent);
        assert_eq!(self.listeners.recv(Family::V4, false).2, b"ours");
    }
}

/// While the rules change all the time. They agree on both ports; only their places differ.
#[test]
fn no_packet_is_judged_by_neither() {
    const CHANGES: usize = 40;
    for (attach, _) in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        let [direct, strangers] = [90, 443].map(|port| {
            let socket = server.enter(|| UdpSocket::bind(addr(SERVER4, port)).unwrap());
            socket.set_nonblocking(true).unwrap();
            socket
        });
        router.enter(|| {
            let listeners = Listeners::open();
            let config = config(attach, &listeners);
            let blocked = || rule(81, Action::Block, 1, 0);
            let sets = [
                vec![proxied(443), blocked()],
                vec![blocked(), proxied(443), proxied(7)],
            ];
            let mut datapath = Datapath::start(&bpf::image(&sets[0]), config.clone()).unwrap();
            let mut pairs = Pairs {
                client: client.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap()),
                direct,
                listeners: &listeners,
                sent: 0,
            };
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                let changes = scope.spawn(|| {
                    router.enter(|| {
                        for round in 1..=CHANGES {
                            replace(&mut datapath, &sets[round % 2], &config, &Kept::default());
                        }
                        done.store(true, Ordering::Relaxed);
                    });
                });
                while !done.load(Ordering::Relaxed) {
                    pairs.next();
                }
                changes.join().unwrap();
            });
            assert!(pairs.sent > 10 * CHANGES, "{} are too few", pairs.sent);
            assert!(pairs.direct.recv_from(&mut [0; 9]).is_err(), "one too many");
            assert!(strangers.recv_from(&mut [0; 9]).is_err());
            let open = datapath.counters().unwrap().fate(Count::FailOpen);
            assert_eq!(open.packets, 0);
            assert!(datapath.stop().is_empty());
        });
    }
}

/// Its rule goes by a name that is then forgotten: the flow's entry is all that knows.
#[test]
fn a_udp_flow_goes_on_as_long_as_it_is_used() {
    let Network { client, router, .. } = &Network::new();
    router.enter(|| {
        let listeners = Listeners::open();
        let config = config(Attach::Auto, &listeners);
        let image = bpf::image(&[Rule {
            domain: Selector {
                include: vec!["a.example".parse().unwrap()],
                exclude: Vec::new(),
            },
            ..proxied(443)
        }]);
        let mut datapath = Datapath::start(&image, config.clone()).unwrap();
        let (mut names, now) = (NameTable::new(&image, 100), Instant::now());
        let mut updates = Vec::new();
        names.learn(
            now,
            "a.example",
            [SERVER4.parse().unwrap()],
            60,
            &mut updates,
        );
        datapath.apply(&updates).unwrap();
        let socket = client.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        let send = || socket.send_to(b"on", addr(SERVER4, 443)).unwrap();
        let comes_to_us = || {
            send();
            assert_eq!(listeners.recv(Family::V4, false).2, b"on");
        };
        comes_to_us();
        updates.clear();
        names.expire(now + Duration::from_secs(86_400), &mut updates);
        datapath.apply(&updates).unwrap();
        for _ in 0..3 {
            datapath.advance_epoch().unwrap();
            comes_to_us();
        }
        let object = Object::load(&image, &config).unwrap();
        let kept = Kept::everything(1);
        let replaced = datapath.replace(Some(object), &image, config, &[], &kept);
        assert!(replaced.unwrap().is_empty());
        comes_to_us();
        for _ in 0..2 {
            datapath.advance_epoch().unwrap();
        }
        let default = || datapath.counters().unwrap().fate(Count::Default).packets;
        let before = default();
        send();
        peers::until(|| (default() > before).then_some(())).expect("decided anew");
        assert!(listeners.is_idle());
    });
}

#[test]
fn an_object_that_cannot_be_made_changes_nothing() {
    let Network { router, .. } = &Network::new();
    router.enter(|| {
        let config = bpf::config(Attach::Auto, &["lan0"]);
        let datapath = Datapath::start(&bpf::image(&[proxied(80)]), config.clone()).unwrap();
        let before = router.trace_of_us();
        let greedy = DatapathConfig {
            max_flows: u32::MAX,
            ..config
        };
        let refused = Object::load(&bpf::image(&[]), &greedy).unwrap_err();
        assert!(refused.to_string().contains("bpf load"), "{refused}");
        assert_eq!(router.settled_trace(&before), before);
        assert!(datapath.stop().is_empty());
    });
}
