//! The forwarder: events and the time in, effects out. Pure.
//!
//! A query is answered at once from the cache or by rule, or it joins a flight. Flights make
//! [`Effect`]s; the loops around carry them out and bring back what came of them. Every query
//! that waits gets exactly one [`Effect::Reply`].

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::cache::{self, Cache};
use super::course::{Course, Due, Leg};
use super::flight::{Flight, FlightId, Flights, Joined, Key, Waiter};
use super::route::{Route, Router, Server};
use super::stats::{CacheStats, DnsStats, UpstreamStats};
use super::wire::{
    self, Answer, Asker, Query, Refusal, Stored, Unfit, error_without_question, flag, rcode,
    upstream_query,
};
use crate::config::Config;

/// What the loops have to do. `C` names a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect<C> {
    /// Send by UDP, on the flight's own socket, a new one if it has none.
    SendUdp {
        /// The flight.
        flight: FlightId,
        /// Where to.
        server: SocketAddr,
        /// The query.
        message: Vec<u8>,
    },
    /// Close the flight's socket.
    EndUdp {
        /// The flight.
        flight: FlightId,
    },
    /// Send by TCP. The loop may change the ID on the wire, and gives the answer back with
    /// this one.
    SendTcp {
        /// The flight.
        flight: FlightId,
        /// Where to.
        server: SocketAddr,
        /// The query, without its length.
        message: Vec<u8>,
    },
    /// Nobody waits for the flight's answer by TCP any more.
    EndTcp {
        /// The flight.
        flight: FlightId,
        /// The server was silent for too long.
        timed_out: bool,
    },
    /// A name has these addresses; before the answer that says so.
    Learn {
        /// Lower case, no final dot.
        name: String,
        /// A and AAAA of the answer.
        addrs: Vec<IpAddr>,
        /// Smallest TTL of the answer, seconds.
        ttl: u32,
    },
    /// Tell the log that a server did not answer; the SERVFAILs follow.
    Failed {
        /// Name asked for.
        name: String,
        /// Who was asked.
        server: SocketAddr,
    },
    /// Answer a client.
    Reply {
        /// Which.
        client: C,
        /// The message, without a length.
        message: Vec<u8>,
    },
}

/// What became of a query at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was appended.
    Answered,
    /// An [`Effect::Reply`] will come.
    Waiting,
    /// No answer will come.
    Dropped,
}

/// See the module.
pub struct Forwarder<C> {
    router: Router,
    cache: Cache,
    flights: Flights<C>,
    effects: VecDeque<Effect<C>>,
    stats: DnsStats,
    ids: Box<dyn FnMut() -> u16>,
    /// Place for the question of a query.
    lower: Vec<u8>,
}

impl<C: Clone + PartialEq> Forwarder<C> {
    /// A forwarder for a configuration. `ourselves` are the addresses that we listen on, `ids`
    /// gives random numbers that nobody can guess.
    pub fn new(config: &Config, ourselves: Vec<SocketAddr>, ids: Box<dyn FnMut() -> u16>) -> Self {
        let names = config
            .upstreams
            .iter()
            .map(|upstream| upstream.name.clone());
        let named = |name| UpstreamStats {
            name,
            ..UpstreamStats::default()
        };
        let upstreams = names.chain(["asis".to_owned()]).map(named).collect();
        Self {
            router: Router::new(config, ourselves),
            cache: Cache::new(config.dns.cache_bytes as usize),
            flights: Flights::new(config.dns.max_queries as usize),
            effects: VecDeque::new(),
            stats: DnsStats {
                upstreams,
                ..DnsStats::default()
            },
            ids,
            lower: Vec::new(),
        }
    }

    /// A message from a client, by TCP or UDP, that asked the server `asked`; None on a local
    /// listener. An answer that is there at once is appended to `out`, without its length.
    pub fn query(
        &mut self,
        now: Instant,
        client: &C,
        message: &[u8],
        tcp: bool,
        asked: Option<SocketAddr>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.stats.queries += 1;
        let mut lower = std::mem::take(&mut self.lower);
        let outcome = match Query::parse(message, &mut lower) {
            Ok(query) => self.answer(now, client, &query, tcp, asked, out),
            Err(refusal) => self.refuse(message, refusal, out),
        };
        self.lower = lower;
        outcome
    }

