//! How the nodes of a group are checked.

use std::net::{IpAddr, SocketAddr};

use super::link::UpstreamHost;
use super::low::{Item, Low};
use super::options::group as o;
use super::problem::{Problems, Wrong};
use super::spec::Opt;
use super::types::{Check, HttpCheck};

/// None when something was or is told.
pub(super) fn build(low: &Low, problems: &mut Problems) -> Option<Check> {
    let http = match low.has(&o::CHECK_URL) {
        true => http(low, problems).map(Some),
        false => no_url(low, problems).map(|()| None),
    };
    let dns = one_each(low, &o::CHECK_DNS, SocketAddr::is_ipv6, problems);
    Some(Check {
        interval: low.get(&o::CHECK_INTERVAL)?,
        http: http?,
        dns: dns?,
    })
}

fn http(low: &Low, problems: &mut Problems) -> Option<HttpCheck> {
    let addrs = one_each(low, &o::CHECK_ADDR, IpAddr::is_ipv6, problems);
    let link = low.get(&o::CHECK_URL)?;
    let has_addrs = low.has(&o::CHECK_ADDR);
    let (host, addrs) = match link.host {
        UpstreamHost::Addr(_) if has_addrs => {
            let wrong = Wrong::new(
                "check_url has an address already",
                "remove it, or write a name in check_url and its addresses here",
            );
            problems.add(low.place(&o::CHECK_ADDR), &low.label, "check_addr", wrong);
            return None;
        }
        UpstreamHost::Name(_) if !has_addrs || low.is_blank(&o::CHECK_ADDR) => {
            let wrong = Wrong::new(
                "nobody knows the address of this name",
                "write list check_addr with its address, or an address here",
            );
            problems.add(low.place(&o::CHECK_URL), &low.label, "check_url", wrong);
            return None;
        }
        UpstreamHost::Addr(IpAddr::V6(addr)) => (format!("[{addr}]"), vec![addr.into()]),
        UpstreamHost::Addr(addr) => (addr.to_string(), vec![addr]),
        UpstreamHost::Name(name) => (name.into(), addrs?),
    };
    let host = match link.port {
        80 => host,
        port => format!("{host}:{port}"),
    };
    let at = |addr| SocketAddr::new(addr, link.port);
    Some(HttpCheck {
        addrs: addrs.into_iter().map(at).collect(),
        host: host.into(),
        path: link.path.into(),
    })
}

/// Tells of addresses that are nobody's.
fn no_url(low: &Low, problems: &mut Problems) -> Option<()> {
    if !low.has(&o::CHECK_ADDR) {
        return Some(());
    }
    let wrong = Wrong::new(
        "there is no check_url whose name could have it",
        "remove it, or write option check_url",
    );
    problems.add(low.place(&o::CHECK_ADDR), &low.label, "check_addr", wrong);
    None
}

/// The values, at most one of each IP version; None when something was told.
fn one_each<T>(
    low: &Low,
    option: &Opt<T>,
    is_v6: fn(&T) -> bool,
    problems: &mut Problems,
) -> Option<Vec<T>> {
    let mut values: Vec<T> = Vec::new();
    for Item { value, place, .. } in low.list(option) {
        let v6 = is_v6(&value);
        if values.iter().any(|other| is_v6(other) == v6) {
            let version = if v6 { "IPv6" } else { "IPv4" };
            let what = format!("there is an address of {version} already");
            let wrong = Wrong::new(what, "remove one of the two");
            problems.add(place, &low.label, option.spec.name, wrong);
            return None;
        }
        values.push(value);
    }
    // Unreadable ones were told.
    (!values.is_empty() || !low.has(option) || low.is_blank(option)).then_some(values)
}
