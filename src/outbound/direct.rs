//! Our own connections and sockets, marked so that they are not intercepted again. I/O.

use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use crate::net::batch::{Batch, Packets};
use crate::net::dial;
use crate::net::outbox::{Head, Outbox, Outgoing, Sent};
use crate::net::reactor::Source;

pub(super) async fn tcp(destination: SocketAddr) -> io::Result<Source<TcpStream>> {
    dial::tcp(destination).await
}

/// One socket for every destination, open to every remote: endpoint-independent mapping and
/// filtering (RFC 4787 sections 4.1 and 5).
#[derive(Debug)]
pub struct Socket(Source<UdpSocket>);

impl Socket {
    pub(super) fn new(destination: SocketAddr) -> io::Result<Self> {
        dial::udp(destination).map(Self)
    }

    pub(super) fn send(&self, destination: SocketAddr, payload: &[u8]) -> io::Result<()> {
        self.0.get_ref().send_to(payload, destination).map(drop)
    }

    pub(super) fn send_many<'a>(
        &self,
        outbox: &mut Outbox,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Sent {
        let outgoing = datagrams.map(|(destination, payload)| Outgoing {
            to: Some(destination),
            source: None,
            head: Head::default(),
            payload,
        });
        outbox.send(self.0.as_fd(), outgoing)
    }

    pub(super) fn receive<'a>(&self, batch: &'a mut Batch) -> io::Result<Packets<'a>> {
        batch.take_packets(&self.0)
    }

    pub(super) async fn readable(&self) {
        self.0.readable().await;
    }

    pub(super) fn recv<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(SocketAddr, &'a [u8])> {
        let (length, remote) = self.0.try_read(|socket| socket.recv_from(buffer))?;
        Ok((remote, &buffer[..length]))
    }
}
