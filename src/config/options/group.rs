//! `config group 'NAME'`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::*;
use crate::config::link::CheckLink;
use crate::config::values::{Filter, Offset, PolicyWord};

pub static NODE: Opt<String> = Opt::new(
    "node",
    Text("the name of a node or of another group"),
    values::reference,
    "Members, in the order in which they are tried as long as nothing better is known.",
)
.list(MAX_MEMBERS);
pub static FILTER: Opt<Filter> = Opt::new(
    "filter",
    Text("a node's name, or keyword:TEXT, regex:PATTERN or tag:TEXT"),
    values::filter,
    "Further members: all nodes whose name and tags are accepted, in the order of the file. \
     keyword accepts names that contain the text, in any case, regex those in which the \
     pattern is found. When there are filters for names and for tags, both must accept. With neither node nor filter \
     every node is a member.",
)
.selector()
.list(MAX_FILTERS);
pub static POLICY: Opt<PolicyWord> = Opt::new(
    "policy",
    Word(&["min_moving_avg", "min_avg10", "min", "random", "fixed"]),
    values::group_policy,
    "Which living member carries a new connection: the one with the smallest moving average of \
     the times that checks took, the smallest mean of the last ten, the smallest last one; a \
     different one each time; or always the one of option fixed.",
)
.default("min_moving_avg");
pub static FIXED: Opt<String> = Opt::new(
    "fixed",
    Text("the name of a member"),
    values::reference,
    "The member that policy fixed uses; the first unless written.",
);
pub static TOLERANCE: Opt<Duration> = Opt::new(
    "tolerance",
    Number(0, 10_000),
    values::milliseconds,
    "The policies that begin with min stay with a member until another is faster by more than so \
     many milliseconds.",
)
.default("50");
pub static OFFSET: Opt<Offset> = Opt::new(
    "offset",
    Text("the name of a member, a colon and -10000 to 10000, like home:-30"),
    values::offset,
    "Milliseconds that are added to the times of a member before they are compared.",
)
.list(MAX_MEMBERS);
pub static FALLBACK: Opt<String> = Opt::new(
    "fallback",
    Text(OUTBOUND_FORM),
    values::reference,
    "What carries connections when no member lives. Unless written the members are tried all the \
     same.",
);
pub static CHECK_INTERVAL: Opt<Duration> = Opt::new(
    "check_interval",
    Number(5, 3600),
    values::seconds,
    "Every so many seconds a member is checked. A node of several groups is checked as the first \
     of them says that has a check.",
)
.default("30");
pub static CHECK_URL: Opt<CheckLink> = Opt::new(
    "check_url",
    Text("http:// and an address or a name, like http://192.0.2.1/generate_204"),
    link::check,
    "What is asked for through a node to see whether TCP works. Nothing unless written: then \
     real connections tell.",
);
pub static CHECK_ADDR: Opt<IpAddr> = Opt::new(
    "check_addr",
    Text("an address"),
    values::server_address,
    "Addresses of the name in check_url, one of each IP version that is to be checked.",
)
.list(MAX_CHECKED);
pub static CHECK_DNS: Opt<SocketAddr> = Opt::new(
    "check_dns",
    Text("the address of a DNS server, like 192.0.2.53 or [2001:db8::53]:53"),
    values::dns_server,
    "Who is asked through a node to see whether UDP works, one of each IP version that is to be \
     checked. Nobody unless written: then real datagrams tell.",
)
.list(MAX_CHECKED);
pub static KEEP_CHOICE: Opt<bool> = Opt::new(
    "keep_choice",
    Switch,
    values::switch,
    "Whether a member that was chosen by hand stays chosen over a restart.",
)
.default("1");

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[
    &NODE,
    &FILTER,
    &POLICY,
    &FIXED,
    &TOLERANCE,
    &OFFSET,
    &FALLBACK,
    &CHECK_INTERVAL,
    &CHECK_URL,
    &CHECK_ADDR,
    &CHECK_DNS,
    &KEEP_CHOICE,
];
