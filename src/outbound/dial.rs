//! Dials by a way out: the nodes of a group one after the other, and health learns of it. I/O.
//!
//! A node that fails makes room for the next at once. One that has not said a word within
//! [`PATIENCE`] keeps its chance while the next one begins beside it; the first that is through
//! wins. So a node that is dead costs a flow that time at most, whatever it died of.

mod race;

pub use race::PATIENCE;

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::network::Network;
use super::socks5::wire::Command;
use super::ways::{Way, WayId, Ways};
use super::{Association, DialError};
use crate::net::batch::{Batch, Packet, Packets};
use crate::net::outbox::{Outbox, Sent};
use crate::net::reactor::Source;
use crate::rules::Proto;
use race::{Opening, Race, Up};

/// A TCP stream to `to` by way of `asked`, and what carries it.
pub async fn tcp(
    ways: &Rc<Ways>,
    asked: WayId,
    to: SocketAddr,
) -> Result<(Carrier, Source<TcpStream>), DialError> {
    let network = Network::of(Proto::Tcp, to);
    let open = |way: Rc<Way>, answered: Rc<Cell<bool>>| {
        let dial = async move { way.outbound.open_tcp(to, &answered).await };
        Box::pin(dial) as Opening<Source<TcpStream>>
    };
    let race = Race::new(ways, (network, to.ip()), Command::Connect, &open);
    let Up { way, io, took } = race.run(asked).await?;
    ways.dial_ok(&way, (network, to.ip()), took, Instant::now());
    let carrier = Carrier::new(ways, asked, way, network);
    Ok((carrier, io))
}

/// A UDP association for datagrams of the family of `to` by way of `asked`.
pub async fn udp(ways: &Rc<Ways>, asked: WayId, to: SocketAddr) -> Result<Link, DialError> {
    let network = Network::of(Proto::Udp, to);
    let open = |way: Rc<Way>, answered: Rc<Cell<bool>>| {
        let dial = async move { way.outbound.open_udp(to, &answered).await };
        Box::pin(dial) as Opening<Association>
    };
    let race = Race::new(ways, (network, to.ip()), Command::UdpAssociate, &open);
    let Up { way, io, took } = race.run(asked).await?;
    Ok(Link {
        carrier: Carrier::new(ways, asked, way, network),
        association: io,
        took,
        proven: Cell::new(false),
    })
}

/// The way that carries something, and when it was chosen.
#[derive(Debug)]
pub struct Carrier {
    /// What carries it.
    pub way: Rc<Way>,
    ways: Rc<Ways>,
    asked: WayId,
    network: Network,
    /// [`Ways::choices`] at that time.
    choices: u64,
}

impl Carrier {
    fn new(ways: &Rc<Ways>, asked: WayId, way: Rc<Way>, network: Network) -> Self {
        Self {
            way,
            ways: Rc::clone(ways),
            asked,
            network,
            choices: ways.choices(),
        }
    }

    /// Whether something new would rather go another way: the node is dead or configured no more,
    /// a member was chosen by hand meanwhile, or a group needs its last resort no longer.
    pub fn is_stale(&self) -> bool {
        self.way.is_dead(self.network)
            || self.ways.choices() != self.choices
            || self.was_last_resort()
    }

    fn was_last_resort(&self) -> bool {
        let by_itself = self.way.id == self.asked;
        let uses = || self.ways.candidates(self.asked, self.network);
        self.way.is_direct() && !by_itself && uses().first().is_some_and(|way| !way.is_direct())
    }
}

/// An association, and the way that carries it. That a node gave one does not mean that
/// datagrams pass; the first that comes back is proof, and told to health.
#[derive(Debug)]
pub struct Link {
    /// What carries it.
    pub carrier: Carrier,
    association: Association,
    /// The time that the association took.
    took: Duration,
    /// A datagram came back.
    proven: Cell<bool>,
}

impl Link {
    /// As [`Association::send`].
    pub fn send(&self, destination: SocketAddr, payload: &[u8]) -> io::Result<()> {
        self.association.send(destination, payload)
    }

    /// As [`Association::send_many`].
    pub fn send_many<'a>(
        &self,
        outbox: &mut Outbox,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Sent {
        self.association.send_many(outbox, datagrams)
    }

    /// As [`Association::receive`].
    pub fn receive<'a>(&self, batch: &'a mut Batch) -> io::Result<Packets<'a>> {
        self.association.receive(batch)
    }

    /// As [`Association::open`].
    pub fn open<'a>(&self, packet: Packet<'a>) -> io::Result<(SocketAddr, &'a [u8])> {
        let opened = self.association.open(packet)?;
        self.prove(opened.0.ip());
        Ok(opened)
    }

    /// As [`Association::readable`].
    pub async fn readable(&self) {
        self.association.readable().await;
    }

    /// As [`Association::ended`].
    pub async fn ended(&self) -> io::Error {
        self.association.ended().await
    }

    /// As [`Association::recv`].
    pub fn recv<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(SocketAddr, &'a [u8])> {
        let received = self.association.recv(buffer)?;
        self.prove(received.0.ip());
        Ok(received)
    }

    /// A datagram came back.
    fn prove(&self, far: IpAddr) {
        if !self.proven.replace(true) {
            let Carrier {
                way, ways, network, ..
            } = &self.carrier;
            ways.dial_ok(way, (*network, far), self.took, Instant::now());
        }
    }
}
