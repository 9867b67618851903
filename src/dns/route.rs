//! Who answers a question. Pure.

use std::net::{Ipv4Addr, SocketAddr};

use crate::config::{Config, DnsRule, Host, Resolver, Transport, Upstream};
use crate::rules::index::DomainIndex;
use crate::rules::{Bits, MAX_RULES};

/// Domains that only the LAN's own server knows: private reverse zones (RFC 6303, RFC 7793)
/// and the name reserved for home networks (RFC 8375). 172.16/12, 100.64/10 and fe80::/10 end
/// inside a label, see [`in_range`].
const LOCAL_ZONES: [&str; 14] = [
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    // :: and ::1, and those up to ::f, which are nobody's.
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "d.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "home.arpa",
    "local",
];

/// A server of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// Index into the configured upstreams.
    Upstream(u16),
    /// The server that the client asked.
    AsIs(SocketAddr),
}

/// What to do with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Ask this server.
    Ask(Server),
    /// NOERROR without an answer.
    Reject,
    /// REFUSED: `asis`, and no server was asked that is not ourselves.
    NobodyAsked,
}

/// The part of the configuration that the forwarder needs.
pub struct Router {
    rules: Vec<DnsRule>,
    /// One index for every [`MAX_RULES`] rules.
    index: Vec<DomainIndex>,
    default: Resolver,
    local_domains: Vec<Box<str>>,
    /// Our own listeners: never asked, the query would come back.
    ourselves: Vec<SocketAddr>,
    upstreams: Vec<(Transport, SocketAddr)>,
}

impl Router {
    /// From a configuration; `ourselves` are the addresses that we listen on.
    pub fn new(config: &Config, ourselves: Vec<SocketAddr>) -> Self {
        let rules = config.dns_rules.clone();
        let domains = |rules: &[DnsRule]| {
            // A chunk is never more than an index takes.
            DomainIndex::new(rules.iter().map(|rule| &rule.domain)).ok()
        };
        Self {
            index: rules.chunks(MAX_RULES).filter_map(domains).collect(),
            rules,
            default: config.dns.default.clone(),
            local_domains: config.dns.local_domains.clone(),
            ourselves,
            upstreams: config
                .upstreams
                .iter()
                .map(|upstream| (upstream.transport, first_address(upstream)))
                .collect(),
        }
    }

    /// Where a server is and how it is spoken to; a server asked by a client is known to
    /// speak UDP and, as every server must (RFC 7766), TCP.
    pub fn server(&self, server: Server) -> (Transport, SocketAddr) {
        match server {
            Server::Upstream(index) => self.upstreams[usize::from(index)],
            Server::AsIs(addr) => (Transport::TcpUdp, addr),
        }
    }

    /// Number of upstreams.
    pub fn upstreams(&self) -> usize {
        self.upstreams.len()
    }

    /// Who answers: the first rule that accepts name and type, else the server asked for
    /// local names, else the default.
    pub fn route(&self, name: &str, qtype: u16, asked: Option<SocketAddr>) -> Route {
        let resolver = match self.rule(name, qtype) {
            Some(rule) => &rule.resolver,
            None if self.is_local(name) => &Resolver::AsIs,
            None => &self.default,
        };
        self.resolve(resolver, asked)
    }

    /// The first rule that accepts name and type. A rule that names no domain does not speak
    /// of local names: `qtype` alone shall not take the LAN's own names away from dnsmasq.
    pub fn rule(&self, name: &str, qtype: u16) -> Option<&DnsRule> {
        let local = self.is_local(name);
        let chunks = self.index.iter().zip(self.rules.chunks(MAX_RULES));
        let mut accepting = chunks.filter_map(|(index, rules)| {
            let accepted: Bits = index.matches(name);
            let accepts = |(bit, rule): &(usize, &DnsRule)| {
                accepted.contains(*bit)
                    && rule.qtype.accepts(|only| *only == qtype)
                    && !(local && rule.domain.include.is_empty())
            };
            rules.iter().enumerate().find(accepts)
        });
        accepting.next().map(|(_, rule)| rule)
    }

    fn resolve(&self, resolver: &Resolver, asked: Option<SocketAddr>) -> Route {
        let known = |index: &&usize| !self.upstreams[**index].1.ip().is_unspecified();
        match (resolver, asked) {
            (Resolver::Reject, _) => Route::Reject,
            (Resolver::Ask(candidates), _) => match candidates.upstreams.iter().find(known) {
                // A configuration holds far fewer upstreams than 65,536.
                Some(index) => Route::Ask(Server::Upstream(*index as u16)),
                None => Route::NobodyAsked,
            },
            (Resolver::AsIs, Some(asked)) if !self.ourselves.contains(&asked) => {
                Route::Ask(Server::AsIs(asked))
            }
            (Resolver::AsIs, _) => Route::NobodyAsked,
        }
    }

    /// Whether a name (lower case, no final dot) is the LAN's own: in a local domain or zone,
    /// or a single label.
    pub fn is_local(&self, name: &str) -> bool {
        let single = !name.is_empty() && !name.contains('.');
        single
            || self
                .local_domains
                .iter()
                .any(|domain| is_below(name, domain))
            || (name.ends_with("arpa") || name.ends_with("local")) && is_local_zone(name)
    }
}

/// The unspecified address when an upstream is given by name.
fn first_address(upstream: &Upstream) -> SocketAddr {
    let first = match &upstream.host {
        Host::Addrs(addrs) => addrs.first().copied(),
        Host::Name { .. } => None,
    };
    first.unwrap_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
}

/// Whether `name` is `domain` or below it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_local_zone(name: &str) -> bool {
    LOCAL_ZONES.iter().any(|zone| is_below(name, zone))
        || in_range(name, ".172.in-addr.arpa", 16, 31, 10)
        || in_range(name, ".100.in-addr.arpa", 64, 127, 10)
        || in_range(name, ".e.f.ip6.arpa", 0x8, 0xb, 16)
}

/// Whether the label in front of `suffix` is a number from `first` to `last`.
fn in_range(name: &str, suffix: &str, first: u32, last: u32, radix: u32) -> bool {
    let Some(rest) = name.strip_suffix(suffix) else {
        return false;
    };
    let label = rest.rsplit_once('.').map_or(rest, |(_, label)| label);
    u32::from_str_radix(label, radix).is_ok_and(|number| (first..=last).contains(&number))
}
