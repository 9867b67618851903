//! Clients by TCP (RFC 7766): several queries per connection, answers in the order they are
//! ready. I/O.
//!
//! No connection has a timer of its own: a sweep once a second, while there are any, ends the
//! idle and the slow ones.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use super::admission;
use super::forward::{Origin, Outcome};
use super::frame::{self, Frames};

use super::server::{Client, Server};
use super::stats::TcpStats;
use crate::net::notify::Notify;
use crate::net::reactor::{Interest, Source, Task, Timer};
use crate::net::{listen, stream};

/// A connection without a query is closed after this time.
const IDLE: Duration = Duration::from_secs(10);

/// A query that has begun must be whole, and answers must be taken, in this time.
const SLOW: Duration = Duration::from_secs(5);

/// Longest query; 271 bytes are the question, the rest is padding and options.
const MAX_QUERY: usize = 4096;

/// Queries of one connection that may wait; more are not read until answers are out.
const MAX_PIPELINED: usize = 32;

/// Bytes of answers that wait for the client; with more, no further query is read.
const MAX_QUEUED: usize = 16 * 1024;

/// With so many bytes the client takes nothing, and is disconnected.
const MAX_UNREAD: usize = 128 * 1024;

/// What the kernel keeps for a client that does not read, bytes (it takes twice as much).
const SEND_BUFFER: usize = 32 * 1024;

/// Connections accepted, or reads of one, before others have their turn.
const TURN: u32 = 16;

/// Pause after an error of accept, such as no file descriptor left.
const PAUSE: Duration = Duration::from_millis(200);

/// Names a connection, once and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

/// Connections of clients.
pub struct Clients {
    open: RefCell<HashMap<ConnectionId, Open>>,
    max: Cell<usize>,
    max_per_client: Cell<usize>,
    next: Cell<u64>,
    stats: Cell<TcpStats>,
}

/// What the table holds. Leaving it ends the task, and the task's end leaves it.
struct Open {
    connection: Rc<Connection>,
    stream: Rc<Source<TcpStream>>,
    _task: Task<()>,
}

struct Connection {
    id: ConnectionId,
    /// The client.
    from: IpAddr,
    /// The server that the client asked, on a transparent listener.
    asked: Option<SocketAddr>,
    /// Answers not yet given to the kernel, framed.
    queue: RefCell<Vec<u8>>,
    waiting: Cell<usize>,
    /// Something happened last.
    active: Cell<Instant>,
    /// Since when a query has been incomplete.
    reading: Cell<Option<Instant>>,
    /// Since when the client has not taken what was written.
    writing: Cell<Option<Instant>>,
    to_write: Notify,
    to_read: Notify,
}

impl Clients {
    /// At most `max` at a time, and so many of one client.
    pub fn new(max: usize, max_per_client: usize) -> Self {
        let stats = Cell::default();
        Self {
            open: RefCell::default(),
            max: Cell::new(max),
            max_per_client: Cell::new(max_per_client),
            next: Cell::new(0),
            stats,
        }
    }

