//! Upstreams and clients by UDP, as small as can be: one A record for every question.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::bpf::netns::Namespace;

/// A server that answers every question with its own address, after a while. Dropped, it ends.
pub struct Upstream {
    /// How often each name was asked.
    pub asked: Arc<Mutex<HashMap<String, u32>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    /// On port 53 of an address of the namespace.
    pub fn start(namespace: &Namespace, addr: Ipv4Addr, delay: Duration) -> Self {
        let socket = namespace.enter(|| UdpSocket::bind((addr, 53)).unwrap());
        socket
            .set_read_timeout(Some(Duration::from_millis(2)))
            .unwrap();
        let asked = Arc::<Mutex<HashMap<_, _>>>::default();
        let end = Arc::<AtomicBool>::default();
        let (note, over) = (Arc::clone(&asked), Arc::clone(&end));
        let serve = move || {
            let mut waiting: VecDeque<(Instant, Vec<u8>, SocketAddr)> = VecDeque::new();
            let mut buffer = [0; 512];
            while !over.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let query = &buffer[..length];
                    *note.lock().unwrap().entry(name(query)).or_default() += 1;
                    waiting.push_back((Instant::now() + delay, answer(query, addr), from));
                }
                while waiting
                    .front()
                    .is_some_and(|(at, ..)| *at <= Instant::now())
                {
                    let (_, message, to) = waiting.pop_front().unwrap();
                    let _ = socket.send_to(&message, to);
                }
            }
        };
        Self {
            asked,
            end,
            thread: Some(std::thread::spawn(serve)),
        }
    }

    /// How often this name was asked.
    pub fn count(&self, name: &str) -> u32 {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// What a client has seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub sent: u32,
    pub answered: u32,
    /// Of these, those that were not NOERROR, by their code.
    pub failed: BTreeMap<u8, u32>,
}

/// Asks without pause until told to end; questions that got no answer in 5 s are lost.
pub struct Load {
    end: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// So many questions a second from the namespace: one half for `hot`, one for names that
    /// were never asked, below `fresh`.
    pub fn start(
        namespace: &Namespace,
        server: SocketAddr,
        rate: u32,
        hot: &'static str,
        fresh: &'static str,
    ) -> Self {
        let socket = namespace.enter(|| UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.connect(server).unwrap();
        let end = Arc::<AtomicBool>::default();
        let seen = Arc::<Mutex<Seen>>::default();
        let (over, note) = (Arc::clone(&end), Arc::clone(&seen));
        let work = move || ask(&socket, rate, [hot, fresh], &over, &note);
        Self {
            end,
            seen,
            thread: Some(std::thread::spawn(work)),
        }
    }

    /// As far as it is.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Ends and waits for the last answers.
    pub fn finish(mut self) -> Seen {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.seen()
    }
}

fn ask(socket: &UdpSocket, rate: u32, names: [&str; 2], over: &AtomicBool, note: &Mutex<Seen>) {
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let (start, mut sent) = (Instant::now(), 0u32);
    let mut waiting = HashSet::new();
    let mut last = Instant::now();
    let mut buffer = [0; 512];
    loop {
        let sending = !over.load(Ordering::Relaxed);
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        while sending && sent < due {
            let id = sent as u16;
            let name = match sent % 2 {
                0 => names[0].to_owned(),
                _ => format!("n{sent}.{}", names[1]),
            };
            socket.send(&query(id, &name)).unwrap();
            assert!(waiting.insert(id), "65,536 wait");
            sent += 1;
            last = Instant::now();
            note.lock().unwrap().sent = sent;
        }
        while let Ok(length) = socket.recv(&mut buffer) {
            let id = u16::from_be_bytes([buffer[0], buffer[1]]);
            if length > 12 && waiting.remove(&id) {
                let mut seen = note.lock().unwrap();
                seen.answered += 1;
                match buffer[3] & 15 {
                    0 => {}
                    code => *seen.failed.entry(code).or_default() += 1,
                }
            }
        }
        if !sending && (waiting.is_empty() || last.elapsed() > Duration::from_secs(5)) {
            return;
        }
    }
}

/// Asks once, within 5 s: the address of the answer; None for an answer without one.
pub fn lookup(namespace: &Namespace, server: SocketAddr, name: &str) -> Option<Ipv4Addr> {
    let mut buffer = [0; 512];
    let wait = Duration::from_secs(5);
    let length = ask_once(namespace, server, name, wait, &mut buffer).unwrap();
    let answers = u16::from_be_bytes([buffer[6], buffer[7]]);
    // Our queries have no EDNS, so the last record is the answer's.
    let addr: [u8; 4] = buffer[length - 4..length].try_into().unwrap();
    (answers > 0).then(|| addr.into())
}

/// Whether anything is answered within that time.
pub fn answers(namespace: &Namespace, server: SocketAddr, name: &str, wait: Duration) -> bool {
    ask_once(namespace, server, name, wait, &mut [0; 512]).is_ok()
}

fn ask_once(
    namespace: &Namespace,
    server: SocketAddr,
    name: &str,
    wait: Duration,
    buffer: &mut [u8],
) -> std::io::Result<usize> {
    let socket = namespace.enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    socket.set_read_timeout(Some(wait)).unwrap();
    socket.send_to(&query(7, name), server).unwrap();
    socket.recv(buffer)
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

/// The question's end.
fn question_end(query: &[u8]) -> usize {
    let mut at = 12;
    while query[at] != 0 {
        at += 1 + usize::from(query[at]);
    }
    at + 5
}

fn name(query: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]));
        at = end;
    }
    labels.join(".")
}

fn answer(query: &[u8], addr: Ipv4Addr) -> Vec<u8> {
    let mut message = query[..question_end(query)].to_vec();
    message[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    // Type A, class IN, TTL an hour.
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4]);
    message.extend(addr.octets());
    message
}
