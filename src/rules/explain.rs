//! A decision in words, for `dae trace`:
//!
//! ```text
//! udp 192.168.1.20:40000 -> 203.0.113.7:443, known as www.example.com
//! rule 'guests': interface guest does not include lan
//! rule 'media': domain example.com includes www.example.com, dest_port is 443
//! -> proxy 'tokyo', by rule 'media'
//! ```

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use super::naive::{self, Dimension};
use super::net::Net;
use super::port::PortRange;
use super::{Action, Flow, Rule, Selector, Verdict};

/// Values of a list that are written out; the others are counted.
const SHOWN: usize = 3;

/// The rules, with the names of what they hold as indices.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// In their order.
    pub rules: &'a [Rule],
    /// When none matches.
    pub default: Verdict,
    /// Input interfaces, by index.
    pub interfaces: &'a [String],
    /// Outbounds, by index.
    pub outbounds: &'a [String],
}

/// Which rule decides a flow and why, and what rejected it in each rule before. `names` are
/// the live names of its destination (lower case, no final dot). One line per element: the
/// flow, each rule up to the one that matches, the verdict.
pub fn explain<N: AsRef<str>>(context: &Context, flow: &Flow, names: &[N]) -> Vec<String> {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let told = Told {
        interfaces: context.interfaces,
        flow,
        names: &names,
    };
    let mut lines = vec![told.flow()];
    for rule in context.rules {
        let rejected = naive::rejected_by(rule, flow, &names);
        let why = match rejected {
            Some(dimension) => told.option(rule, dimension).unwrap_or_default(),
            None => told.acceptance(rule),
        };
        lines.push(format!("rule '{}': {why}", rule.name));
        if rejected.is_none() {
            let verdict = verdict(context, rule.verdict);
            lines.push(format!("-> {verdict}, by rule '{}'", rule.name));
            return lines;
        }
    }
    let why = if context.rules.is_empty() {
        "there are no rules"
    } else {
        "no rule matches"
    };
    lines.push(format!(
        "-> {}, the default: {why}",
        verdict(context, context.default)
    ));
    lines
}

fn verdict(context: &Context, verdict: Verdict) -> String {
    match verdict {
        Verdict {
            action: Action::Direct,
            mark: 0,
            ..
        } => "direct".into(),
        Verdict {
            action: Action::Direct,
            mark,
            ..
        } => format!("direct with mark {mark:#x}"),
        Verdict {
            action: Action::Block,
            ..
        } => "block".into(),
        Verdict {
            action: Action::Proxy,
            outbound,
            ..
        } => {
            format!("proxy '{}'", name_of(context.outbounds, outbound))
        }
    }
}

/// A flow, and what is known of it.
struct Told<'a> {
    interfaces: &'a [String],
    flow: &'a Flow,
    names: &'a [&'a str],
}

