//! Who answers a question. Pure.

use std::net::SocketAddr;
use std::rc::Rc;

use super::upstream::UpstreamId;
use crate::config::{Candidates, Config, DnsRule, Policy, Resolver};
use crate::rules::index::DomainIndex;
use crate::rules::{Bits, MAX_RULES};

/// Domains that only the LAN's own server knows: private reverse zones (RFC 6303, RFC 7793)
/// and the name reserved for home networks (RFC 8375). 172.16/12, 100.64/10 and fe80::/10 end
/// inside a label, see [`in_range`].
const LOCAL_ZONES: [&str; 14] = [
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "254.169.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    // :: and ::1, and those up to ::f, which are nobody's.
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "d.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "home.arpa",
    "local",
];

/// Names a group, once and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GroupId(pub(super) u32);

/// Upstreams that are asked for the same questions.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    /// Its identity.
    pub id: GroupId,
    /// At least one, each once.
    pub upstreams: Vec<UpstreamId>,
    /// Which of them is asked first.
    pub policy: Policy,
}

/// What to do with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Ask these upstreams.
    Ask(Rc<Group>),
    /// Ask the server that the client asked.
    AsIs(SocketAddr),
    /// NOERROR without an answer.
    Reject,
    /// REFUSED: `asis`, and no server was asked that is not ourselves.
    NobodyAsked,
}

/// Makes groups of what a configuration says, equal ones only once.
#[derive(Debug)]
pub struct Groups {
    /// Identities in the order of the configuration's upstreams.
    ids: Vec<UpstreamId>,
    groups: Vec<Rc<Group>>,
    next: u32,
}

impl Groups {
    /// For upstreams with these identities; `next` is the first number that was never used.
    pub fn new(ids: Vec<UpstreamId>, next: u32) -> Self {
        Self {
            ids,
            groups: Vec::new(),
            next,
        }
    }

    /// The first number that was never used.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// The group of these candidates.
    pub fn group(&mut self, candidates: &Candidates) -> Rc<Group> {
        let ids = candidates.upstreams.iter();
        let upstreams: Vec<_> = ids.filter_map(|at| self.ids.get(*at)).copied().collect();
        let policy = candidates.policy;
        let same = |group: &&Rc<Group>| group.upstreams == upstreams && group.policy == policy;
        if let Some(group) = self.groups.iter().find(same) {
            return Rc::clone(group);
        }
        let id = GroupId(self.next);
        self.next += 1;
        let group = Rc::new(Group {
            id,
            upstreams,
            policy,
        });
        self.groups.push(Rc::clone(&group));
        group
    }

    /// The group of one upstream of the configuration.
    pub fn single(&mut self, upstream: usize) -> Rc<Group> {
        self.group(&Candidates {
            upstreams: vec![upstream],
            policy: Policy::Failover,
        })
    }

    fn target(&mut self, resolver: &Resolver) -> Target {
        match resolver {
            Resolver::Ask(candidates) => Target::Ask(self.group(candidates)),
            Resolver::AsIs => Target::AsIs,
            Resolver::Reject => Target::Reject,
        }
    }
}

/// A [`Resolver`] with its group.
#[derive(Debug)]
enum Target {
    Ask(Rc<Group>),
    AsIs,
    Reject,
}

/// The part of the configuration that the forwarder needs.
pub struct Router {
    rules: Vec<DnsRule>,
    /// Of each rule.
    targets: Vec<Target>,
    /// One index for every [`MAX_RULES`] rules.
    index: Vec<DomainIndex>,
    default: Target,
    local_domains: Vec<Box<str>>,
    /// Our own listeners: never asked, the query would come back.
    ourselves: Vec<SocketAddr>,
}

