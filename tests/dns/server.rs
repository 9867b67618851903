//! Our server in a thread, and clients that ask it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::dns::{DnsStats, Listeners, Server, UpstreamState};
use dae::net::reactor::{self, Interest, Source};
use dae::net::{listen, reply::Replier};
use dae::outbound::ways::Ways;
use futures_lite::future;
use hickory_proto::op::Message;

use crate::home::Namespace;
use crate::messages::{describe, query};

/// What a server learnt: name, addresses, TTL.
pub type Learnt = Arc<Mutex<Vec<(String, Vec<IpAddr>, u32)>>>;

/// A running server; dropped, it ends.
pub struct Running {
    /// Local listener.
    pub addr: SocketAddr,
    pub learnt: Learnt,
    /// Thread of the server.
    pub thread_id: i32,
    control: UnixDatagram,
    thread: Option<JoinHandle<()>>,
}

/// A configuration with these upstreams and options of `config dns`.
pub fn config(upstream: &str, options: &[&str]) -> String {
    let options: String = options
        .iter()
        .map(|option| format!("\toption {option}\n"))
        .collect();
    format!(
        "config dae 'main'\n\tlist interface 'lan'\nconfig dns 'dns'\n\toption enabled '1'\n\
         \tlist listen '127.0.0.1:5354'\n\toption upstream 'up'\n\tlist local_domain 'lan'\n{options}\
         config upstream 'up'\n\toption url '{upstream}'\n"
    )
}

impl Running {
    /// On a port of loopback, whatever the configuration says.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, None)
    }

    /// In a namespace, with transparent listeners that answer for every server on port 53.
    pub fn start_transparent(config: &str, namespace: &Namespace) -> Self {
        Self::start_with(config, Some(namespace))
    }

    fn start_with(config: &str, namespace: Option<&Namespace>) -> Self {
        let config = Config::parse("test", config.as_bytes()).unwrap();
        let (control, theirs) = UnixDatagram::pair().unwrap();
        let learnt = Learnt::default();
        let notes = Arc::clone(&learnt);
        let (tell, told) = std::sync::mpsc::channel();
        let transparent = namespace.is_some();
        let serve = move || {
            let mut listeners = Listeners::default();
            let local = if transparent {
                "0.0.0.0:0"
            } else {
                "127.0.0.1:0"
            };
            // Both on one port; somebody else may have one of the two.
            let free = || {
                let udp = listen::plain_udp(local.parse().unwrap()).ok()?;
                let tcp = listen::plain_tcp(udp.local_addr().unwrap()).ok()?;
                Some((udp, tcp))
            };
            let (udp, tcp) = (0..100).find_map(|_| free()).unwrap();
            let addr = udp.local_addr().unwrap();
            listeners.local_udp.push(udp);
            listeners.local_tcp.push(tcp);
            if transparent {
                for any in ["0.0.0.0:53", "[::]:53"] {
                    let any = any.parse().unwrap();
                    let udp = listen::plain_udp(any).unwrap();
                    let tcp = listen::plain_tcp(any).unwrap();
                    allow_any_source(&tcp, any);
                    listeners.transparent_udp.push(udp);
                    listeners.transparent_tcp.push(tcp);
                }
            }
            let replier = transparent.then(|| Rc::new(Replier::new().unwrap()));
            let learn = Rc::new(move |name: Rc<str>, addrs: &[IpAddr], ttl| {
                notes
                    .lock()
                    .unwrap()
                    .push((name.to_string(), addrs.to_vec(), ttl));
            });
            let ways = Ways::new(&config, 1, Instant::now());
            let server = Server::new(&config, ways, listeners, replier, learn).unwrap();
            // SAFETY: no arguments.
            tell.send((addr, unsafe { libc::gettid() })).unwrap();
            theirs.set_nonblocking(true).unwrap();
            let control = Source::new(theirs, Interest::Both).unwrap();
            let run = future::or(Rc::clone(&server).run(), serve_control(&server, &control));
            reactor::block_on(run);
        };
        let thread = match namespace {
            Some(namespace) => namespace.spawn(serve),
            None => std::thread::spawn(serve),
        };
        let (addr, thread_id) = told.recv().unwrap();
        Self {
            addr,
            learnt,
            thread_id,
            control,
            thread: Some(thread),
        }
    }

    /// Counters and state of now.
    pub fn stats(&self) -> DnsStats {
        self.control.send(b"stats").unwrap();
        let mut buffer = vec![0; 65_536];
        let length = self.control.recv(&mut buffer).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&buffer[..length]).unwrap();
        from_json(&value)
    }

    /// Waits until the statistics are as wanted.
    pub fn wait_for(&self, what: &str, holds: impl Fn(&DnsStats) -> bool) -> DnsStats {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let stats = self.stats();
            if holds(&stats) {
                return stats;
            }
            assert!(Instant::now() < end, "{what}: {stats:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A client by UDP.
    pub fn udp(&self) -> Client {
        Client::udp(self.addr)
    }

    /// A client by TCP.
    pub fn tcp(&self) -> Client {
        Client::tcp(self.addr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.control.send(b"end");
        let ended = self.thread.take().unwrap().join();
        assert!(
            ended.is_ok() || std::thread::panicking(),
            "the server panicked"
        );
    }
}

/// Lets a listener answer for addresses that are not ours.
fn allow_any_source(listener: &std::net::TcpListener, addr: SocketAddr) {
    let (level, option) = match addr {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_TRANSPARENT),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TRANSPARENT),
    };
    let one: libc::c_int = 1;
    let value = std::ptr::from_ref(&one).cast();
    let length = size_of_val(&one) as u32;
    // SAFETY: value and length describe a c_int that lives during the call.
    let result = unsafe { libc::setsockopt(listener.as_raw_fd(), level, option, value, length) };
    assert_eq!(result, 0, "needs root");
}

