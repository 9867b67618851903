//! Relayed TCP, from the client through the router to a server or a real SOCKS5 server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Type};

use crate::home::{Home, ip};
use crate::router::Router;
use crate::servers::{DANTE, Dante, MICROSOCKS, Step, WAIT, microsocks, scripted, tcp_server};

const SOON: Duration = Duration::from_secs(2);

/// A home whose router relays, and a server at every address of the internet, on the port that
/// the router intercepts.
struct Scene {
    home: Home,
    router: Router,
}

impl Scene {
    fn new(nodes: &[&str]) -> Self {
        Self::with(nodes, |_| ())
    }

    fn with(
        nodes: &[&str],
        change: impl FnOnce(&mut dae::config::Config) + Send + 'static,
    ) -> Self {
        let home = Home::new();
        let router = Router::start(&home.router, nodes, change);
        Self { home, router }
    }

    fn addr(&self, host: &str) -> SocketAddr {
        let host = ip(host);
        let port = if host.is_ipv4() {
            self.router.tcp4
        } else {
            self.router.tcp6
        };
        SocketAddr::new(host, port)
    }

    fn serve(&self, serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) {
        for any in ["0.0.0.0", "::"] {
            let addr = self.addr(any);
            if addr.is_ipv4() || self.router.tcp6 != self.router.tcp4 {
                tcp_server(&self.home.internet, addr, serve.clone());
            }
        }
    }

    /// Gives every stream that the server accepts to the test.
    fn accept(&self) -> Receiver<TcpStream> {
        let (sender, receiver) = channel();
        self.serve(move |stream| sender.send(stream).unwrap());
        receiver
    }

    fn connect(&self, host: &str) -> TcpStream {
        let addr = self.addr(host);
        let stream = self
            .home
            .client
            .run(move || TcpStream::connect(addr).unwrap());
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream
    }

