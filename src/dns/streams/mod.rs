//! Upstreams by stream: TCP (RFC 7766), TLS (RFC 7858) and HTTPS (RFC 8484). I/O.
//!
//! [`pool`] decides, this carries out: a task for every connection, which dials and then
//! reads and writes as [`talk`] says.

mod pool;
pub mod reach;
mod talk;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::attempt::{AttemptId, Fault};

use super::server::Server;
use super::udp::fault;
use super::{http2, upstream, wire};
use crate::net::notify::Notify;
use crate::net::reactor::Task;
use crate::outbound::DialError;
use crate::outbound::dial::Carrier;
use pool::{Effect, LinkId, Pool};
use reach::{Reach, Reaches};

/// An upstream at one address.
type Target = (upstream::Server, SocketAddr);

/// Connections to upstreams, and the queries on them.
pub struct Streams {
    pool: RefCell<Pool<AttemptId, Target>>,
    /// Dials and connections.
    open: RefCell<HashMap<LinkId, Open>>,
    reaches: RefCell<Reaches>,
}

/// What the table holds. Leaving it ends the task.
struct Open {
    line: Rc<Line>,
    _task: Task<()>,
}

/// What others may tell the task of a connection.
struct Line {
    id: LinkId,
    name: Box<str>,
    to_write: Notify,
    /// None while it is dialled.
    carrier: OnceCell<Carrier>,
    /// IDs whose answers nobody wants any more. None where the server cannot be told: nobody
    /// would take them out.
    cancelled: Option<RefCell<Vec<u16>>>,
}

impl Line {
    fn new(id: LinkId, reach: &Reach) -> Self {
        Self {
            id,
            name: reach.name.clone(),
            to_write: Notify::default(),
            carrier: OnceCell::new(),
            cancelled: reach.http().map(|_| RefCell::default()),
        }
    }

    fn cancel(&self, number: u16) {
        if let Some(cancelled) = &self.cancelled {
            cancelled.borrow_mut().push(number);
            self.to_write.notify();
        }
    }

    fn take_cancelled(&self) -> Vec<u16> {
        self.cancelled.as_ref().map_or_else(Vec::new, RefCell::take)
    }
}

impl Streams {
    /// None open.
    pub fn new(reaches: Reaches) -> Self {
        Self {
            pool: RefCell::new(Pool::new()),
            open: RefCell::default(),
            reaches: RefCell::new(reaches),
        }
    }

    /// Connections and dials now.
    pub fn len(&self) -> usize {
        self.pool.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pool.borrow().is_empty()
    }

    /// Sends an attempt's query, whose ID is overwritten on the way. A `fresh` one is a
    /// repetition that goes by another connection than before. What comes of it is told to
    /// the forwarder.
    pub fn send(
        &self,
        server: &Rc<Server>,
        attempt: AttemptId,
        target: Target,
        message: Vec<u8>,
        fresh: bool,
    ) {
        let now = Instant::now();
        let idle = self
            .reaches
            .borrow()
            .get(target.0)
            .map(|reach| reach.idle());
        let Some(idle) = idle else {
            let mut forwarder = server.forwarder.borrow_mut();
            return forwarder.stream_failed(now, attempt, Fault::Local);
        };
        let mut pool = self.pool.borrow_mut();
        if fresh && pool.has(attempt) {
            pool.send_again(now, attempt);
        } else {
            pool.end(now, attempt, false);
            pool.send(now, attempt, target, message, idle);
        }
        drop(pool);
        self.settle(server);
    }

    /// Nobody waits for this attempt's answer any more.
    pub fn end(&self, server: &Rc<Server>, attempt: AttemptId, timed_out: bool) {
        let now = Instant::now();
        self.pool.borrow_mut().end(now, attempt, timed_out);
        self.settle(server);
    }

    /// When [`Self::tick`] is to be called.
    pub fn next_due(&self) -> Option<Instant> {
        self.pool.borrow().next_due()
    }

    /// Time has passed.
    pub fn tick(&self, server: &Rc<Server>, now: Instant) {
        self.pool.borrow_mut().tick(now);
        self.settle(server);
    }

    /// Closes connections that were idle for long. Those whose way is not the right one any
    /// more take no new queries.
    pub fn sweep(&self, server: &Rc<Server>, now: Instant) {
        let mut pool = self.pool.borrow_mut();
        for (id, open) in self.open.borrow().iter() {
            if open.line.carrier.get().is_some_and(Carrier::is_stale) {
                pool.retire(now, *id);
            }
        }
        pool.sweep(now);
        drop(pool);
        self.settle(server);
    }

    /// Goes on with other upstreams. Connections to those that stay are kept, queries under
    /// way end as they began.
    pub fn configure(&self, server: &Rc<Server>, mut reaches: Reaches) {
        let mut pool = self.pool.borrow_mut();
        let used = |id| {
            pool.targets()
                .any(|(other, _)| *other == upstream::Server::Upstream(id))
        };
        let changed = reaches.take_over(&self.reaches.borrow(), used);
        *self.reaches.borrow_mut() = reaches;
        pool.retire_all(
            Instant::now(),
            |(other, _)| matches!(other, upstream::Server::Upstream(id) if changed.contains(id)),
        );
        drop(pool);
        self.settle(server);
    }

