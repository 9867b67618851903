//! The status document as metrics: the text format 0.0.4 of Prometheus. Pure.
//!
//! [`families`] says what each number of the document is called. A number that the document does
//! not have (DNS is off, an upstream never answered) has no line.

mod families;

use std::fmt::Write as _;

use serde_json::Value;

use families::Kind::{self, Counter, Gauge, Seconds};
use families::Source::{self, Each, One, Rows, RowsEach};
use families::{Family, List, STREAM, all};

/// The page for a status document.
pub fn render(status: &Value) -> String {
    let mut page = String::new();
    let version = status["version"].as_str().unwrap_or_default();
    head(&mut page, "dae_info", Gauge, "The program.");
    line(&mut page, "dae_info", &[("version", version)], "1");
    for family in all() {
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
    } in all()
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
        let values = each.iter().map(|(value, _)| match *value {
            STREAM => "tcp tls https",
            value => value,
        });
        format!("{label} ({})", values.collect::<Vec<_>>().join(" "))
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
        let mut names: Vec<_> = all().map(|family| family.name).collect();
        for family in all() {
            let total = family.name.ends_with("_total");
            assert_eq!(total, family.kind == Counter, "{}", family.name);
            assert!(family.name.starts_with("dae_"), "{}", family.name);
            assert!(!family.help.contains(['\\', '\n', '|']), "{}", family.name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().count());
    }
}
