//! The table of all sections and options. Parsing, problems, `dae help config` and
//! docs/config.md come from it; nothing else names an option.

use super::link;
use super::spec::Form::{Number, Switch, Text, Word};
use super::spec::{AnyOpt, Naming, Opt, SectionSpec};
use super::values;

/// Most UDP and TCP endpoints of the local DNS listener.
const MAX_LISTEN: usize = 16;
/// Most interfaces: each rule dimension holds one bit vector per interface.
const MAX_INTERFACES: usize = 64;
/// Most local domains.
const MAX_LOCAL_DOMAINS: usize = 256;

/// Every section type, in the order of the reference.
pub(super) static SECTIONS: [SectionSpec; 6] = [
    SectionSpec {
        kind: "dae",
        naming: Naming::Only("main"),
        max: 1,
        help: "The service as a whole. This section must be there.",
        options: main::OPTIONS,
    },
    SectionSpec {
        kind: "dns",
        naming: Naming::Only("dns"),
        max: 1,
        help: "Answering of DNS. Without this section port 53 is left alone, and rules with \
               domains cannot match, because names are learnt from answers.",
        options: dns::OPTIONS,
    },
    SectionSpec {
        kind: "upstream",
        naming: Naming::Named,
        max: 64,
        help: "A DNS server to forward to.",
        options: upstream::OPTIONS,
    },
    SectionSpec {
        kind: "dns_rule",
        naming: Naming::Ordered,
        max: 256,
        help: "Chooses who answers some names. The first dns_rule that matches decides; \
               option upstream of section dns decides the rest.",
        options: dns_rule::OPTIONS,
    },
    SectionSpec {
        kind: "node",
        naming: Naming::Named,
        max: 256,
        help: "A proxy server: either option url, or option type with the options below it.",
        options: node::OPTIONS,
    },
    SectionSpec {
        kind: "rule",
        naming: Naming::Ordered,
        max: 4096,
        help: "Decides connections. The first rule that matches wins; option default_outbound \
               of section dae decides the rest. A rule matches when every option given here \
               accepts the connection. At most 256 rules can be enabled.",
        options: rule::OPTIONS,
    },
];

/// Section types and options of later versions: a problem says so instead of guessing.
pub(super) const LATER_SECTIONS: [&str; 2] = ["group", "subscription"];

/// See [`LATER_SECTIONS`]: (section type, option).
pub(super) const LATER_OPTIONS: [(&str, &str); 4] = [
    ("dae", "dial_mode"),
    ("dae", "metrics"),
    ("upstream", "outbound"),
    ("dns_rule", "outbound"),
];

/// What options are called in `/etc/config/firewall`: (section type, there, here).
pub(super) const ELSEWHERE: [(&str, &str, &str); 3] = [
    ("rule", "target", "outbound"),
    ("rule", "src", "interface"),
    ("rule", "set_mark", "mark"),
];

/// `config dae 'main'`.
pub(super) mod main {
    use log::LevelFilter;

    use super::super::types::Attach;
    use super::*;

