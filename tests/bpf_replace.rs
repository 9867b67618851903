//! Other rules under a running datapath: nothing that was under way ends, nothing is judged by
//! neither. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bpf;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use bpf::netns::{Namespace, Network};
use bpf::peers::{self, Listeners};
use dae::config::Attach;
use dae::kernel::abi::Count;
use dae::kernel::{Datapath, DatapathConfig, FlowKey, HookKind, Object};
use dae::rules::names::NameTable;
use dae::rules::{Action, Family, Kept, Proto, Rule, Selector, Verdict};

const HOOKS: [(Attach, HookKind); 2] = [
    (Attach::Tcx, HookKind::Tcx),
    (Attach::Clsact, HookKind::Clsact),
];
const SERVER: &str = "203.0.113.2";
/// Reached by marked packets only.
const FAR: &str = "198.18.0.2";

fn rule(port: u16, action: Action, outbound: u16, mark: u32) -> Rule {
    Rule {
        dest_port: Selector {
            include: vec![dae::rules::port::PortRange::new(port, port).unwrap()],
            exclude: Vec::new(),
        },
        verdict: Verdict {
            action,
            outbound,
            mark,
        },
        ..Rule::default()
    }
}

fn proxied(port: u16) -> Rule {
    rule(port, Action::Proxy, 2, 0)
}

fn addr(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

fn config(attach: Attach, listeners: &Listeners) -> DatapathConfig {
    let mut config = bpf::config(attach, &["lan0"]);
    config.ports = listeners.ports;
    config
}

fn replace(datapath: &mut Datapath, rules: &[Rule], config: &DatapathConfig, kept: &Kept) {
    let image = bpf::image(rules);
    let object = Object::load(&image, config).unwrap();
    datapath
        .replace(Some(object), &image, config.clone(), &[], kept)
        .unwrap();
}

/// Echoes what connections say, for as long as the process lives.
fn echo(addr: SocketAddr) {
    let listener = TcpListener::bind(addr).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&buffer[..len]);
                }
            });
        }
    });
}

/// The kernel finds sockets of established connections by itself, where it may. Not here: it is
/// the program that has to.
fn without_early_demux(router: &Namespace) {
    router.set("net.ipv4.ip_early_demux=0");
}