async fn serve_control(server: &Server, control: &Source<UnixDatagram>) {
    let mut buffer = [0; 16];
    while let Ok(length) = control.read_with(|control| control.recv(&mut buffer)).await {
        if &buffer[..length] != b"stats" {
            return;
        }
        let stats = serde_json::to_vec(&server.stats()).unwrap();
        control
            .write_with(|control| control.send(&stats))
            .await
            .unwrap();
    }
}

/// `DnsStats` can be written only; tests read what users see.
fn from_json(value: &serde_json::Value) -> DnsStats {
    let number = |value: &serde_json::Value, key: &str| value[key].as_u64().unwrap();
    let place = |value: &serde_json::Value, key: &str| number(value, key) as usize;
    let mut stats = DnsStats {
        queries: number(value, "queries"),
        malformed: number(value, "malformed"),
        rejected: number(value, "rejected"),
        refused: number(value, "refused"),
        overflowed: number(value, "overflowed"),
        refused_client: number(value, "refused_client"),
        stale: number(value, "stale"),
        local_faults: number(value, "local_faults"),
        servfail: number(value, "servfail"),
        followers: number(value, "followers"),
        repeated: number(value, "repeated"),
        departures: number(value, "departures"),
        flights: place(value, "flights"),
        waiting: place(value, "waiting"),
        unsent: number(value, "unsent"),
        upstream_sockets: place(value, "upstream_sockets"),
        upstream_exhausted: number(value, "upstream_exhausted"),
        upstream_late: number(value, "upstream_late"),
        upstream_connections: place(value, "upstream_connections"),
        ..DnsStats::default()
    };
    let (cache, tcp) = (&value["cache"], &value["tcp"]);
    stats.cache.hits = number(cache, "hits");
    stats.cache.evicted = number(cache, "evicted");
    stats.cache.entries = place(cache, "entries");
    stats.cache.bytes = place(cache, "bytes");
    stats.tcp.accepted = number(tcp, "accepted");
    stats.tcp.open = place(tcp, "open");
    stats.tcp.displaced = number(tcp, "displaced");
    stats.tcp.timed_out = number(tcp, "timed_out");
    let upstreams = value["upstreams"].as_array().unwrap();
    stats.upstreams = upstreams
        .iter()
        .map(|upstream| dae::dns::UpstreamStats {
            name: upstream["name"].as_str().unwrap().to_owned(),
            sent_udp: number(upstream, "sent_udp"),
            sent_stream: number(upstream, "sent_stream"),
            answered_udp: number(upstream, "answered_udp"),
            answered_stream: number(upstream, "answered_stream"),
            timeouts: number(upstream, "timeouts"),
            fallbacks: number(upstream, "fallbacks"),
            failures: number(upstream, "failures"),
            foreign: number(upstream, "foreign"),
            udp_dead: upstream["udp_dead"].as_bool().unwrap(),
            latency_ms: upstream["latency_ms"].as_f64(),
            state: match upstream["state"].as_str() {
                Some("up") => UpstreamState::Up,
                _ => UpstreamState::Down,
            },
        })
        .collect();
    stats
}

/// A client with one socket.
pub enum Client {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Longer than the server ever takes.
const PATIENCE: Duration = Duration::from_secs(6);

impl Client {
    pub fn udp(addr: SocketAddr) -> Self {
        let any = if addr.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(addr).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::Udp(socket)
    }

    pub fn tcp(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::Tcp(stream)
    }

    pub fn send(&mut self, message: &Message) {
        self.send_bytes(&message.to_vec().unwrap());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Self::Tcp(stream) => {
                let mut frame = (bytes.len() as u16).to_be_bytes().to_vec();
                frame.extend(bytes);
                stream.write_all(&frame).unwrap();
            }
        }
    }

    /// The next answer, in words.
    pub fn receive(&mut self) -> String {
        describe(&self.receive_bytes().expect("an answer in time"))
    }

    pub fn receive_bytes(&mut self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                let length = socket.recv(&mut buffer)?;
                buffer.truncate(length);
                Ok(buffer)
            }
            Self::Tcp(stream) => {
                let mut length = [0; 2];
                stream.read_exact(&mut length)?;
                let mut buffer = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut buffer)?;
                Ok(buffer)
            }
        }
    }

    /// Asks for so many names at once, with IDs from 0; each must get its own good answer.
    pub fn ask_at_once(&mut self, count: u16, name: impl Fn(u16) -> String) {
        for number in 0..count {
            self.send(&query(number, &name(number), "A"));
        }
        let answers: Vec<_> = (0..count).map(|_| self.receive()).collect();
        for number in 0..count {
            let (head, wanted) = (
                format!("id={number} noerror "),
                format!(" {} A A:", name(number)),
            );
            let good = answers
                .iter()
                .filter(|it| it.starts_with(&head) && it.contains(&wanted));
            let good = good.filter(|it| it.contains(":192.0.2.1"));
            assert_eq!(good.count(), 1, "{head}{wanted}: {answers:#?}");
        }
    }

    /// Asks for an A record with ID 7.
    pub fn ask(&mut self, name: &str) -> String {
        self.send(&query(7, name, "A"));
        self.receive()
    }
}