impl Router {
    /// From a configuration; `ourselves` are the addresses that we listen on.
    pub fn new(config: &Config, ourselves: Vec<SocketAddr>, groups: &mut Groups) -> Self {
        let rules = config.dns_rules.clone();
        let domains = |rules: &[DnsRule]| {
            // A chunk is never more than an index takes.
            DomainIndex::new(rules.iter().map(|rule| &rule.domain)).ok()
        };
        Self {
            index: rules.chunks(MAX_RULES).filter_map(domains).collect(),
            targets: rules
                .iter()
                .map(|rule| groups.target(&rule.resolver))
                .collect(),
            rules,
            default: groups.target(&config.dns.default),
            local_domains: config.dns.local_domains.clone(),
            ourselves,
        }
    }

    /// Who answers: the first rule that accepts name and type, else the server asked for
    /// local names, else the default.
    pub fn route(&self, name: &str, qtype: u16, asked: Option<SocketAddr>) -> Route {
        let target = match self.find(name, qtype) {
            Some(rule) => &self.targets[rule],
            None if self.is_local(name) => &Target::AsIs,
            None => &self.default,
        };
        match (target, asked) {
            (Target::Reject, _) => Route::Reject,
            (Target::Ask(group), _) => Route::Ask(Rc::clone(group)),
            (Target::AsIs, Some(asked)) if !self.ourselves.contains(&asked) => Route::AsIs(asked),
            (Target::AsIs, _) => Route::NobodyAsked,
        }
    }

    /// The addresses that we listen on.
    pub fn ourselves(&self) -> &[SocketAddr] {
        &self.ourselves
    }

    /// The rule that decides, see [`Self::find`].
    pub fn rule(&self, name: &str, qtype: u16) -> Option<&DnsRule> {
        self.find(name, qtype).map(|at| &self.rules[at])
    }

    /// The first rule that accepts name and type. A rule that names no domain does not speak
    /// of local names: `qtype` alone shall not take the LAN's own names away from dnsmasq.
    fn find(&self, name: &str, qtype: u16) -> Option<usize> {
        let speaks_of = |rule: &DnsRule| !rule.domain.include.is_empty() || !self.is_local(name);
        let chunks = self.index.iter().zip(self.rules.chunks(MAX_RULES));
        let mut accepting = chunks.enumerate().filter_map(|(chunk, (index, rules))| {
            let accepted: Bits = index.matches(name);
            let accepts = |(bit, rule): &(usize, &DnsRule)| {
                accepted.contains(*bit)
                    && rule.qtype.accepts(|only| *only == qtype)
                    && speaks_of(rule)
            };
            let (at, _) = rules.iter().enumerate().find(accepts)?;
            Some(chunk * MAX_RULES + at)
        });
        accepting.next()
    }

    /// Whether a name (lower case, no final dot) is the LAN's own: in a local domain or zone,
    /// or a single label.
    pub fn is_local(&self, name: &str) -> bool {
        // Bytes, and from the end, where a dot is near.
        let single = !name.is_empty() && !name.bytes().rev().any(|byte| byte == b'.');
        single
            || self
                .local_domains
                .iter()
                .any(|domain| is_below(name, domain))
            || (name.ends_with("arpa") || name.ends_with("local")) && is_local_zone(name)
    }
}

/// Whether `name` is `domain` or below it.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_local_zone(name: &str) -> bool {
    LOCAL_ZONES.iter().any(|zone| is_below(name, zone))
        || in_range(name, ".172.in-addr.arpa", 16, 31, 10)
        || in_range(name, ".100.in-addr.arpa", 64, 127, 10)
        || in_range(name, ".e.f.ip6.arpa", 0x8, 0xb, 16)
}

/// Whether the label in front of `suffix` is a number from `first` to `last`.
fn in_range(name: &str, suffix: &str, first: u32, last: u32, radix: u32) -> bool {
    let Some(rest) = name.strip_suffix(suffix) else {
        return false;
    };
    let label = rest.rsplit_once('.').map_or(rest, |(_, label)| label);
    u32::from_str_radix(label, radix).is_ok_and(|number| (first..=last).contains(&number))
}
