//! `dae::net` on real sockets.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use dae::net::batch::Batch;
use dae::net::reactor::{Interest, Source, block_on};
use dae::net::reply::{MAX_PAYLOAD, Replier, send_from};
use dae::net::{OWN_MARK, dial, listen};
use socket2::SockRef;

use crate::home::{CLIENT4, CLIENT6, Home, Namespace, ip};

const WAIT: Duration = Duration::from_secs(5);

fn client_socket(home: &Home, addr: &'static str) -> UdpSocket {
    home.client.run(move || {
        let socket = UdpSocket::bind((ip(addr), 0)).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket
    })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}

#[test]
fn replies_come_from_any_address_in_any_length() {
    let home = Home::new();
    // Another process holds the port that we answer from.
    let _dnsmasq = home.router.run(|| UdpSocket::bind("0.0.0.0:53").unwrap());
    for (client, sources) in [
        (CLIENT4, ["203.0.113.53:53", "10.77.0.1:53"]),
        (CLIENT6, ["[2001:db8::53]:53", "[fd77::1]:53"]),
    ] {
        let socket = client_socket(&home, client);
        let to = socket.local_addr().unwrap();
        for source in sources {
            let from: SocketAddr = source.parse().unwrap();
            for length in [0, 1, 2, 3, 511, 1472, 1473, 9001, MAX_PAYLOAD] {
                let payload = pattern(length);
                let sent = payload.clone();
                home.router
                    .run(move || Replier::new().unwrap().send(from, to, &sent).unwrap());
                let mut buffer = vec![0; 65_536];
                let (received, peer) = socket.recv_from(&mut buffer).unwrap();
                assert_eq!(peer, from);
                assert!(buffer[..received] == payload, "{length} bytes from {from}");
            }
        }
    }
}

#[test]
fn replies_keep_the_interface_of_link_local_addresses() {
    let home = Home::new();
    let index = |name: &'static str| {
        // SAFETY: the name is a C string.
        move || unsafe { libc::if_nametoindex(name.as_ptr().cast()) }
    };
    let (c0, r0) = (
        home.client.run(index("c0\0")),
        home.router.run(index("r0\0")),
    );
    let local = |last, port, scope| -> SocketAddr {
        SocketAddrV6::new(
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last),
            port,
            0,
            scope,
        )
        .into()
    };
    let (socket, port) = home.client.run(move || {
        let socket = UdpSocket::bind(local(2, 0, c0)).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    });
    // The client asks the router at its link-local address.
    let listener = home
        .router
        .run(|| listen::transparent_udp(ip("::")).unwrap());
    let asked = local(1, listener.local_addr().unwrap().port(), c0);
    socket.send_to(b"question", asked).unwrap();
    home.router.run(move || {
        let listener = Source::new(listener, Interest::Read).unwrap();
        let mut batch = Batch::new(4, 512);
        let (from, to) = block_on(async {
            let datagram = batch.recv(&listener).await.unwrap().next().unwrap();
            (datagram.from, datagram.to)
        });
        assert_eq!((from, to), (local(2, port, r0), local(1, asked.port(), r0)));
        let replier = Replier::new().unwrap();
        replier.send(to, from, b"answer").unwrap();
        replier
            .send("[2001:db8::53]:53".parse().unwrap(), from, b"from afar")
            .unwrap();
        replier
            .send(local(1, 53, 0), from, b"of no interface")
            .unwrap();
    });
    let mut buffer = [0; 64];
    assert_eq!(socket.recv_from(&mut buffer).unwrap(), (6, asked));
    assert_eq!(
        socket.recv_from(&mut buffer).unwrap().1,
        "[2001:db8::53]:53".parse().unwrap()
    );
    assert_eq!(
        socket.recv_from(&mut buffer).unwrap(),
        (15, local(1, 53, c0))
    );
}

#[test]
fn the_replier_receives_nothing() {
    Namespace::new().run(|| {
        let replier = Replier::new().unwrap();
        for (listen, hosts) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("127.255.255.254:0", "127.255.255.254"),
            ("[::1]:0", "::1"),
        ] {
            let socket = UdpSocket::bind(listen).unwrap();
            let port = socket.local_addr().unwrap().port();
            for _ in 0..100 {
                socket.send_to(&[0; 200], (ip(hosts), port)).unwrap();
            }
        }
        for table in ["raw", "raw6"] {
            let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
            let sockets: Vec<&str> = text.lines().skip(1).collect();
            assert_eq!(sockets.len(), 1, "{text}");
            let queues = sockets[0].split_whitespace().nth(4).unwrap();
            assert_eq!(queues, "00000000:00000000", "{text}");
        }
        assert_eq!(replier.dropped(), 0);
    });
}

#[test]
fn what_cannot_be_sent_is_an_error_and_counted() {
    Namespace::new().run(|| {
        let replier = Replier::new().unwrap();
        let v4: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let v6: SocketAddr = "[::1]:9".parse().unwrap();
        let nowhere: SocketAddr = "203.0.113.1:9".parse().unwrap();
        assert!(replier.send(v4, v6, b"").is_err());
        assert!(replier.send(v4, v4, &[0; MAX_PAYLOAD + 1]).is_err());
        assert!(replier.send(v4, nowhere, b"").is_err(), "no route");
        assert_eq!(replier.dropped(), 3);
        replier.send(v4, v4, b"").unwrap();
        assert_eq!(replier.dropped(), 3);
    });
}

