//! Clients by UDP: many datagrams per system call, answers from the cache at once. I/O.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::forward::{Origin, Outcome};
use super::server::{Client, Server};
use crate::net::batch::Batch;
use crate::net::reactor::{Interest, Source, Timer};
use crate::net::reply::send_from;

/// Datagrams per system call.
const BATCH: usize = 32;

/// Longest query by UDP: a question is at most 271 bytes, the rest is padding and options.
const MAX_QUERY: usize = 1536;

/// After so many full batches in a row the other tasks have their turn.
const TURN: u32 = 4;

/// Pause after an error of the socket; nothing is known to cause one.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that clients send to.
pub struct UdpListener {
    socket: Source<UdpSocket>,
    /// Clients asked another server than us.
    pub(super) transparent: bool,
}

impl UdpListener {
    /// Wraps a socket that reports destinations.
    pub fn new(socket: UdpSocket, transparent: bool) -> io::Result<Self> {
        Ok(Self {
            socket: Source::new(socket, Interest::Read)?,
            transparent,
        })
    }

    /// Answers a client of a socket that is not transparent.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, message: &[u8]) -> io::Result<()> {
        send_from(self.socket.get_ref(), to, from, message)
    }
}

/// Answers of one batch, one after the other in one piece of memory.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    /// Client, server asked, and where the answer ends.
    ends: Vec<(SocketAddr, SocketAddr, usize)>,
}

impl Server {
    /// Serves one listener, for ever.
    pub(super) async fn serve_udp(self: Rc<Self>, at: usize) {
        let mut batch = Batch::new(BATCH, MAX_QUERY);
        let mut answers = Answers::default();
        let mut turn = 0;
        loop {
            if let Err(error) = self.serve_batch(at, &mut batch, &mut answers).await {
                log::warn!(event = "dns.receive", reason:% = error; "");
                Timer::after(PAUSE).await;
            }
            turn = if batch.is_full() { turn + 1 } else { 0 };
            if turn == TURN {
                turn = 0;
                future::yield_now().await;
            }
        }
    }

    async fn serve_batch(
        self: &Rc<Self>,
        at: usize,
        batch: &mut Batch,
        answers: &mut Answers,
    ) -> io::Result<()> {
        let listener = &self.udp[at];
        let datagrams = batch.recv(&listener.socket).await?;
        let now = Instant::now();
        let Answers { bytes, ends } = answers;
        bytes.clear();
        ends.clear();
        let mut forwarder = self.forwarder.borrow_mut();
        for datagram in datagrams {
            let (from, to) = (datagram.from, datagram.to);
            let asked = listener.transparent.then_some(to);
            let client = Client::Udp {
                listener: at,
                from,
                to,
            };
            let origin = Origin {
                client: &client,
                from: from.ip(),
                asked,
                tcp: false,
            };
            match forwarder.query(now, &origin, datagram.payload, bytes) {
                Outcome::Answered => ends.push((from, to, bytes.len())),
                Outcome::Waiting | Outcome::Dropped => {}
            }
        }
        let waiting = forwarder.has_effects();
        drop(forwarder);
        let mut start = 0;
        for &(from, to, end) in &*ends {
            self.reply_udp(at, from, to, &bytes[start..end]);
            start = end;
        }
        if waiting {
            self.carry_out();
        }
        Ok(())
    }
}
