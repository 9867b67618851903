//! What comes of the queries that were sent.

use std::time::{Duration, Instant};

use super::super::attempt::{AttemptId, Fault};
use super::super::course::Leg;
use super::super::flight::FlightId;
use super::super::health::Turn;
use super::super::upstream::Server;
use super::super::wire::{self, Answer, Unfit};
use super::{Effect, Forwarder, News};

impl<C: Clone + PartialEq> Forwarder<C> {
    /// A datagram came in answer to an attempt's query.
    pub fn udp_answer(&mut self, now: Instant, id: AttemptId, message: &[u8]) {
        let Some((walked, server, sent)) = self.walk(id, message, |course| course.udp) else {
            return;
        };
        match walked {
            Ok(answer) => {
                self.heard_by_udp(server);
                if answer.truncated && !self.passes_truncated(id) {
                    self.keep_fallback(id.flight, server, answer);
                    self.end_udp(now, id);
                } else {
                    self.upstreams.known(server).stats.answered_udp += 1;
                    let took = self.since(now, id);
                    self.take(now, id, answer, took, sent == 1);
                }
            }
            Err(Unfit::Foreign) => self.udp_foreign(now, id),
            Err(Unfit::NoEdns) if self.drop_edns(id) => self.send_udp(id, false),
            Err(Unfit::NoEdns | Unfit::Broken) => {
                self.blame(id);
                self.end_udp(now, id);
            }
        }
    }

    /// A datagram with a wrong ID or question came where the attempt's answer is awaited.
    pub fn udp_foreign(&mut self, now: Instant, id: AttemptId) {
        let Some(attempt) = self.attempt(id).filter(|a| a.course.udp.is_open()) else {
            return;
        };
        let enough = attempt.course.count_foreign();
        let server = attempt.server;
        self.upstreams.known(server).stats.foreign += 1;
        if enough {
            self.blame(id);
            self.end_udp(now, id);
        }
    }

    /// The attempt's datagram was refused (ICMP), or could not be sent.
    pub fn udp_failed(&mut self, now: Instant, id: AttemptId, fault: Fault) {
        let Some(attempt) = self.attempt(id).filter(|a| a.course.udp.is_open()) else {
            return;
        };
        let over = match fault {
            Fault::Remote => attempt.course.count_error(),
            Fault::Local => true,
        };
        match fault {
            Fault::Remote => self.blame(id),
            Fault::Local => self.stats.local_faults += 1,
        }
        if over {
            self.end_udp(now, id);
        } else if let Some(flight) = self.flights.get(id.flight)
            && !flight.candidates.is_empty()
        {
            // The next is asked while this one has a second try.
            self.ask_next(now, id.flight);
        }
    }

    /// A message came in answer to the attempt's query by stream.
    pub fn stream_answer(&mut self, now: Instant, id: AttemptId, message: &[u8]) {
        let Some((walked, server, sent)) = self.walk(id, message, |course| course.stream) else {
            return;
        };
        match walked {
            Ok(answer) if !answer.truncated => {
                let udp_silent = self.attempt(id).is_some_and(|a| a.course.udp.is_open());
                let took = self.since_stream(now, id);
                if let Some(attempt) = self.attempt(id) {
                    // The connection has handed it over and waits for nothing more.
                    attempt.course.stream = Leg::Over;
                }
                if udp_silent && let Some(turn) = self.silent(now, server, sent) {
                    self.tell(server, turn);
                }
                self.upstreams.known(server).stats.answered_stream += 1;
                self.take(now, id, answer, took, sent == 0);
            }
            Err(Unfit::NoEdns) if self.drop_edns(id) => self.send_stream(id, false),
            Ok(_) | Err(_) => self.stream_failed(now, id, Fault::Remote),
        }
    }

    /// The attempt's query by stream will not be answered: no connection, or closed.
    pub fn stream_failed(&mut self, now: Instant, id: AttemptId, fault: Fault) {
        let Some(attempt) = self.attempt(id).filter(|a| a.course.stream.is_open()) else {
            return;
        };
        attempt.course.stream = Leg::Over;
        match fault {
            Fault::Remote => self.blame(id),
            Fault::Local => self.stats.local_faults += 1,
        }
        self.begin_udp(now, id);
        self.go_on(now, id);
    }

