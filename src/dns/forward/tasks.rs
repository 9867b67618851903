//! Questions of our own: to make an answer new, to see whether an upstream is back, to find the
//! address of one, to know whether a name has addresses of the preferred family.
//!
//! Each begins with a query of a client, or an order of the owner, so an idle forwarder asks
//! nothing.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::attempt::Attempt;
use super::super::flight::{Candidate, Companion, FlightId, Key, Lane, Task};
use super::super::flights::Joined;
use super::super::route::{Group, Route};
use super::super::upstream::{Server, UpstreamId};
use super::super::wire::{Answer, Query, Question, flag, rtype};
use super::{FLIGHT_TIME, Forwarder, host_name};
use crate::config::{Policy, Transport};

/// Among the fastest, one of so many queries goes to another upstream too, to see whether it
/// has become faster.
const EXPLORE_EVERY: u64 = 64;

impl<C: Clone + PartialEq> Forwarder<C> {
    /// Asks again for what is in the cache.
    pub(super) fn refresh(
        &mut self,
        now: Instant,
        question: Question,
        query: &Query<'_>,
        asked: Option<SocketAddr>,
    ) {
        let router = &self.settings.router;
        let route = router.route(&question.text(), question.qtype(), asked);
        let lane = match &route {
            Route::Ask(group) => Lane::Group(group.id),
            Route::AsIs(server) => Lane::AsIs(*server),
            Route::Reject | Route::NobodyAsked => return,
        };
        let key = Key {
            question,
            flags: query.flags & flag::CD | flag::RD,
            dnssec_ok: query.dnssec_ok(),
            lane,
        };
        if let Some(id) = self.begin_task(now, key, Task::Refresh) {
            self.stats.prefetched += 1;
            self.depart(now, id, &route);
        }
    }

    /// Asks the question of a flight once more where something has to be found out: upstreams
    /// that are down, UDP that did not work, speeds that may have changed.
    pub(super) fn probe(&mut self, now: Instant, id: FlightId, group: &Group) {
        self.stats.departures += 1;
        let explore = group.policy == Policy::Fastest
            && group.upstreams.len() > 1
            && self.stats.departures.is_multiple_of(EXPLORE_EVERY);
        let chosen = (self.stats.departures / EXPLORE_EVERY) as usize % group.upstreams.len();
        for (place, upstream) in group.upstreams.iter().enumerate() {
            let server = Server::Upstream(*upstream);
            let health = &self.upstreams.known(server).health;
            let explored = explore && place == chosen;
            if !health.is_down() && !health.is_udp_dead() && !explored {
                continue;
            }
            let transport = self.upstreams.transport(server);
            let Some(flight) = self.flights.get(id) else {
                return;
            };
            let first = flight.attempts.iter().any(|a| a.server == server);
            let health = &mut self.upstreams.known(server).health;
            let back = !first && (health.probe_due(now) || explored);
            let udp = transport == Transport::TcpUdp && health.udp_probe_due(now);
            if back {
                self.probe_one(now, id, Lane::Probe(*upstream), server);
            }
            if udp {
                self.probe_one(now, id, Lane::ProbeUdp(*upstream), server);
            }
        }
    }

    /// Asks every upstream a question that all of them can answer, by UDP too where that did
    /// not work, for whoever looks for a fault: counters and health say what came of it.
    pub fn probe_all(&mut self, now: Instant) {
        let Some(question) = Question::of("", rtype::SOA) else {
            return;
        };
        for upstream in self.upstreams.ids() {
            let server = Server::Upstream(upstream);
            let udp_dead = self.upstreams.known(server).health.is_udp_dead();
            let by_udp = udp_dead.then_some(Lane::ProbeUdp(upstream));
            for lane in [Lane::Probe(upstream)].into_iter().chain(by_udp) {
                let key = Key {
                    question: question.to_owned(),
                    flags: flag::RD,
                    dnssec_ok: false,
                    lane,
                };
                self.begin_probe(now, key, server);
            }
        }
    }

