//! An upstream that can misbehave in every way. What it does is in the first label of the name
//! asked for: `drop-udp.example` is never answered by UDP. Several stand behind one another:
//! `tc-udp--refuse.example`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::Message;

use crate::messages::answer;

/// What an upstream saw.
#[derive(Default)]
pub struct Seen {
    /// Names by UDP, in order.
    pub udp: Mutex<Vec<String>>,
    /// Names by TCP, in order.
    pub tcp: Mutex<Vec<String>>,
    pub connections: AtomicUsize,
    /// Source ports and IDs of the UDP queries.
    pub ports: Mutex<Vec<(u16, u16)>>,
    over: AtomicBool,
}

/// Runs until dropped.
pub struct Upstream {
    pub addr: SocketAddr,
    pub seen: Arc<Seen>,
}

/// Which transports answer.
#[derive(Clone, Copy, PartialEq)]
pub enum Speaks {
    Both,
    /// The UDP port is closed.
    OnlyTcp,
    /// The TCP port is closed.
    OnlyUdp,
}

impl Upstream {
    pub fn start(speaks: Speaks) -> Self {
        Self::start_at("127.0.0.1:0", speaks)
    }

    pub fn start_at(addr: &str, speaks: Speaks) -> Self {
        let seen = Arc::new(Seen::default());
        // Both on one port; another test may have taken one of the two.
        let (listener, socket) = (0..100)
            .find_map(|_| {
                let listener = TcpListener::bind(addr).unwrap();
                let socket = UdpSocket::bind(listener.local_addr().unwrap()).ok()?;
                Some((listener, socket))
            })
            .unwrap();
        let addr = socket.local_addr().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        if speaks != Speaks::OnlyTcp {
            let seen = Arc::clone(&seen);
            thread::spawn(move || serve_udp(&socket, &seen));
        }
        if speaks != Speaks::OnlyUdp {
            let seen = Arc::clone(&seen);
            listener.set_nonblocking(true).unwrap();
            thread::spawn(move || accept(&listener, &seen));
        }
        Self { addr, seen }
    }

    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.addr)
    }

    pub fn udp_queries(&self) -> usize {
        self.seen.udp.lock().unwrap().len()
    }

    pub fn tcp_queries(&self) -> usize {
        self.seen.tcp.lock().unwrap().len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
    }
}

/// The name of a query and the faults in its first label.
pub fn read(query: &Message) -> (String, Vec<String>) {
    let name = query.queries()[0].name().to_ascii().to_lowercase();
    let first = name.split('.').next().unwrap();
    let faults = first.split("--").map(ToOwned::to_owned).collect();
    (name, faults)
}

const GOOD: &str = "A:300:192.0.2.1";

pub fn good(query: &Message, faults: &[String]) -> Vec<u8> {
    let has = |fault: &str| faults.iter().any(|other| other == fault);
    let words = match () {
        () if has("nx") => "nxdomain SOA:900:60",
        () if has("short") => "A:1:192.0.2.1",
        () if has("servfail") => "servfail",
        () if has("big") => "A*100:300",
        () => GOOD,
    };
    answer(query, words).to_vec().unwrap()
}

fn serve_udp(socket: &UdpSocket, seen: &Seen) {
    let mut buffer = [0; 4096];
    while !seen.over.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let query = Message::from_vec(&buffer[..length]).unwrap();
        let (name, faults) = read(&query);
        let mut all = seen.udp.lock().unwrap();
        let earlier = all.iter().filter(|other| **other == name).count();
        all.push(name);
        drop(all);
        seen.ports.lock().unwrap().push((from.port(), query.id()));
        let mut reply = good(&query, &faults);
        for fault in &faults {
            match fault.as_str() {
                "drop-udp" => reply.clear(),
                "drop-first" if earlier == 0 => reply.clear(),
                "tc-udp" => reply = answer(&query, &format!("tc {GOOD}")).to_vec().unwrap(),
                "garbage-udp" => reply = vec![0x5a; 33],
                "cut-udp" => reply.truncate(reply.len() - 20),
                "wrong-id" | "wrong-question" => {
                    let mut wrong = query.clone();
                    if fault == "wrong-id" {
                        wrong.set_id(query.id().wrapping_add(1));
                    } else {
                        wrong = crate::messages::query(query.id(), "other.example", "A");
                    }
                    let wrong = answer(&wrong, "A:300:203.0.113.66").to_vec().unwrap();
                    socket.send_to(&wrong, from).unwrap();
                }
                "slow" => thread::sleep(Duration::from_millis(100)),
                _ => {}
            }
        }
        if !reply.is_empty() {
            // Who asked may be out of reach by now.
            let _ = socket.send_to(&reply, from);
        }
    }
}

fn accept(listener: &TcpListener, seen: &Arc<Seen>) {
    while !seen.over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                seen.connections.fetch_add(1, Ordering::Relaxed);
                let seen = Arc::clone(seen);
                stream.set_nonblocking(false).unwrap();
                thread::spawn(move || serve_tcp(stream, &seen));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// One connection. `late-tcp` answers go out behind the next other one.
fn serve_tcp(mut stream: TcpStream, seen: &Seen) -> Option<()> {
    let mut late: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut bytes).ok()?;
        let query = Message::from_vec(&bytes).unwrap();
        let (name, faults) = read(&query);
        let mut all = seen.tcp.lock().unwrap();
        let earlier = all.iter().filter(|other| **other == name).count();
        all.push(name);
        drop(all);
        let reply = good(&query, &faults);
        let mut frame = (reply.len() as u16).to_be_bytes().to_vec();
        frame.extend(reply);
        let has = |fault: &str| faults.iter().any(|other| other == fault);
        if has("close") || has("close-first") && earlier == 0 {
            return None;
        }
        if has("cut-tcp") {
            let half = frame.len() / 2;
            stream.write_all(&frame[..half]).ok()?;
            return None;
        }
        if has("drop-tcp") {
            continue;
        }
        if has("late-tcp") {
            late.push(frame);
            continue;
        }
        stream.write_all(&frame).ok()?;
        for frame in late.drain(..) {
            stream.write_all(&frame).ok()?;
        }
        if has("close-after") {
            // What is still to be read would turn the close into a reset.
            stream.shutdown(std::net::Shutdown::Write).ok()?;
            let mut rest = [0; 4096];
            while stream.read(&mut rest).ok()? > 0 {}
            return None;
        }
    }
}