    /// Hands an answer to its attempt; one that nobody waits for is dropped.
    fn answer(&self, server: &Rc<Server>, link: LinkId, id: u16, message: &mut [u8]) {
        let now = Instant::now();
        let found = self.pool.borrow_mut().answer(now, link, id);
        if let Some((attempt, first)) = found {
            wire::set_id(message, u16::from_be_bytes(first));
            let mut forwarder = server.forwarder.borrow_mut();
            forwarder.stream_answer(now, attempt, message);
        }
    }

    /// Does what the pool wants done. Every event of the pool comes from one of this module's
    /// functions, which ends here or in [`Server::carry_out`], which calls it.
    pub(super) fn settle(&self, server: &Rc<Server>) {
        loop {
            let effect = self.pool.borrow_mut().next_effect();
            match effect {
                None => break,
                Some(Effect::Dial(id, target)) => self.dial(server, id, target),
                Some(Effect::Write(id)) => self.tell(id, |line| line.to_write.notify()),
                Some(Effect::Cancel(id, number)) => self.tell(id, |line| line.cancel(number)),
                // The task may be the caller: it ends after this poll.
                Some(Effect::Close(id)) => drop(self.open.borrow_mut().remove(&id)),
                Some(Effect::Failed(attempt, fault)) => {
                    let mut forwarder = server.forwarder.borrow_mut();
                    forwarder.stream_failed(Instant::now(), attempt, fault);
                }
            }
        }
    }

    fn tell(&self, id: LinkId, what: impl FnOnce(&Line)) {
        if let Some(open) = self.open.borrow().get(&id) {
            what(&open.line);
        }
    }

    fn dial(&self, server: &Rc<Server>, id: LinkId, (upstream, addr): Target) {
        let Some(reach) = self.reaches.borrow().get(upstream).map(Rc::clone) else {
            // Only those that have one are sent to; then it is taken away with its queries.
            return;
        };
        let line = Rc::new(Line::new(id, &reach));
        let life = live(Rc::downgrade(server), Rc::clone(&line), reach, addr);
        let open = Open {
            line,
            _task: server.spawn(life),
        };
        self.open.borrow_mut().insert(id, open);
    }
}

/// Life of a connection.
async fn live(server: Weak<Server>, line: Rc<Line>, reach: Rc<Reach>, addr: SocketAddr) {
    let moved = || {
        if let Some(server) = server.upgrade() {
            let mut pool = server.streams.pool.borrow_mut();
            pool.moved(Instant::now(), line.id);
        }
    };
    let opened = reach.open(addr, moved).await.map(|(carrier, wire)| {
        // It is opened once.
        let _ = line.carrier.set(carrier);
        wire
    });
    if let Some(server) = server.upgrade() {
        let mut pool = server.streams.pool.borrow_mut();
        let now = Instant::now();
        match &opened {
            Ok(_) => {
                let limit = reach
                    .http()
                    .map_or(usize::MAX, |_| http2::FIRST_STREAMS as usize);
                pool.connected(now, line.id, server.random_id(), limit);
            }
            Err(error) => {
                log::warn!(
                    event = "dns.dial", upstream = &*line.name, addr:% = addr, reason:% = error; ""
                );
                let fault = match error {
                    DialError::Io(error) => fault(error),
                    _ => Fault::Remote,
                };
                pool.dial_failed(now, line.id, fault);
            }
        }
        drop(pool);
        server.carry_out();
    }
    if let Ok(wire) = opened {
        let ended = talk::talk(&server, &line, &reach, &wire).await;
        if let Err(error) = ended {
            log::debug!(
                event = "dns.broken", upstream = &*line.name, addr:% = addr, reason:% = error; ""
            );
        }
    }
    if let Some(server) = server.upgrade() {
        server
            .streams
            .pool
            .borrow_mut()
            .closed(Instant::now(), line.id);
        server.streams.open.borrow_mut().remove(&line.id);
        server.carry_out();
    }
}

#[cfg(test)]
mod tests {
    use super::super::upstream::Upstreams;
    use super::reach::Prepared;
    use super::*;
    use crate::config::Config;

    #[test]
    #[cfg_attr(not(feature = "https"), ignore = "has an upstream https://")]
    fn what_is_cancelled_is_noted_only_where_the_server_can_be_told() {
        let text = "config dae 'main'\n\tlist interface 'lan'\n\
                    config upstream 'tcp'\n\toption url 'tcp://192.0.2.1'\n\
                    config upstream 'tls'\n\toption url 'tls://192.0.2.2'\n\
                    config upstream 'https'\n\toption url 'https://192.0.2.3'\n";
        let config = Config::parse("test", text.as_bytes()).unwrap();
        let ids = Upstreams::new(&config).ids();
        let ways = crate::outbound::ways::Ways::new(&config, 0, Instant::now());
        let prepared = Prepared::new(&config).unwrap();
        let reaches = prepared.name(ids.iter().copied(), &ways);
        let noted = ids.iter().map(|id| {
            let reach = reaches.get(upstream::Server::Upstream(*id)).unwrap();
            let line = Line::new(LinkId::of(1), reach);
            (0..3).for_each(|number| line.cancel(number));
            line.take_cancelled().len()
        });
        assert_eq!(noted.collect::<Vec<_>>(), [0, 0, 3]);
    }
}