    pub static ENABLED: Opt<bool> = Opt::new(
        "enabled",
        Switch,
        values::switch,
        "Whether dae runs at all. With 0 the router works as if dae were not installed.",
    )
    .default("0");
    pub static INTERFACE: Opt<String> = Opt::new(
        "interface",
        Text("the name of a network or device"),
        values::interface,
        "Networks of /etc/config/network (or devices) whose traffic is looked at: the LAN side, \
         never the WAN.",
    )
    .list(MAX_INTERFACES);
    pub static LOG_LEVEL: Opt<LevelFilter> = Opt::new(
        "log_level",
        Word(&["error", "warn", "info", "debug"]),
        values::log_level,
        "How much is written to the system log.",
    )
    .default("info");
    pub static DEFAULT_OUTBOUND: Opt<String> = Opt::new(
        "default_outbound",
        Text("direct, block or the name of a node"),
        values::reference,
        "Where connections go that no rule matches.",
    )
    .default("direct");
    pub static ATTACH: Opt<Attach> = Opt::new(
        "attach",
        Word(&["auto", "tcx", "clsact"]),
        values::attach,
        "How to hook into a device. auto takes tcx where the kernel has it (6.6 and later) and \
         clsact otherwise.",
    )
    .default("auto");
    pub static MAX_FLOWS: Opt<u32> = Opt::new(
        "max_flows",
        Number(256, 262_144),
        values::number,
        "How many connections the kernel remembers a decision for. When there are more, the \
         least recently used is decided anew.",
    )
    .default("16384");
    pub static MAX_NAMES: Opt<u32> = Opt::new(
        "max_names",
        Number(256, 262_144),
        values::number,
        "How many addresses are remembered with the names that DNS answers gave them.",
    )
    .default("16384");
    pub static MAX_UDP_SESSIONS: Opt<u32> = Opt::new(
        "max_udp_sessions",
        Number(16, 65_536),
        values::number,
        "How many proxied UDP sessions there can be. A further one ends the least recently used.",
    )
    .default("1024");
    pub static MAX_TCP_CONNECTIONS: Opt<u32> = Opt::new(
        "max_tcp_connections",
        Number(16, 65_536),
        values::number,
        "How many proxied TCP connections there can be. A further one is refused.",
    )
    .default("1024");
    pub static TCP_IDLE: Opt<u32> = Opt::new(
        "tcp_idle",
        Number(10, 86_400),
        values::number,
        "A proxied TCP connection ends after so many seconds without a byte.",
    )
    .default("7200");
    pub static UDP_IDLE: Opt<u32> = Opt::new(
        "udp_idle",
        Number(5, 3600),
        values::number,
        "A proxied UDP session ends after so many seconds without a datagram.",
    )
    .default("30");

    pub(super) static OPTIONS: &[&dyn AnyOpt] = &[
        &ENABLED,
        &INTERFACE,
        &LOG_LEVEL,
        &DEFAULT_OUTBOUND,
        &ATTACH,
        &MAX_FLOWS,
        &MAX_NAMES,
        &MAX_UDP_SESSIONS,
        &MAX_TCP_CONNECTIONS,
        &TCP_IDLE,
        &UDP_IDLE,
    ];
}

/// `config dns 'dns'`.
pub(super) mod dns {
    use std::net::SocketAddr;

    use super::*;

    pub static ENABLED: Opt<bool> = Opt::new(
        "enabled",
        Switch,
        values::switch,
        "Whether DNS queries of the LAN are answered by dae. With 0 they are connections like \
         any other.",
    )
    .default("1");
    pub static LISTEN: Opt<SocketAddr> = Opt::new(
        "listen",
        Text("an address and port, like 127.0.0.1:5354 or [::1]:5354"),
        values::socket,
        "Where the router's own programs can ask. Queries of the LAN need no such address: \
         they are answered whichever server they ask.",
    )
    .list(MAX_LISTEN);
    pub static UPSTREAM: Opt<String> = Opt::new(
        "upstream",
        Text("the name of an upstream, asis or reject"),
        values::reference,
        "Who answers what no dns_rule decides. asis is the server that the client asked, reject \
         an empty answer.",
    )
    .default("asis");
    pub static LOCAL_DOMAIN: Opt<Box<str>> = Opt::new(
        "local_domain",
        Text("a domain, like lan"),
        values::local_domain,
        "Domains of the LAN itself. Queries for them, for names without a dot and for private \
         addresses go to the server that the client asked.",
    )
    .list(MAX_LOCAL_DOMAINS)
    .default("lan");
    pub static CACHE_BYTES: Opt<u32> = Opt::new(
        "cache_bytes",
        Number(0, 67_108_864),
        values::number,
        "Memory for answers that are kept, in bytes. 0 keeps none.",
    )
    .default("1048576");
    pub static MAX_QUERIES: Opt<u32> = Opt::new(
        "max_queries",
        Number(16, 16_384),
        values::number,
        "How many queries can wait for an upstream. A further one is refused at once.",
    )
    .default("512");
    pub static MAX_TCP_CLIENTS: Opt<u32> = Opt::new(
        "max_tcp_clients",
        Number(1, 1024),
        values::number,
        "How many clients can ask over TCP at the same time.",
    )
    .default("64");