fn says(stream: &mut TcpStream, words: &[u8]) {
    stream.set_read_timeout(Some(peers::PATIENCE)).unwrap();
    stream.write_all(words).unwrap();
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

fn key(stream: &TcpStream) -> FlowKey {
    FlowKey {
        src: stream.local_addr().unwrap(),
        dst: stream.peer_addr().unwrap(),
        proto: Proto::Tcp,
    }
}

#[test]
fn connections_go_on_and_new_ones_meet_the_new_rules() {
    for (attach, hook) in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        server.ip(&format!("addr add {FAR}/32 dev lo"));
        without_early_demux(router);
        router.ip("rule add fwmark 0x10 lookup 100");
        router.ip(&format!("route add {FAR}/32 via {SERVER} table 100"));
        server.enter(|| {
            for (host, port) in [(SERVER, 80), (SERVER, 90), (SERVER, 91), (FAR, 82)] {
                echo(addr(host, port));
            }
        });
        router.enter(|| {
            let listeners = Listeners::open();
            let config = config(attach, &listeners);
            let marked = rule(82, Action::Direct, 0, 0x10);
            let old = [proxied(80), marked.clone(), proxied(91)];
            let mut datapath = Datapath::start(&bpf::image(&old), config.clone()).unwrap();
            let connect = |port, host| client.enter(|| TcpStream::connect(addr(host, port)));
            let through = |stream: &mut TcpStream| {
                let (mut ours, _) = listeners.accept(Family::V4, false);
                stream.write_all(b"to us").unwrap();
                let mut heard = [0; 5];
                ours.read_exact(&mut heard).unwrap();
                assert_eq!(&heard, b"to us");
                ours
            };
            let mut by_proxy = connect(80, SERVER).unwrap();
            let mut ours = through(&mut by_proxy);
            let mut other = connect(91, SERVER).unwrap();
            let mut other_ours = through(&mut other);
            let mut direct = connect(90, SERVER).unwrap();
            says(&mut direct, b"direct");
            let mut far = connect(82, FAR).unwrap();
            says(&mut far, b"marked");
            let before = datapath.counters().unwrap();

            // Port 90 is proxied now, and 80 by a rule of another number; the rest is gone.
            let new = [proxied(90), proxied(80)];
            let said = |rule: &Rule| rule.dest_port.clone();
            let kept = Kept::find(3, 2, true, |a, b| said(&old[a]) == said(&new[b]));
            assert_eq!(kept.rules, [Some(1), None, None]);
            replace(&mut datapath, &new, &config, &kept);

            let devices: Vec<_> = datapath.devices().collect();
            assert_eq!((devices.len(), devices[0].hook), (1, hook));
            let after = datapath.counters().unwrap();
            assert!(after.rule(1).packets >= before.rule(0).packets);
            assert_eq!(after.rule(0).packets, 0, "a new rule begins with nothing");
            let default = |counters: &dae::kernel::Counters| counters.fate(Count::Default);
            assert!(default(&after).packets >= default(&before).packets);

            // All that was under way goes where it went.
            let entry = datapath.flow(&key(&by_proxy)).unwrap();
            assert_eq!((entry.rule, entry.verdict.action), (Some(1), Action::Proxy));
            for (stream, ours) in [(&mut by_proxy, &mut ours), (&mut other, &mut other_ours)] {
                says_to(stream, ours);
            }
            says(&mut direct, b"still direct");
            says(&mut far, b"still marked");
            assert_eq!(datapath.flow(&key(&far)).unwrap().verdict.mark, 0x10);
            assert!(listeners.is_idle());

            // What is new is decided by the new rules.
            let mut now_proxied = connect(90, SERVER).unwrap();
            drop(through(&mut now_proxied));
            let mut now_direct = connect(91, SERVER).unwrap();
            says(&mut now_direct, b"direct now");
            assert!(listeners.is_idle());
            let counters = datapath.counters().unwrap();
            assert!(counters.rule(0).packets > 0);
            assert_eq!(counters.fate(Count::FailOpen).packets, 0);

            // And again, with nothing in common: sockets and streams are enough.
            replace(&mut datapath, &[], &config, &Kept::default());
            says_to(&mut by_proxy, &mut ours);
            says(&mut direct, b"direct after all");
            says(&mut far, b"marked after all");
            assert!(datapath.stop().is_empty());
        });
    }
}

fn says_to(stream: &mut TcpStream, ours: &mut TcpStream) {
    stream.write_all(b"again").unwrap();
    let mut heard = [0; 5];
    ours.read_exact(&mut heard).unwrap();
    ours.write_all(b"reply").unwrap();
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"reply");
}

