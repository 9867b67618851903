//! `dae::outbound` against servers that break SOCKS5 in every way we know.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use dae::config::{OutboundKind, Secret};
use dae::net::reactor::{Timer, block_on};
use dae::outbound::socks5::wire::Error;
use dae::outbound::{Association, DIAL_LIMIT, DialError, MAX_DATAGRAM, Outbound};

use crate::home::{Home, Namespace, ip};
use crate::servers::{DANTE, Dante, Step, WAIT, microsocks, scripted, tcp_server};

const TO: &str = "203.0.113.80:80";
const GREETED: [u8; 2] = [5, 0];
const DONE: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

fn socks5(addr: SocketAddr, login: Option<(&str, &str)>) -> Outbound {
    let login = login.map(|(user, password)| (user.to_owned(), Secret::new(password.to_owned())));
    Outbound::new(&OutboundKind::Socks5 { addr, login })
}

/// The error of a CONNECT to a server that follows `script`.
fn failure(script: Vec<Step>, login: Option<(&'static str, &'static str)>) -> DialError {
    let namespace = Namespace::new();
    let (addr, _) = scripted(&namespace, "127.0.0.1:0".parse().unwrap(), script);
    namespace.run(move || block_on(socks5(addr, login).tcp(TO.parse().unwrap())).unwrap_err())
}

