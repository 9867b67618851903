//! Real packets through the datapath: a client, the router with the program and its listeners,
//! a server. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bpf;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use bpf::netns::{Namespace, Network};
use bpf::peers::{self, Listeners};
use dae::config::Attach;
use dae::kernel::abi::Count;
use dae::kernel::{Counters, Datapath, FlowKey};
use dae::rules::{Action, Family, Mac, Proto, Rule, Selector, Verdict};

const HOOKS: [Attach; 2] = [Attach::Tcx, Attach::Clsact];
const SERVER4: &str = "203.0.113.2";
const SERVER6: &str = "[2001:db8::2]";

/// Rules: port 80 and 443 proxied, 81 blocked, 82 marked; the rest is direct.
fn rules() -> Vec<Rule> {
    let rule = |port, action, outbound, mark| Rule {
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
    };
    vec![
        rule(80, Action::Proxy, 2, 0),
        rule(443, Action::Proxy, 3, 0),
        rule(81, Action::Block, 1, 0),
        rule(82, Action::Direct, 0, 0x10),
    ]
}

fn start(attach: Attach, listeners: &Listeners, devices: &[&str]) -> Datapath {
    let mut config = bpf::config(attach, devices);
    config.ports = listeners.ports;
    Datapath::start(&bpf::image(&rules()), config).unwrap()
}

fn addr(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

fn serve(server: &Namespace) {
    server.enter(|| {
        for host in [SERVER4, SERVER6] {
            for port in [53, 80, 81, 82, 90, 443] {
                peers::serve(addr(host, port));
            }
        }
    });
}

#[test]
fn tcp_reaches_our_listener_with_its_destination() {
    for attach in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        serve(server);
        router.enter(|| {
            let listeners = Listeners::open();
            let datapath = start(attach, &listeners, &["lan0"]);
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
            assert!(datapath.stop().is_empty());
        });
    }
}

/// wg-quick sets `src_valid_mark`; policy routers have rules on bits of the mark from
/// priority 1001 on, and their firewalls add those bits to every packet.
#[test]
fn the_marks_of_others_do_not_keep_packets_from_us() {
    let Network {
        client,
        router,
        server,
    } = &Network::new();
    serve(server);
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
        let listeners = Listeners::open();
        let datapath = start(Attach::Auto, &listeners, &["lan0"]);
        for (host, family) in [(SERVER4, Family::V4), (SERVER6, Family::V6)] {
            let dst = addr(host, 80);
            let limit = std::time::Duration::from_secs(3);
            let stream = client.enter(|| TcpStream::connect_timeout(&dst, limit));
            let (_, from) = listeners.accept(family, false);
            assert_eq!(from, stream.unwrap().local_addr().unwrap());
        }
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn udp_reaches_our_listener_with_its_destination() {
    for attach in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        serve(server);
        router.enter(|| {
            let listeners = Listeners::open();
            let datapath = start(attach, &listeners, &["lan0"]);
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
            assert!(datapath.stop().is_empty());
        });
    }
}

#[test]
fn port_53_is_ours_whoever_was_asked() {
    for attach in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        serve(server);
        router.enter(|| {
            let listeners = Listeners::open();
            let datapath = start(attach, &listeners, &["lan0"]);
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
            assert!(datapath.stop().is_empty());
        });
    }
}

