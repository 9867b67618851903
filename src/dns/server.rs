//! The forwarder with its sockets: hands events in and carries effects out. I/O.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::forward::{Effect, Forwarder, News};
use super::health::Turn;

use super::querylog::QueryLog;
use super::serve::UdpListener;
use super::stats::DnsStats;
use super::streams::Streams;
use super::streams::reach::Prepared;
use super::tcp::{Clients, ConnectionId};
use super::udp::{Exchanges, Parcel};
use crate::config::Config;
use crate::error::{IoContext, Result};
use crate::net::listen;
use crate::net::notify::Notify;
use crate::net::reactor::{self, Interest, Source, Task, Timer};
use crate::net::reply::Replier;
use crate::outbound::ways::Ways;

/// While connections are open, idle and slow ones are looked for so often.
const SWEEP: Duration = Duration::from_secs(1);

/// Sockets that clients reach us by.
#[derive(Default)]
pub struct Listeners {
    /// [`listen::transparent_udp`]; answers leave through the [`Replier`].
    pub transparent_udp: Vec<UdpSocket>,
    /// [`listen::transparent_tcp`].
    pub transparent_tcp: Vec<TcpListener>,
    /// [`listen::plain_udp`]: clients ask us, not a server behind us.
    pub local_udp: Vec<UdpSocket>,
    /// [`listen::plain_tcp`].
    pub local_tcp: Vec<TcpListener>,
}

impl Listeners {
    /// Opens local listeners, UDP and TCP each.
    pub fn open_local(&mut self, addrs: &[SocketAddr]) -> Result<()> {
        for &addr in addrs {
            let what = |proto| move || format!("listen for DNS on {addr} ({proto})");
            self.local_udp
                .push(listen::plain_udp(addr).context(what("udp"))?);
            self.local_tcp
                .push(listen::plain_tcp(addr).context(what("tcp"))?);
        }
        Ok(())
    }
}

/// Whom an answer goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Client {
    /// A datagram's sender.
    Udp {
        /// Index into the listeners.
        listener: usize,
        /// The client.
        from: SocketAddr,
        /// The server it asked.
        to: SocketAddr,
    },
    /// A connection.
    Tcp(ConnectionId),
}

/// What learns names: the name asked for (lower case, no final dot), all A and AAAA of the
/// answer, and its smallest TTL in seconds. Called before the answer leaves.
pub type Learn = Rc<dyn Fn(Rc<str>, &[IpAddr], u32)>;

/// The DNS server.
pub struct Server {
    pub(super) forwarder: RefCell<Forwarder<Client>>,
    ids: RefCell<Box<dyn FnMut() -> u16>>,
    ways: Rc<Ways>,
    pub(super) exchanges: Exchanges,
    pub(super) streams: Streams,
    pub(super) clients: Clients,
    pub(super) udp: Vec<UdpListener>,
    tcp: Vec<(Source<TcpListener>, bool)>,
    replier: Option<Rc<Replier>>,
    learn: Learn,
    unsent: Cell<u64>,
    /// What the alarm is set to, and how to set it anew.
    alarm: Cell<Option<Instant>>,
    rearm: Notify,
    swept: Cell<Instant>,
}

impl Server {
    /// A server on these sockets. `ways` are those of `config`. `replier` sends what transparent UDP clients get; without
    /// one they get nothing.
    pub fn new(
        config: &Config,
        ways: Rc<Ways>,
        listeners: Listeners,
        replier: Option<Rc<Replier>>,
        learn: Learn,
    ) -> Result<Rc<Self>> {
        let Listeners {
            transparent_udp,
            transparent_tcp,
            local_udp,
            local_tcp,
        } = listeners;
        let udp = transparent_udp.into_iter().map(|socket| (socket, true));
        let udp = udp.chain(local_udp.into_iter().map(|socket| (socket, false)));
        let tcp = transparent_tcp.into_iter().map(|socket| (socket, true));
        let tcp = tcp.chain(local_tcp.into_iter().map(|socket| (socket, false)));
        let udp: Vec<_> = udp.collect();
        let tcp: Vec<_> = tcp.collect();
        let what = || "watch a DNS listener";
        let ourselves = udp.iter().map(|(socket, _)| socket.local_addr());
        let ourselves = ourselves.chain(tcp.iter().map(|(socket, _)| socket.local_addr()));
        let ourselves = ourselves.collect::<io::Result<Vec<_>>>().context(what)?;
        let forwarder = Forwarder::new(config, ourselves, Instant::now());
        let reaches = Prepared::new(config)?;
        let reaches = reaches.name(forwarder.upstreams().map(|(id, _)| id), &ways);
        let exchanges = Exchanges::new(Rc::clone(&ways));
        exchanges.configure(forwarder.upstreams());
        Ok(Rc::new(Self {
            forwarder: RefCell::new(forwarder),
            ids: RefCell::new(random_ids()),
            ways,
            exchanges,
            streams: Streams::new(reaches),
            clients: Clients::new(
                config.dns.max_tcp_clients as usize,
                config.dns.max_client_connections as usize,
            ),
            udp: udp
                .into_iter()
                .map(|(socket, transparent)| UdpListener::new(socket, transparent).context(what))
                .collect::<Result<_>>()?,
            tcp: tcp
                .into_iter()
                .map(|(socket, transparent)| {
                    Ok((
                        Source::new(socket, Interest::Read).context(what)?,
                        transparent,
                    ))
                })
                .collect::<Result<_>>()?,
            replier,
            learn,
            unsent: Cell::new(0),
            alarm: Cell::new(None),
            rearm: Notify::default(),
            swept: Cell::new(Instant::now()),
        }))
    }