fn wire_error(script: Vec<Step>, login: Option<(&'static str, &'static str)>) -> Error {
    match failure(script, login) {
        DialError::Socks5(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_broken_answer_is_an_error_of_its_own() {
    use Step::{Read, Write};
    let me = Some(("me", "x"));
    let greet = |bytes: &[u8]| vec![Read(3), Write(bytes.to_vec())];
    let login = |bytes: &[u8]| vec![Read(4), Write(vec![5, 2]), Read(6), Write(bytes.to_vec())];
    let reply = |bytes: &[u8]| {
        vec![
            Read(3),
            Write(GREETED.to_vec()),
            Read(10),
            Write(bytes.to_vec()),
        ]
    };
    assert_eq!(
        wire_error(greet(b"HTTP/1.1 400"), None),
        Error::Version(b'H')
    );
    assert_eq!(wire_error(greet(&[5, 0xff]), None), Error::NoMethod);
    assert_eq!(wire_error(greet(&[5, 2]), None), Error::Method(2));
    assert_eq!(wire_error(login(&[1, 1]), me), Error::Login(1));
    assert_eq!(wire_error(login(&[5, 0]), me), Error::LoginVersion(5));
    assert_eq!(wire_error(reply(&[4, 0, 0, 1]), None), Error::Version(4));
    assert_eq!(wire_error(reply(&[5, 2, 0, 1]), None), Error::Refused(2));
    assert_eq!(
        wire_error(reply(&[5, 0, 0, 3, 1, b'x', 0, 0]), None),
        Error::AddressType(3)
    );
}

#[test]
fn a_server_that_closes_in_the_middle_is_an_error_at_once() {
    use Step::{Read, Write};
    for script in [
        vec![],
        vec![Read(3)],
        vec![Read(3), Write(vec![5])],
        vec![
            Read(3),
            Write(GREETED.to_vec()),
            Read(10),
            Write(DONE[..7].to_vec()),
        ],
    ] {
        let start = Instant::now();
        let error = failure(script, None);
        assert!(matches!(error, DialError::Io(_)), "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn the_whole_handshake_has_one_deadline() {
    // Every step comes late, none of them later than the limit.
    let slow = |stream: std::net::TcpStream| {
        use std::io::{Read, Write};
        let mut stream = stream;
        let pause = || std::thread::sleep(DIAL_LIMIT * 2 / 3);
        let _ = stream.read_exact(&mut [0; 3]);
        pause();
        let _ = stream.write_all(&GREETED);
        let _ = stream.read_exact(&mut [0; 10]);
        pause();
        let _ = stream.write_all(&DONE);
    };
    let namespace = Namespace::new();
    let addr = tcp_server(&namespace, "127.0.0.1:0".parse().unwrap(), slow);
    let start = Instant::now();
    let error =
        namespace.run(move || block_on(socks5(addr, None).tcp(TO.parse().unwrap())).unwrap_err());
    assert!(matches!(error, DialError::Timeout), "{error:?}");
    assert!(start.elapsed() >= DIAL_LIMIT && start.elapsed() < DIAL_LIMIT + Duration::from_secs(2));
}

#[test]
fn bytes_behind_the_reply_belong_to_the_stream() {
    use std::io::Read;
    let namespace = Namespace::new();
    let script = vec![
        Step::Read(3),
        Step::Write(GREETED.to_vec()),
        Step::Read(10),
        Step::Write([&DONE[..], b"hello"].concat()),
    ];
    let (addr, _) = scripted(&namespace, "127.0.0.1:0".parse().unwrap(), script);
    let text = namespace.run(move || {
        let stream = block_on(socks5(addr, None).tcp(TO.parse().unwrap())).unwrap();
        let mut stream = stream.get_ref().try_clone().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(text, "hello");
}

#[test]
fn a_wrong_password_is_told_from_no_password() {
    let home = Home::new();
    let _server = microsocks(&home.internet);
    let dial = |login: Option<(&'static str, &'static str)>| {
        home.router.run(move || {
            let server = socks5("[fd78::2]:1081".parse().unwrap(), login);
            match block_on(server.tcp("[2001:db8::1]:9".parse().unwrap())) {
                Err(DialError::Socks5(error)) => error,
                other => panic!("{other:?}"),
            }
        })
    };
    assert_eq!(dial(None), Error::NoMethod);
    assert!(matches!(dial(Some(("me", "wrong"))), Error::Login(_)));
    // The right one gets as far as the destination, where nobody listens.
    assert_eq!(dial(Some(("me", "secret"))), Error::Refused(5));
}

#[test]
fn malformed_datagrams_are_told_apart_and_do_not_end_the_association() {
    let namespace = Namespace::new();
    let relay = namespace.run(|| UdpSocket::bind("127.0.0.5:0").unwrap());
    relay.set_read_timeout(Some(WAIT)).unwrap();
    // Bound to "every address": the one of the server is meant.
    let mut reply = DONE;
    reply[8..].copy_from_slice(&relay.local_addr().unwrap().port().to_be_bytes());
    let script = vec![
        Step::Read(3),
        Step::Write(GREETED.to_vec()),
        Step::Read(10),
        Step::Write(reply.to_vec()),
        Step::Hang,
    ];
    let (addr, _) = scripted(&namespace, "127.0.0.5:0".parse().unwrap(), script);
    namespace.run(move || {
        let to: SocketAddr = TO.parse().unwrap();
        let association = block_on(socks5(addr, None).udp(to)).unwrap();
        association.send(to, b"ping").unwrap();
        let mut buffer = vec![0; MAX_DATAGRAM];
        let (length, client) = relay.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], *b"\0\0\0\x01\xcb\x00\x71\x50\x00\x50ping");
        for bad in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\x01\x01\0\0\0\0\0\0x",
            b"\0\0\0\x03\x01x\0\0",
        ] {
            relay.send_to(bad, client).unwrap();
            let error = receive(&association, &mut buffer).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
        relay
            .send_to(b"\0\0\0\x01\xcb\x00\x71\x50\x00\x50pong", client)
            .unwrap();
        assert_eq!(
            receive(&association, &mut buffer).unwrap(),
            (to, b"pong".to_vec())
        );
        // Somebody else does not get through.
        UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .send_to(&buffer[..14], client)
            .unwrap();
        let error = association.recv(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

fn receive(association: &Association, buffer: &mut [u8]) -> io::Result<(SocketAddr, Vec<u8>)> {
    block_on(association.readable());
    association
        .recv(buffer)
        .map(|(from, payload)| (from, payload.to_vec()))
}

#[test]
fn an_association_ends_with_its_tcp_connection() {
    let home = Home::new();
    let dante = Dante::start(&home.internet);
    home.router.run(move || {
        let addr = DANTE.strip_prefix("socks5://").unwrap().parse().unwrap();
        let association = block_on(socks5(addr, None).udp(TO.parse().unwrap())).unwrap();
        let ended = |limit| {
            block_on(futures_lite::future::or(
                async { Some(association.ended().await) },
                async {
                    Timer::after(limit).await;
                    None
                },
            ))
        };
        assert!(ended(Duration::from_millis(300)).is_none());
        drop(dante);
        assert!(ended(WAIT).is_some());
    });
}

#[test]
fn block_refuses() {
    let block = Outbound::new(&OutboundKind::Block);
    let to = SocketAddr::new(ip("203.0.113.80"), 80);
    assert!(matches!(block_on(block.tcp(to)), Err(DialError::Blocked)));
    assert!(matches!(block_on(block.udp(to)), Err(DialError::Blocked)));
}
