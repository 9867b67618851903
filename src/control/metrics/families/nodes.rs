//! Groups, nodes and their checks. Pure.

use super::Kind::{Counter, Gauge, Seconds};
use super::Source::{Each, One, Rows, RowsEach};
use super::{Family, List, family};

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

pub(super) static FAMILIES: &[Family] = &[
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
