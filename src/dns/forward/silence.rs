//! Upstreams that were silent: those who wait are reminded as soon as one speaks again.
//!
//! When all places are taken by queries that wait for a silent upstream, no new query comes
//! through that could find it back. Then one of those who wait is sent again now and then.

use std::time::{Duration, Instant};

use super::super::attempt::{Attempt, AttemptId};
use super::super::upstream::Server;
use super::Forwarder;

/// Pause between two queries that are sent again while all places are taken.
const PULSE: Duration = Duration::from_millis(50);

impl<C: Clone + PartialEq> Forwarder<C> {
    /// A query found no place.
    pub(super) fn begin_pulse(&mut self, now: Instant) {
        if self.pulse_at.is_none() {
            self.pulse_at = Some(now + PULSE);
        }
    }

    /// Sends one of those who wait again for every silent upstream, while all places are taken.
    pub(super) fn pulse(&mut self, now: Instant) {
        if self.pulse_at.is_none_or(|at| at > now) {
            return;
        }
        self.pulse_at = self.flights.is_full().then(|| now + PULSE);
        if self.pulse_at.is_none() {
            return;
        }
        self.pulses += 1;
        let mut servers: Vec<(Server, Vec<AttemptId>)> = Vec::new();
        for attempt in self.flights.attempts().filter(|a| is_open(a)) {
            match servers
                .iter_mut()
                .find(|(server, _)| *server == attempt.server)
            {
                Some((_, attempts)) => attempts.push(attempt.id),
                None => servers.push((attempt.server, vec![attempt.id])),
            }
        }
        for (server, attempts) in servers {
            if self.upstreams.known(server).health.is_silent(now) {
                self.send_again(attempts[self.pulses % attempts.len()]);
            }
        }
    }

    /// An upstream has answered after a silence: all others that have waited for it for a while
    /// are sent again.
    pub(super) fn remind(&mut self, now: Instant, except: AttemptId, server: Server) {
        let patience = self.upstreams.known(server).health.hedge();
        let waits = |attempt: &&Attempt| {
            let waited = now.saturating_duration_since(attempt.course.began());
            let other = attempt.server == server && attempt.id != except;
            other && is_open(attempt) && waited >= patience
        };
        let attempts = self.flights.attempts().filter(waits);
        let attempts: Vec<_> = attempts.map(|attempt| attempt.id).collect();
        attempts.into_iter().for_each(|id| self.send_again(id));
    }

    fn send_again(&mut self, id: AttemptId) {
        match self.attempt(id).map(|attempt| attempt.course.udp.is_open()) {
            Some(true) => self.send_udp(id, false),
            Some(false) => self.send_stream(id, true),
            None => {}
        }
    }

    /// The stream has been silent for a while: its connection may be dead.
    pub(super) fn send_stream_again(&mut self, id: AttemptId) {
        if let Some(attempt) = self.attempt(id) {
            attempt.course.stream_sent_again();
            self.send_stream(id, true);
        }
    }
}

fn is_open(attempt: &Attempt) -> bool {
    attempt.course.udp.is_open() || attempt.course.stream.is_open()
}
