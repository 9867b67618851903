//! The forwarder: events and the time in, effects out. Pure.
//!
//! A query is answered at once from the cache or by rule, or it joins a flight. Flights make
//! [`Effect`]s; the loops around carry them out and bring back what came of them. Every query
//! that waits gets exactly one [`Effect::Reply`].
//!
//! `query` takes what clients ask, `ask` asks upstreams, `events` takes what comes of it, `legs`
//! begins and ends the ways to an answer, `silence` looks after upstreams that are silent,
//! `finish` ends flights, `tasks` are the questions of our own, `spare` keeps memory for messages.

mod ask;
mod effect;
mod events;
mod finish;
mod legs;
mod query;
mod silence;
mod spare;
mod tasks;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub use effect::{Effect, News, Origin, Outcome};
use spare::Spare;

use super::answer_rules::AnswerRules;
use super::cache::Cache;
use super::flights::Flights;
use super::hosts::Hosts;
use super::querylog::{self, QueryLog};
use super::rebind::Rebind;
use super::route::{Group, Groups, Route, Router};
use super::stats::{CacheStats, DnsStats};
use super::ttl::Ttls;
use super::upstream::{Server, UpstreamId, Upstreams};
use super::wire::Question;
use crate::config::{Config, Host, HttpsRecords};
use crate::rules::Family;

/// A client gets a stale answer when there is no other after this time (RFC 8767, 5).
const STALE_AFTER: Duration = Duration::from_millis(1800);

/// A flight ends after this time, however many upstreams there are to ask.
const FLIGHT_TIME: Duration = Duration::from_secs(8);

/// See the module.
pub struct Forwarder<C> {
    settings: Settings,
    upstreams: Upstreams,
    cache: Cache,
    flights: Flights<C>,
    effects: VecDeque<Effect<C>>,
    /// See [`silence`].
    pulse_at: Option<Instant>,
    pulses: usize,
    stats: DnsStats,
    log: QueryLog,
    started: Instant,
    /// Place for the question of a query.
    lower: Vec<u8>,
    /// Place for its name in text.
    name: String,
    spare: Spare,
}

/// What a configuration says, ready for use.
struct Settings {
    router: Router,
    answer_rules: AnswerRules,
    hosts: Hosts,
    ttls: Ttls,
    rebind: Rebind,
    bootstrap: Option<Rc<Group>>,
    prefer: Option<Family>,
    block_https: bool,
    prefetch: bool,
    serve_stale: bool,
    next_group: u32,
}

impl Settings {
    fn new(
        config: &Config,
        ourselves: Vec<SocketAddr>,
        ids: Vec<UpstreamId>,
        next_group: u32,
    ) -> Self {
        let dns = &config.dns;
        let mut groups = Groups::new(ids.clone(), next_group);
        Self {
            router: Router::new(config, ourselves, &mut groups),
            answer_rules: AnswerRules::new(config, &ids, &mut groups),
            hosts: Hosts::new(
                config
                    .dns_hosts
                    .iter()
                    .map(|host| (&*host.name, &*host.addrs)),
            ),
            ttls: Ttls::new(&config.dns_ttls),
            rebind: Rebind::new(dns.rebind_protection, &dns.rebind_domains),
            bootstrap: dns.bootstrap.map(|upstream| groups.single(upstream)),
            prefer: dns.ipversion_prefer,
            block_https: dns.https_records == HttpsRecords::Block,
            prefetch: dns.prefetch,
            serve_stale: dns.serve_stale > 0,
            next_group: groups.next(),
        }
    }

    /// Whether an answer comes from whom would be asked today, be it by a rule for answers.
    fn still_asks(&self, question: Question<&[u8]>, server: Server) -> bool {
        let (name, qtype) = (question.text(), question.qtype());
        match server {
            Server::AsIs(addr) => {
                matches!(self.router.route(&name, qtype, Some(addr)), Route::AsIs(_))
            }
            Server::Upstream(id) => match self.router.route(&name, qtype, None) {
                Route::Ask(group) => {
                    let blocked = self.block_https && query::is_service(qtype);
                    let asked = group.upstreams.contains(&id) || self.answer_rules.may_ask(id);
                    asked && !blocked
                }
                _ => false,
            },
        }
    }
}