    /// Whether the router resets a connection, be it before the client's call returns.
    fn refuses(&self, host: &str) -> bool {
        let addr = self.addr(host);
        match self.home.client.run(move || TcpStream::connect(addr)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(WAIT)).unwrap();
                is_reset(&stream)
            }
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Both ends of a relayed connection.
    fn pair(&self, accepted: &Receiver<TcpStream>, host: &str) -> (TcpStream, TcpStream) {
        let client = self.connect(host);
        let server = accepted.recv_timeout(WAIT).unwrap();
        (client, server)
    }
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Whether the stream ends in a reset.
fn is_reset(mut stream: &TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

const PIECE: usize = 1_000_003;

fn piece(seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(PIECE).collect()
}

fn send_all(mut stream: &TcpStream, seed: u8, length: usize) {
    let piece = piece(seed);
    let mut left = length;
    while left > 0 {
        let next = left.min(PIECE);
        stream.write_all(&piece[..next]).unwrap();
        left -= next;
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn expect_all(mut stream: &TcpStream, seed: u8, length: usize) {
    let piece = piece(seed);
    let mut buffer = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let next = left.min(PIECE);
        stream.read_exact(&mut buffer[..next]).unwrap();
        assert!(
            buffer[..next] == piece[..next],
            "{left} bytes before the end"
        );
        left -= next;
    }
    assert_eq!(stream.read(&mut buffer).unwrap(), 0);
}

/// `length` bytes each way at once, to the end of both directions.
fn exchange(scene: &Scene, host: &str, length: usize) {
    let client = scene.connect(host);
    std::thread::scope(|scope| {
        scope.spawn(|| send_all(&client, 1, length));
        expect_all(&client, 2, length);
    });
}

fn serve_exchange(length: usize) -> impl Fn(TcpStream) + Send + Sync + Clone + 'static {
    move |stream| {
        std::thread::scope(|scope| {
            scope.spawn(|| send_all(&stream, 2, length));
            expect_all(&stream, 1, length);
        });
    }
}

#[test]
fn a_hundred_megabytes_arrive_intact_both_ways_at_once() {
    const LENGTH: usize = 100_000_000;
    let scene = Scene::new(&[DANTE, MICROSOCKS]);
    let _dante = Dante::start(&scene.home.internet);
    let _microsocks = microsocks(&scene.home.internet);
    scene.serve(serve_exchange(LENGTH));
    exchange(&scene, "203.0.113.0", LENGTH);
    exchange(&scene, "203.0.113.2", LENGTH);
    let stats = scene.router.wait("ended", |stats| stats.tcp.active == 0);
    for outbound in [0, 2] {
        assert_eq!(stats.outbounds[outbound].bytes_up, LENGTH as u64);
        assert_eq!(stats.outbounds[outbound].bytes_down, LENGTH as u64);
    }
    assert_eq!((stats.tcp.opened, stats.tcp.broken), (2, 0));
}

#[test]
fn both_ip_versions_go_directly_and_through_real_servers() {
    let scene = Scene::new(&[DANTE, MICROSOCKS]);
    let _dante = Dante::start(&scene.home.internet);
    let _microsocks = microsocks(&scene.home.internet);
    let accepted = scene.accept();
    for (host, seen) in [
        ("203.0.113.0", "10.78.0.1"),
        ("2001:db8::", "fd78::1"),
        ("203.0.113.2", "203.0.113.2"),
        ("203.0.113.3", "203.0.113.3"),
        ("2001:db8::3", "2001:db8::3"),
    ] {
        let (client, server) = scene.pair(&accepted, host);
        assert_eq!(client.peer_addr().unwrap(), scene.addr(host));
        assert_eq!(server.local_addr().unwrap(), scene.addr(host));
        // Directly it is the router; a proxy of the internet is on the server's own machine.
        if seen != host {
            assert_eq!(server.peer_addr().unwrap().ip(), ip(seen));
        }
        // Without half-close: microsocks has none.
        for (from, to, seed) in [(&client, &server, 1), (&server, &client, 2)] {
            let sent = piece(seed);
            let mut buffer = vec![0; PIECE];
            std::thread::scope(|scope| {
                scope.spawn(|| (&*from).write_all(&sent).unwrap());
                (&*to).read_exact(&mut buffer).unwrap();
            });
            assert!(buffer == sent);
        }
    }
}

#[test]
fn either_side_may_finish_first_and_still_hear_the_other() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    for client_first in [true, false] {
        let (client, server) = scene.pair(&accepted, "203.0.113.0");
        let (mut first, mut second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        first.write_all(b"question").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        let start = Instant::now();
        let mut text = String::new();
        second.read_to_string(&mut text).unwrap();
        assert_eq!(text, "question");
        assert!(start.elapsed() < SOON, "the end is passed on at once");
        std::thread::sleep(Duration::from_millis(1500));
        second.write_all(b"answer").unwrap();
        drop(second);
        text.clear();
        first.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer");
        let stats = scene.router.wait("ended", |stats| stats.tcp.active == 0);
        assert_eq!(stats.tcp.broken, 0);
    }
}

#[test]
fn a_reset_of_one_side_resets_the_other() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    for client_first in [true, false] {
        let (client, server) = scene.pair(&accepted, "203.0.113.0");
        let (first, second) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        let start = Instant::now();
        reset(first);
        assert!(is_reset(&second));
        assert!(start.elapsed() < SOON);
        scene.router.wait("ended", |stats| stats.tcp.active == 0);
    }
    // A server may be so quick that it is the dial that fails.
    let stats = scene.router.stats().tcp;
    assert_eq!(stats.broken + stats.dial_failed, 2);
}

#[test]
fn a_reset_after_a_fin_is_noticed_too() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    let (client, mut server) = scene.pair(&accepted, "203.0.113.0");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0; 9]).unwrap(), 0);
    // The server says nothing, so nobody writes to the client.
    let start = Instant::now();
    reset(client);
    scene.router.wait("ended", |stats| stats.tcp.active == 0);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    // Its FIN said that the client was complete; it is closed, not reset, and learns by writing.
    let refused = (0..20).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        server.write_all(b"x").is_err()
    });
    assert!(refused);
}

#[test]
fn a_reset_while_the_other_side_takes_nothing_is_noticed_too() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    let (mut client, server) = scene.pair(&accepted, "203.0.113.0");
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while client.write(&[0; 65_536]).is_ok() {}
    let start = Instant::now();
    reset(client);
    scene.router.wait("ended", |stats| stats.tcp.active == 0);
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    assert!(is_reset(&server));
}

#[test]
fn an_idle_connection_ends_and_a_busy_one_stays() {
    let scene = Scene::with(&[], |config| config.main.tcp_idle = 2);
    let accepted = scene.accept();
    let (mut idle, idle_server) = scene.pair(&accepted, "203.0.113.0");
    let (mut busy, mut busy_server) = scene.pair(&accepted, "203.0.113.0");
    let start = Instant::now();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(500));
        busy_server.write_all(b"x").unwrap();
        busy.read_exact(&mut [0; 1]).unwrap();
    }
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    assert!(start.elapsed() < Duration::from_secs(6));
    drop(idle_server);
    let stats = scene.router.stats();
    assert_eq!(
        (stats.tcp.active, stats.tcp.idle, stats.tcp.broken),
        (1, 1, 0)
    );
}

