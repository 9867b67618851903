//! `config answer_rule`, `dns_host` and `dns_ttl`: what becomes of answers, and which ones we
//! have ourselves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::high::Titles;
use super::low::Low;
use super::names::{Resolvers, twice};
use super::problem::{Problems, Wrong, show};
use super::types::{AnswerAction, AnswerRule, DnsHost, DnsTtl};
use super::values::Action;
use super::{options, rule};

/// Enabled `answer_rule`s.
pub(super) fn rules<'a>(
    sections: impl Iterator<Item = &'a Low<'a>>,
    resolvers: &Resolvers,
    problems: &mut Problems,
) -> Option<Vec<AnswerRule>> {
    use options::answer_rule as o;
    let mut titles = Titles::default();
    let mut rules = Vec::new();
    for low in sections {
        titles.check(low, &o::NAME, problems);
        if low.get(&o::ENABLED) == Some(false) {
            continue;
        }
        let upstream = resolvers.selector(low, &o::UPSTREAM, problems);
        let action = action(low, resolvers, problems);
        rules.push(upstream.zip(action).map(|(upstream, action)| AnswerRule {
            name: rule::name(low, &o::NAME),
            domain: rule::selector(low, &o::DOMAIN),
            qtype: rule::selector(low, &o::QTYPE),
            ip: rule::selector(low, &o::IP),
            upstream,
            action,
        }));
    }
    rules.into_iter().collect()
}

fn action(low: &Low, resolvers: &Resolvers, problems: &mut Problems) -> Option<AnswerAction> {
    use options::answer_rule as o;
    let plain = match low.get(&o::ACTION)? {
        Action::Accept => AnswerAction::Accept,
        Action::Reject => AnswerAction::Reject,
        Action::Ask if low.has(&o::ASK) => {
            let asked = resolvers.candidates(low, &o::ASK, &o::POLICY, &[], problems);
            return asked.map(AnswerAction::Ask);
        }
        Action::Ask => {
            let wrong = Wrong::new(
                "it is missing",
                "write list ask with the name of an upstream",
            );
            problems.add(low.place(&o::ACTION), &low.label, "ask", wrong);
            return None;
        }
    };
    for (given, name, place) in [
        (low.has(&o::ASK), "ask", low.place(&o::ASK)),
        (low.has(&o::POLICY), "policy", low.place(&o::POLICY)),
    ] {
        if given {
            let wrong = Wrong::new("nobody is asked", "remove it, or write option action 'ask'");
            problems.add(place, &low.label, name, wrong);
        }
    }
    Some(plain)
}

/// Every `dns_host`, each with a name of its own.
pub(super) fn hosts<'a>(
    sections: impl Iterator<Item = &'a Low<'a>>,
    problems: &mut Problems,
) -> Option<Vec<DnsHost>> {
    use options::dns_host as o;
    let mut lines: BTreeMap<Box<str>, u32> = BTreeMap::new();
    let mut hosts = Vec::new();
    for low in sections {
        let addrs = addresses(low, problems);
        let Some(name) = low.get(&o::NAME) else {
            hosts.push(None);
            continue;
        };
        let place = low.place(&o::NAME);
        if let Some(line) = lines.get(&name) {
            let what = format!("{} has addresses in line {line} already", show(&name));
            let wrong = Wrong::new(what, "write all addresses there, and remove this section");
            problems.add(place, &low.label, "name", wrong);
            hosts.push(None);
            continue;
        }
        lines.insert(name.clone(), place.line);
        hosts.push(addrs.map(|addrs| DnsHost { name, addrs }));
    }
    hosts.into_iter().collect()
}

/// Addresses of a host; None when there are none, or what is wrong was told.
fn addresses(low: &Low, problems: &mut Problems) -> Option<Vec<IpAddr>> {
    let option = &options::dns_host::IP;
    let addrs = distinct(low, option, problems);
    if low.is_blank(option) {
        let wrong = Wrong::new("it is empty", format!("write {}", option.spec.form));
        problems.add(low.place(option), &low.label, option.spec.name, wrong);
    }
    (!addrs.is_empty()).then_some(addrs)
}

/// The values of a list; one that stands there twice is told.
pub(super) fn distinct<T: PartialEq + std::fmt::Display>(
    low: &Low,
    option: &super::spec::Opt<T>,
    problems: &mut Problems,
) -> Vec<T> {
    let mut values = Vec::new();
    for item in low.list(option) {
        if values.contains(&item.value) {
            let wrong = twice(&item.value);
            problems.add(item.place, &low.label, option.spec.name, wrong);
        } else {
            values.push(item.value);
        }
    }
    values
}

/// Every `dns_ttl`.
pub(super) fn ttls<'a>(sections: impl Iterator<Item = &'a Low<'a>>) -> Option<Vec<DnsTtl>> {
    use options::dns_ttl as o;
    let read = |low: &Low| {
        Some(DnsTtl {
            domain: rule::selector(low, &o::DOMAIN),
            ttl: low.get(&o::TTL)?,
        })
    };
    sections.map(read).collect()
}
