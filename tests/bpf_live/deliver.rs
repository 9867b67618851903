//! What is proxied, and DNS, reaches our listeners.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dae::config::Attach;
use dae::kernel::FlowKey;
use dae::kernel::abi::Count;
use dae::rules::{Action, Family, Proto};

use crate::bpf::netns::Network;
use crate::bpf::{self, peers};
use crate::scene::{HOOKS, SERVER4, SERVER6, addr, steered, steered_in};

#[test]
fn tcp_reaches_our_listener_with_its_destination() {
    for (attach, _) in HOOKS {
        steered(attach, |Network { client, .. }, listeners, datapath| {
            for (host, family) in [(SERVER4, Family::V4), (SERVER6, Family::V6)] {
                let dst = addr(host, 80);
                let mut stream = client.enter(|| TcpStream::connect(dst)).unwrap();
                let (mut ours, from) = listeners.accept(family, false);
                let src = stream.local_addr().unwrap();
                assert_eq!((from, ours.local_addr().unwrap()), (src, dst));
                let flow = datapath
                    .flow(&FlowKey {
                        src,
                        dst,
                        proto: Proto::Tcp,
                    })
                    .unwrap();
                assert_eq!(flow.rule, Some(0));
                assert_eq!(
                    (flow.verdict.action, flow.verdict.outbound),
                    (Action::Proxy, 2)
                );
                // Both ways, and more than one segment.
                let sent = vec![7; 300_000];
                let mut got = vec![0; sent.len()];
                std::thread::scope(|scope| {
                    scope.spawn(|| stream.write_all(&sent).unwrap());
                    ours.read_exact(&mut got).unwrap();
                });
                assert_eq!(got, sent);
                ours.write_all(b"answer").unwrap();
                stream.read_exact(&mut got[..6]).unwrap();
                assert_eq!(&got[..6], b"answer");
                assert_eq!(
                    client.enter(|| peers::greeting(addr(host, 90))).unwrap(),
                    "server"
                );
            }
            let counters = datapath.counters().unwrap();
            assert!(counters.rule(0).bytes > 600_000);
            assert!(counters.fate(Count::Default).packets >= 8);
            assert_eq!(counters.fate(Count::FailOpen).packets, 0);
        });
    }
}

/// wg-quick sets `src_valid_mark`; policy routers have rules on bits of the mark from
/// priority 1001 on, and their firewalls add those bits to every packet.
#[test]
fn the_marks_of_others_do_not_keep_packets_from_us() {
    let network = Network::new();
    let Network { client, router, .. } = &network;
    router.set("net.ipv4.conf.all.src_valid_mark=1");
    router.set("net.ipv4.conf.lan0.rp_filter=1");
    for family in ["-4", "-6"] {
        router.ip(&format!(
            "{family} rule add priority 1001 fwmark 0x100/0x3f00 lookup 100"
        ));
        router.ip(&format!("{family} route add default dev wan0 table 100"));
    }
    router.enter(|| {
        let hook = "{ type filter hook prerouting priority -150; }";
        for words in [
            "add table inet mwan",
            &format!("add chain inet mwan pre {hook}"),
            "add rule inet mwan pre iifname lan0 meta mark set meta mark or 0x100",
        ] {
            bpf::netns::run("nft", &[words]);
        }
    });
    steered_in(&network, Attach::Auto, |_, listeners, _| {
        for (host, family) in [(SERVER4, Family::V4), (SERVER6, Family::V6)] {
            let dst = addr(host, 80);
            let limit = Duration::from_secs(3);
            let stream = client.enter(|| TcpStream::connect_timeout(&dst, limit));
            let (_, from) = listeners.accept(family, false);
            assert_eq!(from, stream.unwrap().local_addr().unwrap());
        }
    });
}

