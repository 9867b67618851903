//! `config dns` and `config dns_rule`: who answers, and how much of what is kept.

use std::net::SocketAddr;

use super::high::Titles;
use super::low::{Item, Low};
use super::names::{Resolvers, twice};
use super::options::dns as o;
use super::problem::{Problems, Wrong};
use super::types::{Dns, DnsRule};
use super::uci::{Place, Section};
use super::{options, rule};

/// Addresses of the local listener; none while DNS is off. Those that cannot be are told.
pub(super) fn listen(low: &Low, problems: &mut Problems) -> Vec<SocketAddr> {
    let mut listen: Vec<SocketAddr> = Vec::new();
    for item in low.list(&o::LISTEN) {
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
    if low.get(&o::ENABLED) == Some(false) {
        Vec::new()
    } else {
        listen
    }
}

/// Without a section DNS is off, and the defaults stand for the rest.
pub(super) fn build(
    low: Option<&Low>,
    listen: &[SocketAddr],
    resolvers: &Resolvers,
    problems: &mut Problems,
) -> Option<Dns> {
    if let Some(low) = low {
        return section(low, listen, resolvers, problems);
    }
    let nothing = Section {
        kind: "dns".into(),
        name: None,
        place: Place { line: 1, byte: 0 },
        reopened: Vec::new(),
        options: Vec::new(),
    };
    let low = Low {
        section: &nothing,
        spec: options::SECTIONS.iter().find(|spec| spec.kind == "dns")?,
        label: String::new(),
        position: String::new(),
    };
    let dns = section(&low, listen, resolvers, problems)?;
    Some(Dns {
        enabled: false,
        ..dns
    })
}

fn section(
    low: &Low,
    listen: &[SocketAddr],
    resolvers: &Resolvers,
    problems: &mut Problems,
) -> Option<Dns> {
    let default = resolvers.resolve(low, &o::UPSTREAM, &o::POLICY, problems);
    let bootstrap = bootstrap(low, resolvers, problems);
    let domains = |option| -> Vec<Box<str>> {
        let items = low.list(option).into_iter();
        items.map(|item| item.value).collect()
    };
    Some(Dns {
        enabled: low.get(&o::ENABLED)?,
        listen: listen.to_vec(),
        default: default?,
        bootstrap,
        local_domains: domains(&o::LOCAL_DOMAIN),
        cache_bytes: low.get(&o::CACHE_BYTES)?,
        max_queries: low.get(&o::MAX_QUERIES)?,
        max_client_queries: low.get(&o::MAX_CLIENT_QUERIES)?,
        max_tcp_clients: low.get(&o::MAX_TCP_CLIENTS)?,
        max_client_connections: low.get(&o::MAX_CLIENT_CONNECTIONS)?,
        serve_stale: low.get(&o::SERVE_STALE)?,
        prefetch: low.get(&o::PREFETCH)?,
        ipversion_prefer: low.get(&o::IPVERSION_PREFER),
        https_records: low.get(&o::HTTPS_RECORDS)?,
        rebind_protection: low.get(&o::REBIND_PROTECTION)?,
        rebind_domains: domains(&o::REBIND_DOMAIN),
        query_log: low.get(&o::QUERY_LOG)?,
    })
}

/// The upstream that knows addresses of the others; a missing one is told.
fn bootstrap(low: &Low, resolvers: &Resolvers, problems: &mut Problems) -> Option<usize> {
    let item = Item {
        value: low.get(&o::BOOTSTRAP)?,
        negated: false,
        place: low.place(&o::BOOTSTRAP),
    };
    resolvers.index(low, &o::BOOTSTRAP, &item, &[], problems)
}

/// Enabled `dns_rule`s.
pub(super) fn rules<'a>(
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
        let resolver = resolvers.resolve(low, &o::UPSTREAM, &o::POLICY, problems);
        rules.push(resolver.map(|resolver| DnsRule {
            name: rule::name(low, &o::NAME),
            domain: rule::selector(low, &o::DOMAIN),
            qtype: rule::selector(low, &o::QTYPE),
            resolver,
        }));
    }
    rules.into_iter().collect()
}
