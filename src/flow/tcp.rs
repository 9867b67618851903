//! Intercepted TCP connections: accept, decide, dial, relay. I/O.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::live::{Counted, Leash, Listed, Live, Newest, Workers};
use super::relay::{Connection, Ending};
use super::shared::Shared;
use super::stats::{TcpStats, count};
use crate::net::reactor::{self, Interest, Source, Task, Timer};
use crate::net::reserve::Reserve;
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
    limit: Cell<usize>,
    idle: Cell<Duration>,
    /// In the order of their beginning.
    connections: RefCell<BTreeMap<u64, Entry>>,
    last: Cell<u64>,
    pipes: Rc<PipePool>,
    reserve: Reserve,
    workers: Workers,
    stats: Cell<TcpStats>,
}

/// The table owns the task: without an entry there is none.
struct Entry {
    _leash: Leash,
    connection: Rc<Connection>,
    task: Task<()>,
}

impl Tcp {
    pub fn new(shared: Rc<Shared>, limit: usize, idle: Duration) -> Self {
        Self {
            shared,
            limit: Cell::new(limit),
            idle: Cell::new(idle),
            connections: RefCell::default(),
            last: Cell::default(),
            pipes: Rc::default(),
            reserve: Reserve::default(),
            workers: Workers::default(),
            stats: Cell::default(),
        }
    }

    pub fn stats(&self) -> TcpStats {
        TcpStats {
            active: self.connections.borrow().len() as u64,
            workers: self.workers.count(),
            workers_ending: self.workers.ending(),
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
                Err(error) if is_shortage(&error) => self.refuse_or_pause(&listener, &error).await,
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

    /// Once a second: ends what has been quiet for too long or broke unseen. After the last
    /// connection the spare pipes go.
    pub fn sweep(&self, now: Instant) {
        self.connections.borrow_mut().retain(|_, entry| {
            match entry.connection.verdict(now, self.idle.get()) {
                None => return true,
                Some(Ending::Idle) => count!(self.stats, idle),
                Some(Ending::Broken) => count!(self.stats, broken),
            }
            false
        });
        if self.is_empty() {
            self.pipes.clear();
        }
    }

    pub fn clear(&self) {
        self.connections.borrow_mut().clear();
    }

    /// Those that are there stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }

    pub fn set_idle(&self, idle: Duration) {
        self.idle.set(idle);
    }

    /// Ends the connections of these ways.
    pub fn cut(&self, ways: &[WayId]) {
        self.connections.borrow_mut().retain(|_, entry| {
            let stays = !entry.connection.live().uses(ways);
            if !stays {
                entry.connection.cut();
                count!(self.stats, cut);
            }
            stays
        });
    }

    /// Shows all connections.
    pub fn list(&self, newest: &mut Newest<Listed>) {
        for entry in self.connections.borrow().values() {
            let live = entry.connection.live();
            newest.add(live.since(), (Rc::clone(live), None));
        }
    }

    /// There are no descriptors or no memory for a connection that waits.
    async fn refuse_or_pause(&self, listener: &Source<TcpListener>, error: &io::Error) {
        match listener.try_read(|listener| self.reserve.refuse(listener)) {
            // Without descriptors even that nobody waits is told as a shortage.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => listener.readable().await,
            Ok(()) => {
                count!(self.stats, refused_shortage);
                log::warn!(event = "flow.shortage", proto = "tcp", reason:% = error; "");
            }
            Err(_) => {
                count!(self.stats, accept_failed);
                log::warn!(event = "flow.accept", reason:% = error; "");
                Timer::after(SHORTAGE_PAUSE).await;
            }
        }
    }

    fn take(self: &Rc<Self>, stream: TcpStream, client: SocketAddr) {
        let limit = self.limit.get();
        if self.connections.borrow().len() >= limit {
            count!(self.stats, refused_full);
            log::warn!(event = "flow.full", proto = "tcp", limit; "");
            return stream::reset_on_close(&stream);
        }
        // Without a local address the connection is gone already.
        let Ok(to) = stream.local_addr() else { return };
        let asked = match self.shared.decide(Proto::Tcp, client, to).0 {
            Some(asked) => asked,
            None => {
                count!(self.stats, refused_blocked);
                return stream::reset_on_close(&stream);
            }
        };
        let stream = match Source::new(stream, Interest::Both) {
            Ok(stream) => stream,
            Err(error) => {
                count!(self.stats, refused_shortage);
                log::warn!(event = "flow.shortage", proto = "tcp", reason:% = error; "");
                return;
            }
        };
        let rule = self.shared.rule_name(asked.rule);
        let live = Live::new(Proto::Tcp, (client, to), asked.way, rule, Instant::now());
        let connection = Rc::new(Connection::new(stream, Rc::new(live)));
        self.last.set(self.last.get() + 1);
        let id = self.last.get();
        let (counted, leash) = self.workers.enter();
        let task = reactor::spawn(Rc::clone(self).serve(id, Rc::clone(&connection), counted));
        let entry = Entry {
            _leash: leash,
            connection,
            task,
        };
        self.connections.borrow_mut().insert(id, entry);
        count!(self.stats, opened);
        self.shared.busy.notify();
    }

    async fn serve(self: Rc<Self>, id: u64, connection: Rc<Connection>, _counted: Counted) {
        self.carry(&connection).await;
        let entry = self.connections.borrow_mut().remove(&id);
        if let Some(entry) = entry {
            // Dropping the task would cancel it; it is at its end.
            entry.task.detach();
        }
    }

    async fn carry(&self, connection: &Connection) {
        let live = connection.live();
        let (client, to) = (live.client, live.destination);
        let (carrier, server) = match dial::tcp(&self.shared.ways, live.asked().id, to).await {
            Ok(dialled) => dialled,
            Err(error) => {
                count!(self.stats, dial_failed);
                log::warn!(event = "flow.fail", proto = "tcp", node = live.node_name(),
                    src:% = client, dst:% = to, reason:% = error; "");
                return connection.refuse();
            }
        };
        let way = carrier.way;
        live.carried_by(&way);
        log::debug!(event = "flow.open", proto = "tcp", node = live.node_name(),
            src:% = client, dst:% = to; "");
        match connection.relay(server, &self.pipes).await {
            Ok(()) => count!(self.stats, closed),
            Err(error) => {
                count!(self.stats, broken);
                log::debug!(event = "flow.broken", proto = "tcp", node = live.node_name(),
                    src:% = client, dst:% = to, reason:% = error; "");
            }
        }
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}
