//! What clients ask: answered at once, or on its way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::cache::{self, Found};
use super::super::flight::{FlightId, Key, Lane, Waiter};
use super::super::flights::Joined;
use super::super::querylog::Outcome as Logged;
use super::super::route::Route;
use super::super::upstream::Server;
use super::super::wire::{
    Aging, Asker, Ede, Query, Question, Refusal, Stored, error_without_question, flag, rcode,
    rtype, walk,
};
use super::{FLIGHT_TIME, Forwarder, Origin, Outcome, STALE_AFTER};
use crate::rules::Family;

/// What is known of addresses of the preferred family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preferred {
    /// There are some.
    Known,
    /// There were some; perhaps there are none now.
    Stale,
    /// Nothing.
    Unknown,
    /// There are none, or no family is preferred to that of the question.
    Absent,
}

/// A query under inspection.
struct Asked<'a, C> {
    origin: &'a Origin<'a, C>,
    query: &'a Query<'a>,
    asker: Asker<'a>,
}

impl<C> Asked<'_, C> {
    fn cache_key(&self) -> cache::Key<'_> {
        let checking_disabled = self.query.flags & flag::CD != 0;
        cache::Key::new(
            &self.query.question,
            self.query.dnssec_ok(),
            checking_disabled,
        )
    }
}

