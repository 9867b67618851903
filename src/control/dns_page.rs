//! The DNS part of the status page. Pure.
//!
//! What belongs together stands on one line; upstreams are a table. Whatever the lines here do
//! not name is left for the caller to show, so nothing can be forgotten.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::table::{self, scalar};

/// A line: what it is about, then fields with the words that follow their numbers.
type Line = (&'static str, &'static [(&'static str, &'static str)]);

const LINES: &[Line] = &[
    (
        "queries",
        &[
            ("queries", "asked"),
            ("cache.hits", "from the cache"),
            ("stale", "from the cache, expired"),
            ("hosts", "from dns_host"),
            ("rejected", "rejected by rule"),
            ("suppressed", "of the other IP version"),
            ("withheld", "withheld"),
            ("malformed", "malformed"),
        ],
    ),
    (
        "refused",
        &[
            ("refused", "in all"),
            ("overflowed", "too many waited"),
            ("refused_client", "too many of one client"),
        ],
    ),
    (
        "failed",
        &[
            ("servfail", "nobody answered"),
            ("unsent", "answers not sent"),
            ("unresolved", "upstream without address"),
            ("local_faults", "for want of room here"),
        ],
    ),
    (
        "now",
        &[("waiting", "clients wait"), ("flights", "flights")],
    ),
    (
        "flights",
        &[
            ("departures", "begun"),
            ("followers", "queries joined one"),
            ("repeated", "queries repeated"),
            ("asked_another", "sent on by rule"),
            ("prefetched", "to prefetch"),
            ("probes", "to probe"),
            ("tasks_refused", "not begun"),
        ],
    ),
    (
        "cache",
        &[
            ("cache.entries", "answers"),
            ("cache.bytes", "bytes"),
            ("cache.bound", "at most"),
            ("cache.stored", "stored"),
            ("cache.evicted", "evicted"),
        ],
    ),
    (
        "clients by TCP",
        &[
            ("tcp.open", "open"),
            ("tcp.accepted", "accepted"),
            ("tcp.displaced", "displaced"),
            ("tcp.timed_out", "timed out"),
        ],
    ),
    (
        "upstream sockets",
        &[
            ("upstream_sockets", "UDP"),
            ("upstream_connections", "connections"),
            ("upstream_exhausted", "exhausted"),
            ("upstream_late", "late answers"),
        ],
    ),
];

/// Counters in the table of upstreams, behind what [`cells`] puts together.
const COUNTERS: [&str; 4] = ["timeouts", "fallbacks", "failures", "foreign"];

/// Fields of an upstream that have a place in the table.
const KNOWN: [&str; 9] = [
    "name",
    "transport",
    "state",
    "udp_dead",
    "latency_ms",
    "sent_udp",
    "answered_udp",
    "sent_stream",
    "answered_stream",
];

/// Lays out what is known here, and takes it out of `fields`. Of each line the first number is
/// shown always, the others unless they are 0.
pub fn append(page: &mut String, fields: &mut Map<String, Value>, indent: usize) {
    let width = LINES.iter().map(|(label, _)| label.len()).max();
    let width = width.unwrap_or(0);
    for (label, words) in LINES {
        let said = words
            .iter()
            .enumerate()
            .filter_map(|(place, (path, word))| {
                let value = take(fields, path)?;
                (place == 0 || value != 0).then(|| format!("{value} {word}"))
            });
        let said: Vec<String> = said.collect();
        if !said.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "{:indent$}{label:width$}  {}", "", said.join(", "));
        }
    }
    fields.retain(|_, value| value.as_object().is_none_or(|inner| !inner.is_empty()));
    if let Some(Value::Array(rows)) = fields.remove("upstreams")
        && !rows.is_empty()
    {
        let caption = "upstreams (udp, stream: answered/sent)";
        let _ = writeln!(page, "{:indent$}{caption}", "");
        table::append(page, &upstreams(&rows), indent + 2);
    }
}

/// Takes `a` or `a.b` out.
fn take(fields: &mut Map<String, Value>, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => fields.remove(path),
        Some((outer, inner)) => fields.get_mut(outer)?.as_object_mut()?.remove(inner),
    }
}

