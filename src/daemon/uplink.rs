//! `*` Whether there is a way to the nodes at all: health has to know when links come and go.
//!
//! Each time that a link or a route changes the kernel is asked which address of ours it would
//! send from to each node, and to each server of a check. Another answer means other links.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use crate::error::{IoContext as _, Result};
use crate::kernel::RouteMonitor;
use crate::net::dial;
use crate::net::reactor::{Interest, Source, Timer};
use crate::outbound::ways::Ways;

/// Changes come in crowds: an address, then routes, then more of them.
const CROWD: Duration = Duration::from_millis(300);

/// While there is no way to anybody that is looked at again so often: a reload may have brought
/// a node that there is a way to, and no link says so.
const AGAIN: Duration = Duration::from_secs(5);

/// Where we would send from, by destination; None: there is no route.
type Sources = BTreeMap<SocketAddr, Option<IpAddr>>;

/// Tells health, for ever. Where routes cannot be watched the links always count as up, which
/// the log says.
pub async fn follow(ways: Rc<Ways>) -> Result<()> {
    if let Err(error) = watch(&ways).await {
        log::warn!(event = "uplink", reason:% = error; "links are taken as up");
        ways.links(true, Instant::now());
    }
    future::pending().await
}

async fn watch(ways: &Ways) -> Result<()> {
    let what = || "watch routes";
    let monitor = RouteMonitor::open().context(what)?;
    let events = monitor.as_fd().try_clone_to_owned().context(what)?;
    let events = Source::new(events, Interest::Read).context(what)?;
    let mut known = sources(ways);
    let mut up = is_up(&known);
    if !up {
        tell(ways, up);
    }
    loop {
        let again = async {
            match up {
                true => future::pending().await,
                false => drop(Timer::after(AGAIN).await),
            }
        };
        future::or(events.readable(), again).await;
        Timer::after(CROWD).await;
        // What follows takes all there is.
        events.drained();
        monitor.drain().context(what)?;
        let now = sources(ways);
        if differs(&known, &now) || is_up(&now) != up {
            up = is_up(&now);
            tell(ways, up);
        }
        known = now;
    }
}

fn tell(ways: &Ways, up: bool) {
    match up {
        true => log::info!(event = "uplink", state = "up"; ""),
        false => log::warn!(event = "uplink", state = "down"; "there is no route to any node"),
    }
    ways.links(up, Instant::now());
}

fn sources(ways: &Ways) -> Sources {
    let servers = ways.servers().into_iter();
    servers
        .map(|server| (server, dial::source_to(server)))
        .collect()
}

/// Where there is nobody to reach, nothing is missing.
fn is_up(sources: &Sources) -> bool {
    sources.is_empty() || sources.values().any(Option::is_some)
}

/// Whether another answer was given for the same server.
fn differs(known: &Sources, now: &Sources) -> bool {
    let mut both = now.iter().filter(|(server, _)| known.contains_key(server));
    both.any(|(server, source)| known.get(server) != Some(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &[(&str, Option<&str>)]) -> Sources {
        let parse = |(server, source): &(&str, Option<&str>)| {
            let source = source.map(|source| source.parse().unwrap());
            (server.parse().unwrap(), source)
        };
        text.iter().map(parse).collect()
    }

    #[test]
    fn another_address_or_none_is_a_change_and_another_node_is_not() {
        let (a, b) = ("192.0.2.1:1080", "[2001:db8::1]:1080");
        let home = sources(&[(a, Some("10.0.0.1")), (b, None)]);
        assert!(!differs(&home, &home));
        assert!(!differs(&home, &sources(&[(a, Some("10.0.0.1"))])));
        assert!(!differs(&sources(&[]), &home));
        assert!(differs(&home, &sources(&[(a, Some("10.0.0.2"))])));
        let down = sources(&[(a, None), (b, None)]);
        assert!(differs(&home, &down) && !is_up(&down) && is_up(&home));
        assert!(differs(&home, &sources(&[(b, Some("2001:db8::9"))])));
    }
}
