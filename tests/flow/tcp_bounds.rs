//! Relayed TCP at its bounds: idle, too many, refused, no descriptors left.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Type};

use crate::home::ip;
use crate::scene::{Scene, is_reset};
use crate::servers::{Step, WAIT, scripted};

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

/// What the server does not read stays with the client, but for the buffers of the kernel.
#[test]
fn a_side_that_takes_nothing_stops_the_other() {
    let scene = Scene::new(&[]);
    let accepted = scene.accept();
    let (mut client, mut server) = scene.pair(&accepted, "203.0.113.0");
    let second = Some(Duration::from_secs(1));
    client.set_write_timeout(second).unwrap();
    let mut sent = 0;
    while let Ok(count) = client.write(&[7; 65_536]) {
        sent += count;
    }
    // Four buffers of the kernel, each of some megabytes at most, and a pipe.
    assert!((65_536..64 << 20).contains(&sent), "{sent} bytes");
    server.set_read_timeout(Some(WAIT)).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut received = 0;
    let mut buffer = vec![0; 65_536];
    loop {
        match server.read(&mut buffer).unwrap() {
            0 => break,
            count => received += count,
        }
    }
    assert_eq!(received, sent);
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
    assert_eq!((stats.refused_blocked, stats.dial_failed), (3, 3));
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
    let addr = scene.tcp("203.0.113.0");
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
        let name = "tcp_bounds::accepting_survives_a_shortage_of_descriptors";
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
    refuses_when_descriptors_run_out(&scene, &before);
    let open = || socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let socket = scene.home.client.run(open);
    let old = limit_descriptors(3);
    socket.connect(&scene.tcp("203.0.113.0").into()).unwrap();
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

/// Every number below the limit is taken: new connections are reset at once, and those that are
/// there go on.
fn refuses_when_descriptors_run_out(scene: &Scene, before: &TcpStream) {
    let sockets: Vec<_> = (0..8)
        .map(|_| {
            let open = || socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            scene.home.client.run(open)
        })
        .collect();
    let old = limit_descriptors(256);
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    let mut refused = Vec::new();
    for socket in sockets {
        let start = Instant::now();
        let _ = socket.connect(&scene.tcp("203.0.113.0").into());
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(WAIT)).unwrap();
        assert!(is_reset(&stream));
        assert!(start.elapsed() < Duration::from_secs(1), "at once");
        // Closed, its number could be taken by others of this process.
        refused.push(stream);
    }
    (&*before).write_all(b"x").unwrap();
    (&*before).read_exact(&mut [0; 1]).unwrap();
    drop(taken);
    limit_descriptors(old);
    let stats = scene.router.stats().tcp;
    assert_eq!((stats.refused_shortage, stats.accept_failed), (8, 0));
    assert_eq!((stats.active, stats.workers), (1, 1));
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