/// What one client sent to each of two ports, while the rules changed all the time. Rules agree
/// on both; only their places differ.
#[test]
fn no_packet_is_judged_by_neither() {
    const CHANGES: usize = 40;
    for (attach, _) in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        let counted = server.enter(|| UdpSocket::bind(addr(SERVER, 90)).unwrap());
        let strangers = server.enter(|| UdpSocket::bind(addr(SERVER, 443)).unwrap());
        for socket in [&counted, &strangers] {
            socket.set_nonblocking(true).unwrap();
        }
        router.enter(|| {
            let listeners = Listeners::open();
            let config = config(attach, &listeners);
            let sets = [
                vec![proxied(443), rule(81, Action::Block, 1, 0)],
                vec![rule(81, Action::Block, 1, 0), proxied(443), proxied(7)],
            ];
            let mut datapath = Datapath::start(&bpf::image(&sets[0]), config.clone()).unwrap();
            let socket = client.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
            let (mut sent, mut direct, mut ours) = (0, 0, 0);
            let done = std::sync::atomic::AtomicBool::new(false);
            thread::scope(|scope| {
                let changes = scope.spawn(|| {
                    router.enter(|| {
                        for round in 1..=CHANGES {
                            replace(&mut datapath, &sets[round % 2], &config, &Kept::default());
                        }
                        done.store(true, std::sync::atomic::Ordering::Relaxed);
                    });
                });
                let mut buffer = [0; 64];
                let mut take = |sent: usize| {
                    peers::until(|| {
                        while counted.recv_from(&mut buffer).is_ok() {
                            direct += 1;
                        }
                        (direct == sent).then_some(())
                    })
                    .unwrap_or_else(|| panic!("{direct} of {sent} went direct"));
                };
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    socket.send_to(b"direct", addr(SERVER, 90)).unwrap();
                    socket.send_to(b"ours", addr(SERVER, 443)).unwrap();
                    sent += 1;
                    take(sent);
                    assert_eq!(listeners.recv(Family::V4, false).2, b"ours");
                    ours += 1;
                }
                changes.join().unwrap();
            });
            assert!(sent > 10 * CHANGES, "{sent} packets are too few");
            assert_eq!((direct, ours), (sent, sent));
            assert!(strangers.recv_from(&mut [0; 9]).is_err());
            assert_eq!(
                datapath.counters().unwrap().fate(Count::FailOpen).packets,
                0
            );
            assert!(datapath.stop().is_empty());
        });
    }
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

/// Programs of lan0 and lan1, as the tools tell them apart.
fn programs(router: &Namespace) -> String {
    ["lan0", "lan1"]
        .map(|device| router.tc(&format!("filter show dev {device} ingress")))
        .concat()
}

