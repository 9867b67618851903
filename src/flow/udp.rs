//! Intercepted datagrams, and the answers to them. I/O; the table is in [`super::session`].

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;
use log::Level;

use super::kind::{KINDS, Kind};
use super::recent::Recent;
use super::session::{Arrival, End, Id, Key, Limits, Offer, Table};
use super::shared::{Shared, is_own};
use super::stats::{UdpStats, count};
use crate::net::batch::{Batch, Datagram};
use crate::net::reactor::{self, Source, Task, Timer};
use crate::net::reply::Replier;
use crate::outbound::dial::{self, Link};
use crate::outbound::ways::WayId;
use crate::outbound::{DialError, MAX_DATAGRAM};
use crate::rules::Proto;

/// Datagrams per receive call. Memory of a slot is only touched as far as datagrams reach.
const BATCH: usize = 32;

/// Datagrams taken from one session before others get their turn.
const TURN: usize = 32;

/// Datagrams that wait per session while it is dialled, and bytes that wait in all.
const QUEUE: usize = 64;
const QUEUE_BYTES: usize = 2 << 20;

/// An outbound that failed a client is not asked again for that client for so long.
const RETRY: Duration = Duration::from_secs(2);

/// Pause after a receive that failed; the socket itself cannot break.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Flows whose verdict is remembered, per session of the bound.
const FLOWS_PER_SESSION: usize = 4;

/// A verdict that nobody asks for is forgotten after twice this time.
const VERDICT_AGE: Duration = Duration::from_secs(30);

pub(super) struct Udp {
    shared: Rc<Shared>,
    replier: Rc<Replier>,
    sessions: RefCell<Table<Worker>>,
    /// What a flow asks for, by client and destination; None is blocked.
    verdicts: RefCell<Recent<(SocketAddr, SocketAddr), Option<WayId>>>,
    /// Every session receives into this; it is borrowed between two waits only.
    buffer: RefCell<Box<[u8]>>,
    stats: Cell<UdpStats>,
}

/// What the table owns per session: dropping it ends the task and closes the sockets.
struct Worker {
    task: Task<()>,
    association: Option<Rc<Link>>,
}

impl Udp {
    pub fn new(
        shared: Rc<Shared>,
        replier: Rc<Replier>,
        sessions: usize,
        idle: [Duration; KINDS],
    ) -> Self {
        let limits = Limits {
            sessions,
            queue: QUEUE,
            queue_bytes: QUEUE_BYTES,
            idle,
            retry: RETRY,
        };
        Self {
            shared,
            replier,
            sessions: RefCell::new(Table::new(limits)),
            verdicts: RefCell::new(Recent::new(sessions * FLOWS_PER_SESSION, VERDICT_AGE)),
            buffer: RefCell::new(vec![0; MAX_DATAGRAM].into()),
            stats: Cell::default(),
        }
    }