    /// An answer that fits the question. One that is an error is kept while somebody else may
    /// know better.
    fn take(&mut self, now: Instant, id: AttemptId, answer: Answer, took: Duration, exact: bool) {
        let Some(attempt) = self.attempt(id) else {
            return;
        };
        let (server, addr) = (attempt.server, attempt.addr);
        let health = &mut self.upstreams.known(server).health;
        let is_news = health.is_silent(now);
        if let Some(turn) = health.answered(took, exact) {
            self.tell(server, turn);
        }
        if let (Server::Upstream(upstream), Some(addr)) = (server, addr)
            && let Some(upstream) = self.upstreams.get_mut(upstream)
        {
            upstream.addresses.answered(addr);
        }
        if is_news {
            self.remind(now, id, server);
        }
        let Some(flight) = self.flights.get(id.flight) else {
            return;
        };
        let others = flight.attempts.iter().filter(|other| other.id != id);
        let hope = !flight.candidates.is_empty() || { others }.any(|a| !a.course.is_lost());
        let poor = answer.is_error();
        if poor && (hope || self.has_stale(now, id.flight)) {
            self.keep_fallback(id.flight, server, answer);
            self.end_attempt(id);
            self.ask_next(now, id.flight);
        } else {
            self.note_overtaken(now, id);
            self.end_attempts(id.flight);
            self.conclude(now, id.flight, server, answer);
        }
    }

    /// Others that were asked earlier and are silent for longer than is usual for them have
    /// failed, even though nobody waits for them any more.
    fn note_overtaken(&mut self, now: Instant, id: AttemptId) {
        let server = self.attempt(id).map(|attempt| attempt.server);
        let Some(flight) = self.flights.get(id.flight) else {
            return;
        };
        let open = flight.attempts.iter().filter(|attempt| {
            let earlier = attempt.id < id && Some(attempt.server) != server;
            earlier && !attempt.course.is_lost() && !attempt.course.waits_for_address()
        });
        let open: Vec<_> = open.map(|a| (a.server, a.course.began())).collect();
        for (server, began) in open {
            let health = &mut self.upstreams.known(server).health;
            if now.saturating_duration_since(began) >= health.hedge()
                && let Some(turn) = health.failed(now)
            {
                self.tell(server, turn);
            }
        }
    }

    /// Reads a message for an attempt that waits for it on a leg; with who sent it and how
    /// many datagrams had asked for it.
    fn walk(
        &mut self,
        id: AttemptId,
        message: &[u8],
        leg: impl Fn(&super::super::course::Course) -> Leg,
    ) -> Option<(Result<Answer, Unfit>, Server, u32)> {
        let flight = self.flights.get(id.flight)?;
        let attempt = flight.attempts.iter().find(|attempt| attempt.id == id)?;
        if !leg(&attempt.course).is_open() {
            return None;
        }
        let walked = wire::walk(message, &flight.key.question);
        Some((walked, attempt.server, attempt.course.datagrams()))
    }

    /// Time since the attempt's first query.
    fn since(&mut self, now: Instant, id: AttemptId) -> Duration {
        let began = self.attempt(id).map(|attempt| attempt.course.began());
        now.saturating_duration_since(began.unwrap_or(now))
    }

    /// Time since the attempt's stream began: what UDP's silence took before is not the
    /// stream's.
    fn since_stream(&mut self, now: Instant, id: AttemptId) -> Duration {
        match self.attempt(id).map(|attempt| attempt.course.stream) {
            Some(Leg::Open(since)) => now.saturating_duration_since(since),
            _ => Duration::ZERO,
        }
    }

    fn passes_truncated(&mut self, id: AttemptId) -> bool {
        self.attempt(id)
            .is_some_and(|attempt| attempt.course.passes_truncated())
    }

    fn keep_fallback(&mut self, id: FlightId, server: Server, answer: Answer) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        // A truncated answer is better than an error.
        let kept = flight.fallback.as_ref();
        if kept.is_none_or(|(_, kept)| kept.is_error() && !answer.is_error()) {
            flight.fallback = Some((server, Box::new(answer)));
        }
    }

    /// The query goes without EDNS from now on; false when it did already.
    fn drop_edns(&mut self, id: AttemptId) -> bool {
        self.attempt(id)
            .is_some_and(|attempt| std::mem::replace(&mut attempt.course.edns, false))
    }

    fn heard_by_udp(&mut self, server: Server) {
        if let Some(turn) = self.upstreams.known(server).health.udp_answered() {
            self.tell(server, turn);
        }
    }

    fn silent(&mut self, now: Instant, server: Server, datagrams: u32) -> Option<Turn> {
        match server {
            // What one server asked so does not do, others may.
            Server::AsIs(_) => None,
            Server::Upstream(_) => {
                let health = &mut self.upstreams.known(server).health;
                health.udp_silent(now, datagrams)
            }
        }
    }

    pub(super) fn tell(&mut self, server: Server, turn: Turn) {
        if let Server::Upstream(_) = server {
            let upstream = std::rc::Rc::clone(&self.upstreams.known(server).name);
            self.effects
                .push_back(Effect::Tell(News::Turned { upstream, turn }));
        }
    }
}