#[test]
fn udp_reaches_our_listener_with_its_destination() {
    for (attach, _) in HOOKS {
        steered(attach, |Network { client, .. }, listeners, datapath| {
            for (host, any, family) in [
                (SERVER4, "0.0.0.0", Family::V4),
                (SERVER6, "[::]", Family::V6),
            ] {
                let dst = addr(host, 443);
                let (socket, port) = client.enter(|| {
                    let socket = UdpSocket::bind(addr(any, 0)).unwrap();
                    let port = socket.local_addr().unwrap().port();
                    socket.send_to(b"one", dst).unwrap();
                    // Longer than the device's MTU: fragments of a proxied flow are dropped.
                    socket.send_to(&[1; 3000], dst).unwrap();
                    socket.send_to(b"two", dst).unwrap();
                    (socket, port)
                });
                let (src, to, payload) = listeners.recv(family, false);
                assert_eq!((src.port(), to, &payload[..]), (port, dst, &b"one"[..]));
                assert_eq!(listeners.recv(family, false).2, b"two");
                let flow = datapath
                    .flow(&FlowKey {
                        src,
                        dst,
                        proto: Proto::Udp,
                    })
                    .unwrap();
                assert_eq!((flow.rule, flow.verdict.outbound), (Some(1), 3));
                assert!(client.enter(|| peers::echoes(addr(host, 90))));
                drop(socket);
            }
            assert!(listeners.is_idle());
        });
    }
}

#[test]
fn port_53_is_ours_whoever_was_asked() {
    for (attach, _) in HOOKS {
        steered(attach, |Network { client, .. }, listeners, _| {
            for (host, any, family) in [
                (SERVER4, "0.0.0.0", Family::V4),
                ("10.9.0.1", "0.0.0.0", Family::V4),
                ("203.0.113.53", "0.0.0.0", Family::V4),
                (SERVER6, "[::]", Family::V6),
                ("[fd00:9::1]", "[::]", Family::V6),
            ] {
                let dst = addr(host, 53);
                client.enter(|| {
                    let socket = UdpSocket::bind(addr(any, 0)).unwrap();
                    socket.send_to(b"query", dst).unwrap();
                });
                let (_, to, payload) = listeners.recv(family, true);
                assert_eq!((to, &payload[..]), (dst, &b"query"[..]));
                let mut stream = client.enter(|| TcpStream::connect(dst)).unwrap();
                let (mut ours, _) = listeners.accept(family, true);
                assert_eq!(ours.local_addr().unwrap(), dst);
                stream.write_all(b"query").unwrap();
                let mut got = [0; 5];
                ours.read_exact(&mut got).unwrap();
                assert_eq!(&got, b"query");
            }
        });
    }
}

#[test]
fn a_port_reused_while_ours_is_in_time_wait_gets_through() {
    for (attach, _) in HOOKS {
        for (host, any, family) in [
            (SERVER4, "0.0.0.0:40123", Family::V4),
            (SERVER6, "[::]:40123", Family::V6),
        ] {
            steered(attach, |Network { client, router, .. }, listeners, _| {
                let dst = addr(host, 80);
                for round in 0..3 {
                    let begin = Instant::now();
                    let mut stream = client.enter(|| connect_from(any.parse().unwrap(), dst));
                    let took = begin.elapsed();
                    assert!(took < Duration::from_millis(500), "round {round}: {took:?}");
                    let (ours, _) = listeners.accept(family, false);
                    // We close first, so ours is the socket that waits.
                    drop(ours);
                    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
                    drop(stream);
                    peers::until(|| {
                        let sockets = bpf::netns::run(
                            "ss",
                            &["-N", &router.name, "-tanH", "state", "time-wait"],
                        );
                        (!sockets.is_empty()).then_some(())
                    })
                    .expect("our socket is in TIME_WAIT");
                }
            });
        }
    }
}

fn connect_from(src: SocketAddr, dst: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(dst),
        socket2::Type::STREAM,
        None,
    )
    .unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&src.into()).unwrap();
    socket.connect(&dst.into()).unwrap();
    socket.into()
}
