//! `config answer_rule`.

use crate::rules::net::Net;

pub use super::dns_rule::{DOMAIN, ENABLED, NAME, QTYPE};
use super::*;
use crate::config::types::Policy;
use crate::config::values::Action;

pub static IP: Opt<Net> = Opt::new(
    "ip",
    Text(NET_FORM),
    values::net,
    "Addresses in the answer; one that is accepted is enough.",
)
.selector();
pub static UPSTREAM: Opt<String> = Opt::new(
    "upstream",
    Text("the name of an upstream"),
    values::reference,
    "Who answered.",
)
.selector();
pub static ACTION: Opt<Action> = Opt::new(
    "action",
    Word(&["accept", "reject", "ask"]),
    values::action,
    "accept passes the answer on, reject gives an empty one, ask asks the upstreams of list ask \
     instead.",
)
.required();
pub static ASK: Opt<String> = Opt::new(
    "ask",
    Text("the name of an upstream"),
    values::reference,
    "Who is asked, with action ask. Their answers are judged, too, at most three in a row.",
)
.list(MAX_CANDIDATES);
pub static POLICY: Opt<Policy> = Opt::new(
    "policy",
    Word(POLICIES),
    values::policy,
    "Which of several upstreams of list ask is asked, as in section dns.",
)
.default("failover");

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[
    &NAME, &ENABLED, &DOMAIN, &QTYPE, &IP, &UPSTREAM, &ACTION, &ASK, &POLICY,
];
