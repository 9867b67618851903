//! Upstreams by UDP: connected sockets, shared as [`super::udp_pool`] says. I/O.
//!
//! A connected socket hears one server only. One task listens to all of them. What goes through
//! a node has associations instead ([`super::udp_node`]).

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Instant;

use super::attempt::{AttemptId, Fault};
use super::server::{Server, random_ids};
use super::udp_ids::Heard;
use super::udp_node::NodeSocket;
use super::udp_pool::{DIRECT, NODE, Place, Pool, SocketId, Unplaced};
use super::upstream::{self, UpstreamId};
use super::wire::{self, MAX_UDP};
use crate::config;
use crate::net::dial;
use crate::net::reactor::Watch;
use crate::outbound::network::Network;
use crate::outbound::ways::{WayId, Ways};
use crate::rules::Proto;

/// Datagrams taken from one socket before the next one has its turn.
const DRAIN: usize = 8;

/// Sockets of the attempts that have their UDP leg open.
pub struct Exchanges {
    pool: RefCell<Pool<Peer, AttemptId, Way>>,
    ways: Rc<Ways>,
    /// What upstreams are asked by, None: directly. Those of the configuration, then those that
    /// went with the last change.
    nodes: RefCell<Vec<(UpstreamId, Option<WayId>)>>,
    /// How many of these are configured.
    configured: Cell<usize>,
    watch: Watch,
    random: RefCell<Box<dyn FnMut() -> u16>>,
    /// For every datagram that comes; none is looked at for longer than a call. A longer one
    /// is cut, does not make sense any more, and TCP takes over.
    buffer: RefCell<Box<[u8]>>,
    exhausted: Cell<u64>,
    late: Cell<u64>,
}

/// Who is asked, and by which way unless directly: queries that agree here share sockets.
type Peer = (SocketAddr, Option<WayId>);

/// A socket as the pool holds it.
enum Way {
    /// Connected to this server.
    Direct(UdpSocket, SocketAddr),
    Node(NodeSocket),
}

/// A query on its way out.
pub struct Parcel<'a> {
    /// The attempt.
    pub attempt: AttemptId,
    /// Whom to.
    pub to: upstream::Server,
    /// Where to.
    pub addr: SocketAddr,
    /// A repetition that shall leave by another socket than before.
    pub fresh: bool,
    /// The query; its ID is overwritten.
    pub message: &'a mut [u8],
}

/// A socket that could not send.
struct Broken {
    socket: SocketId,
    /// Opened for this query.
    new: bool,
    error: io::Error,
}

impl Exchanges {
    /// None open.
    pub fn new(ways: Rc<Ways>) -> Self {
        Self {
            pool: RefCell::new(Pool::new()),
            ways,
            nodes: RefCell::default(),
            configured: Cell::default(),
            watch: Watch::default(),
            random: RefCell::new(random_ids()),
            buffer: RefCell::new(vec![0; MAX_UDP].into()),
            exhausted: Cell::new(0),
            late: Cell::new(0),
        }
    }

    /// Takes over how upstreams are reached. Those of the last configuration are still known:
    /// queries under way must not leave by another way.
    pub fn configure<'a>(
        &self,
        upstreams: impl Iterator<Item = (UpstreamId, &'a config::Upstream)>,
    ) {
        let through = |(id, upstream): (UpstreamId, &config::Upstream)| {
            let asked = self.ways.id(upstream.outbound)?;
            let is_direct = self.ways.get(asked)?.is_direct();
            Some((id, (!is_direct).then_some(asked)))
        };
        let mut nodes = self.nodes.borrow_mut();
        let mut old = std::mem::take(&mut *nodes);
        old.truncate(self.configured.get());
        nodes.extend(upstreams.filter_map(through));
        self.configured.set(nodes.len());
        let gone = |(id, _): &(UpstreamId, _)| nodes.iter().all(|(other, _)| other != id);
        let gone: Vec<_> = old.into_iter().filter(gone).collect();
        nodes.extend(gone);
    }

