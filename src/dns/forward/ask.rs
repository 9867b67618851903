//! Asking: who comes first, who next, and by which leg.

use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use super::super::attempt::{Attempt, AttemptId};
use super::super::course::{Course, Leg, Pace};
use super::super::flight::{Candidate, Candidates, FlightId, Lane};
use super::super::route::Group;
use super::super::upstream::Server;
use super::super::wire::upstream_query;
use super::{Effect, Forwarder};
use crate::config::{Policy, Transport};

impl<C: Clone + PartialEq> Forwarder<C> {
    /// Begins to ask the upstreams of a group for a flight.
    pub(super) fn ask_group(&mut self, now: Instant, id: FlightId, group: &Group) {
        let candidates = self.order(group);
        if let Some(flight) = self.flights.get(id) {
            flight.candidates = candidates;
        }
        self.ask_next(now, id);
        if group.policy == Policy::Race {
            for _ in 1..group.upstreams.len() {
                if self.next_may_win(id) {
                    self.ask_next(now, id);
                }
            }
        }
        self.probe(now, id, group);
    }

    /// Whether the next candidate is up.
    fn next_may_win(&mut self, id: FlightId) -> bool {
        let next = self
            .flights
            .get(id)
            .and_then(|f| f.candidates.last().copied());
        next.is_some_and(|next| !self.upstreams.known(next.server).health.is_down())
    }

    /// Begins to ask one server.
    pub(super) fn ask_server(&mut self, now: Instant, id: FlightId, server: Server) {
        if let Some(flight) = self.flights.get(id) {
            flight.candidates = smallvec![Candidate {
                server,
                another: false,
            }];
        }
        self.ask_next(now, id);
    }

    /// Upstreams of a group, the first to be asked last: those that are up in the order of the
    /// policy, then those that are down. Among the fastest, one that never answered comes first,
    /// so that its speed becomes known. Where an upstream has a second address, that is tried
    /// when all have been asked by their first one.
    fn order(&mut self, group: &Group) -> Candidates {
        if let [only] = group.upstreams[..] {
            let server = Server::Upstream(only);
            let addresses = self.upstreams.get(only).map_or(0, |u| u.addresses.len());
            let tries: &[bool] = if addresses > 1 {
                &[true, false]
            } else {
                &[false]
            };
            let candidate = |another: &bool| Candidate {
                server,
                another: *another,
            };
            return tries.iter().map(candidate).collect();
        }
        let mut order: Vec<_> = group
            .upstreams
            .iter()
            .enumerate()
            .map(|(place, id)| {
                let server = Server::Upstream(*id);
                let health = &self.upstreams.known(server).health;
                let latency = health.latency().filter(|_| group.policy == Policy::Fastest);
                ((health.is_down(), latency, place), server)
            })
            .collect();
        order.sort_unstable_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        let second = |server: &Server| match server {
            Server::Upstream(id) => self
                .upstreams
                .get(*id)
                .is_some_and(|u| u.addresses.len() > 1),
            Server::AsIs(_) => false,
        };
        let servers = order.into_iter().map(|(_, server)| server);
        let seconds = servers.clone().filter(second);
        let candidate = |another| move |server| Candidate { server, another };
        let seconds = seconds.map(candidate(true));
        seconds.chain(servers.map(candidate(false))).collect()
    }