/// The table. Fields without a place in it get columns of their own, and `asis` is not there
/// until somebody was asked so.
fn upstreams(rows: &[Value]) -> Vec<Vec<String>> {
    let first = rows.first().and_then(Value::as_object);
    let others = first.into_iter().flat_map(Map::keys).map(String::as_str);
    let others: Vec<&str> = others
        .filter(|key| !KNOWN.contains(key) && !COUNTERS.contains(key))
        .collect();
    let heading = ["upstream", "by", "state", "latency", "udp", "stream"];
    let heading = heading.iter().chain(&COUNTERS).chain(&others);
    let heading = heading.map(|word| (*word).to_owned()).collect();
    let asked =
        |row: &&Value| row["name"] != "asis" || row["sent_udp"] != 0 || row["sent_stream"] != 0;
    let rows = rows.iter().filter(asked);
    [heading]
        .into_iter()
        .chain(rows.map(|row| cells(row, &others)))
        .collect()
}

fn cells(row: &Value, others: &[&str]) -> Vec<String> {
    let udp_dead = if row["udp_dead"] == true {
        ", udp dead"
    } else {
        ""
    };
    let latency = match &row["latency_ms"] {
        Value::Number(ms) => format!("{ms} ms"),
        _ => "-".to_owned(),
    };
    let mut cells = vec![
        scalar(&row["name"]),
        scalar(&row["transport"]),
        scalar(&row["state"]) + udp_dead,
        latency,
        scalar(&row["answered_udp"]) + "/" + &scalar(&row["sent_udp"]),
        scalar(&row["answered_stream"]) + "/" + &scalar(&row["sent_stream"]),
    ];
    let more = COUNTERS.iter().chain(others);
    cells.extend(more.map(|key| scalar(&row[*key])));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn page(document: Value) -> (String, Map<String, Value>) {
        let Value::Object(mut fields) = document else {
            panic!("not an object")
        };
        let mut page = String::new();
        append(&mut page, &mut fields, 2);
        (page, fields)
    }

    #[test]
    fn lines_and_a_table_of_upstreams() {
        let (page, rest) = page(json!({
            "queries": 12, "cache": {"hits": 5, "entries": 3, "bytes": 900, "bound": 65536},
            "refused": 0, "overflowed": 0, "waiting": 0, "flights": 1,
            "upstreams": [
                {"name": "main", "transport": "tcp+udp", "state": "up", "udp_dead": true,
                 "latency_ms": 12.5, "sent_udp": 7, "answered_udp": 6, "sent_stream": 1,
                 "answered_stream": 1, "timeouts": 0, "fallbacks": 1, "failures": 0, "foreign": 0},
                {"name": "other", "transport": "tls", "state": "down", "udp_dead": false,
                 "latency_ms": null, "sent_udp": 0, "answered_udp": 0, "sent_stream": 3,
                 "answered_stream": 0, "timeouts": 3, "fallbacks": 0, "failures": 0, "foreign": 0},
                {"name": "asis", "sent_udp": 0, "sent_stream": 0},
            ],
        }));
        let wanted = "\
\x20 queries           12 asked, 5 from the cache
  refused           0 in all
  now               0 clients wait, 1 flights
  cache             3 answers, 900 bytes, 65536 at most
  upstreams (udp, stream: answered/sent)
    upstream  by       state         latency  udp  stream  timeouts  fallbacks  failures  foreign
    main      tcp+udp  up, udp dead  12.5 ms  6/7     1/1         0          1         0        0
    other     tls      down                -  0/0     0/3         3          0         0        0
";
        assert_eq!(page, wanted);
        assert!(rest.is_empty(), "{rest:?}");
    }

    #[test]
    fn what_is_not_known_here_is_left_or_shown() {
        let (page, rest) = page(json!({
            "queries": 1, "shiny": 7, "cache": {"hits": 5, "colder": 3},
            "upstreams": [{"name": "main", "handshakes": 4}],
        }));
        assert!(page.contains("handshakes"), "{page}");
        assert_eq!(
            Value::Object(rest),
            json!({"shiny": 7, "cache": {"colder": 3}})
        );
    }
}