    pub fn stats(&self) -> UdpStats {
        let table = self.sessions.borrow();
        UdpStats {
            active: table.active() as u64,
            sessions: table.counts(),
            ..self.stats.get()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sessions.borrow().is_empty()
    }

    /// Once a second: ends sessions that have not been used.
    pub fn sweep(&self, now: Instant) {
        self.sessions.borrow_mut().expire(now);
    }

    pub fn clear(&self) {
        self.sessions.borrow_mut().clear();
    }

    /// Receives from clients for ever.
    pub async fn receive(self: Rc<Self>, listener: Source<UdpSocket>) {
        let mut batch = Batch::new(BATCH, MAX_DATAGRAM);
        loop {
            match batch.recv(&listener).await {
                Ok(datagrams) => {
                    let now = Instant::now();
                    datagrams.for_each(|datagram| self.forward(datagram, now));
                    if batch.is_full() {
                        future::yield_now().await;
                    }
                }
                Err(error) => {
                    log::warn!(event = "flow.receive", proto = "udp", reason:% = error; "");
                    Timer::after(ERROR_PAUSE).await;
                }
            }
        }
    }

    fn forward(self: &Rc<Self>, datagram: Datagram<'_>, now: Instant) {
        let Datagram {
            from: client,
            to,
            payload,
        } = datagram;
        let decide = || {
            self.shared
                .decide(Proto::Udp, client, to)
                .filter(|_| !is_own(to))
        };
        let outbound = self.verdicts.borrow_mut().get((client, to), now, decide);
        let Some(outbound) = outbound else {
            return count!(self.stats, dropped_blocked);
        };
        let key = Key { client, outbound };
        let arrival = Arrival {
            key,
            destination: to,
            kind: Kind::of(to.port(), payload),
            payload,
        };
        let mut table = self.sessions.borrow_mut();
        let open = |id| {
            self.shared.busy.notify();
            let task = reactor::spawn(Rc::clone(self).serve(id, key, to));
            Worker {
                task,
                association: None,
            }
        };
        if let Offer::Send(Worker {
            association: Some(association),
            ..
        }) = table.offer(arrival, now, open)
        {
            self.send(association, to, payload);
        }
    }

    fn send(&self, association: &Link, to: SocketAddr, payload: &[u8]) {
        match association.send(to, payload) {
            Ok(()) => {
                count!(self.stats, datagrams);
                let up = &association.way.traffic.up;
                up.set(up.get() + payload.len() as u64);
            }
            Err(_) => count!(self.stats, dropped_send),
        }
    }

    /// The life of a session: dial, send what waited, hand back answers until the far side or
    /// the table ends it.
    async fn serve(self: Rc<Self>, id: Id, key: Key, to: SocketAddr) {
        let (name, reason) = match dial::udp(&self.shared.ways, key.outbound, to).await {
            Ok(association) => {
                let name = association.way.name.clone();
                log::debug!(event = "flow.open", proto = "udp", node = &*name,
                    src:% = key.client, dst:% = to; "");
                let association = Rc::new(association);
                self.start(id, &association);
                let answers = self.answers(id, key.client, &association);
                let ended = async { association.ended().await };
                (name, DialError::from(future::or(ended, answers).await))
            }
            Err(error) => (self.shared.name(key.outbound), error),
        };
        let end = self.sessions.borrow_mut().end(id, Instant::now());
        let (level, event, worker) = match end {
            Some(End::Failed(worker)) => (Level::Warn, "flow.fail", worker),
            Some(End::Closed(worker)) => (Level::Debug, "flow.end", worker),
            None => return,
        };
        log::log!(level, event, proto = "udp", node = &*name,
            src:% = key.client, dst:% = to, reason:% = reason; "");
        // Dropping the task would cancel it; it is at its end.
        worker.task.detach();
    }

    fn start(&self, id: Id, association: &Rc<Link>) {
        let mut table = self.sessions.borrow_mut();
        if let Some((worker, queue)) = table.ready(id, Instant::now()) {
            worker.association = Some(Rc::clone(association));
            for queued in queue {
                self.send(association, queued.destination, &queued.payload);
            }
        }
    }

    /// Hands answers to the client until the association breaks.
    async fn answers(&self, id: Id, client: SocketAddr, association: &Link) -> io::Error {
        loop {
            association.readable().await;
            let (taken, all) = match self.take_answers(client, association) {
                Ok(done) => done,
                Err(error) => return error,
            };
            if taken > 0 {
                self.sessions.borrow_mut().touch(id, Instant::now());
            }
            if !all {
                future::yield_now().await;
            }
        }
    }

    /// Takes what is there, at most a turn; the number of answers, and whether that was all.
    fn take_answers(&self, client: SocketAddr, association: &Link) -> io::Result<(usize, bool)> {
        let mut buffer = self.buffer.borrow_mut();
        let mut taken = 0;
        for _ in 0..TURN {
            match association.recv(&mut buffer) {
                Ok((remote, payload)) => {
                    taken += 1;
                    match self.replier.send(remote, client, payload) {
                        Ok(()) => {
                            count!(self.stats, datagrams);
                            let down = &association.way.traffic.down;
                            down.set(down.get() + payload.len() as u64);
                        }
                        Err(_) => count!(self.stats, dropped_reply),
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok((taken, true)),
                    io::ErrorKind::InvalidData => count!(self.stats, dropped_malformed),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok((taken, false))
    }
}
