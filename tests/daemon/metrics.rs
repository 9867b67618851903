//! The metrics endpoint, read as Prometheus reads it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::process::{Child, Command};
use std::time::Duration;

use dae::control::metrics;
use dae::dns::{DnsStats, UpstreamStats};
use serde_json::Value;

use crate::home::{Home, stop, words};
use crate::resolver::{Upstream, lookup};

const CONFIG: &str = "config dae 'main'\n\toption enabled '1'\n\
    \tlist interface 'lan0'\n\toption attach 'clsact'\n\
    \toption metrics '127.0.0.1:9153'\n\
    config dns 'dns'\n\toption enabled '1'\n\tlist listen '127.0.0.1:5354'\n\
    \toption upstream 'up'\n\
    config upstream 'up'\n\toption url 'udp://203.0.113.2'\n\
    config rule\n\toption name 'say \"hi\"'\n\tlist dest_ip '192.0.2.0/24'\n\
    \toption outbound 'direct'\n";

/// A page taken apart: value by name and labels, as written.
#[derive(Debug, Default)]
struct Page {
    samples: HashMap<String, f64>,
    kinds: HashMap<String, String>,
}

impl Page {
    /// Reads the text format 0.0.4; panics where a strict reader would refuse it.
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut helped = HashSet::new();
        let mut current = String::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(helped.insert(name.to_owned()), "{line}");
                assert!(!help.is_empty(), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge"].contains(&kind), "{line}");
                assert!(helped.contains(name), "{line}");
                let before = page.kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{line}");
                current = name.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                assert_eq!(name, current, "a sample outside of its family");
                let labels = series.strip_prefix(name).unwrap();
                check_labels(labels);
                let value = value.parse().unwrap();
                let before = page.samples.insert(series.to_owned(), value);
                assert_eq!(before, None, "{line}");
            }
        }
        page
    }

    fn value(&self, series: &str) -> f64 {
        let value = self.samples.get(series).copied();
        value.unwrap_or_else(|| panic!("{series} in {:?}", self.samples))
    }
}

