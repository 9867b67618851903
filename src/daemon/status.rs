//! The daemon's answers on the control socket: the status document, the last queries, names
//! of an address.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use serde_json::{Value, json};

use super::choices::Choices;
use super::flows;
use super::parts::Parts;
use super::plumbing::Plumbing;
use super::reload::{Order, Reloader};
use crate::config::Config;
use crate::kernel::abi::{Count, Counter};
use crate::kernel::{Datapath, Refused};
use crate::outbound::group::ChoiceError;
use crate::outbound::ways::Ways;
use crate::{dns, flow};

/// What is told of the daemon.
pub struct Status {
    plumbing: Rc<Plumbing>,
    flow: Option<Rc<flow::Proxy>>,
    dns: Option<Rc<dns::Server>>,
    reloader: Rc<Reloader>,
    ways: Rc<Ways>,
    choices: Rc<Choices>,
}

impl Status {
    /// Of these.
    pub fn new(
        plumbing: &Rc<Plumbing>,
        parts: &Parts,
        reloader: &Rc<Reloader>,
        choices: Rc<Choices>,
    ) -> Rc<Self> {
        Rc::new(Self {
            plumbing: plumbing.clone(),
            flow: parts.flow.clone(),
            dns: parts.dns.clone(),
            reloader: reloader.clone(),
            ways: parts.ways.clone(),
            choices,
        })
    }

    /// Answers requests on the control socket: `status`, `reload`, `reload abort`, `suspend`,
    /// `resume`, `probe` (of all DNS upstreams), `flows`, `flows N`, `queries`, `queries N`, `names ADDRESS`,
    /// `group NAME`, `choose GROUP MEMBER` and `choose GROUP auto`.
    pub async fn answer(self: Rc<Self>, request: String) -> Option<Value> {
        let order = match request.as_str() {
            "reload" => Order::Reload { abort: false },
            "reload abort" => Order::Reload { abort: true },
            "suspend" => Order::Suspend,
            "resume" => Order::Resume,
            other => return self.tell(other),
        };
        Some(self.reloader.ask(order).await)
    }

    fn tell(&self, request: &str) -> Option<Value> {
        match request.split_once(' ') {
            None if request == "status" => Some(self.document()),
            None if request == "probe" => {
                let dns = self.dns.as_ref();
                dns.inspect(|dns| dns.probe_all());
                Some(json!({ "ok": dns.is_some() }))
            }
            None if request == "flows" => Some(self.flows(flows::USUAL)),
            Some(("flows", newest)) => Some(self.flows(newest.parse().ok()?)),
            None if request == "queries" => Some(self.queries(usize::MAX)),
            Some(("queries", last)) => Some(self.queries(last.parse().ok()?)),
            Some(("names", addr)) => {
                let addr: IpAddr = addr.parse().ok()?;
                let table = self.plumbing.names.borrow();
                let names: Vec<&str> = table.names(addr).collect();
                Some(json!({ "names": names }))
            }
            Some(("group", name)) => Some(self.group(name)),
            Some(("choose", names)) => {
                let (group, member) = names.split_once(' ')?;
                Some(self.choices.choose(group, member))
            }
            _ => None,
        }
    }

    /// A group with its members: `{"ok": true, "group": ..., "members": [...]}`.
    fn group(&self, name: &str) -> Value {
        match self.ways.group_report(name) {
            Some(report) => {
                let mut answer = json!(report);
                answer["ok"] = true.into();
                answer
            }
            None => {
                let reason = ChoiceError::NoGroup(name.to_owned()).to_string();
                json!({ "ok": false, "reason": reason })
            }
        }
    }

    /// The status document.
    pub fn document(&self) -> Value {
        let mut document = document(&self.plumbing);
        let dns = self.dns.as_ref();
        document["flow"] = json!(self.flow.as_ref().map(|flow| flow.stats()));
        document["dns"] = json!(dns.map(|dns| dns_part(&self.plumbing.config(), dns)));
        let report = self.ways.report(Instant::now());
        document["groups"] = json!(report.groups);
        document["nodes"] = json!(report.nodes);
        document["checks"] = json!(report.checks);
        document["reload"] = self.reloader.status();
        document["suspended"] = json!(self.plumbing.is_suspended());
        document["datapath_error"] = json!(self.plumbing.failure());
        document
    }

    /// The newest flows; see [`flows::answer`].
    fn flows(&self, newest: usize) -> Value {
        let newest = newest.min(flows::MOST);
        let list = self.flow.as_ref().map(|flow| flow.flows(newest));
        flows::answer(&self.plumbing, &list.unwrap_or_default())
    }