    /// Serves until dropped.
    pub async fn run(self: Rc<Self>) {
        let mut tasks = vec![
            self.spawn(Rc::clone(&self).keep_time()),
            self.spawn(Rc::clone(&self).hear_upstreams()),
        ];
        tasks.extend((0..self.udp.len()).map(|at| self.spawn(Rc::clone(&self).serve_udp(at))));
        for at in 0..self.tcp.len() {
            let server = Rc::clone(&self);
            tasks.push(self.spawn(async move {
                let (listener, transparent) = &server.tcp[at];
                server.accept(listener, *transparent).await;
            }));
        }
        for task in tasks {
            task.await;
        }
    }

    /// Goes on with another configuration; listeners stay as they are, and so do connections
    /// to upstreams that stay. [`Ways`] has it already. `prepared` was made of it. See
    /// [`Forwarder::reconfigure`].
    pub fn reconfigure(self: &Rc<Self>, old: &Config, new: &Config, prepared: Prepared) {
        let mut forwarder = self.forwarder.borrow_mut();
        forwarder.reconfigure(old, new);
        let reaches = prepared.name(forwarder.upstreams().map(|(id, _)| id), &self.ways);
        self.exchanges.configure(forwarder.upstreams());
        drop(forwarder);
        self.streams.configure(self, reaches);
        self.clients.set_bounds(
            new.dns.max_tcp_clients as usize,
            new.dns.max_client_connections as usize,
        );
        self.carry_out();
    }

    /// Asks every upstream something. What comes of it is in [`Self::stats`] a while later.
    pub fn probe_all(self: &Rc<Self>) {
        self.forwarder.borrow_mut().probe_all(Instant::now());
        self.carry_out();
    }

    /// Looks at the last queries.
    pub fn with_query_log<T>(&self, read: impl FnOnce(&QueryLog) -> T) -> T {
        read(self.forwarder.borrow().query_log())
    }

