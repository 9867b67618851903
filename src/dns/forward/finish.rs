//! How flights end: with an answer, with a stale one, or with SERVFAIL.

use std::time::{Duration, Instant};

use super::super::answer_rules::{Action, MAX_DEPTH};
use super::super::cache::{self, Found};
use super::super::flight::{Companion, Flight, FlightId, Key, Lane, Task, Waiter};
use super::super::querylog::Outcome as Logged;
use super::super::upstream::Server;
use super::super::wire::{Aging, Answer, Ede, Stored, flag, rcode};
use super::query::{Preferred, stale_reason};
use super::{Effect, Forwarder, News};
use crate::rules::private::is_private;

/// An answer waits no longer than this for the question about the preferred family.
const COMPANION_TIME: Duration = Duration::from_secs(1);

/// What the rules say of an answer.
enum Judgement {
    Give,
    Withhold(&'static str),
    AskAnother(std::rc::Rc<super::super::route::Group>),
}

impl<C: Clone + PartialEq> Forwarder<C> {
    /// An upstream has answered: the clients get it, unless the flight for the preferred family
    /// is awaited, or a rule says otherwise.
    pub(super) fn conclude(&mut self, now: Instant, id: FlightId, server: Server, answer: Answer) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if flight.companion == Companion::Awaited && answer.positive {
            flight.held = Some((server, Box::new(answer)));
            flight.ends = flight.ends.min(now + COMPANION_TIME);
            self.flights.reschedule(id);
            return;
        }
        let depth = flight.depth;
        match self.judge(id, server, &answer) {
            Judgement::Give => self.deliver(now, id, server, answer),
            Judgement::Withhold(reason) => {
                self.stats.withheld += 1;
                let Some(flight) = self.close(id) else { return };
                self.effects.push_back(Effect::Tell(News::Withheld {
                    name: flight.key.question.text(),
                    upstream: std::rc::Rc::clone(&self.upstreams.known(server).name),
                    reason,
                }));
                self.end_without(now, flight, rcode::NOERROR, Ede::Blocked);
            }
            Judgement::AskAnother(_) if depth >= MAX_DEPTH => {
                let Some(flight) = self.close(id) else { return };
                self.end_without(now, flight, rcode::SERVFAIL, Ede::Blocked);
            }
            Judgement::AskAnother(group) => {
                if let Some(flight) = self.flights.get(id) {
                    flight.depth += 1;
                    flight.fallback = None;
                }
                self.stats.asked_another += 1;
                self.ask_group(now, id, &group);
            }
        }
    }

    /// Answers of the server that the client asked are its own affair.
    fn judge(&self, id: FlightId, server: Server, answer: &Answer) -> Judgement {
        let Some(key) = self.flights.peek(id).map(|flight| &flight.key) else {
            return Judgement::Give;
        };
        let (Lane::Group(_), Server::Upstream(upstream)) = (key.lane, server) else {
            return Judgement::Give;
        };
        let rules = &self.settings.answer_rules;
        if !rules.is_empty() {
            let (name, qtype) = (key.question.text(), key.question.qtype());
            match rules.decide(&name, qtype, upstream, &answer.addresses) {
                Some(Action::Accept) => return Judgement::Give,
                Some(Action::Reject) => return Judgement::Withhold("answer_rule"),
                Some(Action::Ask(group)) => return Judgement::AskAnother(group.clone()),
                None => {}
            }
        }
        let forbids = |name: &str| self.settings.rebind.forbids(name, &answer.addresses);
        if answer.addresses.iter().any(|addr| is_private(*addr)) && forbids(&key.question.text()) {
            Judgement::Withhold("rebind")
        } else {
            Judgement::Give
        }
    }

