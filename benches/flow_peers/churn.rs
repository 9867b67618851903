//! Flows that come and go: what a busy home does, many times over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;

/// TCP flows at a time.
const TCP_FLOWS: usize = 200;
/// Ports of UDP flows: QUIC, a game.
const QUIC: u16 = 443;
const GAME: u16 = 9;
/// Client ports of UDP flows, in turn: a late answer to one that is over must not meet another
/// that has its port.
const PORTS: std::ops::Range<u16> = 10_000..60_000;
/// Streams that have not moved for so long have failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of it.
#[derive(Default)]
struct Counts {
    udp_flows: AtomicU64,
    sent: AtomicU64,
    returned: AtomicU64,
    /// Came back earlier than one that was sent before it, or twice.
    disordered: AtomicU64,
    /// Came back changed, or to another flow.
    foreign: AtomicU64,
    tcp_flows: AtomicU64,
    tcp_failed: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// xorshift64, so that a run can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// Runs for some seconds with so many new UDP flows in each; prints what came of it as JSON.
pub fn churn(to: &str, seconds: usize, rate: usize) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let to: std::net::IpAddr = to.parse().unwrap();
    let counts = Counts::default();
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    thread::scope(|scope| {
        for number in 0..TCP_FLOWS {
            let counts = &counts;
            let work = move || streams(SocketAddr::new(to, GAME), end, number as u64, counts);
            let small = thread::Builder::new().stack_size(128 << 10);
            small.spawn_scoped(scope, work).unwrap();
        }
        Datagrams::new(&counts).run(to, end, rate);
    });
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{{\"udp_flows\": {}, \"sent\": {}, \"returned\": {}, \"disordered\": {}, \
         \"foreign\": {}, \"tcp_flows\": {}, \"tcp_failed\": {}}}",
        of(&counts.udp_flows),
        of(&counts.sent),
        of(&counts.returned),
        of(&counts.disordered),
        of(&counts.foreign),
        of(&counts.tcp_flows),
        of(&counts.tcp_failed)
    );
}

/// One UDP flow: every datagram says which flow it is of, and its number.
struct Flow {
    socket: UdpSocket,
    serial: u32,
    quic: bool,
    left: u64,
    next: u32,
    heard: u32,
}

struct Datagrams<'a> {
    counts: &'a Counts,
    random: Random,
    flows: Vec<Option<Flow>>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    serial: u32,
    ports: std::iter::Cycle<std::ops::Range<u16>>,
}

impl<'a> Datagrams<'a> {
    fn new(counts: &'a Counts) -> Self {
        Self {
            counts,
            random: Random(0x5eed),
            flows: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
            serial: 0,
            ports: PORTS.cycle(),
        }
    }

    fn run(&mut self, to: std::net::IpAddr, end: Instant, rate: usize) {
        let began = Instant::now();
        loop {
            let now = Instant::now();
            if now >= end && self.due.is_empty() {
                return;
            }
            let passed = now.min(end) - began;
            let opened = (passed.as_secs_f64() * rate as f64) as u32;
            while self.serial < opened {
                self.open(to, now);
            }
            while self.due.peek().is_some_and(|Reverse((due, _))| *due <= now) {
                if let Some(Reverse((_, at))) = self.due.pop() {
                    self.step(at, now);
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn open(&mut self, to: std::net::IpAddr, now: Instant) {
        self.serial += 1;
        let quic = self.random.below(4) == 0;
        let bind = |port| UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, port)).ok();
        let socket = self.ports.find_map(bind).unwrap();
        socket
            .connect((to, if quic { QUIC } else { GAME }))
            .unwrap();
        socket.set_nonblocking(true).unwrap();
        let flow = Flow {
            socket,
            serial: self.serial,
            quic,
            left: 1 + self.random.below(8),
            next: 0,
            heard: 0,
        };
        let at = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() - 1
        });
        self.flows[at] = Some(flow);
        add(&self.counts.udp_flows);
        self.due.push(Reverse((now, at)));
    }

    /// Hears what has come back; says the next thing, or ends the flow.
    fn step(&mut self, at: usize, now: Instant) {
        let Some(flow) = &mut self.flows[at] else {
            return;
        };
        flow.hear(self.counts);
        if flow.left == 0 {
            self.flows[at] = None;
            self.free.push(at);
            return;
        }
        flow.left -= 1;
        flow.say(self.counts);
        // Now and then several at once, where order shows.
        let gap = if self.random.below(3) == 0 {
            0
        } else {
            5 + self.random.below(400)
        };
        let gap = if flow.left == 0 { 300 } else { gap };
        self.due
            .push(Reverse((now + Duration::from_millis(gap), at)));
    }
}

impl Flow {
    fn say(&mut self, counts: &Counts) {
        let mut datagram = vec![0; if self.quic { 1200 } else { 40 }];
        if self.quic {
            // The first bytes of an Initial of version 1 (RFC 9000, 17.2.2).
            datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
        }
        datagram[16..20].copy_from_slice(&self.serial.to_be_bytes());
        datagram[20..24].copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        // Lost, as on the way.
        if self.socket.send(&datagram).is_ok() {
            add(&counts.sent);
        }
    }

    fn hear(&mut self, counts: &Counts) {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let word = |at: usize| {
                let bytes = buffer[..length].get(at..at + 4)?;
                Some(u32::from_be_bytes(bytes.try_into().ok()?))
            };
            match (word(16), word(20)) {
                (Some(serial), Some(number)) if serial == self.serial && number < self.next => {
                    add(&counts.returned);
                    if number < self.heard {
                        add(&counts.disordered);
                    }
                    self.heard = number + 1;
                }
                _ => add(&counts.foreign),
            }
        }
    }
}

/// One TCP flow after the other.
fn streams(to: SocketAddr, end: Instant, number: u64, counts: &Counts) {
    let mut random = Random(0x5eed_0001 + number);
    while Instant::now() < end {
        add(&counts.tcp_flows);
        if stream(to, &mut random).is_err() {
            add(&counts.tcp_failed);
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn stream(to: SocketAddr, random: &mut Random) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let chunk = vec![1; 16 << 10];
    for _ in 0..random.below(20) {
        let length = 1 + random.below(chunk.len() as u64) as usize;
        stream.write_all(&chunk[..length])?;
        thread::sleep(Duration::from_millis(random.below(300)));
    }
    if random.below(10) == 0 {
        // Gone without a word: a reset.
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        return Ok(setsockopt(&stream, Linger, &at_once)?);
    }
    stream.shutdown(Shutdown::Write)?;
    while stream.read(&mut [0; 64])? > 0 {}
    Ok(())
}