    /// The last queries, oldest first: `{"bound": 100, "now": 12.5, "lines": [...]}`. `bound`
    /// is 0 while they are not logged; `now` is on the clock of the lines.
    fn queries(&self, last: usize) -> Value {
        let lines = self.dns.as_ref().map(|dns| {
            dns.with_query_log(|log| {
                let skipped = log.lines().len().saturating_sub(last);
                json!(log.lines().skip(skipped).collect::<Vec<_>>())
            })
        });
        json!({
            "bound": self.plumbing.config().dns.query_log,
            "now": self.plumbing.started.elapsed().as_millis() as f64 / 1000.0,
            "lines": lines.unwrap_or_else(|| json!([])),
        })
    }
}

/// Counters of DNS, with what the configuration says of bounds and upstreams.
fn dns_part(config: &Config, dns: &dns::Server) -> Value {
    let mut part = json!(dns.stats());
    part["cache"]["bound"] = config.dns.cache_bytes.into();
    // Counters are in the order of the configuration; the servers asked `asis` come last.
    if let Some(rows) = part["upstreams"].as_array_mut() {
        let transports = config.upstreams.iter().map(|upstream| upstream.transport);
        for (row, transport) in rows.iter_mut().zip(transports) {
            row["transport"] = transport.scheme().into();
        }
    }
    part
}

fn document(plumbing: &Plumbing) -> Value {
    let names = plumbing.names.borrow();
    let counters = names.counters();
    let mut document = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_s": plumbing.started.elapsed().as_secs(),
        "names": {
            "addresses": names.len(),
            "evicted": counters.addresses_evicted + counters.names_evicted,
            "vectors": names.vectors(),
            "vectors_exhausted": counters.vectors_exhausted,
        },
    });
    if let Some(datapath) = plumbing.datapath.borrow().as_ref() {
        document["devices"] = devices(plumbing, datapath);
        if !datapath.refused().is_empty() {
            let rows = datapath.refused().iter();
            let row = |it: &Refused| json!({ "device": it.device, "reason": it.reason });
            document["refused"] = rows.map(row).collect();
        }
        match datapath.counters() {
            Ok(counters) => {
                let rule = |index| counters.rule(index);
                document["rules"] = rules(plumbing, rule, counters.fate(Count::Default));
                document["packets"] = fates(|count| counters.fate(count));
            }
            Err(error) => document["counters_error"] = error.to_string().into(),
        }
    }
    document
}

fn devices(plumbing: &Plumbing, datapath: &Datapath) -> Value {
    let config = plumbing.config();
    let devices = datapath.devices().map(|device| {
        let interface = config.main.interfaces.get(usize::from(device.interface));
        json!({
            "device": device.name,
            "interface": interface,
            "hook": device.hook.to_string(),
        })
    });
    // A name without a device, so that a typing error is seen.
    let missing = datapath
        .missing()
        .map(|name| json!({ "device": null, "interface": name, "hook": null }));
    devices.chain(missing).collect()
}

/// One row per rule in their order, the default last.
fn rules(plumbing: &Plumbing, rule: impl Fn(u16) -> Counter, default: Counter) -> Value {
    let config = plumbing.config();
    let outbound = |index: u16| {
        let outbound = config.outbounds.get(usize::from(index));
        outbound.map(|outbound| outbound.name.as_str())
    };
    let row = |name: &str, verdict: u16, counter: Counter| {
        json!({
            "rule": name,
            "outbound": outbound(verdict),
            "packets": counter.packets,
            "bytes": counter.bytes,
        })
    };
    let rows = (0..).zip(&config.rules);
    rows.map(|(index, each)| row(&each.name, each.verdict.outbound, rule(index)))
        .chain([row("default", config.main.default.outbound, default)])
        .collect()
}

/// What happened to packets that no rule was asked about.
fn fates(counter: impl Fn(Count) -> Counter) -> Value {
    let packets = |count| counter(count).packets;
    json!({
        "dns": packets(Count::Dns),
        "to_router": packets(Count::Local),
        "groupcast": packets(Count::Groupcast),
        "other": packets(Count::Other),
        "midstream": packets(Count::Midstream),
        "resumed": packets(Count::Resumed),
        "fragments_dropped": packets(Count::Fragment),
        "failed_open": packets(Count::FailOpen),
        "failed_closed": packets(Count::FailClosed),
        "flow_cache_full": packets(Count::FlowFull),
    })
}