    /// Sends a query with an ID of its own.
    pub fn send(&self, server: &Rc<Server>, mut parcel: Parcel<'_>) -> Result<(), Fault> {
        let attempt = parcel.attempt;
        let Err(mut broken) = self.try_send(server, &mut parcel)? else {
            return Ok(());
        };
        self.fail(server, broken.socket, Some(attempt));
        // On a used socket it is the error of an earlier query, or of an address that is ours
        // no more. What a new one says is about this query.
        if !broken.new {
            match self.try_send(server, &mut parcel)? {
                Ok(()) => return Ok(()),
                Err(again) => broken = again,
            }
            self.fail(server, broken.socket, Some(attempt));
        }
        Err(fault(&broken.error))
    }

    /// Sends once. The inner result is that of the send call.
    fn try_send(
        &self,
        server: &Rc<Server>,
        parcel: &mut Parcel<'_>,
    ) -> Result<Result<(), Broken>, Fault> {
        let Parcel { attempt, addr, .. } = *parcel;
        let node = self.node(parcel.to).ok_or(Fault::Local)?;
        let limits = if node.is_none() { &DIRECT } else { &NODE };
        let mut new = false;
        let open = |id: SocketId| {
            new = true;
            if let Some(asked) = node {
                let ways = Rc::clone(&self.ways);
                return Ok(Way::Node(NodeSocket::open(server, id, addr, (ways, asked))));
            }
            let socket = dial::udp_connected(addr)?;
            self.watch.add(&socket, id.0)?;
            Ok(Way::Direct(socket, addr))
        };
        let mut pool = self.pool.borrow_mut();
        let mut random = self.random.borrow_mut();
        let peer = (addr, node);
        let placed = pool.place(attempt, &peer, limits, parcel.fresh, &mut *random, open);
        let Place { socket, id } = placed.map_err(|why| self.unplaced(&why))?;
        wire::set_id(parcel.message, id);
        // A placed query has a socket.
        let way = pool.get(socket).ok_or(Fault::Local)?;
        Ok(way
            .send(parcel.message)
            .map_err(|error| Broken { socket, new, error }))
    }

    /// What a server is asked by, None: directly. Nothing for one that is not known any more:
    /// it may have been behind a node.
    fn node(&self, server: upstream::Server) -> Option<Option<WayId>> {
        let upstream::Server::Upstream(id) = server else {
            return Some(None);
        };
        let nodes = self.nodes.borrow();
        let node = nodes.iter().find(|(other, _)| *other == id);
        node.map(|(_, asked)| *asked)
    }

    fn unplaced(&self, why: &Unplaced<io::Error>) -> Fault {
        let fault = match why {
            Unplaced::Full => Fault::Local,
            Unplaced::Open(error) => fault(error),
        };
        if fault == Fault::Local {
            self.exhausted.set(self.exhausted.get() + 1);
        }
        fault
    }

    /// The attempt waits for nothing more.
    pub fn end(&self, attempt: AttemptId) {
        self.pool.borrow_mut().end(attempt);
    }

    /// Once a second, while there are sockets.
    pub fn sweep(&self) {
        self.pool.borrow_mut().sweep(Way::is_stale);
    }

    /// Sockets open now.
    pub fn len(&self) -> usize {
        self.pool.borrow().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.pool.borrow().is_empty()
    }

    /// Queries that found no socket, and answers that came when nobody waited any more.
    pub fn counts(&self) -> (u64, u64) {
        (self.exhausted.get(), self.late.get())
    }

    /// Closes a socket that reported an error: it does not say whose, so all that wait there
    /// fail but `except`.
    pub(super) fn fail(&self, server: &Server, socket: SocketId, except: Option<AttemptId>) {
        let failed = self.pool.borrow_mut().fail(socket);
        let now = Instant::now();
        let mut forwarder = server.forwarder.borrow_mut();
        let others = failed.iter().filter(|attempt| Some(**attempt) != except);
        others.for_each(|attempt| forwarder.udp_failed(now, *attempt, Fault::Remote));
    }

    /// Takes datagrams, or an error, from a socket; it is seen again when there are more.
    fn take(&self, server: &Server, now: Instant, socket: SocketId) {
        for _ in 0..DRAIN {
            if !self.take_one(server, now, socket) {
                break;
            }
        }
    }