#[test]
fn connections_over_the_bound_are_reset_and_counted() {
    let scene = Scene::with(&[], |config| config.main.max_tcp_connections = 16);
    let accepted = scene.accept();
    let mut held: Vec<_> = (0..16)
        .map(|_| scene.pair(&accepted, "203.0.113.0"))
        .collect();
    for _ in 0..20 {
        assert!(scene.refuses("203.0.113.0"));
    }
    let stats = scene.router.stats().tcp;
    assert_eq!(
        (stats.active, stats.opened, stats.refused_full),
        (16, 16, 20)
    );
    held.truncate(15);
    scene
        .router
        .wait("one ended", |stats| stats.tcp.active == 15);
    held.push(scene.pair(&accepted, "203.0.113.0"));
}

#[test]
fn what_may_not_or_cannot_be_reached_is_reset() {
    let scene = Scene::new(&["socks5://10.78.0.2:1082", "socks5://10.78.0.2:1083"]);
    let refuses = vec![
        Step::Read(3),
        Step::Write(vec![5, 0]),
        Step::Read(10),
        Step::Write(vec![5, 2, 0, 1, 0, 0, 0, 0, 0, 0]),
    ];
    let addr = "10.78.0.2:1083".parse().unwrap();
    scripted(&scene.home.internet, addr, refuses);
    // Blocked; nobody listens; no proxy there; a proxy that refuses; no such node.
    for host in [
        "203.0.113.1",
        "203.0.113.0",
        "203.0.113.2",
        "203.0.113.3",
        "203.0.113.15",
    ] {
        assert!(scene.refuses(host), "{host}");
    }
    // Somebody on the router talks to the listener itself.
    let own = SocketAddr::new(ip("127.0.0.16"), scene.router.tcp4);
    let result = scene.home.router.run(move || TcpStream::connect(own));
    assert!(result.map_or(true, |stream| is_reset(&stream)));
    let stats = scene
        .router
        .wait("ended", |stats| stats.tcp.active == 0)
        .tcp;
    assert_eq!((stats.refused_blocked, stats.dial_failed), (2, 3));
}

#[test]
fn two_thousand_connections_one_after_another_leave_nothing() {
    let scene = Scene::new(&[]);
    scene.serve(|mut stream| {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_ok() {
            let _ = stream.write_all(&byte);
        }
    });
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let addr = scene.addr("203.0.113.0");
    let rounds = |count| {
        scene.home.client.run(move || {
            for i in 0..count {
                let mut stream = TcpStream::connect(addr).unwrap();
                // No TIME_WAIT here, or the ports run out.
                SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                stream.write_all(&[i as u8]).unwrap();
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                assert_eq!(byte, [i as u8]);
            }
        });
        scene.router.wait("ended", |stats| stats.tcp.active == 0);
    };
    rounds(100);
    let before = descriptors();
    rounds(2000);
    // Other tests of this process come and go.
    assert!(descriptors() < before + 1000);
}

/// The limit of descriptors is the process's, so this runs in one of its own.
#[test]
fn accepting_survives_a_shortage_of_descriptors() {
    const ALONE: &str = "DAE_FLOW_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "tcp::accepting_survives_a_shortage_of_descriptors";
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(ALONE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let scene = Scene::new(&[]);
    scene.serve(|mut stream| {
        let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
    });
    let echo = |mut stream: &TcpStream| {
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
    };
    let before = scene.connect("203.0.113.0");
    echo(&before);
    let open = || socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let socket = scene.home.client.run(open);
    let old = limit_descriptors(3);
    socket.connect(&scene.addr("203.0.113.0").into()).unwrap();
    let start = Instant::now();
    let stats = scene
        .router
        .wait("no descriptors", |stats| stats.tcp.accept_failed >= 5);
    let pauses = start.elapsed().as_millis() as u64 / 200;
    assert!(stats.tcp.accept_failed <= pauses + 2, "it does not spin");
    echo(&before);
    limit_descriptors(old);
    let waited = TcpStream::from(socket);
    waited.set_read_timeout(Some(WAIT)).unwrap();
    echo(&waited);
}

/// Sets the soft limit and returns the old one.
fn limit_descriptors(soft: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointers are to a local of the right type.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        let old = std::mem::replace(&mut limit.rlim_cur, soft);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
        old
    }
}
