//! The high form: what sections say about each other, ending in a valid [`Config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::rules::{MAX_RULES, Rule, Verdict};

use super::low::Low;
use super::names::{FIXED, Names, Outbounds, Resolvers, twice};
use super::problem::{Problems, Wrong, show};
use super::types::{Checked, Config, Main, Outbound, OutboundKind, Upstream};
use super::uci::Place;
use super::{answers, dns, group, nesting, node, options, rule, upstream};

/// Builds the configuration; None when there are problems.
pub(super) fn build(lowered: &[Low], problems: &mut Problems) -> Option<Config> {
    let of = |kind: &'static str| lowered.iter().filter(move |low| low.kind() == kind);
    let node_sections: Vec<&Low> = of("node").collect();
    let group_sections: Vec<&Low> = of("group").collect();
    let order = nesting::order(&group_sections, problems);
    let ordered: Vec<&Low> = order.iter().map(|group| group_sections[*group]).collect();
    let outbounds = Outbounds::new(&node_sections, &ordered);
    let resolvers = Resolvers(Names::new(of("upstream")));

    let interfaces = of("dae").next().map(|low| interfaces(low, problems));
    let listen = of("dns")
        .next()
        .map_or_else(Vec::new, |low| dns::listen(low, problems));
    let main = main_section(
        of("dae").next(),
        interfaces.as_deref(),
        &listen,
        &outbounds,
        problems,
    );
    let dns = dns::build(of("dns").next(), &listen, &resolvers, problems);
    let ways = ways(&node_sections, &ordered, &outbounds, problems);
    let upstreams: Vec<Option<Upstream>> = of("upstream")
        .map(|low| upstream::build(low, &listen, &outbounds, problems))
        .collect();
    upstream::names(
        of("upstream"),
        of("dns").next(),
        &upstreams,
        &resolvers,
        problems,
    );
    let rules = rules(of("rule"), &outbounds, interfaces.as_deref(), problems);
    let dns_rules = dns::rules(of("dns_rule"), &resolvers, problems);
    let answer_rules = answers::rules(of("answer_rule"), &resolvers, problems);
    let dns_hosts = answers::hosts(of("dns_host"), problems);
    let dns_ttls = answers::ttls(of("dns_ttl"));

    let ways = ways?;
    Some(Config {
        main: main?,
        dns: dns?,
        upstreams: upstreams.into_iter().collect::<Option<_>>()?,
        dns_rules: dns_rules?,
        answer_rules: answer_rules?,
        dns_hosts: dns_hosts?,
        dns_ttls: dns_ttls?,
        checked: checked(&ways, &order, &outbounds),
        outbounds: ways,
        rules: rules?,
    })
}

/// Everything where flows can go, in the order of `Config::outbounds`. `groups` are in that order.
fn ways(
    nodes: &[&Low],
    groups: &[&Low],
    outbounds: &Outbounds,
    problems: &mut Problems,
) -> Option<Vec<Outbound>> {
    let fixed = FIXED
        .into_iter()
        .zip([OutboundKind::Direct, OutboundKind::Block]);
    let fixed = fixed.map(|(name, kind)| {
        Some(Outbound {
            name: name.into(),
            kind,
        })
    });
    let mut ways: Vec<Option<Outbound>> = fixed.collect();
    ways.extend(nodes.iter().map(|low| node::build(low, problems)));
    if group::too_many_patterns(groups, problems) {
        return None;
    }
    for low in groups {
        let group = group::build(low, outbounds, nodes, problems);
        let name = low.section.name.clone();
        ways.push(name.zip(group).map(|(name, group)| Outbound {
            name,
            kind: OutboundKind::Group(group),
        }));
    }
    ways.into_iter().collect()
}

/// Nodes that are in groups. `order` has the groups as they stand in `ways`, by their positions
/// in the file.
fn checked(ways: &[Outbound], order: &[usize], outbounds: &Outbounds) -> Vec<Checked> {
    let groups = ways
        .iter()
        .enumerate()
        .filter_map(|(index, way)| match &way.kind {
            OutboundKind::Group(group) => Some((index, group)),
            _ => None,
        });
    let mut groups: Vec<_> = order.iter().zip(groups).collect();
    groups.sort_by_key(|(position, _)| **position);
    let groups: Vec<_> = groups.into_iter().map(|(_, group)| group).collect();
    group::checked(&groups, outbounds)
}

/// The list without those that could not be read or stand there twice, which is told.
fn interfaces(low: &Low, problems: &mut Problems) -> Vec<String> {
    let mut interfaces: Vec<String> = Vec::new();
    for item in low.list(&options::main::INTERFACE) {
        if interfaces.contains(&item.value) {
            let wrong = twice(show(&item.value));
            problems.add(item.place, &low.label, "interface", wrong);
        } else {
            interfaces.push(item.value);
        }
    }
    interfaces
}

