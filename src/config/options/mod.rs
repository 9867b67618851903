//! The table of all sections and options. Parsing, problems, `dae help config` and
//! docs/config.md come from it; nothing else names an option.

use super::link;
use super::spec::Form::{Number, Switch, Text, Word};
use super::spec::{AnyOpt, Naming, Opt, SectionSpec};
use super::values;

pub(super) mod answer_rule;
pub(super) mod dns;
pub(super) mod dns_host;
pub(super) mod dns_rule;
pub(super) mod dns_ttl;
pub(super) mod group;
pub(super) mod main;
pub(super) mod node;
pub(super) mod rule;
pub(super) mod upstream;

/// Most UDP and TCP endpoints of the local DNS listener.
const MAX_LISTEN: usize = 16;
/// Most interfaces: each rule dimension holds one bit vector per interface.
const MAX_INTERFACES: usize = 64;
/// Most local domains, and most domains that may have private addresses.
const MAX_LOCAL_DOMAINS: usize = 256;
/// Most upstreams of one rule: each may be asked at once for one query.
const MAX_CANDIDATES: usize = 8;
/// Most addresses of one upstream or host.
const MAX_ADDRS: usize = 8;
/// Most pins of one upstream; two are usual, one of them for the next key.
const MAX_PINS: usize = 8;

/// Most members of a group: all nodes.
const MAX_MEMBERS: usize = 256;
/// Most filters of a group.
const MAX_FILTERS: usize = 32;
/// Most tags of a node.
const MAX_TAGS: usize = 16;
/// Most addresses that a check asks: one of each IP version.
const MAX_CHECKED: usize = 2;

/// Forms that several sections share.
const DOMAIN_FORM: &str = "a name like example.com, or suffix:NAME, full:NAME or keyword:TEXT";
const NET_FORM: &str = "an address or prefix, like 192.168.1.0/24 or 2001:db8::/32";
const TITLE_FORM: &str = "a name of at most 64 characters";
const QTYPE_FORM: &str = "a query type by name or number, like A, AAAA, HTTPS or 65";
const RESOLVER_FORM: &str = "the name of an upstream; or asis or reject alone";
const OUTBOUND_FORM: &str = "direct, block or the name of a node or group";
const POLICIES: &[&str] = &["failover", "fastest", "race"];

/// Every section type, in the order of the reference.
pub(super) static SECTIONS: [SectionSpec; 10] = [
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
               list upstream of section dns decides the rest.",
        options: dns_rule::OPTIONS,
    },
    SectionSpec {
        kind: "answer_rule",
        naming: Naming::Ordered,
        max: 256,
        help: "Judges answers of upstreams. The first answer_rule that matches decides; an answer \
               that none matches is passed on. A rule matches when every option given here \
               accepts the answer.",
        options: answer_rule::OPTIONS,
    },
    SectionSpec {
        kind: "dns_host",
        naming: Naming::Ordered,
        max: 4096,
        help: "Addresses of a name, in place of those that an upstream would give.",
        options: dns_host::OPTIONS,
    },
    SectionSpec {
        kind: "dns_ttl",
        naming: Naming::Ordered,
        max: 256,
        help: "How long answers are kept, in place of what they say themselves. The first \
               dns_ttl that matches decides.",
        options: dns_ttl::OPTIONS,
    },
    SectionSpec {
        kind: "node",
        naming: Naming::Named,
        max: 256,
        help: "A proxy server: either option url, or option type with the options below it.",
        options: node::OPTIONS,
    },
    SectionSpec {
        kind: "group",
        naming: Naming::Named,
        max: 64,
        help: "Several nodes that stand for one another. A rule, an upstream and option \
               default_outbound of section dae can name a group wherever they can name a node.",
        options: group::OPTIONS,
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
pub(super) const LATER_SECTIONS: [&str; 1] = ["subscription"];

/// See [`LATER_SECTIONS`]: (section type, option).
pub(super) const LATER_OPTIONS: [(&str, &str); 2] =
    [("dae", "dial_mode"), ("dns_rule", "outbound")];

/// What options are called in `/etc/config/firewall`: (section type, there, here).
pub(super) const ELSEWHERE: [(&str, &str, &str); 3] = [
    ("rule", "target", "outbound"),
    ("rule", "src", "interface"),
    ("rule", "set_mark", "mark"),
];
