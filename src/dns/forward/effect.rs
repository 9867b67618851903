//! What the forwarder wants done.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::super::attempt::AttemptId;
use super::super::health::Turn;
use super::super::upstream::Server;
use super::super::wire::Addresses;

/// What the loops have to do. `C` names a client. Messages to upstreams have ID 0: who sends
/// them chooses the ID on the wire, and gives the answer back with ID 0.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<C> {
    /// Send by UDP.
    SendUdp {
        /// The attempt.
        attempt: AttemptId,
        /// Whom to.
        server: Server,
        /// Where to.
        addr: SocketAddr,
        /// The query.
        message: Vec<u8>,
        /// A repetition: leave by another socket than before, and listen to both.
        fresh: bool,
    },
    /// Nobody waits for the attempt's answer by UDP any more.
    EndUdp {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Send by TCP, TLS or HTTPS.
    SendStream {
        /// The attempt.
        attempt: AttemptId,
        /// Whom to.
        server: Server,
        /// Where to.
        addr: SocketAddr,
        /// The query, without its length.
        message: Vec<u8>,
        /// A repetition: use another connection than before, and listen to both.
        fresh: bool,
    },
    /// Nobody waits for the attempt's answer by stream any more.
    EndStream {
        /// The attempt.
        attempt: AttemptId,
        /// The server was silent for too long.
        timed_out: bool,
    },
    /// A name has these addresses; before the answer that says so.
    Learn {
        /// Lower case, no final dot.
        name: Rc<str>,
        /// A, AAAA and address hints of the answer.
        addrs: Addresses,
        /// Smallest TTL of the answer, seconds.
        ttl: u32,
    },
    /// Tell the log.
    Tell(News),
    /// Answer a client.
    Reply {
        /// Which.
        client: C,
        /// The message, without a length.
        message: Vec<u8>,
    },
}

/// What the log is told.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Nobody answered; the SERVFAILs follow.
    Failed {
        /// Name asked for.
        name: String,
        /// Who was asked last.
        upstream: Rc<str>,
    },
    /// An answer was withheld.
    Withheld {
        /// Name asked for.
        name: String,
        /// Who gave it.
        upstream: Rc<str>,
        /// Why.
        reason: &'static str,
    },
    /// What has become of an upstream.
    Turned {
        /// Which.
        upstream: Rc<str>,
        /// What happened.
        turn: Turn,
    },
}

/// What became of a query at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was appended.
    Answered,
    /// An [`Effect::Reply`] will come.
    Waiting,
    /// No answer will come.
    Dropped,
}

/// Where a message of a client came from.
#[derive(Debug)]
pub struct Origin<'a, C> {
    /// Whom the answer goes to.
    pub client: &'a C,
    /// The client's address, by which its queries are counted.
    pub from: IpAddr,
    /// The server that it asked; None on a local listener.
    pub asked: Option<SocketAddr>,
    /// By TCP.
    pub tcp: bool,
}
