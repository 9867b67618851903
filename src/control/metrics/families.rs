//! What each number of the status document is called as a metric. Pure.

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A gauge in seconds; the document has milliseconds.
    Seconds,
}

/// Where numbers are in the document, as `part.field`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// One number.
    One(&'static str),
    /// Several, told apart by a label: its name, then values with places.
    Each(&'static str, &'static [(&'static str, &'static str)]),
    /// One of every row of a list.
    Rows(List, &'static str),
    /// Several of every row; the label as above.
    RowsEach(List, &'static str, &'static [(&'static str, &'static str)]),
}

/// A list of the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    /// Where it is.
    pub path: &'static str,
    /// Label and the field that it is taken from.
    pub labels: &'static [(&'static str, &'static str)],
    /// Label for the place in the list, from 0, where names may be the same.
    pub place: Option<&'static str>,
}

const UPSTREAMS: List = List {
    path: "dns.upstreams",
    labels: &[("upstream", "name")],
    place: None,
};

const OUTBOUNDS: List = List {
    path: "flow.outbounds",
    labels: &[("outbound", "name")],
    place: None,
};

const GROUPS: List = List {
    path: "groups",
    labels: &[("group", "group"), ("network", "network"), ("node", "uses")],
    place: None,
};

const NODES: List = List {
    path: "nodes",
    labels: &[("node", "node"), ("network", "network")],
    place: None,
};

const RULES: List = List {
    path: "rules",
    labels: &[("rule", "rule"), ("outbound", "outbound")],
    place: Some("index"),
};

/// A value of a label that is a field of the row: the kind of stream of an upstream.
pub(super) const STREAM: &str = "stream";

/// Numbers of one name.
pub(super) struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
    pub source: Source,
}

const fn family(name: &'static str, kind: Kind, source: Source, help: &'static str) -> Family {
    Family {
        name,
        kind,
        help,
        source,
    }
}

use Kind::{Counter, Gauge, Seconds};
use Source::{Each, One, Rows, RowsEach};

