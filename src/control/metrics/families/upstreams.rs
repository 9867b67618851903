//! Upstreams of DNS, and the sockets towards them. Pure.

use super::Kind::{Counter, Gauge, Seconds};
use super::Source::{Each, One, Rows, RowsEach};
use super::{Family, List, STREAM, family};

const UPSTREAMS: List = List {
    path: "dns.upstreams",
    labels: &[("upstream", "name")],
    place: None,
};

pub(super) static FAMILIES: &[Family] = &[
    family(
        "dae_dns_upstream_sockets",
        Gauge,
        Each(
            "transport",
            &[
                ("udp", "dns.upstream_sockets"),
                ("stream", "dns.upstream_connections"),
            ],
        ),
        "Sockets open towards upstreams.",
    ),
    family(
        "dae_dns_upstream_exhausted_total",
        Counter,
        One("dns.upstream_exhausted"),
        "Queries by UDP that found no socket.",
    ),
    family(
        "dae_dns_upstream_late_total",
        Counter,
        One("dns.upstream_late"),
        "Answers by UDP that came when nobody waited any more.",
    ),
    family(
        "dae_dns_upstream_up",
        Gauge,
        Rows(UPSTREAMS, "state"),
        "1: answers as far as is known; 0: did not, several times in a row.",
    ),
    family(
        "dae_dns_upstream_udp_dead",
        Gauge,
        Rows(UPSTREAMS, "udp_dead"),
        "1: UDP does not work there, the stream does.",
    ),
    family(
        "dae_dns_upstream_latency_seconds",
        Seconds,
        Rows(UPSTREAMS, "latency_ms"),
        "Smoothed time to an answer.",
    ),
    family(
        "dae_dns_upstream_sent_total",
        Counter,
        RowsEach(
            UPSTREAMS,
            "transport",
            &[("udp", "sent_udp"), (STREAM, "sent_stream")],
        ),
        "Queries sent, repetitions included.",
    ),
    family(
        "dae_dns_upstream_answered_total",
        Counter,
        RowsEach(
            UPSTREAMS,
            "transport",
            &[("udp", "answered_udp"), (STREAM, "answered_stream")],
        ),
        "Answers accepted.",
    ),
    family(
        "dae_dns_upstream_timeouts_total",
        Counter,
        Rows(UPSTREAMS, "timeouts"),
        "Times that no answer came, by UDP or by stream.",
    ),
    family(
        "dae_dns_upstream_fallbacks_total",
        Counter,
        Rows(UPSTREAMS, "fallbacks"),
        "Queries that went from UDP to the stream.",
    ),
    family(
        "dae_dns_upstream_failures_total",
        Counter,
        Rows(UPSTREAMS, "failures"),
        "Other failures: ICMP, connection refused or closed, nonsense.",
    ),
    family(
        "dae_dns_upstream_foreign_total",
        Counter,
        Rows(UPSTREAMS, "foreign"),
        "Datagrams dropped for a wrong ID or question.",
    ),
];
