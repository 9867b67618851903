//! The DNS part of the status page. Pure.
//!
//! What belongs together stands on one line; upstreams are a table. Whatever the lines here do
//! not name is left for the caller to show, so nothing can be forgotten.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::table;

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

/// Columns of the table of upstreams: fields with their headings.
const COLUMNS: &[(&str, &str)] = &[
    ("name", "upstream"),
    ("transport", "by"),
    ("state", "state"),
    ("udp_dead", "udp"),
    ("latency_ms", "latency"),
    ("sent_udp", "udp sent"),
    ("answered_udp", "answered"),
    ("sent_stream", "stream sent"),
    ("answered_stream", "answered"),
    ("timeouts", "timeouts"),
    ("fallbacks", "fallbacks"),
    ("failures", "failures"),
    ("foreign", "foreign"),
];

/// Lays out what is known here, and takes it out of `fields`.
pub fn append(page: &mut String, fields: &mut Map<String, Value>, indent: usize) {
    let width = LINES.iter().map(|(label, _)| label.len()).max();
    let width = width.unwrap_or(0);
    for (label, words) in LINES {
        let said = words.iter().filter_map(|(path, word)| {
            let value = take(fields, path)?;
            Some(format!("{value} {word}"))
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
        page.push('\n');
        table::append(page, &upstreams(&rows), indent);
    }
}

/// Takes `a` or `a.b` out.
fn take(fields: &mut Map<String, Value>, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => fields.remove(path),
        Some((outer, inner)) => fields.get_mut(outer)?.as_object_mut()?.remove(inner),
    }
}

/// The table: columns that are known, then those that are not.
fn upstreams(rows: &[Value]) -> Vec<Vec<String>> {
    let mut columns = COLUMNS.to_vec();
    let known = |key: &str| COLUMNS.iter().any(|(column, _)| *column == key);
    let first = rows.first().and_then(Value::as_object);
    let others = first.into_iter().flat_map(Map::keys).map(String::as_str);
    columns.extend(others.filter(|key| !known(key)).map(|key| (key, key)));
    let heading = columns.iter().map(|(_, heading)| (*heading).to_owned());
    let cells = |row: &Value| {
        let cells = columns.iter().map(|(key, _)| cell(key, &row[*key]));
        cells.collect()
    };
    [heading.collect()]
        .into_iter()
        .chain(rows.iter().map(cells))
        .collect()
}

fn cell(key: &str, value: &Value) -> String {
    match (key, value) {
        ("udp_dead", Value::Bool(true)) => "dead".to_owned(),
        ("udp_dead", Value::Bool(false)) => "-".to_owned(),
        ("latency_ms", Value::Number(_)) => format!("{value} ms"),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Null) => "-".to_owned(),
        (_, other) => other.to_string(),
    }
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
            "refused": 0, "waiting": 1, "flights": 1,
            "upstreams": [
                {"name": "main", "transport": "tcp+udp", "state": "up", "udp_dead": true,
                 "latency_ms": 12.5, "sent_udp": 7, "answered_udp": 6, "sent_stream": 1,
                 "answered_stream": 1, "timeouts": 0, "fallbacks": 1, "failures": 0, "foreign": 0},
                {"name": "asis", "state": "up", "udp_dead": false,
                 "latency_ms": null, "sent_udp": 0, "answered_udp": 0, "sent_stream": 0,
                 "answered_stream": 0, "timeouts": 0, "fallbacks": 0, "failures": 0, "foreign": 0},
            ],
        }));
        let wanted = "\
\x20 queries           12 asked, 5 from the cache
  refused           0 in all
  now               1 clients wait, 1 flights
  cache             3 answers, 900 bytes, 65536 at most

  upstream  by       state  udp   latency  udp sent  answered  stream sent  answered  timeouts  fallbacks  failures  foreign
  main      tcp+udp  up     dead  12.5 ms         7         6            1         1         0          1         0        0
  asis      -        up     -           -         0         0            0         0         0          0         0        0
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