    pub(super) static OPTIONS: &[&dyn AnyOpt] = &[
        &ENABLED,
        &LISTEN,
        &UPSTREAM,
        &LOCAL_DOMAIN,
        &CACHE_BYTES,
        &MAX_QUERIES,
        &MAX_TCP_CLIENTS,
    ];
}

/// `config upstream 'NAME'`.
pub(super) mod upstream {
    use std::net::SocketAddr;

    use super::super::types::Transport;
    use super::*;

    pub static URL: Opt<(Transport, SocketAddr)> = Opt::new(
        "url",
        Text("udp://, tcp:// or tcp+udp:// and an address, like tcp+udp://192.0.2.1:53"),
        link::upstream,
        "Where the server is and how to ask it. tcp+udp asks over UDP first, and over TCP when \
         that fails or the answer is cut short. The port is 53 unless written.",
    )
    .required();

    pub(super) static OPTIONS: &[&dyn AnyOpt] = &[&URL];
}

/// `config dns_rule`.
pub(super) mod dns_rule {
    use crate::rules::domain::DomainPattern;

    use super::*;

    pub static NAME: Opt<String> = Opt::new(
        "name",
        Text("a name of at most 64 characters"),
        values::title,
        "What the log and the status call this rule.",
    );
    pub static ENABLED: Opt<bool> = Opt::new(
        "enabled",
        Switch,
        values::switch,
        "With 0 the rule is skipped.",
    )
    .default("1");
    pub static DOMAIN: Opt<DomainPattern> = Opt::new(
        "domain",
        Text(super::rule::DOMAIN_FORM),
        values::domain,
        "Names asked for. A plain name means itself and everything below it.",
    )
    .selector();
    pub static QTYPE: Opt<u16> = Opt::new(
        "qtype",
        Text("a query type by name or number, like A, AAAA, HTTPS or 65"),
        values::qtype,
        "Types of query.",
    )
    .selector();
    pub static UPSTREAM: Opt<String> = Opt::new(
        "upstream",
        Text("the name of an upstream, asis or reject"),
        values::reference,
        "Who answers. asis is the server that the client asked, reject an empty answer.",
    )
    .required();

    pub(super) static OPTIONS: &[&dyn AnyOpt] = &[&NAME, &ENABLED, &DOMAIN, &QTYPE, &UPSTREAM];
}

/// `config node 'NAME'`.
pub(super) mod node {
    use std::net::IpAddr;

    use super::super::link::NodeLink;
    use super::*;

    pub static URL: Opt<NodeLink> = Opt::new(
        "url",
        Text("socks5://ADDRESS:PORT or socks5://USER:PASSWORD@ADDRESS:PORT"),
        link::node,
        "The server as a link. Write special characters of a login percent-encoded, for example \
         @ as %40, and put quotes around the link.",
    )
    .secret();
    pub static TYPE: Opt<()> = Opt::new(
        "type",
        Word(&["socks5"]),
        values::node_type,
        "The protocol, in place of option url.",
    );
    pub static SERVER: Opt<IpAddr> = Opt::new(
        "server",
        Text("an address"),
        values::address,
        "The server's address, with option type.",
    );
    pub static PORT: Opt<u16> = Opt::new(
        "port",
        Number(1, 65_535),
        values::port,
        "The server's port, with option type; 1080 unless written.",
    );
    pub static USERNAME: Opt<String> = Opt::new(
        "username",
        Text("at most 255 bytes"),
        values::login,
        "The user name, if the server wants a login, with option type.",
    )
    .secret();
    pub static PASSWORD: Opt<String> = Opt::new(
        "password",
        Text("at most 255 bytes"),
        values::login,
        "The password, as it is, with option type.",
    )
    .secret();

    pub(super) static OPTIONS: &[&dyn AnyOpt] =
        &[&URL, &TYPE, &SERVER, &PORT, &USERNAME, &PASSWORD];
}

