//! UDP to upstreams through a node: an association with it takes the place of a socket. I/O.
//!
//! It is opened while its queries wait, and nobody else does. One that does not come about
//! fails those who wait.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Instant;

use futures_lite::future;

use super::server::Server;
use super::udp_pool::{NODE, SocketId};
use crate::net::reactor::Task;
use crate::outbound::MAX_DATAGRAM;
use crate::outbound::dial::{self, Link};
use crate::outbound::ways::{WayId, Ways};

/// Datagrams taken before others have their turn.
const TURN: usize = 32;

/// An association, or the way to one. Dropped, it is closed.
pub struct NodeSocket {
    addr: SocketAddr,
    state: Rc<RefCell<State>>,
    _life: Task<()>,
}

enum State {
    /// Messages that wait.
    Opening(Vec<Vec<u8>>),
    Open(Rc<Link>),
}

impl NodeSocket {
    /// Begins to open one for the server at `addr`, by this way.
    pub fn open(
        server: &Rc<Server>,
        id: SocketId,
        addr: SocketAddr,
        way: (Rc<Ways>, WayId),
    ) -> Self {
        let state = Rc::new(RefCell::new(State::Opening(Vec::new())));
        let life = live(Rc::downgrade(server), id, addr, way, Rc::clone(&state));
        Self {
            addr,
            state,
            _life: server.spawn(life),
        }
    }

    /// Whether its node is dead, or another one was chosen by hand.
    pub fn is_stale(&self) -> bool {
        match &*self.state.borrow() {
            State::Opening(_) => false,
            State::Open(association) => association.carrier.is_stale(),
        }
    }

    /// Sends, now or when it is open.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        match &mut *self.state.borrow_mut() {
            State::Open(association) => association.send(self.addr, message),
            State::Opening(queue) => {
                // A repetition of what waits anyway is no loss.
                if queue.len() < NODE.at_once {
                    queue.push(message.to_vec());
                }
                Ok(())
            }
        }
    }
}

async fn live(
    server: Weak<Server>,
    id: SocketId,
    addr: SocketAddr,
    (ways, asked): (Rc<Ways>, WayId),
    state: Rc<RefCell<State>>,
) {
    let reason = match dial::udp(&ways, asked, addr).await {
        Ok(association) => {
            let association = Rc::new(association);
            let opened = State::Open(Rc::clone(&association));
            if let State::Opening(queue) = state.replace(opened) {
                for message in queue {
                    // As good as lost on the way; it will be sent again.
                    let _sent = association.send(addr, &message);
                }
            }
            let answers = hear(&server, id, addr, &association);
            future::or(association.ended(), answers).await.to_string()
        }
        Err(error) => error.to_string(),
    };
    if let Some(server) = server.upgrade() {
        log::debug!(event = "dns.node", upstream:% = addr, reason = reason.as_str(); "");
        server.exchanges.fail(&server, id, None);
        server.carry_out();
    }
}

/// Hands answers over until the association breaks.
async fn hear(
    server: &Weak<Server>,
    id: SocketId,
    addr: SocketAddr,
    association: &Link,
) -> io::Error {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        association.readable().await;
        let Some(server) = server.upgrade() else {
            return io::ErrorKind::NotConnected.into();
        };
        let now = Instant::now();
        let mut all = false;
        for _ in 0..TURN {
            match association.recv(&mut buffer) {
                // Anybody can write to the node's port; a connected socket does not hear them.
                Ok((remote, _)) if remote != addr => {}
                Ok((_, message)) => {
                    let mut message = message.to_vec();
                    server.exchanges.hear(&server, now, id, &mut message);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        all = true;
                        break;
                    }
                    io::ErrorKind::InvalidData | io::ErrorKind::Interrupted => {}
                    _ => return error,
                },
            }
        }
        server.carry_out();
        drop(server);
        if !all {
            future::yield_now().await;
        }
    }
}
