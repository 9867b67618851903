//! The daemon's answers on the control socket: the status document, names of an address.

use std::net::IpAddr;
use std::rc::Rc;

use serde_json::{Value, json};

use super::parts::Parts;
use super::plumbing::Plumbing;
use crate::control::socket::Handler;
use crate::kernel::Datapath;
use crate::kernel::abi::{Count, Counter};

/// Answers `status` and `names ADDRESS`.
pub fn handler(plumbing: &Rc<Plumbing>, parts: &Parts) -> Handler {
    let (plumbing, flow, dns) = (plumbing.clone(), parts.flow.clone(), parts.dns.clone());
    Rc::new(move |request| match request.split_once(' ') {
        None if request == "status" => {
            let mut document = document(&plumbing);
            document["flow"] = json!(flow.as_ref().map(|flow| flow.stats()));
            document["dns"] = json!(dns.as_ref().map(|dns| dns.stats()));
            Some(document)
        }
        Some(("names", addr)) => {
            let addr: IpAddr = addr.parse().ok()?;
            let table = plumbing.names.borrow();
            let names: Vec<&str> = table.names(addr).collect();
            Some(json!({ "names": names }))
        }
        _ => None,
    })
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
    let devices = datapath.devices().map(|device| {
        let interface = plumbing
            .config
            .main
            .interfaces
            .get(usize::from(device.interface));
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
    let outbound = |index: u16| {
        let outbound = plumbing.config.outbounds.get(usize::from(index));
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
    let config = &plumbing.config;
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
        "flow_cache_full": packets(Count::FlowFull),
    })
}