/// `{a="b",c="d"}`, or nothing.
fn check_labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let mut rest = text.strip_prefix('{').unwrap();
    loop {
        let (name, value) = rest.split_once("=\"").unwrap();
        let good = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(!name.is_empty() && name.chars().all(good), "{text}");
        let mut escaped = false;
        let end = value.find(|c| {
            let end = c == '"' && !escaped;
            assert!(!escaped || ['\\', '"', 'n'].contains(&c), "{text}");
            escaped = c == '\\' && !escaped;
            end
        });
        rest = &value[end.unwrap() + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    assert_eq!(rest, "}", "{text}");
}

fn curl(home: &Home, words: &[&str]) -> (String, String) {
    let output = Command::new("ip")
        .args(["netns", "exec", &home.network.router.name, "curl", "-sS"])
        .args(["--max-time", "5", "-w", "\n%{http_code} %{content_type}"])
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (page, status) = text.rsplit_once('\n').unwrap();
    (page.to_owned(), status.to_owned())
}

fn scene() -> (Home, Upstream, Child) {
    let home = Home::new();
    let addr = [203, 0, 113, 2].into();
    let upstream = Upstream::start(&home.network.server, addr, Duration::ZERO);
    let dae = home.start(CONFIG, "run");
    (home, upstream, dae)
}

#[test]
fn counters_can_be_read_with_curl() {
    let (home, _upstream, dae) = scene();
    let server = "127.0.0.1:5354".parse().unwrap();
    for name in ["a.example", "a.example", "b.example"] {
        assert!(lookup(&home.network.router, server, name).is_some());
    }
    let url = "http://127.0.0.1:9153/metrics";
    let (text, status) = curl(&home, &[url]);
    assert_eq!(status, "200 text/plain; version=0.0.4; charset=utf-8");
    let page = Page::parse(&text);
    let version = format!("dae_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    let upstream = |name: &str| format!("dae_dns_upstream_{name}{{upstream=\"up\"");
    for (series, value) in [
        (version, 1.0),
        ("dae_dns_queries_total".into(), 3.0),
        ("dae_dns_answered_here_total{from=\"cache\"}".into(), 1.0),
        ("dae_dns_cache_entries".into(), 2.0),
        (upstream("up") + "}", 1.0),
        (upstream("sent_total") + ",transport=\"udp\"}", 2.0),
        (upstream("answered_total") + ",transport=\"udp\"}", 2.0),
        (upstream("answered_total") + ",transport=\"tcp\"}", 0.0),
        (
            "dae_rule_packets_total{rule=\"say \\\"hi\\\"\",outbound=\"direct\",index=\"0\"}"
                .into(),
            0.0,
        ),
        ("dae_packets_total{fate=\"failed_open\"}".into(), 0.0),
        ("dae_flows{proto=\"tcp\"}".into(), 0.0),
        ("dae_reloads_total{result=\"ok\"}".into(), 0.0),
    ] {
        assert_eq!(page.value(&series), value, "{series}");
    }
    let latency = page.value(&(upstream("latency_seconds") + "}"));
    assert!(latency > 0.0 && latency < 1.0, "{latency}");
    assert_eq!(page.kinds["dae_dns_queries_total"], "counter");
    assert_eq!(page.kinds["dae_dns_upstream_latency_seconds"], "gauge");

    for (words, wanted) in [
        (&["http://127.0.0.1:9153/"][..], "404"),
        (&["-X", "POST", "-d", "a=b", url], "405"),
        (&["-I", url], "405"),
        (&[&format!("{url}?{}", "x".repeat(1100))], "414"),
    ] {
        let (_, status) = curl(&home, words);
        assert!(status.starts_with(wanted), "{words:?}: {status}");
    }
    assert!(stop(dae).status.success());
}

#[test]
fn a_taken_port_is_said_at_the_start() {
    let (home, _upstream, dae) = scene();
    let local = CONFIG
        .replace("\tlist interface 'lan0'\n\toption attach 'clsact'\n", "")
        .replace("127.0.0.1:5354", "127.0.0.1:5355");
    let said = words(home.spawn(&local, "other"));
    assert!(
        said.contains("listen for metrics on 127.0.0.1:9153"),
        "{said}"
    );
    stop(dae);
}

/// Gives each number, and each switch, of a document a number of its own.
fn number(value: &mut Value, path: &str, next: &mut u64, paths: &mut HashMap<u64, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                number(value, &format!("{path}.{key}"), next, paths);
            }
        }
        Value::Array(rows) => {
            for row in rows {
                number(row, path, next, paths);
            }
        }
        Value::String(_) => {}
        _ => {
            *next += 1000;
            paths.insert(*next, path.to_owned());
            *value = (*next).into();
        }
    }
}

#[test]
fn all_that_is_counted_of_dns_is_a_metric() {
    let stats = DnsStats {
        upstreams: vec![UpstreamStats::default()],
        ..DnsStats::default()
    };
    let mut status = serde_json::json!({ "dns": stats });
    let mut paths = HashMap::new();
    number(&mut status, "", &mut 1_000_000, &mut paths);
    assert!(paths.len() > 30, "{paths:?}");
    let page = Page::parse(&metrics::render(&status));
    let shown: HashSet<u64> = page.samples.values().map(|value| *value as u64).collect();
    let missing = |number: &&u64| !shown.contains(*number) && !shown.contains(&(*number / 1000));
    let missing: Vec<_> = paths.keys().filter(missing).map(|it| &paths[it]).collect();
    assert!(
        missing.is_empty(),
        "not in src/control/metrics/families/: {missing:?}"
    );
}

/// `DAE_UPDATE=1` writes the table anew.
#[test]
fn the_document_has_the_table() {
    let text = fs::read_to_string("docs/metrics.md").unwrap();
    let start = text.find("| metric |").unwrap();
    let whole = text[..start].to_owned() + &metrics::markdown();
    if std::env::var_os("DAE_UPDATE").is_some() {
        fs::write("docs/metrics.md", &whole).unwrap();
    }
    assert_eq!(fs::read_to_string("docs/metrics.md").unwrap(), whole);
}