    fn answer(
        &mut self,
        now: Instant,
        client: &C,
        query: &Query<'_>,
        tcp: bool,
        asked: Option<SocketAddr>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let asker = Asker::of(query, tcp);
        let checking_disabled = query.flags & flag::CD != 0;
        let key = cache::Key::new(&query.question, query.dnssec_ok(), checking_disabled);
        if query.edns.is_none_or(|edns| edns.version == 0) {
            if let Some(hit) = self.cache.lookup(now, key, asked) {
                asker.answer(hit.stored, Some(hit.age), out);
                return Outcome::Answered;
            }
            return self.admit(now, client, query, &asker, asked, out);
        }
        asker.error(rcode::BADVERS, out);
        Outcome::Answered
    }

    #[cold]
    fn refuse(&mut self, message: &[u8], refusal: Refusal, out: &mut Vec<u8>) -> Outcome {
        self.stats.malformed += 1;
        match refusal {
            Refusal::Silent => Outcome::Dropped,
            Refusal::Code(code) => {
                error_without_question(message, code, out);
                Outcome::Answered
            }
        }
    }

    /// A query that the cache does not know.
    fn admit(
        &mut self,
        now: Instant,
        client: &C,
        query: &Query<'_>,
        asker: &Asker<'_>,
        asked: Option<SocketAddr>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let name = query.question.text();
        let server = match self.router.route(&name, query.question.qtype(), asked) {
            Route::Ask(server) => server,
            Route::Reject => {
                self.stats.rejected += 1;
                asker.error(rcode::NOERROR, out);
                return Outcome::Answered;
            }
            Route::NobodyAsked => {
                self.stats.refused += 1;
                asker.error(rcode::REFUSED, out);
                return Outcome::Answered;
            }
        };
        let key = Key {
            question: query.question.to_owned(),
            flags: query.flags & (flag::RD | flag::CD),
            dnssec_ok: query.dnssec_ok(),
            server,
        };
        let (transport, _) = self.router.server(server);
        let ids = &mut self.ids;
        let course = || Course::new(transport, ids(), now);
        match self
            .flights
            .join(key, Waiter::new(client.clone(), asker), course)
        {
            Joined::Leader(id) => self.start(id),
            Joined::Follower => self.stats.followers += 1,
            Joined::Repeated => {
                self.stats.repeated += 1;
                return Outcome::Dropped;
            }
            Joined::Full => {
                self.stats.refused += 1;
                self.stats.overflowed += 1;
                asker.error(rcode::REFUSED, out);
                return Outcome::Answered;
            }
        }
        Outcome::Waiting
    }

    fn start(&mut self, id: FlightId) {
        match self.flights.get(id).map(|flight| flight.course.udp) {
            Some(Leg::Open(_)) => self.send_udp(id, true),
            _ => self.send_tcp(id),
        }
        self.flights.reschedule(id);
    }

