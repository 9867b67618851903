//! Intercepted TCP connections: accept, decide, dial, relay. I/O.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::relay::{Connection, Ending};
use super::shared::{Shared, is_own};
use super::stats::{TcpStats, count};
use crate::net::reactor::{self, Interest, Source, Task, Timer};
use crate::net::splice::PipePool;
use crate::net::{listen, stream};
use crate::outbound::dial;
use crate::outbound::ways::WayId;
use crate::rules::Proto;

/// Pause after an accept that failed for want of descriptors or memory: asking again at once
/// would spin, as the connection still waits.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);

/// Connections accepted before others get their turn.
const TURN: usize = 16;

pub(super) struct Tcp {
    shared: Rc<Shared>,
    limit: usize,
    idle: Duration,
    connections: RefCell<HashMap<u64, Entry>>,
    last: Cell<u64>,
    pipes: Rc<PipePool>,
    stats: Cell<TcpStats>,
}

/// The table owns the task: without an entry there is none.
struct Entry {
    connection: Rc<Connection>,
    task: Task<()>,
}

impl Tcp {
    pub fn new(shared: Rc<Shared>, limit: usize, idle: Duration) -> Self {
        Self {
            shared,
            limit,
            idle,
            connections: RefCell::default(),
            last: Cell::default(),
            pipes: Rc::default(),
            stats: Cell::default(),
        }
    }

    pub fn stats(&self) -> TcpStats {
        TcpStats {
            active: self.connections.borrow().len() as u64,
            ..self.stats.get()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty()
    }

    /// Accepts for ever.
    pub async fn accept(self: Rc<Self>, listener: Source<TcpListener>) {
        let mut turns = 0;
        loop {
            match listener.try_read(listen::accept) {
                Ok((stream, client)) => self.take(stream, client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    listener.readable().await;
                    turns = 0;
                    continue;
                }
                Err(error) if is_shortage(&error) => self.pause(&error).await,
                // About that connection alone: it was reset before we came (accept(2)).
                Err(_) => {}
            }
            turns += 1;
            if turns >= TURN {
                turns = 0;
                future::yield_now().await;
            }
        }
    }

    /// Once a second: ends what has been quiet for too long or broke unseen.
    pub fn sweep(&self, now: Instant) {
        self.connections.borrow_mut().retain(|_, entry| {
            match entry.connection.verdict(now, self.idle) {
                None => return true,
                Some(Ending::Idle) => count!(self.stats, idle),
                Some(Ending::Broken) => count!(self.stats, broken),
            }
            false
        });
    }

    pub fn clear(&self) {
        self.connections.borrow_mut().clear();
    }

    async fn pause(&self, error: &io::Error) {
        count!(self.stats, accept_failed);
        log::warn!(event = "flow.accept", reason:% = error; "");
        Timer::after(SHORTAGE_PAUSE).await;
    }

    fn take(self: &Rc<Self>, stream: TcpStream, client: SocketAddr) {
        if self.connections.borrow().len() >= self.limit {
            count!(self.stats, refused_full);
            log::warn!(event = "flow.full", proto = "tcp", limit = self.limit; "");
            return stream::reset_on_close(&stream);
        }
        // Without a local address the connection is gone already.
        let Ok(to) = stream.local_addr() else { return };
        let asked = match self.shared.decide(Proto::Tcp, client, to) {
            Some(asked) if !is_own(to) => asked,
            _ => {
                count!(self.stats, refused_blocked);
                return stream::reset_on_close(&stream);
            }
        };
        let stream = match Source::new(stream, Interest::Both) {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!(event = "flow.fail", proto = "tcp", src:% = client, reason:% = error; "");
                return;
            }
        };
        let connection = Rc::new(Connection::new(stream, Instant::now()));
        self.last.set(self.last.get() + 1);
        let id = self.last.get();
        let flow = Flow {
            id,
            client,
            to,
            asked,
        };
        let task = reactor::spawn(Rc::clone(self).serve(Rc::clone(&connection), flow));
        self.connections
            .borrow_mut()
            .insert(id, Entry { connection, task });
        count!(self.stats, opened);
        self.shared.busy.notify();
    }

    async fn serve(self: Rc<Self>, connection: Rc<Connection>, flow: Flow) {
        self.carry(&connection, &flow).await;
        if let Some(entry) = self.connections.borrow_mut().remove(&flow.id) {
            // Dropping the task would cancel it; it is at its end.
            entry.task.detach();
        }
    }

    async fn carry(&self, connection: &Connection, flow: &Flow) {
        let Flow { client, to, .. } = flow;
        let (way, server) = match dial::tcp(&self.shared.ways, flow.asked, *to).await {
            Ok(dialled) => dialled,
            Err(error) => {
                count!(self.stats, dial_failed);
                let name = self.shared.name(flow.asked);
                log::warn!(event = "flow.fail", proto = "tcp", node = &*name,
                    src:% = client, dst:% = to, reason:% = error; "");
                return connection.refuse();
            }
        };
        log::debug!(event = "flow.open", proto = "tcp", node = &*way.name,
            src:% = client, dst:% = to; "");
        if let Err(error) = connection.relay(server, &self.pipes, &way.traffic).await {
            count!(self.stats, broken);
            log::debug!(event = "flow.broken", proto = "tcp", node = &*way.name,
                src:% = client, dst:% = to, reason:% = error; "");
        }
    }
}

/// One connection's name, and what it asks for.
struct Flow {
    id: u64,
    client: SocketAddr,
    to: SocketAddr,
    asked: WayId,
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
