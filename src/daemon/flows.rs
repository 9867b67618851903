//! `*` The list of flows, with names of hosts and destinations.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::plumbing::Plumbing;
use crate::control::leases;
use crate::flow::FlowList;

/// Flows shown unless more are asked for.
pub const USUAL: usize = 100;
/// Flows shown at most: a few hundred kilobytes of text.
pub const MOST: usize = 1000;
/// So much is read of the leases, bytes: those of some thousand hosts.
const MAX_LEASES: u64 = 256 * 1024;

/// The answer to `flows`: `{"total": 3, "most": 1000, "flows": [...]}`, the newest first.
/// `host` comes from DHCP leases, `domain` is a name that DNS answers gave the destination.
pub fn answer(plumbing: &Plumbing, list: &FlowList) -> Value {
    let text = read_leases(&plumbing.config().main.leasefile);
    let hosts = leases::names(&text);
    let names = plumbing.names.borrow();
    let domain = |addr: IpAddr| names.names(addr).last();
    let rows = list.flows.iter().map(|flow| {
        let mut row = json!(flow);
        row["host"] = hosts.get(&flow.source.ip()).copied().into();
        row["domain"] = domain(flow.destination.ip()).into();
        row
    });
    json!({ "total": list.total, "most": MOST, "flows": rows.collect::<Vec<_>>() })
}

/// Nothing where there is no such file: another DHCP server, or none.
fn read_leases(path: &str) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is as good as a shorter file.
    let _ = File::open(path).and_then(|file| file.take(MAX_LEASES).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
