//! What became of packets: rules, and what no rule was asked about. Pure.

use super::Kind::Counter;
use super::Source::{Each, Rows};
use super::{Family, List, family};

const RULES: List = List {
    path: "rules",
    labels: &[("rule", "rule"), ("outbound", "outbound")],
    place: Some("index"),
};

pub(super) static FAMILIES: &[Family] = &[
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
];