    /// Asks the next candidate; the flight fails when nobody is left who may answer.
    pub(super) fn ask_next(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        let Some(candidate) = flight.candidates.pop() else {
            flight.hedge_at = None;
            if flight.attempts.iter().all(|a| a.course.is_lost()) && flight.held.is_none() {
                self.fail(now, id);
            } else {
                self.flights.reschedule(id);
            }
            return;
        };
        let server = candidate.server;
        let lane = flight.key.lane;
        let more = !flight.candidates.is_empty();
        let tried = flight.attempts.iter().filter_map(|attempt| attempt.addr);
        let tried: SmallVec<[_; 4]> = tried.filter(|_| candidate.another).collect();
        if candidate.another && self.upstreams.addr(server, &tried).is_none() {
            return self.ask_next(now, id);
        }
        let health = &mut self.upstreams.known(server).health;
        health.asked(now);
        let pace = health.pace();
        let hedge_at = more.then(|| now + health.hedge());
        let (transport, pace) = match lane {
            Lane::ProbeUdp(_) => (
                Transport::Udp,
                Pace {
                    udp_dead: false,
                    ..pace
                },
            ),
            _ => (self.upstreams.transport(server), pace),
        };
        if let Server::Upstream(upstream) = server {
            self.look_up(now, upstream);
        }
        let addr = self.upstreams.addr(server, &tried);
        let course = match addr {
            Some(_) => Course::new(transport, pace, now),
            None => Course::waiting_for_address(transport, pace, now),
        };
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        flight.hedge_at = hedge_at;
        // At most eight candidates, and as many for each of three rules that send on.
        let number = flight.attempts.len() as u8;
        let attempt = Attempt::new(id, number, server, addr, course);
        let attempt_id = attempt.id;
        flight.attempts.push(attempt);
        if addr.is_some() {
            self.open(attempt_id);
        }
        self.flights.reschedule(id);
    }

    /// Sends the first query of an attempt whose address is known.
    pub(super) fn open(&mut self, id: AttemptId) {
        match self.attempt(id).map(|attempt| attempt.course.udp) {
            Some(Leg::Open(_)) => self.send_udp(id, true),
            Some(_) => self.send_stream(id, false),
            None => {}
        }
    }

    /// An attempt of a flight under way.
    pub(super) fn attempt(&mut self, id: AttemptId) -> Option<&mut Attempt> {
        let flight = self.flights.get(id.flight)?;
        let mut attempts = flight.attempts.iter_mut();
        attempts.find(|attempt| attempt.id == id)
    }

    /// Sends the attempt's query by UDP; `scheduled` unless it is an extra one.
    pub(super) fn send_udp(&mut self, id: AttemptId, scheduled: bool) {
        let Some(message) = self.message(id, false) else {
            return;
        };
        let Some(attempt) = self.attempt(id) else {
            return;
        };
        // The third leaves by the socket of the second, and so on.
        let fresh = attempt.course.datagrams() == 1 && scheduled;
        if scheduled {
            attempt.course.udp_sent();
        }
        let (server, addr) = (attempt.server, attempt.addr);
        let Some(addr) = addr else { return };
        self.upstreams.known(server).stats.sent_udp += 1;
        self.effects.push_back(Effect::SendUdp {
            attempt: id,
            server,
            addr,
            message,
            fresh,
        });
    }

    /// Sends the attempt's query by stream; `fresh`: by another connection than before.
    pub(super) fn send_stream(&mut self, id: AttemptId, fresh: bool) {
        let Some(server) = self.attempt(id).map(|attempt| attempt.server) else {
            return;
        };
        let transport = self.upstreams.transport(server);
        let padded = matches!(transport, Transport::Tls | Transport::Https);
        let Some(message) = self.message(id, padded) else {
            return;
        };
        let Some(addr) = self.attempt(id).and_then(|attempt| attempt.addr) else {
            return;
        };
        self.upstreams.known(server).stats.sent_stream += 1;
        self.effects.push_back(Effect::SendStream {
            attempt: id,
            server,
            addr,
            message,
            fresh,
        });
    }

    fn message(&mut self, id: AttemptId, padded: bool) -> Option<Vec<u8>> {
        let flight = self.flights.peek(id.flight)?;
        let attempt = flight.attempts.iter().find(|attempt| attempt.id == id)?;
        let key = &flight.key;
        Some(upstream_query(
            key.flags,
            &key.question,
            attempt.course.edns,
            key.dnssec_ok,
            padded,
            self.spare.take(),
        ))
    }
}