fn main_section(
    low: Option<&Low>,
    interfaces: Option<&[String]>,
    listen: &[SocketAddr],
    outbounds: &Outbounds,
    problems: &mut Problems,
) -> Option<Main> {
    use options::main as o;
    let (Some(low), Some(interfaces)) = (low, interfaces) else {
        let wrong = Wrong::new(
            "there is no section config dae 'main'",
            "add one, with option enabled and list interface",
        );
        problems.add(Place { line: 1, byte: 0 }, "", "", wrong);
        return None;
    };
    if low.get(&o::ENABLED) == Some(true) && interfaces.is_empty() && listen.is_empty() {
        let wrong = Wrong::new(
            "dae is enabled, but has neither an interface to look at nor an address to listen on",
            "write list interface 'lan'",
        );
        problems.add(low.section.place, &low.label, "interface", wrong);
    }
    let (action, outbound) = outbounds.resolve(low, &o::DEFAULT_OUTBOUND, &FIXED, problems)?;
    Some(Main {
        enabled: low.get(&o::ENABLED)?,
        interfaces: interfaces.to_vec(),
        log_level: low.get(&o::LOG_LEVEL)?,
        default: Verdict {
            action,
            outbound,
            mark: 0,
        },
        attach: low.get(&o::ATTACH)?,
        kill_switch: kill_switch(low, problems)?,
        max_flows: low.get(&o::MAX_FLOWS)?,
        max_names: low.get(&o::MAX_NAMES)?,
        max_udp_sessions: low.get(&o::MAX_UDP_SESSIONS)?,
        max_tcp_connections: low.get(&o::MAX_TCP_CONNECTIONS)?,
        tcp_idle: low.get(&o::TCP_IDLE)?,
        udp_idle: low.get(&o::UDP_IDLE)?,
        udp_idle_dns: low.get(&o::UDP_IDLE_DNS)?,
        udp_idle_quic: low.get(&o::UDP_IDLE_QUIC)?,
        drain: low.get(&o::DRAIN)?,
        leasefile: low.get(&o::LEASEFILE)?,
        metrics: metrics(low, listen, problems),
    })
}

/// A TCX link goes with its process, and the switch with it.
fn kill_switch(low: &Low, problems: &mut Problems) -> Option<bool> {
    use options::main as o;
    let on = low.get(&o::KILL_SWITCH)?;
    if on && low.get(&o::ATTACH) == Some(super::types::Attach::Tcx) {
        let wrong = Wrong::new(
            "the kernel takes a tcx hook away with its process, so there is nothing left to close",
            "write attach 'clsact' or 'auto', or kill_switch '0'",
        );
        problems.add(
            low.place(&o::KILL_SWITCH),
            &low.label,
            o::KILL_SWITCH.spec.name,
            wrong,
        );
        return None;
    }
    Some(on)
}

/// None also when it is told that the address is taken.
fn metrics(low: &Low, listen: &[SocketAddr], problems: &mut Problems) -> Option<SocketAddr> {
    let metrics = low.get(&options::main::METRICS)?;
    if listen
        .iter()
        .any(|listen| upstream::reaches(metrics, *listen))
    {
        let what = format!("{metrics} is taken by list listen of section dns");
        let wrong = Wrong::new(what, "write another port");
        problems.add(
            low.place(&options::main::METRICS),
            &low.label,
            "metrics",
            wrong,
        );
        return None;
    }
    Some(metrics)
}

fn rules<'a>(
    sections: impl Iterator<Item = &'a Low<'a>>,
    outbounds: &Outbounds,
    interfaces: Option<&[String]>,
    problems: &mut Problems,
) -> Option<Vec<Rule>> {
    let mut titles = Titles::default();
    let mut rules = Vec::new();
    let mut enabled = 0;
    for low in sections {
        titles.check(low, &options::rule::NAME, problems);
        let rule = rule::build(low, outbounds, interfaces, problems);
        if low.get(&options::rule::ENABLED) == Some(false) {
            continue;
        }
        enabled += 1;
        if enabled == MAX_RULES + 1 {
            let what = format!("there are more than {MAX_RULES} enabled rules");
            let write = "remove some, or put the values of several rules into one";
            problems.add(low.section.place, &low.label, "", Wrong::new(what, write));
        }
        rules.push(rule);
    }
    rules.into_iter().collect()
}

/// Names given to rules, which must differ: trace and status speak of them.
#[derive(Default)]
pub(super) struct Titles(BTreeMap<String, u32>);

impl Titles {
    pub(super) fn check(
        &mut self,
        low: &Low,
        option: &super::spec::Opt<String>,
        problems: &mut Problems,
    ) {
        let name = rule::name(low, option);
        let place = low.place(option);
        if let Some(line) = self.0.get(&name) {
            let what = format!("the {} of line {line} has this name, too", low.kind());
            let wrong = Wrong::new(what, "choose another name");
            problems.add(place, &low.label, "name", wrong);
        } else {
            self.0.insert(name, place.line);
        }
    }
}