    fn probe_one(&mut self, now: Instant, id: FlightId, lane: Lane, server: Server) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        let key = Key {
            question: flight.key.question.to_owned(),
            flags: flight.key.flags,
            dnssec_ok: flight.key.dnssec_ok,
            lane,
        };
        self.begin_probe(now, key, server);
    }

    fn begin_probe(&mut self, now: Instant, key: Key, server: Server) {
        if let Some(id) = self.begin_task(now, key, Task::Probe) {
            self.stats.probes += 1;
            self.ask_server(now, id, server);
        }
    }

    /// Looks the name of an upstream up, when it is time.
    pub(super) fn look_up(&mut self, now: Instant, upstream: UpstreamId) {
        if let Some(found) = self.upstreams.get_mut(upstream)
            && found.addresses.lookup_due(now)
            && !self.ask_address(now, upstream, rtype::A)
            && let Some(found) = self.upstreams.get_mut(upstream)
        {
            found.addresses.found(now, &[], 0);
        }
    }

    /// Asks the bootstrap upstream; false when that cannot be.
    fn ask_address(&mut self, now: Instant, upstream: UpstreamId, qtype: u16) -> bool {
        let host = self.upstreams.get(upstream).map(|u| &u.config.host);
        let question = host
            .and_then(host_name)
            .and_then(|name| Question::of(name, qtype));
        let (Some(question), Some(group)) = (question, self.settings.bootstrap.clone()) else {
            return false;
        };
        let key = Key {
            question,
            flags: flag::RD,
            dnssec_ok: false,
            lane: Lane::Address(upstream),
        };
        match self.begin_task(now, key, Task::Address(upstream)) {
            Some(id) => {
                self.ask_group(now, id, &group);
                true
            }
            None => false,
        }
    }

    /// Begins the flight for the preferred family on behalf of another.
    pub(super) fn begin_companion(&mut self, now: Instant, id: FlightId, preferred: u16) {
        let Some(key) = self.flights.peek(id).map(|flight| &flight.key) else {
            return;
        };
        let question = key.question.with_qtype(preferred);
        let server = match key.lane {
            Lane::AsIs(server) => Some(server),
            _ => None,
        };
        let router = &self.settings.router;
        let route = router.route(&question.text(), preferred, server);
        let lane = match &route {
            Route::Ask(group) => Lane::Group(group.id),
            Route::AsIs(server) => Lane::AsIs(*server),
            Route::Reject | Route::NobodyAsked => return,
        };
        let companion = Key {
            question,
            flags: key.flags,
            dnssec_ok: key.dnssec_ok,
            lane,
        };
        let ends = now + FLIGHT_TIME;
        let joined = self.flights.join_task(companion, Task::Companion(id), ends);
        if joined == Joined::Full {
            self.stats.tasks_refused += 1;
            return;
        }
        if let Some(flight) = self.flights.get(id) {
            flight.companion = Companion::Awaited;
        }
        if let Joined::Leader(companion) = joined {
            self.depart(now, companion, &route);
        }
    }

    /// The new flight of a task; None when one is under way already, or there are too many.
    fn begin_task(&mut self, now: Instant, key: Key, task: Task) -> Option<FlightId> {
        match self.flights.join_task(key, task, now + FLIGHT_TIME) {
            Joined::Leader(id) => Some(id),
            Joined::Full | Joined::Crowded => {
                self.stats.tasks_refused += 1;
                None
            }
            Joined::Follower(_) | Joined::Repeated => None,
        }
    }

    /// Tells the tasks of a flight that ended what it has found.
    pub(super) fn finish_tasks(
        &mut self,
        now: Instant,
        key: &Key,
        tasks: Vec<Task>,
        answer: Option<&Answer>,
    ) {
        let found = answer.filter(|answer| answer.positive && !answer.addresses.is_empty());
        for task in tasks {
            match task {
                Task::Refresh | Task::Probe => {}
                // Silence says nothing of the name: the next query asks again.
                Task::Address(upstream)
                    if answer.is_some() && self.asks_on(now, key, found, upstream) => {}
                Task::Address(upstream) => self.addresses_found(now, upstream, found),
                Task::Companion(id) => self.companion_ended(now, id, found.is_some()),
            }
        }
    }

    /// IPv6 addresses are asked for when there are none of IPv4.
    fn asks_on(
        &mut self,
        now: Instant,
        key: &Key,
        found: Option<&Answer>,
        upstream: UpstreamId,
    ) -> bool {
        found.is_none()
            && key.question.qtype() == rtype::A
            && self.ask_address(now, upstream, rtype::AAAA)
    }

    fn addresses_found(&mut self, now: Instant, upstream: UpstreamId, found: Option<&Answer>) {
        if let Some(known) = self.upstreams.get_mut(upstream) {
            let (addrs, ttl) = found.map_or((&[][..], 0), |a| (&a.addresses[..], a.ttl));
            known.addresses.found(now, addrs, ttl);
        }
        let server = Server::Upstream(upstream);
        let addr = self.upstreams.addr(server, &[]);
        let hedge = self.hedge_of_another(upstream);
        let pace = self.upstreams.known(server).health.pace();
        let waits =
            |attempt: &&Attempt| attempt.server == server && attempt.course.waits_for_address();
        let waiting: Vec<_> = self
            .flights
            .attempts()
            .filter(waits)
            .map(|a| a.id)
            .collect();
        for id in waiting {
            match (addr, self.attempt(id)) {
                (Some(_), Some(attempt)) => {
                    attempt.addr = addr;
                    attempt.course.address_known(pace, now);
                    self.open(id);
                    if let (Some(flight), Some(hedge)) = (self.flights.get(id.flight), hedge) {
                        flight.ask_later(
                            Candidate {
                                server,
                                another: true,
                            },
                            now + hedge,
                        );
                    }
                    self.flights.reschedule(id.flight);
                }
                _ => self.no_address(now, id),
            }
        }
    }

    /// Silence after which a second address is asked, where there is one.
    fn hedge_of_another(&mut self, upstream: UpstreamId) -> Option<Duration> {
        let found = self.upstreams.get(upstream)?;
        (found.addresses.len() > 1).then(|| found.known.health.hedge())
    }

    fn companion_ended(&mut self, now: Instant, id: FlightId, preferred: bool) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        flight.companion = if preferred {
            Companion::Preferred
        } else {
            Companion::Nothing
        };
        if let Some((server, answer)) = flight.held.take() {
            self.conclude(now, id, server, *answer);
        } else if preferred {
            self.suppress(now, id);
        }
    }
}
