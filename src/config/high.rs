//! The high form: what sections say about each other, ending in a valid [`Config`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::rules::{MAX_RULES, Rule, Verdict};

use super::low::Low;
use super::names::{Names, Outbounds, Resolvers};
use super::problem::{Problems, Wrong, show};
use super::types::{Config, Dns, DnsRule, Main, Outbound, OutboundKind, Upstream};
use super::uci::{Place, Section};
use super::{node, options, rule};

/// Builds the configuration; None when there are problems.
pub(super) fn build(lowered: &[Low], problems: &mut Problems) -> Option<Config> {
    let of = |kind: &'static str| lowered.iter().filter(move |low| low.kind() == kind);
    let outbounds = Outbounds(Names::new(of("node")));
    let resolvers = Resolvers(Names::new(of("upstream")));

    let interfaces = of("dae").next().map(|low| interfaces(low, problems));
    let listen = of("dns")
        .next()
        .map_or_else(Vec::new, |low| listen(low, problems));
    let main = main_section(
        of("dae").next(),
        interfaces.as_deref(),
        &listen,
        &outbounds,
        problems,
    );
    let dns = dns_section(of("dns").next(), &listen, &resolvers, problems);
    let nodes: Vec<Option<Outbound>> = of("node").map(|low| node::build(low, problems)).collect();
    let upstreams: Vec<Option<Upstream>> = of("upstream")
        .map(|low| upstream(low, &listen, problems))
        .collect();
    let rules = rules(of("rule"), &outbounds, interfaces.as_deref(), problems);
    let dns_rules = dns_rules(of("dns_rule"), &resolvers, problems);

    let fixed = [
        ("direct", OutboundKind::Direct),
        ("block", OutboundKind::Block),
    ];
    let fixed = fixed.map(|(name, kind)| {
        Some(Outbound {
            name: name.into(),
            kind,
        })
    });
    Some(Config {
        main: main?,
        dns: dns?,
        upstreams: upstreams.into_iter().collect::<Option<_>>()?,
        dns_rules: dns_rules?,
        outbounds: fixed.into_iter().chain(nodes).collect::<Option<_>>()?,
        rules: rules?,
    })
}

/// The list without those that could not be read or stand there twice, which is told.
fn interfaces(low: &Low, problems: &mut Problems) -> Vec<String> {
    let mut interfaces: Vec<String> = Vec::new();
    for item in low.list(&options::main::INTERFACE) {
        if interfaces.contains(&item.value) {
            let wrong = twice(show(&item.value));
            problems.add(item.place, &low.label, "interface", wrong);
        } else {
            interfaces.push(item.value);
        }
    }
    interfaces
}

fn twice(value: impl std::fmt::Display) -> Wrong {
    Wrong::new(format!("{value} is in the list already"), "remove it")
}

fn main_section(
    low: Option<&Low>,
    interfaces: Option<&[String]>,
    listen: &[SocketAddr],
    outbounds: &Outbounds,
    problems: &mut Problems,
) -> Option<Main> {
    use options::main as o;
    let (Some(low), Some(interfaces)) = (low, interfaces) else {
        let wrong = Wrong::new(
            "there is no section config dae 'main'",
            "add one, with option enabled and list interface",
        );
        problems.add(Place { line: 1, byte: 0 }, "", "", wrong);
        return None;
    };
    if low.get(&o::ENABLED) == Some(true) && interfaces.is_empty() && listen.is_empty() {
        let wrong = Wrong::new(
            "dae is enabled, but has neither an interface to look at nor an address to listen on",
            "write list interface 'lan'",
        );
        problems.add(low.section.place, &low.label, "interface", wrong);
    }
    let (action, outbound) = outbounds.resolve(low, &o::DEFAULT_OUTBOUND, problems)?;
    Some(Main {
        enabled: low.get(&o::ENABLED)?,
        interfaces: interfaces.to_vec(),
        log_level: low.get(&o::LOG_LEVEL)?,
        default: Verdict {
            action,
            outbound,
            mark: 0,
        },
        attach: low.get(&o::ATTACH)?,
        max_flows: low.get(&o::MAX_FLOWS)?,
        max_names: low.get(&o::MAX_NAMES)?,
        max_udp_sessions: low.get(&o::MAX_UDP_SESSIONS)?,
        max_tcp_connections: low.get(&o::MAX_TCP_CONNECTIONS)?,
        tcp_idle: low.get(&o::TCP_IDLE)?,
        udp_idle: low.get(&o::UDP_IDLE)?,
    })
}

/// Addresses of the local listener; none while DNS is off. Those that cannot be are told.
fn listen(low: &Low, problems: &mut Problems) -> Vec<SocketAddr> {
    let mut listen: Vec<SocketAddr> = Vec::new();
    for item in low.list(&options::dns::LISTEN) {
        let wrong = if listen.contains(&item.value) {
            twice(item.value)
        } else if item.value.port() == 53 && item.value.ip().is_unspecified() {
            Wrong::new(
                format!("{} would take the place of dnsmasq", item.value),
                "write another port, like 127.0.0.1:5354: queries of the LAN are answered anyway",
            )
        } else {
            listen.push(item.value);
            continue;
        };
        problems.add(item.place, &low.label, "listen", wrong);
    }
    if low.get(&options::dns::ENABLED) == Some(false) {
        Vec::new()
    } else {
        listen
    }
}

