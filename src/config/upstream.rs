//! `config upstream`: a DNS server, and how it proves who it is.

use std::net::{IpAddr, SocketAddr};

use crate::rules::Action;

use super::answers::distinct;
use super::link::{UpstreamHost, UpstreamLink};
use super::low::Low;
use super::names::{Outbounds, Resolvers, twice};
use super::options::{dns, upstream as o};
use super::problem::{Problems, Wrong};
use super::types::{Host, Roots, Tls, Transport, Upstream};

/// Builds an upstream; None when something was told.
pub(super) fn build(
    low: &Low,
    listen: &[SocketAddr],
    outbounds: &Outbounds,
    problems: &mut Problems,
) -> Option<Upstream> {
    let outbound = outbound(low, outbounds, problems);
    let link = low.get(&o::URL)?;
    let host = host(low, &link, problems);
    if let Some(Host::Addrs(addrs)) = &host {
        not_ourselves(low, addrs, listen, problems)?;
    }
    let tls = match link.transport {
        Transport::Tls | Transport::Https => Some(tls(low, &link.host, problems)?),
        Transport::Udp | Transport::Tcp | Transport::TcpUdp => {
            no_tls(low, problems)?;
            None
        }
    };
    Some(Upstream {
        name: low.section.name.clone()?,
        transport: link.transport,
        host: host?,
        outbound: outbound?,
        tls,
        path: link.path,
    })
}

/// Index into the outbounds; none of them is `block`.
fn outbound(low: &Low, outbounds: &Outbounds, problems: &mut Problems) -> Option<usize> {
    let (action, index) = outbounds.resolve(low, &o::OUTBOUND, &["direct"], problems)?;
    if action == Action::Block {
        let wrong = Wrong::new(
            "nobody can be asked through block",
            "write direct or the name of a node or group",
        );
        problems.add(low.place(&o::OUTBOUND), &low.label, "outbound", wrong);
        return None;
    }
    Some(usize::from(index))
}

fn host(low: &Low, link: &UpstreamLink, problems: &mut Problems) -> Option<Host> {
    let addrs = distinct(low, &o::ADDR, problems);
    match &link.host {
        UpstreamHost::Addr(_) if low.has(&o::ADDR) => {
            let wrong = Wrong::new(
                "the url has an address already",
                "remove it, or write a name in the url and its addresses here",
            );
            problems.add(low.place(&o::ADDR), &low.label, "addr", wrong);
            None
        }
        UpstreamHost::Addr(addr) => Some(Host::Addrs(vec![SocketAddr::new(*addr, link.port)])),
        UpstreamHost::Name(name) if addrs.is_empty() => Some(Host::Name {
            name: name.clone(),
            port: link.port,
        }),
        UpstreamHost::Name(_) => {
            let at = |addr: IpAddr| SocketAddr::new(addr, link.port);
            Some(Host::Addrs(addrs.into_iter().map(at).collect()))
        }
    }
}

/// Tells when an address is a listener of our own: the query would come back.
fn not_ourselves(
    low: &Low,
    addrs: &[SocketAddr],
    listen: &[SocketAddr],
    problems: &mut Problems,
) -> Option<()> {
    let pairs = addrs
        .iter()
        .flat_map(|addr| listen.iter().map(move |listen| (addr, listen)));
    let Some((addr, listen)) = pairs
        .into_iter()
        .find(|(addr, listen)| reaches(**addr, **listen))
    else {
        return Some(());
    };
    let what = format!("{addr} is dae itself (list listen '{listen}' of section dns)");
    let wrong = Wrong::new(what, "write the address of another DNS server");
    let (place, option) = match low.has(&o::ADDR) {
        true => (low.place(&o::ADDR), "addr"),
        false => (low.place(&o::URL), "url"),
    };
    problems.add(place, &low.label, option, wrong);
    None
}

/// Whether what is sent to `addr` surely arrives at a socket bound to `listen`.
pub(super) fn reaches(addr: SocketAddr, listen: SocketAddr) -> bool {
    let everywhere = match listen.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && addr.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified() && addr.is_ipv6(),
    };
    addr.port() == listen.port()
        && (addr.ip() == listen.ip() || (everywhere && addr.ip().is_loopback()))
}