/// All metrics.
pub(super) static FAMILIES: &[Family] = &[
    family(
        "dae_uptime_seconds",
        Gauge,
        One("uptime_s"),
        "Time since the start.",
    ),
    family(
        "dae_reloads_total",
        Counter,
        Each(
            "result",
            &[("ok", "reload.succeeded"), ("failed", "reload.failed")],
        ),
        "Times that the configuration was read again.",
    ),
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
    family(
        "dae_rule_packets_total",
        Counter,
        Rows(RULES, "packets"),
        "Packets that the rule decided.",
    ),
    family(
        "dae_rule_bytes_total",
        Counter,
        Rows(RULES, "bytes"),
        "Bytes of these packets.",
    ),
    family(
        "dae_packets_total",
        Counter,
        Each(
            "fate",
            &[
                ("dns", "packets.dns"),
                ("to_router", "packets.to_router"),
                ("groupcast", "packets.groupcast"),
                ("other", "packets.other"),
                ("midstream", "packets.midstream"),
                ("resumed", "packets.resumed"),
                ("fragments_dropped", "packets.fragments_dropped"),
                ("failed_open", "packets.failed_open"),
                ("failed_closed", "packets.failed_closed"),
                ("flow_cache_full", "packets.flow_cache_full"),
            ],
        ),
        "Packets of the LAN that no rule was asked about.",
    ),
    family(
        "dae_flows",
        Gauge,
        Each(
            "proto",
            &[("tcp", "flow.tcp.active"), ("udp", "flow.udp.active")],
        ),
        "Relayed flows: TCP connections and UDP sessions.",
    ),
    family(
        "dae_flow_workers",
        Gauge,
        Each(
            "proto",
            &[("tcp", "flow.tcp.workers"), ("udp", "flow.udp.workers")],
        ),
        "Tasks that serve flows, counted by themselves: as many as flows.",
    ),
    family(
        "dae_tcp_opened_total",
        Counter,
        One("flow.tcp.opened"),
        "Connections taken on.",
    ),
    family(
        "dae_tcp_ended_total",
        Counter,
        Each(
            "reason",
            &[
                ("closed", "flow.tcp.closed"),
                ("idle", "flow.tcp.idle"),
                ("broken", "flow.tcp.broken"),
                ("failed", "flow.tcp.dial_failed"),
                ("cut", "flow.tcp.cut"),
            ],
        ),
        "Connections ended. failed: the outbound could not be reached; cut: it is configured no \
         more.",
    ),
    family(
        "dae_tcp_refused_total",
        Counter,
        Each(
            "reason",
            &[
                ("full", "flow.tcp.refused_full"),
                ("blocked", "flow.tcp.refused_blocked"),
                ("shortage", "flow.tcp.refused_shortage"),
            ],
        ),
        "Connections reset before they were taken on. full: max_tcp_connections; shortage: no \
         descriptors or no memory.",
    ),
    family(
        "dae_tcp_accept_failed_total",
        Counter,
        One("flow.tcp.accept_failed"),
        "Times that connections had to wait, as there was not even a descriptor to refuse them.",
    ),
    family(
        "dae_udp_sessions_created_total",
        Counter,
        One("flow.udp.created"),
        "UDP sessions begun.",
    ),
    family(
        "dae_udp_sessions_ended_total",
        Counter,
        Each(
            "reason",
            &[
                ("idle", "flow.udp.expired"),
                ("evicted", "flow.udp.evicted"),
                ("failed", "flow.udp.failed"),
                ("closed", "flow.udp.ended"),
                ("cut", "flow.udp.cut"),
            ],
        ),
        "UDP sessions ended. evicted: to make room; failed: the outbound did; closed: by the far \
         side; cut: the outbound is configured no more.",
    ),
    family(
        "dae_udp_removal_failed_total",
        Counter,
        One("flow.udp.removal_failed"),
        "Tasks that found their session gone when they ended: 0, or something is wrong in dae.",
    ),
    family(
        "dae_udp_datagrams_total",
        Counter,
        One("flow.udp.datagrams"),
        "Datagrams relayed, both ways.",
    ),
    family(
        "dae_udp_dropped_total",
        Counter,
        Each(
            "reason",
            &[
                ("queue_full", "flow.udp.dropped_queue_full"),
                ("failed", "flow.udp.dropped_failed"),
                ("unsent", "flow.udp.dropped_unsent"),
                ("blocked", "flow.udp.dropped_blocked"),
                ("send", "flow.udp.dropped_send"),
                ("malformed", "flow.udp.dropped_malformed"),
                ("reply", "flow.udp.dropped_reply"),
            ],
        ),
        "Datagrams dropped. queue_full: too many while a session was dialled; failed: its outbound \
         failed; unsent: it ended before it was dialled; blocked: by a rule; send, reply: the \
         socket to the outbound or to the client took no more; malformed: by a node.",
    ),
    family(
        "dae_udp_queued",
        Gauge,
        One("flow.udp.queued"),
        "Datagrams that wait for their session to be dialled.",
    ),
    family(
        "dae_outbound_bytes_total",
        Counter,
        RowsEach(
            OUTBOUNDS,
            "direction",
            &[("up", "bytes_up"), ("down", "bytes_down")],
        ),
        "Payload of relayed flows; up is from clients.",
    ),
    family(
        "dae_group_last_resort",
        Gauge,
        Rows(GROUPS, "last_resort"),
        "What carries new flows is the label node (policy random: none). 1: that is a last resort, no member works; 0: a member that works.",
    ),
    family(
        "dae_node_usable",
        Gauge,
        Rows(NODES, "usable"),
        "1: alive, or nothing is known; 0: suspect or dead.",
    ),
    family(
        "dae_node_latency_seconds",
        Seconds,
        RowsEach(
            NODES,
            "mean",
            &[
                ("last", "last_ms"),
                ("avg10", "avg10_ms"),
                ("moving", "moving_ms"),
            ],
        ),
        "Time that a check took, or a connection where nothing is checked.",
    ),
    family(
        "dae_node_state_age_seconds",
        Gauge,
        Rows(NODES, "since_s"),
        "For how long a node has been what it is. Nothing while that is since the start.",
    ),
    family(
        "dae_node_checks",
        Gauge,
        One("checks.under_way"),
        "Checks of nodes under way.",
    ),
    family(
        "dae_node_checks_total",
        Counter,
        One("checks.begun"),
        "Checks of nodes begun.",
    ),
    family(
        "dae_node_checks_failed_total",
        Counter,
        One("checks.failed"),
        "Checks of nodes that failed, or had no outcome in time.",
    ),
    family(
        "dae_node_checks_waited_total",
        Counter,
        One("checks.waited"),
        "Times that a check had to wait for others to end.",
    ),
    family(
        "dae_node_deaths_total",
        Counter,
        One("checks.deaths"),
        "Times that a node died, each network by itself.",
    ),
    family(
        "dae_network_outages_total",
        Counter,
        One("checks.outages"),
        "Times that nothing worked in a network, with or without a node.",
    ),
    family(
        "dae_network_down",
        Gauge,
        Each(
            "network",
            &[
                ("tcp4", "checks.down.tcp4"),
                ("tcp6", "checks.down.tcp6"),
                ("udp4", "checks.down.udp4"),
                ("udp6", "checks.down.udp6"),
            ],
        ),
        "1: nothing works in a network, with or without a node.",
    ),
];
