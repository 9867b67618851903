//! Relayed flows: TCP connections, UDP sessions, bytes. Pure.

use super::Kind::{Counter, Gauge};
use super::Source::{Each, One, RowsEach};
use super::{Family, List, family};

const OUTBOUNDS: List = List {
    path: "flow.outbounds",
    labels: &[("outbound", "name")],
    place: None,
};

pub(super) static FAMILIES: &[Family] = &[
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
];