#[test]
fn a_full_device_drops_replies_and_never_waits() {
    let home = Home::new();
    home.router
        .shell("tc qdisc add dev r0 root tbf rate 8kbit burst 2000 limit 100000000");
    let dropped = home.router.run(|| {
        let replier = Replier::new().unwrap();
        let from = "203.0.113.1:1".parse().unwrap();
        let to = "10.77.0.2:9".parse().unwrap();
        for _ in 0..1000 {
            if let Err(error) = replier.send(from, to, &[0; 1400]) {
                // A raw socket says ENOBUFS where others say EAGAIN.
                assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS));
            }
        }
        replier.dropped()
    });
    assert!(dropped > 500, "{dropped}");
}

#[test]
fn a_batch_keeps_order_and_destinations_and_notices_long_datagrams() {
    let home = Home::new();
    for (client, unspecified, server) in [
        (CLIENT4, "0.0.0.0", "203.0.113.7"),
        (CLIENT6, "::", "2001:db8::7"),
    ] {
        let listener = home
            .router
            .run(move || listen::transparent_udp(ip(unspecified)).unwrap());
        let to = SocketAddr::new(ip(server), listener.local_addr().unwrap().port());
        let socket = client_socket(&home, client);
        let from = socket.local_addr().unwrap();
        for i in 0..100u8 {
            let length = if i == 50 { 101 } else { usize::from(i) };
            socket.send_to(&vec![i; length], to).unwrap();
        }
        let listener = Source::new(listener, Interest::Read).unwrap();
        let mut batch = Batch::new(32, 100);
        let mut seen = Vec::new();
        while seen.last() != Some(&99) {
            let datagrams = block_on(dial::within(WAIT, batch.recv(&listener))).unwrap();
            let before = seen.len();
            for datagram in datagrams {
                assert_eq!((datagram.from, datagram.to), (from, to));
                let length = datagram.payload.len();
                assert_eq!(datagram.payload, vec![length as u8; length]);
                seen.push(length);
            }
            assert!(seen.len() - before <= 32);
        }
        assert_eq!(seen, (0..100).filter(|i| *i != 50).collect::<Vec<_>>());
        assert_eq!(batch.oversized(), 1);
    }
}

#[test]
fn a_plain_listener_answers_from_the_address_that_was_asked() {
    let home = Home::new();
    // Without the interception: the router's own address only.
    home.router
        .shell("ip addr add 10.77.0.9/24 dev r0\nip addr add fd77::9/64 dev r0 nodad");
    for (client, any, server) in [
        (CLIENT4, "0.0.0.0:0", "10.77.0.9"),
        (CLIENT6, "[::]:0", "fd77::9"),
    ] {
        let any: SocketAddr = any.parse().unwrap();
        let listener = home.router.run(move || listen::plain_udp(any).unwrap());
        let asked = SocketAddr::new(ip(server), listener.local_addr().unwrap().port());
        let socket = client_socket(&home, client);
        socket.send_to(b"question", asked).unwrap();
        let mut batch = Batch::new(8, 512);
        let listener = Source::new(listener, Interest::Read).unwrap();
        let mut datagrams = block_on(dial::within(WAIT, batch.recv(&listener))).unwrap();
        let datagram = datagrams.next().unwrap();
        send_from(listener.get_ref(), datagram.to, datagram.from, b"answer").unwrap();
        let mut buffer = [0; 64];
        assert_eq!(socket.recv_from(&mut buffer).unwrap(), (6, asked));
    }
}

#[test]
fn every_socket_carries_our_mark() {
    Namespace::new().run(|| {
        let marks = block_on(async {
            let tcp = listen::transparent_tcp(ip("127.0.0.1")).unwrap();
            let to = tcp.local_addr().unwrap();
            let dialled = dial::tcp(to).await.unwrap();
            let (accepted, _) = tcp.accept().or_else(|_| tcp.accept()).unwrap();
            [
                SockRef::from(&dialled).mark(),
                SockRef::from(&accepted).mark(),
                SockRef::from(&listen::transparent_udp(ip("::1")).unwrap()).mark(),
                SockRef::from(&listen::plain_tcp("[::1]:0".parse().unwrap()).unwrap()).mark(),
                SockRef::from(&listen::plain_udp("127.0.0.1:0".parse().unwrap()).unwrap()).mark(),
                SockRef::from(&dial::udp(to).unwrap()).mark(),
                SockRef::from(&dial::udp_connected(to).unwrap()).mark(),
                SockRef::from(&tcp).mark(),
            ]
        });
        assert_eq!(marks.map(Result::unwrap), [OWN_MARK; 8]);
    });
}

#[test]
fn a_dial_ends_with_the_reason_or_at_its_limit() {
    Namespace::new().run(|| {
        block_on(async {
            let refused = dial::tcp("127.0.0.1:1".parse().unwrap()).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            // A backlog of none, filled: the next SYN is never answered.
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket
                .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
                .unwrap();
            socket.listen(0).unwrap();
            let to = socket.local_addr().unwrap().as_socket().unwrap();
            let _first = dial::tcp(to).await.unwrap();
            let start = std::time::Instant::now();
            let mut last = Ok(());
            for _ in 0..2 {
                last = dial::within(Duration::from_millis(300), dial::tcp(to))
                    .await
                    .map(drop);
            }
            assert_eq!(last.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert!(start.elapsed() < Duration::from_secs(2));
        });
    });
}
