//! Upstreams by TCP (RFC 7766): one connection per server, many queries on it at a time,
//! answers in any order. I/O.
//!
//! IDs count up from a random one and are never used twice on a connection, so a late answer
//! finds nothing. A connection on which a query timed out takes no further ones. When one is
//! closed by the server, what waits is sent again on a new one: once if the closed one had
//! not answered anything, freely otherwise, as then there is progress; every flight's own
//! deadline is the bound. A connection that does not come about ends with the last flight that
//! waits for it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use async_executor::Task;
use async_io::Async;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use super::attempt::{AttemptId, Fault};
use super::frame::{self, Frames};
use super::notify::Notify;
use super::server::Server;
use super::wire;
use crate::net::dial;

/// A connection without a query is closed after this time.
const IDLE: Duration = Duration::from_secs(10);

/// Most connections, retired ones included.
const MAX_CONNECTIONS: usize = 64;

/// Queries that one connection carries in its life; IDs end at 65,536.
const MAX_QUERIES: u32 = 65_000;

/// Times a query is sent again when connections close without having answered anything.
const MAX_RESENDS: u8 = 1;

/// Connections to upstreams.
pub struct Streams {
    /// All, by identity.
    open: RefCell<HashMap<u64, Open>>,
    /// The one of each server that takes new queries.
    current: RefCell<HashMap<SocketAddr, u64>>,
    /// Where each flight's query is.
    flights: RefCell<HashMap<AttemptId, (u64, u16)>>,
    next: Cell<u64>,
}

/// What the table holds. Leaving it ends the task, and the task's end leaves it.
struct Open {
    connection: Rc<Connection>,
    _task: Task<()>,
}

struct Connection {
    id: u64,
    addr: SocketAddr,
    /// Queries not written yet, by their IDs on this connection.
    queue: RefCell<VecDeque<u16>>,
    pending: RefCell<HashMap<u16, Pending>>,
    next_id: Cell<u16>,
    carried: Cell<u32>,
    answered: Cell<bool>,
    active: Cell<Instant>,
    to_write: Notify,
}

/// A query that waits for its answer.
struct Pending {
    flight: AttemptId,
    /// With ID 0.
    message: Vec<u8>,
    resends: u8,
}