/// `config rule`.
pub(super) mod rule {
    use crate::rules::domain::DomainPattern;
    use crate::rules::net::Net;
    use crate::rules::port::PortRange;
    use crate::rules::{Family, Mac, Proto};

    use super::*;

    pub(super) const DOMAIN_FORM: &str =
        "a name like example.com, or suffix:NAME, full:NAME or keyword:TEXT";
    const NET_FORM: &str = "an address or prefix, like 192.168.1.0/24 or 2001:db8::/32";
    const PORT_FORM: &str = "a port or range, like 443 or 1000-2000";

    pub static NAME: Opt<String> = Opt::new(
        "name",
        Text("a name of at most 64 characters"),
        values::title,
        "What the log, the status and dae trace call this rule.",
    );
    pub static ENABLED: Opt<bool> = Opt::new(
        "enabled",
        Switch,
        values::switch,
        "With 0 the rule is skipped.",
    )
    .default("1");
    pub static SRC_IP: Opt<Net> = Opt::new(
        "src_ip",
        Text(NET_FORM),
        values::net,
        "Addresses of clients.",
    )
    .selector();
    pub static SRC_MAC: Opt<Mac> = Opt::new(
        "src_mac",
        Text("an Ethernet address, like 00:11:22:33:44:55"),
        values::mac,
        "Ethernet addresses of clients.",
    )
    .selector();
    pub static DEST_IP: Opt<Net> = Opt::new(
        "dest_ip",
        Text(NET_FORM),
        values::net,
        "Addresses of servers.",
    )
    .selector();
    pub static DOMAIN: Opt<DomainPattern> = Opt::new(
        "domain",
        Text(DOMAIN_FORM),
        values::domain,
        "Names of servers, as learnt from DNS answers. A plain name means itself and everything \
         below it.",
    )
    .selector();
    pub static SRC_PORT: Opt<PortRange> = Opt::new(
        "src_port",
        Text(PORT_FORM),
        values::ports,
        "Ports of clients.",
    )
    .selector();
    pub static DEST_PORT: Opt<PortRange> = Opt::new(
        "dest_port",
        Text(PORT_FORM),
        values::ports,
        "Ports of servers.",
    )
    .selector();
    pub static PROTO: Opt<Vec<Proto>> = Opt::new(
        "proto",
        Word(&["tcp", "udp", "any"]),
        values::protos,
        "Protocols. Others than TCP and UDP always go direct.",
    )
    .selector();
    pub static FAMILY: Opt<Vec<Family>> = Opt::new(
        "family",
        Word(&["ipv4", "ipv6", "any"]),
        values::families,
        "Versions of the Internet Protocol.",
    )
    .selector();
    pub static DSCP: Opt<u8> = Opt::new(
        "dscp",
        Text("a number from 0 to 63, or a class like CS1, AF41 or EF"),
        values::dscp,
        "Traffic class of the first packet.",
    )
    .selector();
    pub static INTERFACE: Opt<String> = Opt::new(
        "interface",
        Text("the name of a network or device"),
        values::interface,
        "Where the client is: one of the interfaces of section dae.",
    )
    .selector();
    pub static OUTBOUND: Opt<String> = Opt::new(
        "outbound",
        Text("direct, block or the name of a node"),
        values::reference,
        "Where the connection goes. direct leaves it to the kernel, block drops it.",
    )
    .required();
    pub static MARK: Opt<u32> = Opt::new(
        "mark",
        Number(1, u32::MAX),
        values::mark,
        "A packet mark to set, for other programs and policy routes; with outbound direct only. \
         Hexadecimal numbers start with 0x.",
    );

    pub(super) static OPTIONS: &[&dyn AnyOpt] = &[
        &NAME, &ENABLED, &SRC_IP, &SRC_MAC, &DEST_IP, &DOMAIN, &SRC_PORT, &DEST_PORT, &PROTO,
        &FAMILY, &DSCP, &INTERFACE, &OUTBOUND, &MARK,
    ];
}