#[test]
fn block_and_mark() {
    let Network {
        client,
        router,
        server,
    } = &Network::new();
    serve(server);
    for priority in ["ip", "-6"] {
        let family = if priority == "-6" { "-6 " } else { "" };
        router.ip(&format!("{family}rule add fwmark 0x10 prohibit"));
    }
    router.enter(|| {
        let listeners = Listeners::open();
        let datapath = start(Attach::Auto, &listeners, &["lan0"]);
        for host in [SERVER4, SERVER6] {
            let blocked = client
                .enter(|| peers::greeting(addr(host, 81)))
                .unwrap_err();
            assert_eq!(blocked.kind(), std::io::ErrorKind::TimedOut);
            // The mark leads to a rule that answers with an ICMP error.
            let marked = client
                .enter(|| peers::greeting(addr(host, 82)))
                .unwrap_err();
            assert_ne!(marked.kind(), std::io::ErrorKind::TimedOut, "{marked}");
            assert_eq!(
                client.enter(|| peers::greeting(addr(host, 90))).unwrap(),
                "server"
            );
        }
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn without_our_listeners_everything_passes() {
    for attach in HOOKS {
        let Network {
            client,
            router,
            server,
        } = &Network::new();
        serve(server);
        router.enter(|| {
            let listeners = Listeners::open();
            let datapath = start(attach, &listeners, &["lan0"]);
            let (kept, _) = client.enter(|| {
                let stream = TcpStream::connect(addr(SERVER4, 80)).unwrap();
                (stream, ())
            });
            // Their owner is gone, the program is not.
            drop(listeners);
            for host in [SERVER4, SERVER6] {
                for port in [53, 80, 81, 82, 90, 443] {
                    let said = client.enter(|| peers::greeting(addr(host, port)));
                    assert_eq!(said.unwrap(), "server", "{host}:{port}");
                    assert!(
                        client.enter(|| peers::echoes(addr(host, port))),
                        "{host}:{port}"
                    );
                }
            }
            drop(kept);
            assert!(datapath.counters().unwrap().fate(Count::FailOpen).packets > 0);
            assert!(datapath.stop().is_empty());
        });
    }
}

/// A foreign socket on our port must not be taken for ours.
#[test]
fn a_listener_without_our_mark_gets_nothing() {
    let Network {
        client,
        router,
        server,
    } = &Network::new();
    serve(server);
    router.enter(|| {
        let listeners = Listeners::open();
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = foreign.local_addr().unwrap().port();
        let mut config = bpf::config(Attach::Auto, &["lan0"]);
        config.ports = listeners.ports.with(Proto::Tcp, Family::V4, false, port);
        let datapath = Datapath::start(&bpf::image(&rules()), config).unwrap();
        assert_eq!(
            client.enter(|| peers::greeting(addr(SERVER4, 80))).unwrap(),
            "server"
        );
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn a_port_reused_while_ours_is_in_time_wait_gets_through() {
    for attach in HOOKS {
        for (host, any, family) in [
            (SERVER4, "0.0.0.0:40123", Family::V4),
            (SERVER6, "[::]:40123", Family::V6),
        ] {
            let Network {
                client,
                router,
                server,
            } = &Network::new();
            serve(server);
            router.enter(|| {
                let listeners = Listeners::open();
                let datapath = start(attach, &listeners, &["lan0"]);
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
                assert!(datapath.stop().is_empty());
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

/// Connections that were there before us, and direct ones that the cache has forgotten.
#[test]
fn a_connection_under_way_goes_on() {
    let Network {
        client,
        router,
        server,
    } = &Network::new();
    serve(server);
    router.enter(|| {
        let listeners = Listeners::open();
        let mut stream = client
            .enter(|| TcpStream::connect(addr(SERVER4, 80)))
            .unwrap();
        let datapath = start(Attach::Auto, &listeners, &["lan0"]);
        let mut text = [0; 6];
        stream.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"server");
        // The server has closed; our side of the goodbye passes too.
        assert_eq!(stream.read(&mut text).unwrap(), 0);
        drop(stream);
        peers::until(|| {
            (datapath.counters().ok()?.fate(Count::Midstream).packets > 0).then_some(())
        })
        .expect("counted as under way");
        assert!(datapath.stop().is_empty());
    });
}

/// Frames as they are on the wire: the kernel takes one VLAN tag off before we look.
#[test]
fn frames_with_tags_and_without_headers_meet_their_fate() {
    let Network { client, router, .. } = &Network::new();
    let wire = client.enter(|| Wire::open("eth0"));
    let lan0 = mac_of(router, "lan0");
    router.enter(|| {
        let listeners = Listeners::open();
        let datapath = start(Attach::Auto, &listeners, &["lan0"]);
        let packet = bpf::packet::udp(addr("10.9.0.2", 5000), addr(SERVER4, 443), b"hello");
        let frame =
            |head: &[u8], packet: &[u8]| [&lan0[..], &[2, 0, 0, 0, 0, 9], head, packet].concat();
        let counted = |of: &dyn Fn(&Counters) -> u64| of(&datapath.counters().unwrap());
        let by_rule = |counters: &Counters| counters.rule(1).packets;
        let other = |counters: &Counters| counters.fate(Count::Other).packets;
        let rises = |of: &dyn Fn(&Counters) -> u64, frame: &[u8]| {
            let before = counted(of);
            wire.send(frame, 0);
            peers::until(|| (counted(of) == before + 1).then_some(())).expect("counted once");
        };
        rises(&by_rule, &frame(&[0x08, 0x00], &packet));
        assert_eq!(listeners.recv(Family::V4, false).1, addr(SERVER4, 443));
        rises(&by_rule, &frame(&[0x81, 0x00, 0, 7, 0x08, 0x00], &packet));
        rises(&by_rule, &frame(&[0x88, 0xa8, 0, 7, 0x08, 0x00], &packet));
        rises(
            &other,
            &frame(&[0x88, 0xa8, 0, 7, 0x81, 0x00, 0, 8, 0x08, 0x00], &packet),
        );
        // Cut anywhere within the headers.
        for len in 0..28 {
            rises(&other, &frame(&[0x08, 0x00], &packet[..len]));
        }
        assert!(datapath.stop().is_empty());
    });
}

/// A packet of which the kernel has only the Ethernet header at hand, the rest in pages.
#[test]
fn a_packet_in_pages_is_read_too() {
    let Network { client, router, .. } = &Network::new();
    client.ip("link set eth0 mtu 9000");
    router.ip("link set lan0 mtu 9000");
    let wire = client.enter(|| Wire::open("eth0"));
    let lan0 = mac_of(router, "lan0");
    router.enter(|| {
        let listeners = Listeners::open();
        let datapath = start(Attach::Auto, &listeners, &["lan0"]);
        let src = addr("10.9.0.2", 5000);
        let packet = bpf::packet::udp(src, addr(SERVER4, 443), &[7; 6000]);
        let frame = [&lan0[..], &[2, 0, 0, 0, 0, 9, 0x08, 0x00], &packet].concat();
        wire.send(&frame, 14);
        peers::until(|| (datapath.counters().ok()?.rule(1).packets == 1).then_some(()))
            .expect("decided by its ports");
        // Our listeners' buffer is shorter; that it was handed over shows in the flow cache.
        let key = FlowKey {
            src,
            dst: addr(SERVER4, 443),
            proto: Proto::Udp,
        };
        assert_eq!(datapath.flow(&key).unwrap().verdict.action, Action::Proxy);
        assert!(datapath.stop().is_empty());
    });
}

fn mac_of(namespace: &Namespace, device: &str) -> [u8; 6] {
    let text = namespace.ip(&format!("link show {device}"));
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    words.nth(1).unwrap().parse::<Mac>().unwrap().0
}

/// A packet socket that sends whole frames.
struct Wire {
    socket: OwnedFd,
    device: i32,
}

impl Wire {
    /// On a device of the current namespace.
    fn open(device: &str) -> Self {
        let device = nix::net::if_::if_nametoindex(device).unwrap() as i32;
        // SAFETY: makes a descriptor and touches no memory of ours.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: just made, for us alone.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let one = 1;
        // SAFETY: the kernel reads the four bytes of `one`.
        let result = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_PACKET,
                libc::PACKET_VNET_HDR,
                (&raw const one).cast(),
                4,
            )
        };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Self { socket, device }
    }

    /// Sends a frame; the kernel keeps `linear` bytes of a long one in one piece, 0: all.
    fn send(&self, frame: &[u8], linear: u16) {
        // struct virtio_net_hdr: flags, GSO type, hdr_len, GSO size, checksum start, offset.
        let mut bytes = vec![0, 0];
        bytes.extend(linear.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(frame);
        // SAFETY: all zero is a valid address, of which the needed fields follow.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = self.device;
        // SAFETY: the kernel reads `bytes` and `to`, whose lengths are told.
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        assert_eq!(
            sent,
            bytes.len() as isize,
            "{}",
            std::io::Error::last_os_error()
        );
    }
}

/// The program for devices without an Ethernet header, on a real one.
#[test]
fn a_tun_device_is_steered_too() {
    let router = Namespace::new("tun");
    router.enter(|| {
        let mut tun = open_tun("tun0");
        router.ip("addr add 10.9.0.1/24 dev tun0");
        router.ip("link set tun0 up");
        let listeners = Listeners::open();
        let datapath = start(Attach::Auto, &listeners, &["tun0"]);
        let src = addr("10.9.0.2", 5000);
        let dst = addr(SERVER4, 443);
        tun.write_all(&bpf::packet::udp(src, dst, b"hello"))
            .unwrap();
        assert_eq!(
            listeners.recv(Family::V4, false),
            (src, dst, b"hello".to_vec())
        );
        assert!(datapath.stop().is_empty());
    });
}

fn open_tun(name: &str) -> std::fs::File {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .unwrap();
    // struct ifreq: the name, then the flags.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    let fd: OwnedFd = file.into();
    // SAFETY: the kernel reads and writes the 40 bytes of `request`.
    let result = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&fd),
            libc::TUNSETIFF,
            request.as_mut_ptr(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    fd.into()
}