    /// Takes one datagram, or an error; whether there may be another one.
    fn take_one(&self, server: &Server, now: Instant, socket: SocketId) -> bool {
        let mut buffer = self.buffer.borrow_mut();
        let (received, far) = match self.pool.borrow().get(socket) {
            Some(Way::Direct(io, far)) => (io.recv(&mut buffer), *far),
            // Closed since it was seen; a node's is heard elsewhere.
            _ => return false,
        };
        match received {
            Ok(length) => {
                self.hear(server, now, socket, &mut buffer[..length]);
                // A direct socket: something comes back without any node.
                self.ways.heard(Network::of(Proto::Udp, far), far.ip(), now);
                return true;
            }
            Err(error) if is_passing(&error) => {}
            Err(_) => self.fail(server, socket, None),
        }
        false
    }

    /// A datagram came on a socket.
    pub(super) fn hear(&self, server: &Server, now: Instant, socket: SocketId, message: &mut [u8]) {
        let mut pool = self.pool.borrow_mut();
        let id = wire::id(message);
        let heard = id.map_or(Heard::Foreign, |id| pool.hear(Place { socket, id }));
        let mut forwarder = server.forwarder.borrow_mut();
        match heard {
            Heard::Waiting(attempt) => {
                wire::set_id(message, 0);
                forwarder.udp_answer(now, attempt, message);
            }
            Heard::Late => self.late.set(self.late.get() + 1),
            Heard::Foreign => {
                let waiting = pool.waiting(socket);
                waiting
                    .iter()
                    .for_each(|attempt| forwarder.udp_foreign(now, *attempt));
            }
        }
    }
}

impl Server {
    /// Listens to all upstreams, for ever.
    pub(super) async fn hear_upstreams(self: Rc<Self>) {
        let mut ready = Vec::new();
        loop {
            self.exchanges.watch.ready(&mut ready).await;
            let now = Instant::now();
            for socket in &ready {
                self.exchanges.take(&self, now, SocketId(*socket));
            }
            self.carry_out();
        }
    }
}

impl Way {
    /// Whether queries should leave by another one from now on.
    fn is_stale(&self) -> bool {
        match self {
            Self::Direct(..) => false,
            Self::Node(socket) => socket.is_stale(),
        }
    }

    fn send(&self, message: &[u8]) -> io::Result<()> {
        let sent = match self {
            Self::Direct(socket, _) => socket.send(message).map(drop),
            Self::Node(socket) => socket.send(message),
        };
        // As good as lost on the way; it will be sent again.
        sent.or_else(|error| {
            if is_passing(&error) {
                Ok(())
            } else {
                Err(error)
            }
        })
    }
}

/// Whether an error says nothing about socket or server.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Who is to blame for an error.
pub(super) fn fault(error: &io::Error) -> Fault {
    match error.raw_os_error() {
        // EAGAIN and EADDRNOTAVAIL of connect: no port is free.
        Some(
            libc::EMFILE
            | libc::ENFILE
            | libc::ENOMEM
            | libc::EAGAIN
            | libc::EADDRNOTAVAIL
            | libc::ENOSPC,
        ) => Fault::Local,
        _ => Fault::Remote,
    }
}

#[cfg(test)]
mod tests {
    use super::super::upstream::Upstreams;
    use super::*;
    use crate::config::Config;

    #[test]
    fn upstreams_that_are_gone_are_known_for_one_change_and_then_not_asked() {
        let config = |number: u8| {
            let text = format!(
                "config dae 'main'\n\tlist interface 'lan'\nconfig upstream 'up'\n\
                 \toption url 'udp://192.0.2.{number}'\n"
            );
            Config::parse("test", text.as_bytes()).unwrap()
        };
        let first = config(1);
        let mut upstreams = Upstreams::new(&first);
        let exchanges = Exchanges::new(Ways::new(&first, 0, Instant::now()));
        let configure = |upstreams: &Upstreams, config: &Config| {
            exchanges.configure(upstreams.ids().into_iter().zip(&config.upstreams));
        };
        configure(&upstreams, &first);
        let mut ids = upstreams.ids();
        let mut last = first;
        for number in 2..100 {
            let next = config(number);
            upstreams.configure(&next, &last.moved_outbounds(&next));
            configure(&upstreams, &next);
            assert!(exchanges.nodes.borrow().len() <= 2);
            ids.extend(upstreams.ids());
            last = next;
        }
        let known = |id: &UpstreamId| exchanges.node(upstream::Server::Upstream(*id)).is_some();
        let known: Vec<bool> = ids.iter().rev().take(3).map(known).collect();
        assert_eq!(known, [true, true, false]);
    }
}