impl<C: Clone + PartialEq> Forwarder<C> {
    /// A message from a client. An answer that is there at once is appended to `out`, without
    /// its length.
    pub fn query(
        &mut self,
        now: Instant,
        origin: &Origin<'_, C>,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Outcome {
        self.stats.queries += 1;
        let mut lower = std::mem::take(&mut self.lower);
        let outcome = match Query::parse(message, &mut lower) {
            Ok(query) => {
                let asked = Asked {
                    origin,
                    query: &query,
                    asker: Asker::of(&query, origin.tcp),
                };
                self.answer(now, &asked, out)
            }
            Err(refusal) => self.refuse(message, refusal, out),
        };
        self.lower = lower;
        outcome
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

    fn answer(&mut self, now: Instant, asked: &Asked<'_, C>, out: &mut Vec<u8>) -> Outcome {
        let Asked { query, asker, .. } = asked;
        if query.edns.is_some_and(|edns| edns.version != 0) {
            asker.error(rcode::BADVERS, None, out);
            return Outcome::Answered;
        }
        if let Some(stored) = self.settings.hosts.lookup(&query.question) {
            asker.answer(stored, Aging::New, None, out);
            self.stats.hosts += 1;
            self.note_now(now, asked, Logged::Hosts, rcode::NOERROR);
            return Outcome::Answered;
        }
        let preferred = self.preferred(now, asked);
        if preferred == Preferred::Known {
            asker.error(rcode::NOERROR, None, out);
            self.stats.suppressed += 1;
            self.note_now(now, asked, Logged::Rule, rcode::NOERROR);
            return Outcome::Answered;
        }
        let mut stale = preferred == Preferred::Stale;
        match self
            .cache
            .lookup(now, asked.cache_key(), asked.origin.asked)
        {
            Some(Found::Fresh {
                stored,
                age,
                prefetch,
            }) if preferred == Preferred::Absent => {
                let code = stored.rcode();
                let ede = (code == rcode::SERVFAIL).then_some(Ede::CachedError);
                asker.answer(stored, Aging::Aged(age), ede, out);
                if prefetch && self.settings.prefetch {
                    let question = asked.query.question.to_owned();
                    self.refresh(now, question, asked.query, asked.origin.asked);
                }
                self.note_now(now, asked, Logged::Cache, code);
                return Outcome::Answered;
            }
            Some(Found::Stale { stored, at_once }) => {
                if at_once {
                    let code = stored.rcode();
                    asker.answer(stored, Aging::Stale, Some(stale_reason(code)), out);
                    self.stats.stale += 1;
                    self.note_now(now, asked, Logged::Stale, code);
                    return Outcome::Answered;
                }
                stale = true;
            }
            Some(Found::Fresh { .. }) | None => {}
        }
        self.admit(now, asked, stale, out)
    }

    /// What the cache knows of addresses of the preferred family, where the answer depends on it
    /// (`ipversion_prefer`).
    fn preferred(&mut self, now: Instant, asked: &Asked<'_, C>) -> Preferred {
        let query = asked.query;
        let Some(preferred) = self.preferred_type(query.question.qtype()) else {
            return Preferred::Absent;
        };
        let question = query.question.with_qtype(preferred);
        let (server, cd) = (asked.origin.asked, query.flags & flag::CD != 0);
        let key = cache::Key::new(&question, query.dnssec_ok(), cd);
        let (found, prefetch) = self.has_address(now, key, &question, server);
        if prefetch && self.settings.prefetch {
            self.refresh(now, question, query, server);
        }
        found
    }

    /// What the cache knows of the addresses of a name, and whether it is to be asked again.
    pub(super) fn has_address(
        &mut self,
        now: Instant,
        key: cache::Key<'_>,
        question: &Question,
        server: Option<SocketAddr>,
    ) -> (Preferred, bool) {
        let positive =
            |stored: &Stored| walk(stored.wire(), question).is_ok_and(|answer| answer.positive);
        match self.cache.lookup(now, key, server) {
            Some(Found::Fresh {
                stored, prefetch, ..
            }) if positive(stored) => (Preferred::Known, prefetch),
            Some(Found::Fresh { prefetch, .. }) => (Preferred::Absent, prefetch),
            Some(Found::Stale { stored, at_once }) => match (positive(stored), at_once) {
                (true, true) => (Preferred::Known, false),
                (true, false) => (Preferred::Stale, false),
                (false, true) => (Preferred::Absent, false),
                (false, false) => (Preferred::Unknown, false),
            },
            None => (Preferred::Unknown, false),
        }
    }

    /// The type that is preferred to this one.
    pub(super) fn preferred_type(&self, qtype: u16) -> Option<u16> {
        match (self.settings.prefer?, qtype) {
            (Family::V4, rtype::AAAA) => Some(rtype::A),
            (Family::V6, rtype::A) => Some(rtype::AAAA),
            _ => None,
        }
    }

    /// A query that the cache cannot answer.
    fn admit(
        &mut self,
        now: Instant,
        asked: &Asked<'_, C>,
        stale: bool,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Asked {
            origin,
            query,
            asker,
        } = asked;
        let question = &query.question;
        question.write_text(&mut self.name);
        let route = self
            .settings
            .router
            .route(&self.name, question.qtype(), origin.asked);
        let lane = match &route {
            Route::Ask(_) if self.settings.block_https && is_service(question.qtype()) => {
                self.stats.rejected += 1;
                asker.error(rcode::NOERROR, Some(Ede::Blocked), out);
                self.note_now(now, asked, Logged::Rule, rcode::NOERROR);
                return Outcome::Answered;
            }
            Route::Ask(group) => Lane::Group(group.id),
            Route::AsIs(server) => Lane::AsIs(*server),
            Route::Reject => {
                self.stats.rejected += 1;
                asker.error(rcode::NOERROR, Some(Ede::Blocked), out);
                self.note_now(now, asked, Logged::Rule, rcode::NOERROR);
                return Outcome::Answered;
            }
            Route::NobodyAsked => {
                self.stats.refused += 1;
                asker.error(rcode::REFUSED, Some(Ede::Prohibited), out);
                self.note_now(now, asked, Logged::Refused, rcode::REFUSED);
                return Outcome::Answered;
            }
        };
        let key = Key {
            question: question.to_owned(),
            flags: query.flags & (flag::RD | flag::CD),
            dnssec_ok: query.dnssec_ok(),
            lane,
        };
        let waiter = Waiter::new(origin.client.clone(), origin.from, now, asker, &key);
        match self.flights.join(key, waiter, now + FLIGHT_TIME) {
            Joined::Leader(id) => {
                if let Some(flight) = self.flights.get(id) {
                    flight.name = Some(self.name.as_str().into());
                }
                self.expect_stale(now, id, stale);
                self.accompany(now, id);
                self.depart(now, id, &route);
            }
            Joined::Follower(id) => {
                self.stats.followers += 1;
                self.expect_stale(now, id, stale);
            }
            Joined::Repeated => {
                self.stats.repeated += 1;
                return Outcome::Dropped;
            }
            Joined::Full => {
                self.stats.overflowed += 1;
                self.begin_pulse(now);
                return self.refuse_one(now, asked, out);
            }
            Joined::Crowded => {
                self.stats.refused_client += 1;
                return self.refuse_one(now, asked, out);
            }
        }
        Outcome::Waiting
    }

    fn refuse_one(&mut self, now: Instant, asked: &Asked<'_, C>, out: &mut Vec<u8>) -> Outcome {
        self.stats.refused += 1;
        asked.asker.error(rcode::REFUSED, Some(Ede::Other), out);
        self.note_now(now, asked, Logged::Refused, rcode::REFUSED);
        Outcome::Answered
    }

    /// The clients of a flight wait no longer than this for a fresh answer.
    fn expect_stale(&mut self, now: Instant, id: FlightId, stale: bool) {
        if stale
            && let Some(flight) = self.flights.get(id)
            && flight.stale_at.is_none()
        {
            flight.stale_at = Some(now + STALE_AFTER);
            self.flights.reschedule(id);
        }
    }

    /// Asks those whom the route says.
    pub(super) fn depart(&mut self, now: Instant, id: FlightId, route: &Route) {
        match route {
            Route::Ask(group) => self.ask_group(now, id, group),
            Route::AsIs(server) => self.ask_server(now, id, Server::AsIs(*server)),
            Route::Reject | Route::NobodyAsked => {}
        }
    }

    /// Begins the flight for the preferred family, if this one must wait for it.
    fn accompany(&mut self, now: Instant, id: FlightId) {
        let qtype = self
            .flights
            .peek(id)
            .map(|flight| flight.key.question.qtype());
        if let Some(preferred) = qtype.and_then(|qtype| self.preferred_type(qtype)) {
            self.begin_companion(now, id, preferred);
        }
    }

    /// Notes a query that was answered at once.
    fn note_now(&mut self, now: Instant, asked: &Asked<'_, C>, outcome: Logged, code: u8) {
        if self.log.is_on() {
            let question = &asked.query.question;
            let from = asked.origin.from;
            self.note(now, from, question, outcome, code, Duration::ZERO);
        }
    }
}

/// HTTPS and SVCB (RFC 9460).
pub(super) fn is_service(qtype: u16) -> bool {
    matches!(qtype, rtype::HTTPS | rtype::SVCB)
}

/// Why a stale answer with this code is given.
pub(super) fn stale_reason(code: u8) -> Ede {
    if code == rcode::NXDOMAIN {
        Ede::StaleNxdomain
    } else {
        Ede::StaleAnswer
    }
}
