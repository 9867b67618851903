//! `config dns_host`.

use std::net::IpAddr;

use super::*;

pub static NAME: Opt<Box<str>> = Opt::new(
    "name",
    Text("a name, like nas.lan"),
    values::host_name,
    "The name; those below it are not meant.",
)
.required();
pub static IP: Opt<IpAddr> = Opt::new(
    "ip",
    Text("an address"),
    values::any_address,
    "Its addresses, IPv4 and IPv6.",
)
.list(MAX_ADDRS)
.required();

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[&NAME, &IP];
