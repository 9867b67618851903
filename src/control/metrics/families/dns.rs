//! Clients' queries, flights and the cache. Pure.

use super::Kind::{Counter, Gauge};
use super::Source::{Each, One};
use super::{Family, family};

pub(super) static FAMILIES: &[Family] = &[
    family(
        "dae_dns_queries_total",
        Counter,
        One("dns.queries"),
        "Messages from clients.",
    ),
    family(
        "dae_dns_malformed_total",
        Counter,
        One("dns.malformed"),
        "Messages from clients that were no answerable query.",
    ),
    family(
        "dae_dns_answered_here_total",
        Counter,
        Each(
            "from",
            &[
                ("cache", "dns.cache.hits"),
                ("stale", "dns.stale"),
                ("hosts", "dns.hosts"),
                ("rule", "dns.rejected"),
                ("ipversion", "dns.suppressed"),
            ],
        ),
        "Queries answered without waiting for an upstream's answer, by what answered them.",
    ),
    family(
        "dae_dns_refused_total",
        Counter,
        One("dns.refused"),
        "Queries refused.",
    ),
    family(
        "dae_dns_refused_full_total",
        Counter,
        Each(
            "bound",
            &[
                ("queries", "dns.overflowed"),
                ("client", "dns.refused_client"),
            ],
        ),
        "Queries refused as too many waited, by the bound that was reached.",
    ),
    family(
        "dae_dns_withheld_total",
        Counter,
        One("dns.withheld"),
        "Answers of upstreams that a rule, or the protection against rebinding, kept back.",
    ),
    family(
        "dae_dns_asked_another_total",
        Counter,
        One("dns.asked_another"),
        "Questions that a rule sent on to other upstreams.",
    ),
    family(
        "dae_dns_servfail_total",
        Counter,
        One("dns.servfail"),
        "Queries that waited and that nobody answered.",
    ),
    family(
        "dae_dns_unsent_total",
        Counter,
        One("dns.unsent"),
        "Answers by UDP that could not be sent.",
    ),
    family(
        "dae_dns_followers_total",
        Counter,
        One("dns.followers"),
        "Queries that joined a flight under way.",
    ),
    family(
        "dae_dns_repeated_total",
        Counter,
        One("dns.repeated"),
        "Queries that a client repeated while they waited.",
    ),
    family(
        "dae_dns_flights_total",
        Counter,
        One("dns.departures"),
        "Flights towards upstreams.",
    ),
    family(
        "dae_dns_own_flights_total",
        Counter,
        Each(
            "purpose",
            &[("prefetch", "dns.prefetched"), ("probe", "dns.probes")],
        ),
        "Flights begun without a client that waits.",
    ),
    family(
        "dae_dns_own_flights_refused_total",
        Counter,
        One("dns.tasks_refused"),
        "Flights of our own that were not begun, as there were too many.",
    ),
    family(
        "dae_dns_unresolved_total",
        Counter,
        One("dns.unresolved"),
        "Attempts given up as the address of the upstream was not found.",
    ),
    family(
        "dae_dns_local_faults_total",
        Counter,
        One("dns.local_faults"),
        "Attempts given up for want of a descriptor or of room here.",
    ),
    family(
        "dae_dns_flights",
        Gauge,
        One("dns.flights"),
        "Flights under way.",
    ),
    family(
        "dae_dns_waiting",
        Gauge,
        One("dns.waiting"),
        "Clients that wait.",
    ),
    family(
        "dae_dns_cache_entries",
        Gauge,
        One("dns.cache.entries"),
        "Answers in the cache.",
    ),
    family(
        "dae_dns_cache_bytes",
        Gauge,
        One("dns.cache.bytes"),
        "Size of the cache.",
    ),
    family(
        "dae_dns_cache_max_bytes",
        Gauge,
        One("dns.cache.bound"),
        "Size that the cache may have.",
    ),
    family(
        "dae_dns_cache_stored_total",
        Counter,
        One("dns.cache.stored"),
        "Answers put into the cache.",
    ),
    family(
        "dae_dns_cache_evicted_total",
        Counter,
        One("dns.cache.evicted"),
        "Answers that left the cache early, for want of room.",
    ),
    family(
        "dae_dns_tcp_clients",
        Gauge,
        One("dns.tcp.open"),
        "Connections of clients.",
    ),
    family(
        "dae_dns_tcp_clients_total",
        Counter,
        One("dns.tcp.accepted"),
        "Connections of clients accepted.",
    ),
    family(
        "dae_dns_tcp_clients_ended_total",
        Counter,
        Each(
            "reason",
            &[
                ("displaced", "dns.tcp.displaced"),
                ("slow", "dns.tcp.timed_out"),
            ],
        ),
        "Connections of clients closed to make room, or as the client was idle or slow.",
    ),
];