/// What the certificate is held against; None when something was told.
fn tls(low: &Low, host: &UpstreamHost, problems: &mut Problems) -> Option<Tls> {
    let pins = pins(low, problems);
    let has_name = low.has(&o::TLS_NAME) || matches!(host, UpstreamHost::Name(_));
    let verify = has_name || !low.has(&o::PIN);
    let name = match low.has(&o::TLS_NAME) {
        true => low.get(&o::TLS_NAME)?,
        false => match host {
            UpstreamHost::Addr(addr) => addr.to_string().into(),
            UpstreamHost::Name(name) => name.clone(),
        },
    };
    if !verify && low.has(&o::CA) {
        let wrong = Wrong::new(
            "only the pins count, because neither the url nor option tls_name has a name",
            "remove it, or write option tls_name",
        );
        problems.add(low.place(&o::CA), &low.label, "ca", wrong);
        return None;
    }
    let roots: Roots = low.get(&o::CA)?;
    Some(Tls {
        name,
        verify,
        pins: pins?,
        roots,
    })
}

/// The pins; none given is fine.
fn pins(low: &Low, problems: &mut Problems) -> Option<Vec<[u8; 32]>> {
    let mut pins = Vec::new();
    for item in low.list(&o::PIN) {
        if pins.contains(&item.value) {
            problems.add(item.place, &low.label, "pin", twice("this pin"));
            return None;
        }
        pins.push(item.value);
    }
    // Unreadable ones were told; without them the server could be anybody.
    (!pins.is_empty() || !low.has(&o::PIN)).then_some(pins)
}

/// Tells of options that mean nothing without TLS.
fn no_tls(low: &Low, problems: &mut Problems) -> Option<()> {
    let given = [
        (low.has(&o::TLS_NAME), "tls_name", low.place(&o::TLS_NAME)),
        (low.has(&o::PIN), "pin", low.place(&o::PIN)),
        (low.has(&o::CA), "ca", low.place(&o::CA)),
    ];
    let mut good = Some(());
    for (_, option, place) in given.into_iter().filter(|(given, ..)| *given) {
        let wrong = Wrong::new(
            "the url has no TLS",
            "remove it, or write tls:// or https:// in the url",
        );
        problems.add(place, &low.label, option, wrong);
        good = None;
    }
    good
}

/// Tells of upstreams by name that nobody can find, and of a bootstrap that is by name itself.
/// `upstreams` belong to `sections`, one each.
pub(super) fn names<'a>(
    sections: impl Iterator<Item = &'a Low<'a>>,
    dns_section: Option<&Low>,
    upstreams: &[Option<Upstream>],
    resolvers: &Resolvers,
    problems: &mut Problems,
) {
    let by_name = |upstream: &Option<Upstream>| {
        let host = upstream.as_ref().map(|upstream| &upstream.host);
        matches!(host, Some(Host::Name { .. }))
    };
    let bootstrap = dns_section.filter(|low| low.has(&dns::BOOTSTRAP));
    if let Some(low) = bootstrap {
        let name = low.get(&dns::BOOTSTRAP).unwrap_or_default();
        let index = resolvers.position(&name);
        if index
            .and_then(|index| upstreams.get(index))
            .is_some_and(by_name)
        {
            let what = format!("the address of upstream '{name}' is not known itself");
            let write = format!("write list addr in upstream '{name}', or another upstream here");
            let wrong = Wrong::new(what, write);
            problems.add(low.place(&dns::BOOTSTRAP), &low.label, "bootstrap", wrong);
        }
        return;
    }
    for (low, _) in sections
        .zip(upstreams)
        .filter(|(_, upstream)| by_name(upstream))
    {
        let wrong = Wrong::new(
            "nobody knows the address of this name",
            "set option bootstrap of section dns to an upstream given by address, or write list addr",
        );
        problems.add(low.place(&o::URL), &low.label, "url", wrong);
    }
}