    fn deliver(&mut self, now: Instant, id: FlightId, server: Server, mut answer: Answer) {
        let transport = self.upstreams.transport(server);
        // Taken apart in place: a flight is large.
        let mut closed = self.close(id);
        let Some(flight) = closed.as_mut() else {
            return;
        };
        let name = flight.name();
        let key = &flight.key;
        let for_clients = matches!(key.lane, Lane::Group(_) | Lane::AsIs(_));
        if for_clients
            && !self.settings.ttls.is_empty()
            && let Some(ttl) = self.settings.ttls.of(&name)
        {
            answer.fix_ttl(ttl);
        }
        let suppressed = flight.companion == Companion::Preferred && answer.positive;
        if for_clients && !suppressed && !answer.addresses.is_empty() {
            let addrs = match flight.tasks[..] {
                [] => std::mem::take(&mut answer.addresses),
                _ => answer.addresses.clone(),
            };
            let ttl = answer.ttl;
            self.effects.push_back(Effect::Learn { name, addrs, ttl });
        }
        // By TCP a truncated answer is never passed on by an upstream that has TCP.
        let needs_whole = answer.truncated && transport != crate::config::Transport::Udp;
        for waiter in flight.waiters.drain(..) {
            if suppressed {
                self.stats.suppressed += 1;
                self.reply_error(now, waiter, key, rcode::NOERROR, None);
            } else if needs_whole && waiter.tcp {
                self.reply_error(now, waiter, key, rcode::SERVFAIL, Some(Ede::NetworkError));
            } else {
                self.reply(now, waiter, key, server, &answer.stored);
            }
        }
        let tasks = std::mem::take(&mut flight.tasks);
        self.finish_tasks(now, key, tasks, Some(&answer));
        // Without RD a server tells what it happens to know, which is no answer for others.
        if let Some(life) = answer.life
            && for_clients
            && !flight.is_old
            && key.flags & flag::RD != 0
        {
            self.cache
                .insert(now, cache_key(key), server, answer.stored, life);
        }
    }

    /// Nobody is left who may answer, or the time is over.
    pub(super) fn fail(&mut self, now: Instant, id: FlightId) {
        self.end_attempts(id);
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if let Some((server, answer)) = flight.held.take() {
            flight.companion = Companion::Nothing;
            return self.conclude(now, id, server, *answer);
        }
        let fallback = flight.fallback.take();
        let last = flight.attempts.last().map(|attempt| attempt.server);
        if let Some((server, answer)) = fallback
            && (!answer.is_error() || !self.has_stale(now, id))
        {
            return self.conclude(now, id, server, *answer);
        }
        self.answer_stale(now, id);
        let Some(flight) = self.close(id) else { return };
        if !flight.stale_given && matches!(flight.key.lane, Lane::Group(_) | Lane::AsIs(_)) {
            let key = &flight.key;
            self.cache.refresh_failed(now, cache_key(key), asked(key));
        }
        if !flight.waiters.is_empty() {
            let upstream = match last {
                Some(server @ Server::Upstream(_)) => self.upstreams.known(server).name.clone(),
                Some(Server::AsIs(addr)) => addr.to_string().into(),
                None => "-".into(),
            };
            let name = flight.key.question.text();
            self.effects
                .push_back(Effect::Tell(News::Failed { name, upstream }));
        }
        self.end_without(now, flight, rcode::SERVFAIL, Ede::NoReachableAuthority);
    }

    /// Ends a flight without an answer.
    fn end_without(&mut self, now: Instant, flight: Flight<C>, code: u8, ede: Ede) {
        for waiter in flight.waiters {
            self.reply_error(now, waiter, &flight.key, code, Some(ede));
        }
        self.finish_tasks(now, &flight.key, flight.tasks, None);
    }

    /// Whether there is a stale answer that is better than an error.
    pub(super) fn has_stale(&mut self, now: Instant, id: FlightId) -> bool {
        let Some(flight) = self.flights.peek(id) else {
            return false;
        };
        let key = &flight.key;
        let found = self.cache.lookup(now, cache_key(key), asked(key));
        matches!(found, Some(Found::Stale { .. }))
    }