/// Without a section DNS is off, and the defaults stand for the rest.
fn dns_section(
    low: Option<&Low>,
    listen: &[SocketAddr],
    resolvers: &Resolvers,
    problems: &mut Problems,
) -> Option<Dns> {
    use options::dns as o;
    let Some(low) = low else {
        let section = Section {
            kind: "dns".into(),
            name: None,
            place: Place { line: 1, byte: 0 },
            reopened: Vec::new(),
            options: Vec::new(),
        };
        let spec = options::SECTIONS.iter().find(|spec| spec.kind == "dns")?;
        let low = Low {
            section: &section,
            spec,
            label: String::new(),
            position: String::new(),
        };
        let dns = dns_section(Some(&low), listen, resolvers, problems)?;
        return Some(Dns {
            enabled: false,
            ..dns
        });
    };
    let default = resolvers.resolve(low, &o::UPSTREAM, problems)?;
    Some(Dns {
        enabled: low.get(&o::ENABLED)?,
        listen: listen.to_vec(),
        default,
        local_domains: low
            .list(&o::LOCAL_DOMAIN)
            .into_iter()
            .map(|item| item.value)
            .collect(),
        cache_bytes: low.get(&o::CACHE_BYTES)?,
        max_queries: low.get(&o::MAX_QUERIES)?,
        max_tcp_clients: low.get(&o::MAX_TCP_CLIENTS)?,
    })
}

fn upstream(low: &Low, listen: &[SocketAddr], problems: &mut Problems) -> Option<Upstream> {
    use options::upstream as o;
    let (transport, addr) = low.get(&o::URL)?;
    if let Some(listen) = listen.iter().find(|listen| reaches(addr, **listen)) {
        let what = format!("{addr} is dae itself (list listen '{listen}' of section dns)");
        let wrong = Wrong::new(what, "write the address of another DNS server");
        problems.add(low.place(&o::URL), &low.label, "url", wrong);
        return None;
    }
    Some(Upstream {
        name: low.section.name.clone()?,
        transport,
        addr,
    })
}

/// Whether what is sent to `addr` surely arrives at a socket bound to `listen`.
fn reaches(addr: SocketAddr, listen: SocketAddr) -> bool {
    let everywhere = match listen.ip() {
        IpAddr::V4(ip) => ip.is_unspecified() && addr.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified() && addr.is_ipv6(),
    };
    addr.port() == listen.port()
        && (addr.ip() == listen.ip() || (everywhere && addr.ip().is_loopback()))
}

fn rules<'a>(
    sections: impl Iterator<Item = &'a Low<'a>>,
    outbounds: &Outbounds,
    interfaces: Option<&[String]>,
    problems: &mut Problems,
) -> Option<Vec<Rule>> {
    let mut titles = Titles::default();
    let mut rules = Vec::new();
    let mut enabled = 0;
    for low in sections {
        titles.check(low, &options::rule::NAME, problems);
        let rule = rule::build(low, outbounds, interfaces, problems);
        if low.get(&options::rule::ENABLED) == Some(false) {
            continue;
        }
        enabled += 1;
        if enabled == MAX_RULES + 1 {
            let what = format!("there are more than {MAX_RULES} enabled rules");
            let write = "remove some, or put the values of several rules into one";
            problems.add(low.section.place, &low.label, "", Wrong::new(what, write));
        }
        rules.push(rule);
    }
    rules.into_iter().collect()
}

fn dns_rules<'a>(
    sections: impl Iterator<Item = &'a Low<'a>>,
    resolvers: &Resolvers,
    problems: &mut Problems,
) -> Option<Vec<DnsRule>> {
    use options::dns_rule as o;
    let mut titles = Titles::default();
    let mut rules = Vec::new();
    for low in sections {
        titles.check(low, &o::NAME, problems);
        let enabled = low.get(&o::ENABLED);
        if enabled == Some(false) {
            continue;
        }
        let resolver = resolvers.resolve(low, &o::UPSTREAM, problems);
        rules.push(resolver.map(|resolver| DnsRule {
            name: rule::name(low, &o::NAME),
            domain: rule::selector(low, &o::DOMAIN),
            qtype: rule::selector(low, &o::QTYPE),
            resolver,
        }));
    }
    rules.into_iter().collect()
}

/// Names given to rules, which must differ: trace and status speak of them.
#[derive(Default)]
struct Titles(BTreeMap<String, u32>);

impl Titles {
    fn check(&mut self, low: &Low, option: &super::spec::Opt<String>, problems: &mut Problems) {
        let name = rule::name(low, option);
        let place = low.place(option);
        if let Some(line) = self.0.get(&name) {
            let what = format!("the {} of line {line} has this name, too", low.kind());
            let wrong = Wrong::new(what, "choose another name");
            problems.add(place, &low.label, "name", wrong);
        } else {
            self.0.insert(name, place.line);
        }
    }
}
