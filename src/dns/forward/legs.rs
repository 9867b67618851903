//! Legs of attempts begin and end: by time, by failure, because somebody else has answered.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::attempt::{Attempt, AttemptId};
use super::super::course::{Course, Due, Leg};
use super::super::flight::{FlightId, Lane};
use super::super::upstream::Server;
use super::{Effect, Forwarder};

impl<C: Clone + PartialEq> Forwarder<C> {
    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        self.pulse(now);
        while let Some((deadline, id)) = self.flights.next_deadline()
            && deadline <= now
        {
            let Some(flight) = self.flights.get(id) else {
                return;
            };
            if flight.ends <= now {
                self.fail(now, id);
                continue;
            }
            if flight.stale_at.is_some_and(|at| at <= now) {
                flight.stale_at = None;
                self.answer_stale(now, id);
            } else if flight.hedge_at.is_some_and(|at| at <= now) && !flight.candidates.is_empty() {
                self.ask_next(now, id);
            } else {
                let due = flight
                    .attempts
                    .iter()
                    .find_map(|attempt| Some((attempt.id, attempt.course.due(now)?)));
                if let Some((attempt, due)) = due {
                    self.carry_on(now, attempt, due);
                }
            }
            self.flights.reschedule(id);
        }
    }

    pub(super) fn carry_on(&mut self, now: Instant, id: AttemptId, due: Due) {
        match due {
            Due::SendUdp => self.send_udp(id, true),
            Due::BeginStream => {
                self.timed_out(id);
                self.begin_stream(now, id);
            }
            Due::BeginUdp => self.begin_udp(now, id),
            Due::SendStreamAgain => self.send_stream_again(id),
            Due::EndUdp => {
                self.timed_out(id);
                self.blame_silently(id);
                self.end_udp(now, id);
            }
            Due::EndStream => {
                self.timed_out(id);
                self.blame_silently(id);
                if let Some(attempt) = self.attempt(id) {
                    attempt.course.stream = Leg::Over;
                }
                self.effects.push_back(Effect::EndStream {
                    attempt: id,
                    timed_out: true,
                });
                self.begin_udp(now, id);
                self.go_on(now, id);
            }
            Due::NoAddress => self.no_address(now, id),
        }
    }

    /// The upstream has no address: nobody could be asked.
    pub(super) fn no_address(&mut self, now: Instant, id: AttemptId) {
        self.stats.unresolved += 1;
        if let Some(attempt) = self.attempt(id) {
            attempt.course.give_up_address();
            self.go_on(now, id);
        }
    }

    pub(super) fn begin_stream(&mut self, now: Instant, id: AttemptId) {
        let Some(attempt) = self.attempt(id) else {
            return;
        };
        if attempt.course.begin_stream(now) {
            let server = attempt.server;
            self.upstreams.known(server).stats.fallbacks += 1;
            self.send_stream(id, false);
        }
    }

    pub(super) fn begin_udp(&mut self, now: Instant, id: AttemptId) {
        if self
            .attempt(id)
            .is_some_and(|attempt| attempt.course.begin_udp(now))
        {
            self.send_udp(id, true);
        }
    }

    /// UDP is given up: the stream takes over, where it may.
    pub(super) fn end_udp(&mut self, now: Instant, id: AttemptId) {
        if let Some(attempt) = self.attempt(id) {
            attempt.course.udp = Leg::Over;
        }
        self.effects.push_back(Effect::EndUdp { attempt: id });
        self.begin_stream(now, id);
        self.go_on(now, id);
    }

    /// A leg is over: when it was the last one, the next upstream is asked.
    pub(super) fn go_on(&mut self, now: Instant, id: AttemptId) {
        let Some(attempt) = self.attempt(id) else {
            return;
        };
        if !attempt.course.is_lost() {
            self.flights.reschedule(id.flight);
            return;
        }
        let (server, blamed, addr) = (attempt.server, attempt.blamed, attempt.addr);
        // That UDP does not work was known; it says nothing of the stream.
        let asks_udp_alone = self
            .flights
            .get(id.flight)
            .is_some_and(|flight| matches!(flight.key.lane, Lane::ProbeUdp(_)));
        if blamed && !asks_udp_alone {
            let turn = self.upstreams.known(server).health.failed(now);
            if let Some(turn) = turn {
                self.tell(server, turn);
            }
            if let (Server::Upstream(upstream), Some(addr)) = (server, addr)
                && let Some(upstream) = self.upstreams.get_mut(upstream)
            {
                upstream.addresses.failed(addr);
            }
        }
        self.ask_next(now, id.flight);
    }

    /// Closes what an attempt has open.
    pub(super) fn end_attempt(&mut self, id: AttemptId) {
        if let Some(flight) = self.flights.get(id.flight) {
            let mut attempts = flight.attempts.iter_mut();
            let attempt = attempts.find(|attempt| attempt.id == id);
            attempt
                .into_iter()
                .for_each(|attempt| end(attempt, &mut self.effects));
        }
    }

    /// Closes all that a flight has open; nobody else is asked.
    pub(super) fn end_attempts(&mut self, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        flight.candidates.clear();
        flight.hedge_at = None;
        for attempt in &mut flight.attempts {
            end(attempt, &mut self.effects);
        }
    }

    pub(super) fn timed_out(&mut self, id: AttemptId) {
        if let Some(server) = self.attempt(id).map(|attempt| attempt.server) {
            self.upstreams.known(server).stats.timeouts += 1;
        }
    }

    /// What failed was the upstream's fault.
    pub(super) fn blame(&mut self, id: AttemptId) {
        if let Some(server) = self.attempt(id).map(|attempt| attempt.server) {
            self.upstreams.known(server).stats.failures += 1;
        }
        self.blame_silently(id);
    }

    pub(super) fn blame_silently(&mut self, id: AttemptId) {
        if let Some(attempt) = self.attempt(id) {
            attempt.blamed = true;
        }
    }
}

/// Closes what an attempt has open.
fn end<C>(attempt: &mut Attempt, effects: &mut VecDeque<Effect<C>>) {
    let Course { udp, stream, .. } = &mut attempt.course;
    let (udp, stream) = (
        std::mem::replace(udp, Leg::Over).is_open(),
        std::mem::replace(stream, Leg::Over).is_open(),
    );
    attempt.course.give_up_address();
    let attempt = attempt.id;
    if udp {
        effects.push_back(Effect::EndUdp { attempt });
    }
    if stream {
        effects.push_back(Effect::EndStream {
            attempt,
            timed_out: false,
        });
    }
}