    /// A datagram came on the flight's socket.
    pub fn udp_answer(&mut self, now: Instant, id: FlightId, message: &[u8]) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if !matches!(flight.course.udp, Leg::Open(_)) {
            return;
        }
        let server = flight.key.server;
        match wire::walk(message, flight.course.id, &flight.key.question) {
            Ok(answer) if answer.truncated && !flight.course.passes_truncated() => {
                flight.course.truncated = Some(Box::new(answer));
                self.end_udp(now, id);
            }
            Ok(answer) => self.succeed(now, id, answer),
            Err(Unfit::Foreign) => self.udp_foreign(now, id),
            Err(Unfit::NoEdns) if flight.course.edns => {
                flight.course.edns = false;
                self.send_udp(id, false);
            }
            Err(Unfit::NoEdns | Unfit::Broken) => {
                self.upstream(server).failures += 1;
                self.end_udp(now, id);
            }
        }
    }

    /// A datagram with a wrong ID or question came on the flight's socket.
    pub fn udp_foreign(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if matches!(flight.course.udp, Leg::Open(_)) {
            let enough = flight.course.count_foreign();
            let server = flight.key.server;
            self.upstream(server).foreign += 1;
            if enough {
                self.upstream(server).failures += 1;
                self.end_udp(now, id);
            }
        }
    }

    /// The ID that the flight's answer shall have.
    pub fn wire_id(&mut self, id: FlightId) -> u16 {
        self.flights.get(id).map_or(0, |flight| flight.course.id)
    }

    /// The flight's datagram was refused (ICMP), or could not be sent.
    pub fn udp_failed(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if matches!(flight.course.udp, Leg::Open(_)) {
            let over = flight.course.count_error();
            let server = flight.key.server;
            self.upstream(server).failures += 1;
            if over {
                self.end_udp(now, id);
            }
        }
    }

    /// A message came in answer to the flight's query by TCP.
    pub fn tcp_answer(&mut self, now: Instant, id: FlightId, message: &[u8]) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if !matches!(flight.course.tcp, Leg::Open(_)) {
            return;
        }
        match wire::walk(message, flight.course.id, &flight.key.question) {
            Ok(answer) if !answer.truncated => {
                // The stream has handed it over and waits for nothing more.
                flight.course.tcp = Leg::Over;
                self.succeed(now, id, answer);
            }
            Err(Unfit::NoEdns) if flight.course.edns => {
                flight.course.edns = false;
                self.send_tcp(id);
            }
            Ok(_) | Err(_) => self.tcp_failed(now, id),
        }
    }

    /// The flight's query by TCP will not be answered: no connection, or closed.
    pub fn tcp_failed(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if matches!(flight.course.tcp, Leg::Open(_)) {
            flight.course.tcp = Leg::Over;
            let server = flight.key.server;
            self.upstream(server).failures += 1;
            self.go_on(now, id);
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.flights.next_deadline()
            && deadline <= now
        {
            let Some(flight) = self.flights.get(id) else {
                return;
            };
            let server = flight.key.server;
            match flight.course.due(now) {
                Some(Due::SendUdp) => self.send_udp(id, true),
                Some(Due::BeginTcp) => {
                    self.upstream(server).timeouts += 1;
                    self.begin_tcp(now, id);
                }
                Some(Due::EndUdp) => {
                    self.upstream(server).timeouts += 1;
                    self.end_udp(now, id);
                }
                Some(Due::EndTcp) => {
                    flight.course.tcp = Leg::Over;
                    self.upstream(server).timeouts += 1;
                    self.effects.push_back(Effect::EndTcp {
                        flight: id,
                        timed_out: true,
                    });
                    self.go_on(now, id);
                }
                None => {}
            }
            self.flights.reschedule(id);
        }
    }

    /// When [`Self::tick`] is to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.flights.next_deadline().map(|(deadline, _)| deadline)
    }

    /// Next thing to do, in order.
    pub fn next_effect(&mut self) -> Option<Effect<C>> {
        self.effects.pop_front()
    }

    /// A number that nobody can guess.
    pub fn random_id(&mut self) -> u16 {
        (self.ids)()
    }

    /// Counters and state.
    pub fn stats(&self) -> DnsStats {
        let cache::Counters {
            hits,
            stored,
            evicted,
        } = self.cache.counters();
        let (entries, bytes) = (self.cache.entries(), self.cache.bytes());
        DnsStats {
            flights: self.flights.len(),
            waiting: self.flights.waiting(),
            cache: CacheStats {
                hits,
                stored,
                evicted,
                entries,
                bytes,
            },
            ..self.stats.clone()
        }
    }

    /// Counters of a server; those asked `asis` share the last place.
    fn upstream(&mut self, server: Server) -> &mut UpstreamStats {
        let last = self.stats.upstreams.len() - 1;
        let index = match server {
            Server::Upstream(index) => usize::from(index).min(last),
            Server::AsIs(_) => last,
        };
        &mut self.stats.upstreams[index]
    }

    /// Sends the flight's query by UDP; `scheduled` unless it is an extra one.
    fn send_udp(&mut self, id: FlightId, scheduled: bool) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if scheduled {
            flight.course.udp_sent();
        }
        let (message, server) = (query_of(flight), flight.key.server);
        self.upstream(server).sent_udp += 1;
        let (_, server) = self.router.server(server);
        self.effects.push_back(Effect::SendUdp {
            flight: id,
            server,
            message,
        });
    }

    fn send_tcp(&mut self, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        let (message, server) = (query_of(flight), flight.key.server);
        self.upstream(server).sent_tcp += 1;
        let (_, server) = self.router.server(server);
        self.effects.push_back(Effect::SendTcp {
            flight: id,
            server,
            message,
        });
    }

    fn begin_tcp(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        let server = flight.key.server;
        if flight.course.begin_tcp(now) {
            self.upstream(server).fallbacks += 1;
            self.send_tcp(id);
        }
    }

    /// UDP brings nothing any more: TCP takes over where it can.
    fn end_udp(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        flight.course.udp = Leg::Over;
        self.effects.push_back(Effect::EndUdp { flight: id });
        self.begin_tcp(now, id);
        self.go_on(now, id);
    }

    /// A leg has ended: the flight goes on with the other, or fails.
    fn go_on(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if !flight.course.is_lost() {
            self.flights.reschedule(id);
            return;
        }
        match flight.course.truncated.take() {
            Some(answer) => self.succeed(now, id, *answer),
            None => self.fail(id),
        }
    }

    fn fail(&mut self, id: FlightId) {
        let Some(flight) = self.close(id) else { return };
        let name = flight.key.question.text();
        let (_, server) = self.router.server(flight.key.server);
        self.effects.push_back(Effect::Failed { name, server });
        for waiter in flight.waiters {
            self.reply_servfail(waiter);
        }
    }

    fn reply_servfail(&mut self, waiter: Waiter<C>) {
        self.stats.servfail += 1;
        let mut message = Vec::new();
        waiter.asker().error(rcode::SERVFAIL, &mut message);
        self.effects.push_back(Effect::Reply {
            client: waiter.client,
            message,
        });
    }

    fn succeed(&mut self, now: Instant, id: FlightId, answer: Answer) {
        let Some(flight) = self.close(id) else { return };
        let key = &flight.key;
        self.upstream(key.server).answered += 1;
        if !answer.addresses.is_empty() {
            let (name, addrs) = (key.question.text(), answer.addresses);
            self.effects.push_back(Effect::Learn {
                name,
                addrs,
                ttl: answer.ttl,
            });
        }
        // By TCP a truncated answer is never passed on by an upstream that has TCP.
        let needs_whole = answer.truncated && !flight.course.passes_truncated();
        for waiter in flight.waiters {
            if needs_whole && waiter.asker().tcp {
                self.reply_servfail(waiter);
            } else {
                let message = message_for(&waiter, &answer.stored);
                self.effects.push_back(Effect::Reply {
                    client: waiter.client,
                    message,
                });
            }
        }
        // Without RD a server tells what it happens to know, which is no answer for others.
        if let Some(life) = answer.life
            && key.flags & flag::RD != 0
        {
            let checking_disabled = key.flags & flag::CD != 0;
            let cached = cache::Key::new(&key.question, key.dnssec_ok, checking_disabled);
            self.cache
                .insert(now, cached, key.server, answer.stored, life);
        }
    }

    /// Takes a flight away and closes what it has open.
    fn close(&mut self, id: FlightId) -> Option<Flight<C>> {
        let flight = self.flights.remove(id)?;
        if matches!(flight.course.udp, Leg::Open(_)) {
            self.effects.push_back(Effect::EndUdp { flight: id });
        }
        if matches!(flight.course.tcp, Leg::Open(_)) {
            self.effects.push_back(Effect::EndTcp {
                flight: id,
                timed_out: false,
            });
        }
        Some(flight)
    }
}

fn query_of<C>(flight: &Flight<C>) -> Vec<u8> {
    let Flight { key, course, .. } = flight;
    upstream_query(
        course.id,
        key.flags,
        &key.question,
        course.edns,
        key.dnssec_ok,
    )
}

fn message_for<C>(waiter: &Waiter<C>, stored: &Stored) -> Vec<u8> {
    let asker = waiter.asker();
    let mut message = Vec::with_capacity(asker.limit().min(stored.wire().len() + 11));
    asker.answer(stored, None, &mut message);
    message
}
