//! Upstreams by UDP: one fresh, connected socket per flight. I/O.
//!
//! A fresh socket has a new random port (RFC 5452), hears one server only, and when it is
//! closed nothing that comes late can reach another flight. There are as many as flights, so
//! `max_queries` bounds them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::{Rc, Weak};
use std::time::Instant;

use async_executor::Task;
use async_io::Async;

use super::attempt::{AttemptId, Fault};
use super::server::Server;
use super::wire::{self, MAX_UDP};
use crate::net::dial;

/// Sockets of the attempts that have their UDP leg open.
pub struct Exchanges {
    open: RefCell<HashMap<AttemptId, Exchange>>,
    /// For every datagram that comes; none is looked at for longer than a call. A longer one
    /// is cut, does not make sense any more, and TCP takes over.
    buffer: RefCell<Box<[u8]>>,
}

struct Exchange {
    socket: Rc<Async<UdpSocket>>,
    id: u16,
    _receiver: Task<()>,
}

impl Exchanges {
    /// None open.
    pub fn new() -> Self {
        Self {
            open: RefCell::default(),
            buffer: RefCell::new(vec![0; MAX_UDP].into()),
        }
    }

    /// Sends on the flight's socket, a new one if it has none.
    pub fn send(
        &self,
        server: &Rc<Server>,
        attempt: AttemptId,
        addr: SocketAddr,
        message: &mut [u8],
    ) -> io::Result<()> {
        if let Some(exchange) = self.open.borrow().get(&attempt) {
            wire::set_id(message, exchange.id);
            return deliver(&exchange.socket, message);
        }
        let socket = Rc::new(dial::udp_connected(addr)?);
        let id = server.random_id();
        wire::set_id(message, id);
        deliver(&socket, message)?;
        let receive = receive(Rc::downgrade(server), attempt, id, Rc::clone(&socket));
        let exchange = Exchange {
            socket,
            id,
            _receiver: server.spawn(receive),
        };
        self.open.borrow_mut().insert(attempt, exchange);
        Ok(())
    }

    /// Closes the flight's socket.
    pub fn end(&self, attempt: AttemptId) {
        // The task may be the caller: it ends after this poll.
        let _ended = self.open.borrow_mut().remove(&attempt);
    }

    /// Sockets open now.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }
}

fn deliver(socket: &Async<UdpSocket>, message: &[u8]) -> io::Result<()> {
    match socket.get_ref().send(message) {
        Ok(_) => Ok(()),
        // As good as lost on the way; it will be sent again.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

async fn receive(server: Weak<Server>, attempt: AttemptId, id: u16, socket: Rc<Async<UdpSocket>>) {
    loop {
        let readable = socket.readable().await;
        let Some(server) = server.upgrade() else {
            return;
        };
        let now = Instant::now();
        let mut buffer = server.exchanges.buffer.borrow_mut();
        match readable.and_then(|()| socket.get_ref().recv(&mut buffer)) {
            Ok(length) => {
                let message = &mut buffer[..length];
                let mut forwarder = server.forwarder.borrow_mut();
                if wire::id(message) == Some(id) {
                    wire::set_id(message, 0);
                    forwarder.udp_answer(now, attempt, message);
                } else {
                    forwarder.udp_foreign(now, attempt);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => {
                let mut forwarder = server.forwarder.borrow_mut();
                forwarder.udp_failed(now, attempt, Fault::Remote);
            }
        }
        drop(buffer);
        server.carry_out();
    }
}
