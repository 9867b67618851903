//! `config dae 'main'`.

use std::net::SocketAddr;

use log::LevelFilter;

use super::*;
use crate::config::types::Attach;

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
    Text(OUTBOUND_FORM),
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
pub static KILL_SWITCH: Opt<bool> = Opt::new(
    "kill_switch",
    Switch,
    values::switch,
    "With 1, what the rules send to a node, and DNS if dae has it, is dropped while dae is dead: \
     nothing goes round the proxy. Direct connections go on. A regular stop opens the network. \
     Needs clsact; see docs/killswitch.md.",
)
.default("0");
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
pub static UDP_IDLE_DNS: Opt<u32> = Opt::new(
    "udp_idle_dns",
    Number(5, 3600),
    values::number,
    "The same of a session that has carried DNS queries only, to another port than 53 for example.",
)
.default("17");
pub static UDP_IDLE_QUIC: Opt<u32> = Opt::new(
    "udp_idle_quic",
    Number(5, 3600),
    values::number,
    "The same of a session that has carried QUIC (HTTP/3). A session of several kinds has the \
     longest of their times.",
)
.default("120");
pub static LEASEFILE: Opt<String> = Opt::new(
    "leasefile",
    Text("an absolute path"),
    values::path,
    "The leases of the DHCP server, for the names of hosts in dae flows. Option leasefile of \
     section dnsmasq in /etc/config/dhcp says where they are.",
)
.default("/tmp/dhcp.leases");
pub static DRAIN: Opt<u32> = Opt::new(
    "drain",
    Number(0, 86_400),
    values::number,
    "When a reload takes a node away, connections through it go on for so many seconds and are \
     then cut. dae reload --abort cuts them at once.",
)
.default("300");
pub static METRICS: Opt<SocketAddr> = Opt::new(
    "metrics",
    Text("an address of the router itself and a port, like 127.0.0.1:9153 or [::1]:9153"),
    values::metrics,
    "Where counters can be read as /metrics over HTTP, in the form of Prometheus. Nowhere unless \
     written.",
);

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[
    &ENABLED,
    &INTERFACE,
    &LOG_LEVEL,
    &DEFAULT_OUTBOUND,
    &ATTACH,
    &KILL_SWITCH,
    &MAX_FLOWS,
    &MAX_NAMES,
    &MAX_UDP_SESSIONS,
    &MAX_TCP_CONNECTIONS,
    &TCP_IDLE,
    &UDP_IDLE,
    &UDP_IDLE_DNS,
    &UDP_IDLE_QUIC,
    &LEASEFILE,
    &DRAIN,
    &METRICS,
];