#[test]
fn a_device_that_was_taken_from_us_does_not_keep_us_from_the_others() {
    let Network { router, .. } = &Network::new();
    router.enter(|| {
        router.ip("link add lan1 type veth peer name lan1x");
        let mut config = bpf::config(Attach::Clsact, &["lan0", "lan1"]);
        let image = bpf::image(&[proxied(80)]);
        let mut datapath = Datapath::start(&image, config.clone()).unwrap();
        // Somebody else's filter is at our place now, of a protocol that ours is not.
        router.tc("filter del dev lan1 ingress");
        router.tc("filter add dev lan1 ingress prio 2023 protocol ip bpf bytecode 1,6_0_0_0,");
        let before = programs(router);
        config.max_flows = 512;
        let object = Object::load(&image, &config).unwrap();
        let kept = Kept::everything(1);
        let replaced = datapath.replace(Some(object), &image, config, &[], &kept);
        replaced.unwrap();
        // Nothing of ours is left to be replaced there: tried again as a new device, and refused.
        let devices: Vec<_> = datapath.devices().map(|it| it.name).collect();
        assert_eq!(devices, ["lan0"]);
        let theirs = before.lines().rfind(|line| line.contains("bytecode"));
        assert_eq!(programs(router).lines().last(), theirs);
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn interfaces_come_and_go_without_harm_to_others() {
    for (attach, hook) in HOOKS {
        let Network { router, .. } = &Network::new();
        router.enter(|| {
            for name in ["lan1", "lan2"] {
                router.ip(&format!("link add {name} type veth peer name {name}x"));
            }
            let before = router.trace_of_us();
            let lan1 = router.tc("qdisc show dev lan1");
            let config = bpf::config(attach, &["lan0", "lan1"]);
            let image = bpf::image(&[]);
            let mut datapath = Datapath::start(&image, config.clone()).unwrap();
            let places = |datapath: &Datapath| {
                let devices = datapath
                    .devices()
                    .map(|it| (it.name, it.interface, it.hook));
                devices.collect::<Vec<_>>()
            };
            let changed = DatapathConfig {
                interfaces: vec!["lan2".into(), "lan0".into()],
                ..config.clone()
            };
            assert!(!config.needs_another_object(&changed));
            datapath.reconfigure(changed);
            let wanted = [("lan0".into(), 1, hook), ("lan2".into(), 0, hook)];
            assert_eq!(places(&datapath), wanted);
            assert_eq!(router.tc("qdisc show dev lan1"), lan1);
            // One more, in another object.
            let more = DatapathConfig {
                interfaces: vec!["lan0".into(), "lan1".into(), "lan2".into()],
                ..config.clone()
            };
            assert!(config.needs_another_object(&more));
            replace(&mut datapath, &[], &more, &Kept::everything(0));
            let mut names = places(&datapath);
            names.sort_by_key(|it| it.1);
            let names: Vec<_> = names.iter().map(|it| it.0.as_str()).collect();
            assert_eq!(names, ["lan0", "lan1", "lan2"]);
            assert!(datapath.stop().is_empty());
            assert_eq!(router.settled_trace(&before), before);
            assert_eq!(router.tc("qdisc show dev lan1"), lan1);
        });
    }
}

#[test]
fn the_hook_changes_without_a_gap_and_leaves_nothing() {
    let Network { router, .. } = &Network::new();
    router.enter(|| {
        let before = router.trace_of_us();
        let config = |attach| bpf::config(attach, &["lan0"]);
        let first = config(Attach::Tcx);
        let mut datapath = Datapath::start(&bpf::image(&[]), first.clone()).unwrap();
        let hook = |datapath: &Datapath| datapath.devices().next().unwrap().hook;
        let with = |attach| DatapathConfig {
            attach,
            ..first.clone()
        };
        datapath.reconfigure(with(Attach::Clsact));
        assert_eq!(hook(&datapath), HookKind::Clsact);
        let now = router.trace_of_us();
        assert!(
            now[5].contains("0xdae") && now[6].starts_with("0 tcx"),
            "{now:?}"
        );
        datapath.reconfigure(with(Attach::Tcx));
        assert_eq!(hook(&datapath), HookKind::Tcx);
        let now = router.trace_of_us();
        assert!(
            !now[4].contains("clsact") && now[6].starts_with("1 tcx"),
            "{now:?}"
        );
        datapath.reconfigure(with(Attach::Auto));
        assert_eq!(hook(&datapath), HookKind::Tcx);
        assert!(datapath.stop().is_empty());
        assert_eq!(router.settled_trace(&before), before);
    });
}

#[test]
fn a_pause_leaves_nothing_and_what_was_known_comes_back() {
    for (attach, _) in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        server.enter(|| peers::serve(addr(SERVER, 80)));
        router.enter(|| {
            let before = router.trace_of_us();
            let listeners = Listeners::open();
            let config = config(attach, &listeners);
            let by_name = Rule {
                domain: Selector {
                    include: vec!["a.example".parse().unwrap()],
                    exclude: Vec::new(),
                },
                ..proxied(80)
            };
            let image = bpf::image(&[by_name]);
            let mut datapath = Datapath::start(&image, config).unwrap();
            let during = router.trace_of_us();
            let mut names = NameTable::new(&image, 100);
            let ip: IpAddr = SERVER.parse().unwrap();
            let mut updates = Vec::new();
            names.learn(Instant::now(), "a.example", [ip], 60, &mut updates);
            datapath.apply(&updates).unwrap();
            let to = addr(SERVER, 80);
            let connect =
                || client.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)));
            let _first = connect().unwrap();
            listeners.accept(Family::V4, false);
            // The client may still acknowledge something.
            thread::sleep(Duration::from_millis(100));
            let counted = datapath.counters().unwrap();

            assert!(datapath.suspend().is_empty());
            assert!(datapath.is_suspended());
            assert_eq!(router.settled_trace(&before), before);
            assert_eq!(datapath.counters().unwrap(), counted);
            assert_eq!(datapath.devices().count(), 0);
            assert_eq!(client.enter(|| peers::greeting(to)).unwrap(), "server");
            datapath.on_readable().unwrap();
            datapath.advance_epoch().unwrap();
            datapath.apply(&updates).unwrap();
            assert_eq!(router.trace_of_us(), before, "events change nothing");

            let mut updates = Vec::new();
            let _names: NameTable = names.under(&image, 100, &mut updates);
            let object = Object::load(&image, datapath.config()).unwrap();
            datapath.resume(object, &updates).unwrap();
            let again = router.trace_of_us();
            // The filter names another program.
            assert_eq!((&again[..5], &again[6]), (&during[..5], &during[6]));
            let _second = connect().unwrap();
            listeners.accept(Family::V4, false);
            assert!(datapath.counters().unwrap().rule(0).packets > counted.rule(0).packets);
            assert!(datapath.suspend().is_empty());
            drop(datapath);
            assert_eq!(router.settled_trace(&before), before);
        });
    }
}

