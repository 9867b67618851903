//! What a configuration says, typed.

use std::net::SocketAddr;

use crate::rules::{Rule, Verdict};

mod dns;
mod group;

pub use dns::{
    AnswerAction, AnswerRule, Candidates, Dns, DnsHost, DnsRule, DnsTtl, Host, HttpsRecords,
    Policy, Resolver, Roots, Tls, Transport, Upstream,
};
pub use group::{Check, Checked, Group, GroupPolicy, HttpCheck, Member};

/// The whole configuration. One that exists is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `config dae 'main'`.
    pub main: Main,
    /// `config dns 'dns'`.
    pub dns: Dns,
    /// `config upstream`, in file order; [`Candidates`] hold indices into it.
    pub upstreams: Vec<Upstream>,
    /// `config dns_rule`, in file order; the first whose pattern matches decides.
    pub dns_rules: Vec<DnsRule>,
    /// `config answer_rule`, in file order; the first that accepts an answer decides.
    pub answer_rules: Vec<AnswerRule>,
    /// `config dns_host`, in file order.
    pub dns_hosts: Vec<DnsHost>,
    /// `config dns_ttl`, in file order; the first that accepts a name decides.
    pub dns_ttls: Vec<DnsTtl>,
    /// Where flows can go: 0 is direct, 1 is block, then the nodes in file order, then the
    /// groups, each behind all that it refers to; at most 65,536.
    pub outbounds: Vec<Outbound>,
    /// Every node that is a member of a group, once, in file order.
    pub checked: Vec<Checked>,
    /// `config rule`s that are enabled, in file order, at most [`crate::rules::MAX_RULES`].
    pub rules: Vec<Rule>,
}

/// `config dae 'main'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Main {
    /// Whether the service should run at all (read by the init script too).
    pub enabled: bool,
    /// LAN side: network names of `/etc/config/network`, or devices.
    pub interfaces: Vec<String>,
    /// Log level.
    pub log_level: log::LevelFilter,
    /// Decides flows that no rule matches.
    pub default: Verdict,
    /// How to attach to a device.
    pub attach: Attach,
    /// What rules send to a node, and DNS, is dropped when nobody takes it.
    pub kill_switch: bool,
    /// Bound of the kernel's flow cache, entries.
    pub max_flows: u32,
    /// Bound of the learnt names, addresses.
    pub max_names: u32,
    /// Bound of UDP sessions.
    pub max_udp_sessions: u32,
    /// Bound of relayed TCP connections.
    pub max_tcp_connections: u32,
    /// A relayed TCP connection with no byte either way for so many seconds ends.
    pub tcp_idle: u32,
    /// A UDP session with no datagram either way for so many seconds ends.
    pub udp_idle: u32,
    /// The same of a session with DNS queries only.
    pub udp_idle_dns: u32,
    /// The same of a session with QUIC; of several kinds the longest counts.
    pub udp_idle_quic: u32,
    /// Leases of the DHCP server.
    pub leasefile: String,
    /// Connections by way of what is configured no more go on for so many seconds.
    pub drain: u32,
    /// Where metrics are served; a loopback address.
    pub metrics: Option<SocketAddr>,
}

/// Hook on the LAN devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attach {
    /// TCX where the kernel has it, clsact otherwise.
    #[default]
    Auto,
    /// TCX only.
    Tcx,
    /// clsact only.
    Clsact,
}

/// Where a flow can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// `direct`, `block`, or the section name of a node or group; distinct.
    pub name: String,
    /// How.
    pub kind: OutboundKind,
}

/// How an outbound carries flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundKind {
    /// The daemon's own, marked connection.
    Direct,
    /// Refused.
    Block,
    /// A SOCKS5 server (RFC 1928), CONNECT and UDP ASSOCIATE.
    Socks5 {
        /// The server.
        addr: SocketAddr,
        /// User name of 1 to 255 bytes and password of 0 to 255 (RFC 1929 asks for 1; servers
        /// take an empty one, and `socks5://user@host:port` has no other).
        login: Option<(String, Secret)>,
    },
    /// One of several.
    Group(Group),
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }

    /// For the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
