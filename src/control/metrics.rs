//! The status document as metrics: the text format 0.0.4 of Prometheus. Pure.
//!
//! [`FAMILIES`] says what each number of the document is called. A number that the document does
//! not have (DNS is off, an upstream never answered) has no line.

use std::fmt::Write as _;

use serde_json::Value;

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Only grows, until a restart.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A gauge in seconds; the document has milliseconds.
    Seconds,
}

/// Where numbers are in the document, as `part.field`.
#[derive(Debug, Clone, Copy)]
enum Source {
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
struct List {
    path: &'static str,
    /// Label and the field that it is taken from.
    labels: &'static [(&'static str, &'static str)],
    /// Label for the place in the list, from 0, where names may be the same.
    place: Option<&'static str>,
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

const RULES: List = List {
    path: "rules",
    labels: &[("rule", "rule"), ("outbound", "outbound")],
    place: Some("index"),
};

/// A value of a label that is a field of the row: the kind of stream of an upstream.
const STREAM: &str = "stream";

struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    source: Source,
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
static FAMILIES: &[Family] = &[
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
        "Relayed flows.",
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

/// The page for a status document.
pub fn render(status: &Value) -> String {
    let mut page = String::new();
    let version = status["version"].as_str().unwrap_or_default();
    head(&mut page, "dae_info", Gauge, "The program.");
    line(&mut page, "dae_info", &[("version", version)], "1");
    for family in FAMILIES {
        let mut samples = String::new();
        append(&mut samples, family, status);
        if !samples.is_empty() {
            head(&mut page, family.name, family.kind, family.help);
            page.push_str(&samples);
        }
    }
    page
}

/// `docs/metrics.md`, the table in it.
pub fn markdown() -> String {
    let mut table = "| metric | type | labels | what |\n|---|---|---|---|\n".to_owned();
    table.push_str("| `dae_info` | gauge | version | The program. |\n");
    for Family {
        name,
        kind,
        help,
        source,
    } in FAMILIES
    {
        let labels = labels(source).join(", ");
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(table, "| `{name}` | {} | {labels} | {help} |", word(*kind));
    }
    table
}

fn labels(source: &Source) -> Vec<String> {
    let of_list = |list: &List| {
        let labels = list.labels.iter().map(|(label, _)| (*label).to_owned());
        labels
            .chain(list.place.map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let values = |label: &str, each: &[(&str, &str)]| {
        let values: Vec<&str> = each.iter().map(|(value, _)| *value).collect();
        let values = values.join(" ").replace(STREAM, "tcp tls https");
        format!("{label} ({values})")
    };
    match source {
        One(_) => Vec::new(),
        Each(label, each) => vec![values(label, each)],
        Rows(list, _) => of_list(list),
        RowsEach(list, label, each) => [of_list(list), vec![values(label, each)]].concat(),
    }
}

fn append(out: &mut String, family: &Family, status: &Value) {
    let mut add = |labels: &[(&str, &str)], value: &Value| {
        if let Some(number) = number(family.kind, value) {
            line(out, family.name, labels, &number);
        }
    };
    match family.source {
        One(path) => add(&[], at(status, path)),
        Each(label, each) => {
            for (value, path) in each {
                add(&[(label, value)], at(status, path));
            }
        }
        Rows(list, field) => rows(status, list, |row, labels| add(labels, &row[field])),
        RowsEach(list, label, each) => rows(status, list, |row, labels| {
            for (value, field) in each {
                let value = if *value == STREAM { stream(row) } else { value };
                add(&[labels, &[(label, value)]].concat(), &row[*field]);
            }
        }),
    }
}

/// Calls with every row of a list and its labels.
fn rows(status: &Value, list: List, mut each: impl FnMut(&Value, &[(&str, &str)])) {
    let rows = at(status, list.path).as_array();
    for (place, row) in rows.into_iter().flatten().enumerate() {
        let place = place.to_string();
        let labels = list.labels.iter().filter_map(|(label, field)| {
            let value = row[*field].as_str()?;
            Some((*label, value))
        });
        let place = list.place.map(|label| (label, place.as_str()));
        let labels: Vec<_> = labels.chain(place).collect();
        each(row, &labels);
    }
}

/// What an upstream's stream is.
fn stream(upstream: &Value) -> &str {
    match upstream["transport"].as_str() {
        Some(transport @ ("tls" | "https")) => transport,
        _ => "tcp",
    }
}

fn at<'a>(status: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(status, |value, key| &value[key])
}

/// As text; None when it is not known.
fn number(kind: Kind, value: &Value) -> Option<String> {
    match value {
        Value::Number(milliseconds) if kind == Seconds => {
            Some((milliseconds.as_f64()? / 1000.0).to_string())
        }
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(u8::from(*yes).to_string()),
        Value::String(state) => Some(u8::from(state == "up").to_string()),
        _ => None,
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Counter => "counter",
        Gauge | Seconds => "gauge",
    }
}

fn head(page: &mut String, name: &str, kind: Kind, help: &str) {
    let kind = word(kind);
    let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(page: &mut String, name: &str, labels: &[(&str, &str)], number: &str) {
    page.push_str(name);
    for (place, (label, value)) in labels.iter().enumerate() {
        page.push(if place == 0 { '{' } else { ',' });
        let _ = write!(page, "{label}=\"");
        for c in value.chars() {
            match c {
                '\\' => page.push_str("\\\\"),
                '"' => page.push_str("\\\""),
                '\n' => page.push_str("\\n"),
                _ => page.push(c),
            }
        }
        page.push('"');
    }
    if !labels.is_empty() {
        page.push('}');
    }
    let _ = writeln!(page, " {number}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_have_names_kinds_and_labels() {
        let page = render(&json!({
            "version": "1.2.3",
            "dns": {"queries": 18_446_744_073_709_551_615_u64, "stale": 3, "upstreams": [
                {"name": "main", "transport": "tls", "state": "down", "udp_dead": false,
                 "latency_ms": 12.5, "sent_udp": 0, "sent_stream": 4},
                {"name": "asis", "state": "up", "udp_dead": true, "latency_ms": null,
                 "sent_udp": 5, "sent_stream": 0},
            ]},
        }));
        assert_eq!(
            page,
            "# HELP dae_info The program.\n# TYPE dae_info gauge\n\
             dae_info{version=\"1.2.3\"} 1\n\
             # HELP dae_dns_queries_total Messages from clients.\n\
             # TYPE dae_dns_queries_total counter\n\
             dae_dns_queries_total 18446744073709551615\n\
             # HELP dae_dns_answered_here_total Queries answered without waiting for an \
             upstream's answer, by what answered them.\n\
             # TYPE dae_dns_answered_here_total counter\n\
             dae_dns_answered_here_total{from=\"stale\"} 3\n\
             # HELP dae_dns_upstream_up 1: answers as far as is known; 0: did not, several \
             times in a row.\n\
             # TYPE dae_dns_upstream_up gauge\n\
             dae_dns_upstream_up{upstream=\"main\"} 0\n\
             dae_dns_upstream_up{upstream=\"asis\"} 1\n\
             # HELP dae_dns_upstream_udp_dead 1: UDP does not work there, the stream does.\n\
             # TYPE dae_dns_upstream_udp_dead gauge\n\
             dae_dns_upstream_udp_dead{upstream=\"main\"} 0\n\
             dae_dns_upstream_udp_dead{upstream=\"asis\"} 1\n\
             # HELP dae_dns_upstream_latency_seconds Smoothed time to an answer.\n\
             # TYPE dae_dns_upstream_latency_seconds gauge\n\
             dae_dns_upstream_latency_seconds{upstream=\"main\"} 0.0125\n\
             # HELP dae_dns_upstream_sent_total Queries sent, repetitions included.\n\
             # TYPE dae_dns_upstream_sent_total counter\n\
             dae_dns_upstream_sent_total{upstream=\"main\",transport=\"udp\"} 0\n\
             dae_dns_upstream_sent_total{upstream=\"main\",transport=\"tls\"} 4\n\
             dae_dns_upstream_sent_total{upstream=\"asis\",transport=\"udp\"} 5\n\
             dae_dns_upstream_sent_total{upstream=\"asis\",transport=\"tcp\"} 0\n"
        );
    }

    #[test]
    fn labels_are_escaped_and_rules_of_one_name_told_apart() {
        let row = json!({"rule": "a\\b\"c\nd", "outbound": "direct", "packets": 1});
        let page = render(&json!({"rules": [row, row]}));
        for index in ["0", "1"] {
            let wanted = format!(
                "dae_rule_packets_total{{rule=\"a\\\\b\\\"c\\nd\",outbound=\"direct\",\
                 index=\"{index}\"}} 1\n"
            );
            assert!(page.contains(&wanted), "{page}");
        }
    }

    #[test]
    fn names_are_as_prometheus_wants_them_and_written_once() {
        let mut names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
        for family in FAMILIES {
            let total = family.name.ends_with("_total");
            assert_eq!(total, family.kind == Counter, "{}", family.name);
            assert!(family.name.starts_with("dae_"), "{}", family.name);
            assert!(!family.help.contains(['\\', '\n', '|']), "{}", family.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
    }
}