#[test]
fn with_the_kill_switch_on_a_connection_is_known_by_its_socket_and_else_by_rules() {
    let Network {
        client,
        router,
        server,
    } = &Network::new();
    without_early_demux(router);
    server.enter(|| {
        for port in [80, 90, 91] {
            echo(addr(SERVER, port));
        }
        peers::serve(addr(SERVER, 53));
    });
    router.enter(|| {
        let listeners = Listeners::open();
        let mut config = config(Attach::Auto, &listeners);
        config.kill_switch = true;
        let connect = |port| client.enter(|| TcpStream::connect(addr(SERVER, port)).unwrap());
        let mut earlier = connect(91);
        says(&mut earlier, b"before dae");
        let mut earlier_direct = connect(90);
        says(&mut earlier_direct, b"before dae");
        let rules = [proxied(80), proxied(91)];
        let mut datapath = Datapath::start(&bpf::image(&rules), config.clone()).unwrap();
        let hook = |datapath: &Datapath| datapath.devices().next().unwrap().hook;
        assert_eq!(hook(&datapath), HookKind::Clsact);
        // Begun before us: rules are asked, and one that must not go round the node ends.
        says(&mut earlier_direct, b"direct");
        earlier.set_read_timeout(Some(peers::PATIENCE)).unwrap();
        earlier.write_all(b"round").unwrap();
        let ended = earlier.read(&mut [0; 9]).unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);

        let mut by_proxy = connect(80);
        let (mut ours, _) = listeners.accept(Family::V4, false);
        by_proxy.write_all(b"again").unwrap();
        ours.read_exact(&mut [0; 5]).unwrap();
        // No rule knows it any more, nor does the flow cache.
        replace(&mut datapath, &[], &config, &Kept::default());
        says_to(&mut by_proxy, &mut ours);
        says_to(&mut by_proxy, &mut ours);
        says(&mut earlier_direct, b"direct still");

        // All of our sockets are gone, as those of a dead process.
        replace(&mut datapath, &rules, &config, &Kept::default());
        drop((ours, listeners));
        let wait = Duration::from_millis(500);
        let late = |port| client.enter(|| TcpStream::connect_timeout(&addr(SERVER, port), wait));
        assert_eq!(late(80).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(late(53).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert!(!client.enter(|| peers::echoes(addr(SERVER, 53))));
        says(&mut earlier_direct, b"direct to the end");
        late(90).unwrap();
        let counters = datapath.counters().unwrap();
        assert_eq!(counters.fate(Count::FailOpen).packets, 0);
        assert!(counters.fate(Count::FailClosed).packets > 2);
        // Switched off while it runs: open again.
        let open = DatapathConfig {
            kill_switch: false,
            ..config
        };
        assert!(!open.needs_another_object(datapath.config()));
        datapath.reconfigure(open);
        assert_eq!(hook(&datapath), HookKind::Tcx);
        late(80).unwrap();
        assert!(client.enter(|| peers::echoes(addr(SERVER, 53))));
        assert!(datapath.stop().is_empty());
    });
}