impl Streams {
    /// None open.
    pub fn new() -> Self {
        Self {
            open: RefCell::default(),
            current: RefCell::default(),
            flights: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// Connections open now.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Sends a flight's query; false when there are too many connections.
    pub fn send(
        &self,
        server: &Rc<Server>,
        flight: AttemptId,
        addr: SocketAddr,
        message: Vec<u8>,
    ) -> bool {
        self.queue(
            server,
            addr,
            Pending {
                flight,
                message,
                resends: 0,
            },
        )
    }

    fn queue(&self, server: &Rc<Server>, addr: SocketAddr, pending: Pending) -> bool {
        let Some(connection) = self.current(addr).or_else(|| self.open(server, addr)) else {
            return false;
        };
        let id = connection.next_id.get();
        connection.next_id.set(id.wrapping_add(1));
        connection.carried.set(connection.carried.get() + 1);
        self.flights
            .borrow_mut()
            .insert(pending.flight, (connection.id, id));
        connection.pending.borrow_mut().insert(id, pending);
        connection.queue.borrow_mut().push_back(id);
        connection.to_write.notify();
        true
    }

    /// The connection to a server that takes queries.
    fn current(&self, addr: SocketAddr) -> Option<Rc<Connection>> {
        let id = *self.current.borrow().get(&addr)?;
        let connection = self.get(id)?;
        if connection.carried.get() < MAX_QUERIES {
            return Some(connection);
        }
        self.retire(&connection);
        None
    }

    fn open(&self, server: &Rc<Server>, addr: SocketAddr) -> Option<Rc<Connection>> {
        if self.len() >= MAX_CONNECTIONS {
            let idle = self.all_that(Connection::is_idle);
            let oldest = idle
                .into_iter()
                .min_by_key(|connection| connection.active.get())?;
            self.close(&oldest);
        }
        let id = self.next.replace(self.next.get() + 1);
        let connection = Rc::new(Connection {
            id,
            addr,
            queue: RefCell::default(),
            pending: RefCell::default(),
            next_id: Cell::new(server.random_id()),
            carried: Cell::new(0),
            answered: Cell::new(false),
            active: Cell::new(Instant::now()),
            to_write: Notify::default(),
        });
        let life = live(Rc::downgrade(server), Rc::clone(&connection));
        let open = Open {
            connection: Rc::clone(&connection),
            _task: server.spawn(life),
        };
        self.open.borrow_mut().insert(id, open);
        self.current.borrow_mut().insert(addr, id);
        Some(connection)
    }

    /// Nobody waits for this flight's answer any more.
    pub fn end(&self, flight: AttemptId, timed_out: bool) {
        let Some((connection, id)) = self.flights.borrow_mut().remove(&flight) else {
            return;
        };
        let Some(connection) = self.get(connection) else {
            return;
        };
        connection.pending.borrow_mut().remove(&id);
        if timed_out {
            self.retire(&connection);
        }
    }

    /// A connection that takes no further queries ends with its last one.
    fn retire(&self, connection: &Connection) {
        let mut current = self.current.borrow_mut();
        if current.get(&connection.addr) == Some(&connection.id) {
            current.remove(&connection.addr);
        }
        drop(current);
        if connection.is_idle() {
            self.close(connection);
        }
    }

    /// Closes a connection on which nothing waits.
    fn close(&self, connection: &Connection) {
        let mut current = self.current.borrow_mut();
        if current.get(&connection.addr) == Some(&connection.id) {
            current.remove(&connection.addr);
        }
        let _closed = self.open.borrow_mut().remove(&connection.id);
    }

    fn get(&self, id: u64) -> Option<Rc<Connection>> {
        self.open
            .borrow()
            .get(&id)
            .map(|open| Rc::clone(&open.connection))
    }

    fn all_that(&self, fits: impl Fn(&Connection) -> bool) -> Vec<Rc<Connection>> {
        let open = self.open.borrow();
        let all = open.values().map(|open| &open.connection);
        all.filter(|connection| fits(connection))
            .map(Rc::clone)
            .collect()
    }

    fn is_current(&self, connection: &Connection) -> bool {
        self.current.borrow().get(&connection.addr) == Some(&connection.id)
    }

    /// Closes connections that were idle for long, or retired and have nothing left to do.
    pub fn sweep(&self, now: Instant) {
        let idle = self.all_that(|connection| {
            let quiet = now.saturating_duration_since(connection.active.get());
            connection.is_idle() && (quiet >= IDLE || !self.is_current(connection))
        });
        idle.iter().for_each(|connection| self.close(connection));
    }
}

impl Connection {
    fn is_idle(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    async fn write(&self, mut stream: &Async<TcpStream>) -> io::Result<()> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            while let Some(id) = self.queue.borrow_mut().pop_front() {
                // One that timed out before it was written is not there any more.
                if let Some(pending) = self.pending.borrow().get(&id) {
                    let start = bytes.len() + 2;
                    frame::append(&pending.message, &mut bytes);
                    wire::set_id(&mut bytes[start..], id);
                }
            }
            if bytes.is_empty() {
                self.to_write.wait().await;
            } else {
                stream.write_all(&bytes).await?;
            }
        }
    }

    async fn read(&self, server: &Weak<Server>, mut stream: &Async<TcpStream>) -> io::Result<()> {
        let mut frames = Frames::new(usize::from(u16::MAX));
        loop {
            while let Some(message) = frames.next()? {
                let Some(server) = server.upgrade() else {
                    return Ok(());
                };
                self.take(&server, message);
            }
            let count = stream.read(frames.room()).await?;
            if count == 0 {
                return Ok(());
            }
            frames.came(count);
            // A server that always has more must not keep the thread.
            future::yield_now().await;
        }
    }

    /// Hands an answer to its flight; one that nobody waits for is dropped.
    fn take(&self, server: &Rc<Server>, message: &mut [u8]) {
        let Some(id) = wire::id(message) else { return };
        let Some(pending) = self.pending.borrow_mut().remove(&id) else {
            return;
        };
        let now = Instant::now();
        self.answered.set(true);
        self.active.set(now);
        server.streams.flights.borrow_mut().remove(&pending.flight);
        wire::set_id(message, 0);
        server
            .forwarder
            .borrow_mut()
            .stream_answer(now, pending.flight, message);
        server.carry_out();
    }
}

/// Life of a connection.
async fn live(server: Weak<Server>, connection: Rc<Connection>) {
    let mut connected = false;
    if let Ok(stream) = dial::tcp(connection.addr).await {
        connected = true;
        let reading = connection.read(&server, &stream);
        // Why it ended makes no difference to those who wait.
        let _ended = future::or(reading, connection.write(&stream)).await;
    }
    let Some(server) = server.upgrade() else {
        return;
    };
    server.streams.close(&connection);
    let pending = std::mem::take(&mut *connection.pending.borrow_mut());
    for mut pending in pending.into_values() {
        let flight = pending.flight;
        server.streams.flights.borrow_mut().remove(&flight);
        if !connection.answered.get() {
            pending.resends += 1;
        }
        let again = connected && pending.resends <= MAX_RESENDS;
        if !again || !server.streams.queue(&server, connection.addr, pending) {
            server
                .forwarder
                .borrow_mut()
                .stream_failed(Instant::now(), flight, Fault::Remote);
        }
    }
    server.carry_out();
}