    /// Other bounds, for those who come from now on.
    pub fn set_bounds(&self, max: usize, max_per_client: usize) {
        self.max.set(max);
        self.max_per_client.set(max_per_client);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Counters and state.
    pub fn stats(&self) -> TcpStats {
        TcpStats {
            open: self.open.borrow().len(),
            ..self.stats.get()
        }
    }

    fn count(&self, change: impl FnOnce(&mut TcpStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    /// Makes room for one more: the connection that has been quiet for longest goes first, one
    /// of the same client when that has many. None when all wait for answers.
    fn room(&self, from: IpAddr) -> Option<()> {
        let mut open = self.open.borrow_mut();
        let client = admission::Client::of(from);
        let all = open.values().map(|open| &open.connection);
        let own = |connection: &&Rc<Connection>| admission::Client::of(connection.from) == client;
        let crowded = all.clone().filter(own).count() >= self.max_per_client.get();
        if crowded || open.len() >= self.max.get() {
            self.count(|stats| stats.displaced += 1);
            let all = all.filter(|connection| !crowded || own(connection));
            let quiet = all.filter(|connection| connection.is_quiet());
            let oldest = quiet.min_by_key(|connection| connection.active.get())?.id;
            let _closed = open.remove(&oldest);
        }
        Some(())
    }

    /// Queues an answer; the client may be gone.
    pub fn reply(&self, id: ConnectionId, message: &[u8]) {
        let mut open = self.open.borrow_mut();
        let Some(Open { connection, .. }) = open.get(&id) else {
            return;
        };
        connection
            .waiting
            .set(connection.waiting.get().saturating_sub(1));
        connection.queue(message);
        if connection.queue.borrow().len() > MAX_UNREAD {
            self.count(|stats| stats.timed_out += 1);
            open.remove(&id).inspect(Open::reset);
        }
    }

    /// Ends connections that are idle or slow.
    pub fn sweep(&self, now: Instant) {
        let mut open = self.open.borrow_mut();
        let before = open.len();
        open.retain(|_, open| {
            let expired = open.connection.has_expired(now);
            if expired {
                open.reset();
            }
            !expired
        });
        let ended = (before - open.len()) as u64;
        self.count(|stats| stats.timed_out += ended);
    }
}

impl Open {
    /// The kernel keeps nothing that the client has not taken: after a mere close it would try
    /// for minutes to deliver that.
    fn reset(&self) {
        stream::reset_on_close(self.stream.get_ref());
    }
}

impl Connection {
    fn new(id: ConnectionId, from: IpAddr, asked: Option<SocketAddr>) -> Self {
        Self {
            id,
            from,
            asked,
            queue: RefCell::default(),
            waiting: Cell::new(0),
            active: Cell::new(Instant::now()),
            reading: Cell::new(None),
            writing: Cell::new(None),
            to_write: Notify::default(),
            to_read: Notify::default(),
        }
    }

    /// No query waits and no answer is to be taken.
    fn is_quiet(&self) -> bool {
        self.waiting.get() == 0 && self.queue.borrow().is_empty() && self.writing.get().is_none()
    }

    fn has_expired(&self, now: Instant) -> bool {
        let older = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        let slow = |since: Option<Instant>| since.is_some_and(|since| older(since, SLOW));
        slow(self.reading.get())
            || slow(self.writing.get())
            || self.is_quiet() && older(self.active.get(), IDLE)
    }

    /// Adds an answer to what the client is to get.
    fn queue(&self, message: &[u8]) {
        frame::append(message, &mut self.queue.borrow_mut());
        self.to_write.notify();
    }

    fn is_full(&self) -> bool {
        self.waiting.get() >= MAX_PIPELINED || self.queue.borrow().len() >= MAX_QUEUED
    }

    /// Writes answers as they come, all that are there at once.
    async fn write(&self, mut stream: &Source<TcpStream>) -> io::Result<()> {
        loop {
            let bytes = std::mem::take(&mut *self.queue.borrow_mut());
            if bytes.is_empty() {
                self.to_write.wait().await;
                continue;
            }
            self.writing.set(Some(Instant::now()));
            stream.write_all(&bytes).await?;
            self.writing.set(None);
            self.active.set(Instant::now());
            self.to_read.notify();
        }
    }

    /// Reads queries until the client has no more, then waits until all are answered.
    async fn read(&self, server: &Weak<Server>, mut stream: &Source<TcpStream>) -> io::Result<()> {
        let mut frames = Frames::new(MAX_QUERY);
        let mut answers = Vec::new();
        let mut reads: u32 = 0;
        loop {
            while let Some(message) = frames.next()? {
                self.reading.set(None);
                while self.is_full() {
                    self.to_read.wait().await;
                }
                let Some(server) = server.upgrade() else {
                    return Ok(());
                };
                server.serve_tcp(self, message, &mut answers);
            }
            if frames.is_partial() {
                self.reading
                    .set(self.reading.get().or(Some(self.active.get())));
            }
            let count = stream.read(frames.room()).await?;
            if count == 0 {
                break;
            }
            frames.came(count);
            self.active.set(Instant::now());
            // A client that always has more must not keep the thread.
            reads = reads.wrapping_add(1);
            if reads.is_multiple_of(TURN) {
                future::yield_now().await;
            }
        }
        self.reading.set(None);
        while !self.is_quiet() {
            self.to_read.wait().await;
        }
        Ok(())
    }
}

impl Server {
    /// Accepts connections, for ever.
    pub(super) async fn accept(self: &Rc<Self>, listener: &Source<TcpListener>, transparent: bool) {
        let mut turns: u32 = 0;
        loop {
            let accepted = listener.read_with(listen::accept).await;
            let accepted = accepted
                .and_then(|(stream, from)| Ok((Source::new(stream, Interest::Both)?, from)));
            match accepted {
                Ok((stream, from)) => self.admit(stream, from.ip(), transparent),
                Err(error) => {
                    log::warn!(event = "dns.accept", reason:% = error; "");
                    Timer::after(PAUSE).await;
                }
            }
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURN) {
                future::yield_now().await;
            }
        }
    }

    fn admit(self: &Rc<Self>, stream: Source<TcpStream>, from: IpAddr, transparent: bool) {
        let clients = &self.clients;
        clients.count(|stats| stats.accepted += 1);
        // Answers are written whole; waiting for more to come in one packet only delays them.
        let asked = stream::bound_send_buffer(stream.get_ref(), SEND_BUFFER)
            .and_then(|()| stream.get_ref().set_nodelay(true))
            .and_then(|()| stream.get_ref().local_addr());
        let Ok(asked) = asked else { return };
        if clients.room(from).is_none() {
            return;
        }
        let id = ConnectionId(clients.next.replace(clients.next.get() + 1));
        let connection = Rc::new(Connection::new(id, from, transparent.then_some(asked)));
        let stream = Rc::new(stream);
        let task = converse(
            Rc::downgrade(self),
            Rc::clone(&connection),
            Rc::clone(&stream),
        );
        let open = Open {
            connection,
            stream,
            _task: self.spawn(task),
        };
        clients.open.borrow_mut().insert(id, open);
        self.set_alarm();
    }

    /// Answers one query, or lets it wait.
    fn serve_tcp(self: &Rc<Self>, connection: &Connection, message: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let client = Client::Tcp(connection.id);
        let origin = Origin {
            client: &client,
            from: connection.from,
            asked: connection.asked,
            tcp: true,
        };
        let now = Instant::now();
        let outcome = self
            .forwarder
            .borrow_mut()
            .query(now, &origin, message, out);
        match outcome {
            Outcome::Answered => connection.queue(out),
            Outcome::Waiting => {
                connection.waiting.set(connection.waiting.get() + 1);
            }
            Outcome::Dropped => {}
        }
        if self.forwarder.borrow().has_effects() {
            self.carry_out();
        }
    }
}

/// Life of a connection.
async fn converse(server: Weak<Server>, connection: Rc<Connection>, stream: Rc<Source<TcpStream>>) {
    let reading = connection.read(&server, &stream);
    // Errors are the client's affair: it went away, or does not speak DNS.
    let _ended = future::or(reading, connection.write(&stream)).await;
    if let Some(server) = server.upgrade() {
        let _gone = server.clients.open.borrow_mut().remove(&connection.id);
    }
}
