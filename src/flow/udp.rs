//! Intercepted datagrams on their way to outbounds. I/O; the table is in [`super::session`],
//! the life of a session in [`serve`].
//!
//! One batch is received, its datagrams are sorted by session, and each session sends its own
//! with one system call. Nothing here waits for an outbound: what a socket does not take at once
//! is dropped.

mod serve;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::kind::{KINDS, Kind};
use super::live::{Leash, Listed, Live, Newest, Workers};
use super::recent::Recent;
use super::session::{Arrival, Key, Limits, Offer, Table};
use super::shared::{Asked, Shared};
use super::stats::{UdpStats, add, count};
use crate::net::batch::{Batch, Datagram};
use crate::net::outbox::Outbox;
use crate::net::reactor::{Source, Task, Timer};
use crate::net::reply::Replier;
use crate::outbound::MAX_DATAGRAM;
use crate::outbound::dial::Link;
use crate::outbound::network::Network;
use crate::outbound::ways::WayId;
use crate::rules::Proto;

/// Datagrams per system call, and taken from one socket before others get their turn. Memory of
/// a slot is only touched as far as datagrams reach.
const BATCH: usize = 32;

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
    verdicts: RefCell<Recent<(SocketAddr, SocketAddr), Option<Asked>>>,
    /// All receive into this, and send from that; they are borrowed between two waits only.
    batch: RefCell<Batch>,
    outbox: RefCell<Outbox>,
    workers: Workers,
    stats: Cell<UdpStats>,
}

/// What the table owns per session: dropping it ends the task and closes the sockets.
struct Worker {
    task: Task<()>,
    _leash: Leash,
    live: Rc<Live>,
    /// None while it is dialled.
    carrier: Option<Rc<Carrier>>,
}

/// What a session sends with.
struct Carrier {
    live: Rc<Live>,
    link: Link,
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
            batch: RefCell::new(Batch::new(BATCH, MAX_DATAGRAM)),
            outbox: RefCell::new(Outbox::new(BATCH)),
            workers: Workers::default(),
            stats: Cell::default(),
        }
    }

    pub fn stats(&self) -> UdpStats {
        let table = self.sessions.borrow();
        let (queued, queued_bytes) = table.queued();
        UdpStats {
            active: table.active() as u64,
            workers: self.workers.count(),
            workers_ending: self.workers.ending(),
            queued: queued as u64,
            queued_bytes: queued_bytes as u64,
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

    /// What rules said may be no longer true.
    pub fn forget_verdicts(&self) {
        self.verdicts.borrow_mut().clear();
    }

    /// Sessions that there are no more places for end with the next ones.
    pub fn set_limit(&self, sessions: usize) {
        self.sessions.borrow_mut().set_limit(sessions);
        self.verdicts
            .replace(Recent::new(sessions * FLOWS_PER_SESSION, VERDICT_AGE));
    }

    pub fn set_idle(&self, idle: [Duration; KINDS]) {
        self.sessions.borrow_mut().set_idle(idle);
    }

    /// Ends the sessions of these ways.
    pub fn cut(&self, ways: &[WayId]) {
        let of_these = |_: &Key, worker: &Worker| worker.live.uses(ways);
        self.sessions.borrow_mut().cut(of_these);
    }

    /// New datagrams do not use the sessions of these ways.
    pub fn retire(&self, ways: &[WayId]) {
        let of_these = |_: &Key, worker: &Worker| worker.live.uses(ways);
        self.sessions.borrow_mut().retire(of_these);
    }

    /// New datagrams do not use the sessions that groups have by these nodes, which are dead: the
    /// group chooses again.
    pub fn leave(&self, dead: &[(WayId, Network)]) {
        let by_dead = |key: &Key, worker: &Worker| {
            let network = Network::of(Proto::Udp, key.client);
            worker
                .live
                .was_given(|node| dead.contains(&(node, network)))
        };
        self.sessions.borrow_mut().retire(by_dead);
    }

    /// Shows all sessions.
    pub fn list(&self, newest: &mut Newest<Listed>) {
        for (worker, kind, used) in self.sessions.borrow().workers() {
            let live = &worker.live;
            newest.add(live.since(), (Rc::clone(live), Some((kind, used))));
        }
    }

    /// Receives from clients for ever.
    pub async fn receive(self: Rc<Self>, listener: Source<UdpSocket>) {
        loop {
            listener.readable().await;
            match self.take(&listener) {
                Ok(count) if count == BATCH => future::yield_now().await,
                Ok(_) => {}
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    log::warn!(event = "flow.receive", proto = "udp", reason:% = error; "");
                    Timer::after(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Takes a batch from clients, and sends what can be sent; how many there were.
    fn take(self: &Rc<Self>, listener: &Source<UdpSocket>) -> io::Result<usize> {
        let mut batch = self.batch.borrow_mut();
        let datagrams = batch.take(listener)?;
        let count = datagrams.received();
        let now = Instant::now();
        let mut ready = Vec::with_capacity(count);
        for datagram in datagrams {
            if let Some(carrier) = self.offer(datagram, now) {
                ready.push((carrier, datagram.to, datagram.payload));
            }
        }
        // A stable sort: datagrams of one session stay in their order.
        ready.sort_by_key(|(carrier, ..)| Rc::as_ptr(carrier));
        for run in ready.chunk_by(|(one, ..), (other, ..)| Rc::ptr_eq(one, other)) {
            if let [(carrier, ..), ..] = run {
                self.send(carrier, run.iter().map(|(_, to, payload)| (*to, *payload)));
            }
        }
        Ok(count)
    }

    /// Tells the table of a datagram; what to send it with, if it is to be sent now.
    fn offer(self: &Rc<Self>, datagram: Datagram<'_>, now: Instant) -> Option<Rc<Carrier>> {
        let Datagram { from, to, payload } = datagram;
        let decide = || self.shared.decide(Proto::Udp, from, to);
        let asked = self.verdicts.borrow_mut().get((from, to), now, decide);
        let Some(asked) = asked else {
            count!(self.stats, dropped_blocked);
            return None;
        };
        let arrival = Arrival {
            key: Key {
                client: from,
                outbound: asked.way.id,
            },
            destination: to,
            kind: Kind::of(to.port(), payload),
            payload,
        };
        let mut table = self.sessions.borrow_mut();
        let open = |id| self.open(id, asked, (from, to), now);
        match table.offer(arrival, now, open) {
            Offer::Send(worker) => worker.carrier.clone(),
            Offer::Queued | Offer::Dropped => None,
        }
    }

    /// Sends datagrams of one session, in order.
    fn send<'a>(&self, carrier: &Carrier, datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>) {
        let mut outbox = self.outbox.borrow_mut();
        let sent = carrier.link.send_many(&mut outbox, datagrams);
        carrier.live.add_up(sent.bytes);
        add!(self.stats, datagrams, sent.datagrams);
        add!(self.stats, dropped_send, sent.dropped);
    }
}

/// Whether an error says only that nothing is there.
fn is_passing(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