    /// Counters and state.
    pub fn stats(&self) -> DnsStats {
        let mut stats = self.forwarder.borrow().stats();
        stats.tcp = self.clients.stats();
        stats.unsent = self.unsent.get();
        stats.upstream_sockets = self.exchanges.len();
        (stats.upstream_exhausted, stats.upstream_late) = self.exchanges.counts();
        stats.upstream_connections = self.streams.len();
        stats
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Task<()> {
        reactor::spawn(task)
    }

    /// A number that nobody can guess.
    pub(super) fn random_id(&self) -> u16 {
        (self.ids.borrow_mut())()
    }

    /// Does all that the forwarder wants done, and sets the alarm.
    pub(super) fn carry_out(self: &Rc<Self>) {
        self.streams.settle(self);
        while self.carry_out_next() {}
        self.set_alarm();
    }

    /// Does one thing; false when there is none.
    fn carry_out_next(self: &Rc<Self>) -> bool {
        let effect = self.forwarder.borrow_mut().next_effect();
        // Taken apart here, as effects are large.
        match effect {
            None => return false,
            Some(Effect::SendUdp {
                attempt,
                server: to,
                addr,
                mut message,
                fresh,
            }) => {
                let parcel = Parcel {
                    attempt,
                    to,
                    addr,
                    fresh,
                    message: &mut message,
                };
                let sent = self.exchanges.send(self, parcel);
                let mut forwarder = self.forwarder.borrow_mut();
                if let Err(fault) = sent {
                    forwarder.udp_failed(Instant::now(), attempt, fault);
                }
                forwarder.give_back(message);
            }
            Some(Effect::EndUdp { attempt }) => self.exchanges.end(attempt),
            Some(Effect::SendStream {
                attempt,
                server,
                addr,
                message,
                fresh,
            }) => {
                let target = (server, addr);
                self.streams.send(self, attempt, target, message, fresh);
            }
            Some(Effect::EndStream { attempt, timed_out }) => {
                self.streams.end(self, attempt, timed_out);
            }
            Some(Effect::Learn { name, addrs, ttl }) => (self.learn)(name, &addrs, ttl),
            Some(Effect::Reply {
                client: Client::Tcp(connection),
                message,
            }) => {
                self.clients.reply(connection, &message);
                self.forwarder.borrow_mut().give_back(message);
            }
            Some(Effect::Reply {
                client: Client::Udp { listener, from, to },
                message,
            }) => {
                self.reply_udp(listener, from, to, &message);
                self.forwarder.borrow_mut().give_back(message);
            }
            Some(Effect::Tell(news)) => tell(news),
        }
        true
    }

    /// Sends a UDP answer: `from` is the client, `to` the server it asked. One that cannot be
    /// sent is lost, as on the way; the client asks again.
    pub(super) fn reply_udp(&self, at: usize, from: SocketAddr, to: SocketAddr, message: &[u8]) {
        let listener = &self.udp[at];
        let sent = match (&self.replier, listener.transparent) {
            (Some(replier), true) => replier.send(to, from, message).is_ok(),
            (None, true) => false,
            (_, false) => listener.send(from, to, message).is_ok(),
        };
        if !sent {
            self.unsent.set(self.unsent.get() + 1);
        }
    }

    /// When something has to be done though nothing comes.
    fn next_wake(&self) -> Option<Instant> {
        let deadline = self.forwarder.borrow_mut().next_deadline();
        let idle = self.clients.is_empty() && self.streams.is_empty() && self.exchanges.is_empty();
        let sweep = (!idle).then(|| self.swept.get() + SWEEP);
        [deadline, sweep, self.streams.next_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Wakes the timekeeper when it would sleep for too long.
    pub(super) fn set_alarm(&self) {
        let wanted = self.next_wake();
        let too_late = |alarm: Instant| wanted.is_some_and(|wanted| wanted < alarm);
        if self.alarm.get().map_or(wanted.is_some(), too_late) {
            self.rearm.notify();
        }
    }

    /// Calls the forwarder when something is due, and ends idle and slow connections. Sleeps
    /// for good while there is nothing to wait for.
    async fn keep_time(self: Rc<Self>) {
        loop {
            let at = self.next_wake();
            self.alarm.set(at);
            match at {
                None => self.rearm.wait().await,
                Some(at) => {
                    let time = async {
                        Timer::at(at).await;
                    };
                    future::or(time, self.rearm.wait()).await;
                }
            }
            let now = Instant::now();
            // Not asleep: whatever is due next is looked at before the next sleep.
            self.alarm.set(Some(now));
            self.forwarder.borrow_mut().tick(now);
            self.streams.tick(&self, now);
            if now.saturating_duration_since(self.swept.get()) >= SWEEP {
                self.swept.set(now);
                self.clients.sweep(now);
                self.streams.sweep(&self, now);
                self.exchanges.sweep();
            }
            self.carry_out();
        }
    }
}

#[cold]
fn tell(news: News) {
    match news {
        News::Failed { name, upstream } => {
            log::warn!(event = "dns.fail", name:% = name, upstream:% = upstream; "");
        }
        News::Withheld {
            name,
            upstream,
            reason,
        } => {
            log::info!(
                event = "dns.withheld", name:% = name, upstream:% = upstream, reason = reason; ""
            );
        }
        News::Turned { upstream, turn } => {
            let level = match turn {
                Turn::Down | Turn::UdpDead => log::Level::Warn,
                Turn::Up | Turn::UdpWorks => log::Level::Info,
            };
            let state = turn.as_str();
            log::log!(level, event = "dns.upstream", upstream:% = upstream, state = state; "");
        }
    }
}

/// Random numbers of the system, fetched many at a time.
pub(super) fn random_ids() -> Box<dyn FnMut() -> u16> {
    let mut pool = [0; 256];
    let mut used = pool.len();
    Box::new(move || {
        if used == pool.len() {
            if getrandom::fill(&mut pool).is_err() {
                // The keys of this hash are the system's randomness too, drawn at the start.
                for word in pool.as_chunks_mut::<8>().0 {
                    *word = RandomState::new().build_hasher().finish().to_ne_bytes();
                }
            }
            used = 0;
        }
        used += 2;
        u16::from_ne_bytes([pool[used - 2], pool[used - 1]])
    })
}
