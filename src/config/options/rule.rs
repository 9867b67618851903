//! `config rule`.

use crate::rules::domain::DomainPattern;
use crate::rules::net::Net;
use crate::rules::port::PortRange;
use crate::rules::{Family, Mac, Proto};

use super::*;

const PORT_FORM: &str = "a port or range, like 443 or 1000-2000";

pub static NAME: Opt<String> = Opt::new(
    "name",
    Text(TITLE_FORM),
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
    Text(OUTBOUND_FORM),
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
    &NAME, &ENABLED, &SRC_IP, &SRC_MAC, &DEST_IP, &DOMAIN, &SRC_PORT, &DEST_PORT, &PROTO, &FAMILY,
    &DSCP, &INTERFACE, &OUTBOUND, &MARK,
];