    /// Gives the clients of a flight the stale answer, if there is one. The flight goes on, to
    /// make it new, unless there are too many of that kind.
    pub(super) fn answer_stale(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.flights.get(id) else {
            return;
        };
        if !self.settings.serve_stale || flight.waiters.is_empty() {
            return;
        }
        let key = flight.key.clone();
        if self.preferred_was_known(now, &key) {
            return self.suppress(now, id);
        }
        let cache_key = cache_key(&key);
        let Some(Found::Stale { stored, .. }) = self.cache.lookup(now, cache_key, asked(&key))
        else {
            return;
        };
        let code = stored.rcode();
        let mut stale = Vec::new();
        for waiter in self.flights.release(id, Task::Refresh) {
            self.stats.stale += 1;
            let mut message = Vec::new();
            let asker = waiter.asker(&key);
            asker.answer(stored, Aging::Stale, Some(stale_reason(code)), &mut message);
            stale.push((waiter, message));
        }
        for (waiter, message) in stale {
            self.note_reply(now, &waiter, &key, || Logged::Stale, code);
            self.send(waiter, message);
        }
        self.cache.refresh_failed(now, cache_key, asked(&key));
        if let Some(flight) = self.flights.get(id) {
            flight.stale_given = true;
        }
        if self.flights.has_too_many_tasks()
            && let Some(flight) = self.close(id)
        {
            self.stats.tasks_refused += 1;
            self.finish_tasks(now, &key, flight.tasks, None);
        }
    }

    /// The name has addresses of the preferred family: whatever this flight would find, its
    /// clients are not shown it.
    pub(super) fn suppress(&mut self, now: Instant, id: FlightId) {
        let Some(flight) = self.close(id) else { return };
        for waiter in flight.waiters {
            self.stats.suppressed += 1;
            self.reply_error(now, waiter, &flight.key, rcode::NOERROR, None);
        }
        self.finish_tasks(now, &flight.key, flight.tasks, None);
    }

    /// Whether addresses of the preferred family are known, or were until they died, where the
    /// answer depends on it.
    fn preferred_was_known(&mut self, now: Instant, key: &Key) -> bool {
        let Some(preferred) = self.preferred_type(key.question.qtype()) else {
            return false;
        };
        let question = key.question.with_qtype(preferred);
        let cd = key.flags & flag::CD != 0;
        let cache_key = cache::Key::new(&question, key.dnssec_ok, cd);
        let server = asked(key);
        let (found, _) = self.has_address(now, cache_key, &question, server);
        let known = matches!(found, Preferred::Known | Preferred::Stale);
        if known {
            self.cache.refresh_failed(now, cache_key, server);
        }
        known
    }

    /// Takes a flight away and closes what it has open.
    fn close(&mut self, id: FlightId) -> Option<Flight<C>> {
        self.end_attempts(id);
        self.flights.remove(id)
    }

    fn reply(
        &mut self,
        now: Instant,
        waiter: Waiter<C>,
        key: &Key,
        server: Server,
        stored: &Stored,
    ) {
        let mut message = self.spare.take();
        let asker = waiter.asker(key);
        asker.answer(stored, Aging::New, None, &mut message);
        let name = self.upstreams.known(server).name.clone();
        self.note_reply(now, &waiter, key, || Logged::Upstream(name), stored.rcode());
        self.send(waiter, message);
    }

    fn reply_error(
        &mut self,
        now: Instant,
        waiter: Waiter<C>,
        key: &Key,
        code: u8,
        ede: Option<Ede>,
    ) {
        let mut message = self.spare.take();
        waiter.asker(key).error(code, ede, &mut message);
        self.stats.servfail += u64::from(code == rcode::SERVFAIL);
        let outcome = || match code {
            rcode::SERVFAIL => Logged::Failed,
            _ => Logged::Rule,
        };
        self.note_reply(now, &waiter, key, outcome, code);
        self.send(waiter, message);
    }

    fn note_reply(
        &mut self,
        now: Instant,
        waiter: &Waiter<C>,
        key: &Key,
        outcome: impl FnOnce() -> Logged,
        code: u8,
    ) {
        if self.log.is_on() {
            let took = now.saturating_duration_since(waiter.since);
            self.note(now, waiter.from, &key.question, outcome(), code, took);
        }
    }

    /// The answer of a client that waited.
    fn send(&mut self, waiter: Waiter<C>, message: Vec<u8>) {
        let client = waiter.client;
        self.effects.push_back(Effect::Reply { client, message });
    }
}

fn cache_key(key: &Key) -> cache::Key<'_> {
    cache::Key::new(&key.question, key.dnssec_ok, key.flags & flag::CD != 0)
}

/// The server that the clients of a flight asked, where that matters.
fn asked(key: &Key) -> Option<std::net::SocketAddr> {
    match key.lane {
        Lane::AsIs(server) => Some(server),
        _ => None,
    }
}
