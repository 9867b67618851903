//! `config dns 'dns'`.

use std::net::SocketAddr;

use super::*;
use crate::config::types::{HttpsRecords, Policy};
use crate::rules::Family;

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
    Text(RESOLVER_FORM),
    values::reference,
    "Who answers what no dns_rule decides. asis is the server that the client asked, reject \
     an empty answer.",
)
.list(MAX_CANDIDATES)
.default("asis");
pub static POLICY: Opt<Policy> = Opt::new(
    "policy",
    Word(POLICIES),
    values::policy,
    "Which of several upstreams is asked: failover asks them in the order of the list, the next \
     when one is silent or fails; fastest begins with the one that answered fastest of late; \
     race asks all at once.",
)
.default("failover");
pub static BOOTSTRAP: Opt<String> = Opt::new(
    "bootstrap",
    Text("the name of an upstream that has an address"),
    values::reference,
    "Who is asked for the addresses of upstreams that are given by name. Nobody else ever is.",
);
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

pub static MAX_CLIENT_QUERIES: Opt<u32> = Opt::new(
    "max_client_queries",
    Number(1, 16_384),
    values::number,
    "How many of these can be one client's (an IPv6 client is its /64). A further one is refused \
     at once.",
)
.default("128");
pub static MAX_CLIENT_CONNECTIONS: Opt<u32> = Opt::new(
    "max_client_connections",
    Number(1, 1024),
    values::number,
    "How many TCP connections one client can have.",
)
.default("16");
pub static SERVE_STALE: Opt<u32> = Opt::new(
    "serve_stale",
    Number(0, 604_800),
    values::number,
    "For so many seconds an expired answer is still used when no upstream answers. 0 is never.",
)
.default("86400");
pub static PREFETCH: Opt<bool> = Opt::new(
    "prefetch",
    Switch,
    values::switch,
    "Whether answers that are often asked for are asked for again shortly before they expire.",
)
.default("1");
pub static IPVERSION_PREFER: Opt<Family> = Opt::new(
    "ipversion_prefer",
    Word(&["4", "6"]),
    values::prefer,
    "A name that has addresses of this version of the Internet Protocol gets an empty answer \
     for those of the other. Both are answered unless written.",
);
pub static HTTPS_RECORDS: Opt<HttpsRecords> = Opt::new(
    "https_records",
    Word(&["pass", "block"]),
    values::https_records,
    "What becomes of queries for HTTPS and SVCB records: block answers that there are none.",
)
.default("pass");
pub static REBIND_PROTECTION: Opt<bool> = Opt::new(
    "rebind_protection",
    Switch,
    values::switch,
    "Whether answers of upstreams that lead names to private or local addresses are refused.",
)
.default("1");
pub static REBIND_DOMAIN: Opt<Box<str>> = Opt::new(
    "rebind_domain",
    Text("a domain, like example.com"),
    values::local_domain,
    "Domains that may lead to private addresses all the same.",
)
.list(MAX_LOCAL_DOMAINS);
pub static QUERY_LOG: Opt<u32> = Opt::new(
    "query_log",
    Number(0, 1000),
    values::number,
    "How many of the latest queries dae status can show. 0 keeps none.",
)
.default("0");

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[
    &ENABLED,
    &LISTEN,
    &UPSTREAM,
    &POLICY,
    &BOOTSTRAP,
    &LOCAL_DOMAIN,
    &CACHE_BYTES,
    &SERVE_STALE,
    &PREFETCH,
    &MAX_QUERIES,
    &MAX_CLIENT_QUERIES,
    &MAX_TCP_CLIENTS,
    &MAX_CLIENT_CONNECTIONS,
    &IPVERSION_PREFER,
    &HTTPS_RECORDS,
    &REBIND_PROTECTION,
    &REBIND_DOMAIN,
    &QUERY_LOG,
];
