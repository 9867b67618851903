//! How flows leave: directly, not at all, or through a node. I/O is in the outbound's own file.

mod blame;
pub mod check;
pub mod dial;
pub mod dice;
mod direct;
pub mod group;
pub mod health;
pub mod network;
mod question;
pub mod report;
pub mod socks5;
pub mod standing;
pub mod ways;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use futures_lite::future;

use crate::config::OutboundKind;
use crate::net::batch::{Batch, Packet, Packets};
use crate::net::dial::within;
use crate::net::outbox::{Outbox, Sent};
use crate::net::reactor::Source;

/// A connection or association that is not up after this long has failed, handshake included.
pub const DIAL_LIMIT: Duration = Duration::from_secs(8);

/// Why an outbound could not carry a flow.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The outbound refuses everything.
    #[error("blocked")]
    Blocked,
    /// There is no such outbound any more.
    #[error("not configured any more")]
    Gone,
    /// Nothing came of it within [`DIAL_LIMIT`].
    #[error("no answer within {} s", DIAL_LIMIT.as_secs())]
    Timeout,
    /// A system call failed: refused, unreachable, out of descriptors, closed by the peer.
    #[error("{0}")]
    Io(io::Error),
    /// The node broke SOCKS5, or refused in its words.
    #[error("socks5: {0}")]
    Socks5(#[from] socks5::wire::Error),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

/// A way out.
#[derive(Debug)]
pub enum Outbound {
    /// Our own connection.
    Direct,
    /// Refused.
    Block,
    /// A SOCKS5 server.
    Socks5(socks5::Server),
}

impl Outbound {
    /// As configured. A group carries nothing itself, so flows are refused: whoever means one
    /// of its nodes asks [`group`] first.
    pub fn new(kind: &OutboundKind) -> Self {
        match kind {
            OutboundKind::Direct => Self::Direct,
            OutboundKind::Block | OutboundKind::Group(_) => Self::Block,
            OutboundKind::Socks5 { addr, login } => {
                Self::Socks5(socks5::Server::new(*addr, login.clone()))
            }
        }
    }

    /// A TCP stream to `destination`, ready for the client's bytes.
    pub async fn tcp(&self, destination: SocketAddr) -> Result<Source<TcpStream>, DialError> {
        within(DIAL_LIMIT, self.open_tcp(destination, &Cell::default())).await
    }

    /// The same without a limit. `answered` is set when the node has said something.
    async fn open_tcp(
        &self,
        destination: SocketAddr,
        answered: &Cell<bool>,
    ) -> Result<Source<TcpStream>, DialError> {
        match self {
            Self::Direct => Ok(direct::tcp(destination).await?),
            Self::Block => Err(DialError::Blocked),
            Self::Socks5(server) => server.connect(destination, answered).await,
        }
    }

    /// One upstream socket for all datagrams of a client, whatever their destinations, which
    /// are of the family of `destination`.
    pub async fn udp(&self, destination: SocketAddr) -> Result<Association, DialError> {
        within(DIAL_LIMIT, self.open_udp(destination, &Cell::default())).await
    }

    /// The same without a limit. `answered` is set when the node has said something.
    async fn open_udp(
        &self,
        destination: SocketAddr,
        answered: &Cell<bool>,
    ) -> Result<Association, DialError> {
        match self {
            Self::Direct => Ok(Association::Direct(direct::Socket::new(destination)?)),
            Self::Block => Err(DialError::Blocked),
            Self::Socks5(server) => Ok(Association::Socks5(server.associate(answered).await?)),
        }
    }
}

/// A client's UDP socket on the far side.
#[derive(Debug)]
pub enum Association {
    /// Our own socket.
    Direct(direct::Socket),
    /// A SOCKS5 association.
    Socks5(socks5::Association),
}

impl Association {
    /// Sends a datagram without waiting; WouldBlock when the send buffer is full.
    pub fn send(&self, destination: SocketAddr, payload: &[u8]) -> io::Result<()> {
        match self {
            Self::Direct(socket) => socket.send(destination, payload),
            Self::Socks5(association) => association.send(destination, payload),
        }
    }

    /// Sends datagrams in order, many per system call, without waiting: what is not taken at
    /// once is dropped.
    pub fn send_many<'a>(
        &self,
        outbox: &mut Outbox,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Sent {
        match self {
            Self::Direct(socket) => socket.send_many(outbox, datagrams),
            Self::Socks5(association) => association.send_many(outbox, datagrams),
        }
    }

    /// Takes what is there without waiting, at most a batch, for [`Self::open`]; errors as those
    /// of [`Self::recv`].
    pub fn receive<'a>(&self, batch: &'a mut Batch) -> io::Result<Packets<'a>> {
        match self {
            Self::Direct(socket) => socket.receive(batch),
            Self::Socks5(association) => association.receive(batch),
        }
    }

    /// The remote that sent a packet, and its payload; InvalidData when there is none.
    pub fn open<'a>(&self, packet: Packet<'a>) -> io::Result<(SocketAddr, &'a [u8])> {
        match self {
            Self::Direct(_) => Ok((packet.from, packet.payload)),
            Self::Socks5(_) => socks5::Association::open(packet.payload),
        }
    }

    /// Waits until a datagram may be there: at once unless [`Self::recv`] said WouldBlock.
    pub async fn readable(&self) {
        match self {
            Self::Direct(socket) => socket.readable().await,
            Self::Socks5(association) => association.readable().await,
        }
    }

    /// Waits until the far side ends the association, and says why.
    pub async fn ended(&self) -> io::Error {
        match self {
            Self::Direct(_) => future::pending().await,
            Self::Socks5(association) => association.ended().await,
        }
    }

    /// Takes one datagram without waiting, with the remote that sent it; WouldBlock when
    /// there is none. InvalidData is about that datagram alone, other errors end the
    /// association. `buffer` holds any datagram, headers included, when it has
    /// [`MAX_DATAGRAM`] bytes.
    pub fn recv<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(SocketAddr, &'a [u8])> {
        match self {
            Self::Direct(socket) => socket.recv(buffer),
            Self::Socks5(association) => association.recv(buffer),
        }
    }
}

/// No UDP datagram is longer, bytes.
pub const MAX_DATAGRAM: usize = 65_535;
