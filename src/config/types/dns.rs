//! What a configuration says about DNS.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::rules::domain::DomainPattern;
use crate::rules::net::Net;
use crate::rules::{Family, Selector};

/// `config dns 'dns'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// False (also when the file has no such section): port 53 of the LAN is a flow like any other, and no listener opens.
    pub enabled: bool,
    /// Local listeners, UDP and TCP each.
    pub listen: Vec<SocketAddr>,
    /// Who answers what no rule decides.
    pub default: Resolver,
    /// Who is asked for the addresses of upstreams that are given by name: an index into
    /// [`super::Config::upstreams`] whose host is [`Host::Addrs`]. Some when any is
    /// [`Host::Name`].
    pub bootstrap: Option<usize>,
    /// Domains of the LAN itself: these, single labels and private reverse zones go `asis`.
    pub local_domains: Vec<Box<str>>,
    /// Bound of the cache, bytes.
    pub cache_bytes: u32,
    /// Bound of the queries waiting for an upstream.
    pub max_queries: u32,
    /// Of these, bound of one client's: an IPv4 address or an IPv6 /64.
    pub max_client_queries: u32,
    /// Bound of TCP clients' connections, all together.
    pub max_tcp_clients: u32,
    /// Of these, bound of one client's.
    pub max_client_connections: u32,
    /// Seconds that an expired answer may still be used for when nobody answers (RFC 8767); 0:
    /// never.
    pub serve_stale: u32,
    /// Whether hot answers are asked for again before they expire.
    pub prefetch: bool,
    /// Names with addresses of this family get empty answers for the other.
    pub ipversion_prefer: Option<Family>,
    /// What becomes of service records.
    pub https_records: HttpsRecords,
    /// Whether answers from upstreams with private addresses are refused.
    pub rebind_protection: bool,
    /// Domains whose private addresses are fine all the same.
    pub rebind_domains: Vec<Box<str>>,
    /// Lines that the query log keeps; 0: there is none.
    pub query_log: u32,
}

/// What becomes of queries for HTTPS and SVCB records (RFC 9460, types 65 and 64).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpsRecords {
    /// Asked like any other.
    #[default]
    Pass,
    /// NOERROR without an answer.
    Block,
}

/// `config upstream 'name'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Section name.
    pub name: String,
    /// How to speak to it.
    pub transport: Transport,
    /// Where it is.
    pub host: Host,
    /// How its packets leave: an index into [`super::Config::outbounds`]; 0, direct, or a node.
    pub outbound: usize,
    /// Some for [`Transport::Tls`] and [`Transport::Https`] only.
    pub tls: Option<Tls>,
    /// Path (and query, if any) of the URL for [`Transport::Https`]; empty otherwise.
    pub path: String,
}

/// Schemes of an upstream's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `udp://`: UDP; a truncated answer is passed on truncated.
    Udp,
    /// `tcp://`: TCP only.
    Tcp,
    /// `tcp+udp://`: UDP first; TCP on timeout, error or truncation.
    TcpUdp,
    /// `tls://`: DNS over TLS (RFC 7858).
    Tls,
    /// `https://`: DNS over HTTPS (RFC 8484).
    Https,
}

impl Transport {
    /// The scheme of its URL.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::TcpUdp => "tcp+udp",
            Self::Tls => "tls",
            Self::Https => "https",
        }
    }
}

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// 1 to 8 addresses of one server, all with the same port, in the file's order. When the
    /// URL has a name, `list addr` gave them.
    Addrs(Vec<SocketAddr>),
    /// To be resolved through [`Dns::bootstrap`].
    Name {
        /// Lower case, no final dot.
        name: Box<str>,
        /// Port of the URL, or the transport's own.
        port: u16,
    },
}

/// How a server proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Name (lower case, no final dot) or address (in its shortest form) that the certificate
    /// must have; a name is sent as SNI, too.
    pub name: Box<str>,
    /// Whether the certificate must lead to one of `roots` and have `name`. False: the pins
    /// alone decide, and there is at least one. So it is when pins are given and neither the
    /// URL nor `option tls_name` has a name.
    pub verify: bool,
    /// SHA-256 of the server's public key (SubjectPublicKeyInfo in DER; RFC 7858, 4.2). When
    /// there is any, one of them must match.
    pub pins: Vec<[u8; 32]>,
    /// Authorities that are believed.
    pub roots: Roots,
}

/// Certificates that a chain can end at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Roots {
    /// Those in the program.
    #[default]
    Bundled,
    /// Those of the router.
    System,
    /// A file in PEM, by its absolute path.
    File(PathBuf),
}

/// Who answers a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolver {
    /// One of these.
    Ask(Candidates),
    /// The server that the client asked.
    AsIs,
    /// Nobody: NOERROR without an answer.
    Reject,
}

/// Upstreams that can answer a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Candidates {
    /// 1 to 8 distinct indices into [`super::Config::upstreams`], in the file's order.
    pub upstreams: Vec<usize>,
    /// In which order they are asked.
    pub policy: Policy,
}

/// Which of several upstreams is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// The first that is well; the next when it is silent or fails.
    #[default]
    Failover,
    /// The one that answered fastest of late; the next as above.
    Fastest,
    /// All at once; the first good answer wins.
    Race,
}

/// `config dns_rule`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRule {
    /// `option name`, the section's name, or `dns_rule[2]` by position as `uci` counts.
    pub name: String,
    /// Names asked for.
    pub domain: Selector<DomainPattern>,
    /// Query types (numbers); empty: all.
    pub qtype: Selector<u16>,
    /// Who answers.
    pub resolver: Resolver,
}

/// `config answer_rule`: what becomes of an upstream's answer. All selectors must accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerRule {
    /// `option name`, the section's name, or `answer_rule[2]` by position as `uci` counts.
    pub name: String,
    /// Names asked for.
    pub domain: Selector<DomainPattern>,
    /// Query types (numbers).
    pub qtype: Selector<u16>,
    /// Addresses in the answer.
    pub ip: Selector<Net>,
    /// Who answered: indices into [`super::Config::upstreams`].
    pub upstream: Selector<usize>,
    /// What to do.
    pub action: AnswerAction,
}

/// What an answer rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerAction {
    /// Pass the answer on.
    Accept,
    /// NOERROR without an answer.
    Reject,
    /// Forget the answer and ask these.
    Ask(Candidates),
}

/// `config dns_host`: addresses of a name that nobody is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsHost {
    /// The name itself, not what is below it; lower case, no final dot. No two hosts share one.
    pub name: Box<str>,
    /// At least one; distinct.
    pub addrs: Vec<IpAddr>,
}

/// `config dns_ttl`: how long answers are kept, whatever they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsTtl {
    /// Names asked for.
    pub domain: Selector<DomainPattern>,
    /// 0 to 86,400 seconds; 0: the answer is not kept.
    pub ttl: u32,
}