impl Told<'_> {
    fn flow(&self) -> String {
        let Flow {
            src,
            dst,
            src_port,
            dst_port,
            proto,
            ..
        } = self.flow;
        let (src, dst) = (
            SocketAddr::new(*src, *src_port),
            SocketAddr::new(*dst, *dst_port),
        );
        match self.names {
            [] => format!("{proto} {src} -> {dst}"),
            names => format!("{proto} {src} -> {dst}, known as {}", some(names)),
        }
    }

    /// What each given option of a rule that matches found in the flow.
    fn acceptance(&self, rule: &Rule) -> String {
        let options = Dimension::ALL
            .into_iter()
            .filter_map(|option| self.option(rule, option));
        let options: Vec<String> = options.collect();
        if options.is_empty() {
            "matches every flow".into()
        } else {
            options.join(", ")
        }
    }

    /// One option of a rule, if it is given, against the flow.
    fn option(&self, rule: &Rule, dimension: Dimension) -> Option<String> {
        let flow = self.flow;
        let net = |net: &Net, addr: &IpAddr| net.contains(*addr);
        let range = |range: &PortRange, port: &u16| range.contains(*port);
        match dimension {
            Dimension::Proto => say("proto", &rule.proto, &[flow.proto], "", PartialEq::eq),
            Dimension::Family => say("family", &rule.family, &[flow.family()], "", PartialEq::eq),
            Dimension::Interface => self.interface(&rule.interface),
            Dimension::SrcIp => say("src_ip", &rule.src_ip, &[flow.src], "", net),
            Dimension::SrcMac => {
                let unknown = "the source's MAC is not known";
                say(
                    "src_mac",
                    &rule.src_mac,
                    flow.src_mac.as_slice(),
                    unknown,
                    PartialEq::eq,
                )
            }
            Dimension::SrcPort => say("src_port", &rule.src_port, &[flow.src_port], "", range),
            Dimension::DestIp => say("dest_ip", &rule.dest_ip, &[flow.dst], "", net),
            Dimension::Domain => {
                let unknown = format!("no name is known of {}", flow.dst);
                let matches =
                    |pattern: &super::domain::DomainPattern, name: &&str| pattern.matches(name);
                say("domain", &rule.domain, self.names, &unknown, matches)
            }
            Dimension::DestPort => say("dest_port", &rule.dest_port, &[flow.dst_port], "", range),
            Dimension::Dscp => say("dscp", &rule.dscp, &[flow.dscp], "", PartialEq::eq),
        }
    }

    fn interface(&self, selector: &Selector<u16>) -> Option<String> {
        let named = |list: &[u16]| list.iter().map(|i| name_of(self.interfaces, *i)).collect();
        let selector = Selector {
            include: named(&selector.include),
            exclude: named(&selector.exclude),
        };
        let value: Option<String> = self.flow.interface.map(|i| name_of(self.interfaces, i));
        let unknown = "the input interface is none of ours";
        say(
            "interface",
            &selector,
            value.as_slice(),
            unknown,
            PartialEq::eq,
        )
    }
}

/// How a selector meets the values that a flow has: one, several names, or none, which is told
/// in the words of `unknown`. None when the selector is not given.
fn say<T: Display, V: Display>(
    option: &str,
    selector: &Selector<T>,
    values: &[V],
    unknown: &str,
    contains: impl Fn(&T, &V) -> bool,
) -> Option<String> {
    let Selector { include, exclude } = selector;
    if selector.is_any() {
        return None;
    }
    let find = |list: &[T], value: &V| {
        let by = list.iter().find(|listed| contains(listed, value))?;
        Some(by.to_string())
    };
    if values.is_empty() {
        return Some(match include.as_slice() {
            [] => format!("{option} excludes nothing: {unknown}"),
            include => format!("{option} {} is wanted, but {unknown}", some(include)),
        });
    }
    let mut excluded = None;
    for value in values {
        let included_by = find(include, value);
        if included_by.is_none() && !include.is_empty() {
            continue;
        }
        match (find(exclude, value), included_by) {
            (Some(by), _) => {
                excluded = excluded.or(Some(format!("{option} !{by} excludes {value}")))
            }
            (None, None) => return Some(format!("{option} does not exclude {value}")),
            (None, Some(by)) if by == value.to_string() => {
                return Some(format!("{option} is {value}"));
            }
            (None, Some(by)) => return Some(format!("{option} {by} includes {value}")),
        }
    }
    let absent = || {
        format!(
            "{option} {} does not include {}",
            some(include),
            some(values)
        )
    };
    Some(excluded.unwrap_or_else(absent))
}

/// The first few of a list, and how many more there are.
fn some<T: Display>(list: &[T]) -> String {
    let shown: Vec<String> = list.iter().take(SHOWN).map(T::to_string).collect();
    let shown = shown.join(" ");
    match list.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} (and {more} more)"),
    }
}

/// What the configuration calls an index.
fn name_of(names: &[String], index: u16) -> String {
    names
        .get(usize::from(index))
        .cloned()
        .unwrap_or_else(|| format!("#{index}"))
}

#[cfg(test)]
mod tests;