impl<C: Clone + PartialEq> Forwarder<C> {
    /// A forwarder for a configuration; `ourselves` are the addresses that we listen on.
    pub fn new(config: &Config, ourselves: Vec<SocketAddr>, now: Instant) -> Self {
        let dns = &config.dns;
        let upstreams = Upstreams::new(config);
        Self {
            settings: Settings::new(config, ourselves, upstreams.ids(), 0),
            upstreams,
            cache: Cache::new(dns.cache_bytes as usize, dns.serve_stale),
            flights: Flights::new(dns.max_queries as usize, dns.max_client_queries),
            effects: VecDeque::new(),
            pulse_at: None,
            pulses: 0,
            stats: DnsStats::default(),
            log: QueryLog::new(dns.query_log as usize),
            started: now,
            lower: Vec::new(),
            name: String::new(),
            spare: Spare::default(),
        }
    }

    /// Upstreams with their identities, in the order of the configuration.
    pub fn upstreams(&self) -> impl Iterator<Item = (UpstreamId, &crate::config::Upstream)> {
        self.upstreams
            .iter()
            .map(|upstream| (upstream.id, &upstream.config))
    }

    /// Goes on with another configuration. Flights under way end as they began; upstreams that
    /// are written as before keep identity, health and counters; cached answers stay when the
    /// same upstream would be asked again and would be judged as before.
    pub fn reconfigure(&mut self, old: &Config, new: &Config) {
        let ourselves = self.settings.router.ourselves().to_vec();
        let same_upstreams = self.upstreams.configure(new, &old.moved_outbounds(new));
        self.settings = Settings::new(
            new,
            ourselves,
            self.upstreams.ids(),
            self.settings.next_group,
        );
        self.flights
            .change(new.dns.max_queries as usize, new.dns.max_client_queries);
        self.log.resize(new.dns.query_log as usize);
        // Rules name upstreams by their places.
        let same_rules =
            old.answer_rules == new.answer_rules && (new.answer_rules.is_empty() || same_upstreams);
        let judged_alike = same_rules
            && old.dns_ttls == new.dns_ttls
            && old.dns.rebind_protection == new.dns.rebind_protection
            && old.dns.rebind_domains == new.dns.rebind_domains;
        self.cache
            .reconfigure(new.dns.cache_bytes as usize, new.dns.serve_stale);
        let settings = &self.settings;
        self.cache.retain(|question, server, _| {
            let kept = judged_alike && settings.still_asks(question, server);
            kept.then_some(server)
        });
    }

    /// When [`Self::tick`] is to be called next.
    pub fn next_deadline(&mut self) -> Option<Instant> {
        let flight = self.flights.next_deadline().map(|(deadline, _)| deadline);
        let (at, pulse) = (flight?, self.pulse_at);
        Some(pulse.map_or(at, |pulse| pulse.min(at)))
    }

    /// Next thing to do, in order.
    pub fn next_effect(&mut self) -> Option<Effect<C>> {
        self.effects.pop_front()
    }

    /// Takes the message of an effect back that was carried out.
    pub fn give_back(&mut self, message: Vec<u8>) {
        self.spare.give_back(message);
    }

    /// Whether there is something to do.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// Counters and state.
    pub fn stats(&self) -> DnsStats {
        let counters = self.cache.counters();
        DnsStats {
            flights: self.flights.len(),
            waiting: self.flights.waiting(),
            cache: CacheStats {
                hits: counters.hits,
                stored: counters.stored,
                evicted: counters.evicted,
                entries: self.cache.entries(),
                bytes: self.cache.bytes(),
            },
            upstreams: self.upstreams.stats(),
            ..self.stats.clone()
        }
    }

    /// Notes what a client got, and how long it waited.
    fn note(
        &mut self,
        now: Instant,
        client: IpAddr,
        question: &Question<impl AsRef<[u8]>>,
        outcome: querylog::Outcome,
        code: u8,
        took: Duration,
    ) {
        let at = now.saturating_duration_since(self.started);
        self.log.push(|| querylog::Line {
            at,
            client,
            name: querylog::Name::new(&question.text()),
            qtype: question.qtype(),
            outcome,
            rcode: code,
            // A client waits for seconds at most.
            ms: took.as_millis() as u32,
        });
    }

    /// The last queries, oldest first; empty while the log is off.
    pub fn query_log(&self) -> &QueryLog {
        &self.log
    }
}

/// The name that a named upstream is looked up by.
fn host_name(host: &Host) -> Option<&str> {
    match host {
        Host::Name { name, .. } => Some(name),
        Host::Addrs(_) => None,
    }
}
