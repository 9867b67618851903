//! Random rules and flows that meet: few addresses in nested prefixes, few ports, few names,
//! so that selectors overlap and every dimension decides something.
//!
//! Use from any test of this folder, with a runner that is seeded and prints its seed:
//!
//! ```ignore
//! #[path = "common/rules.rs"]
//! mod rules;
//! proptest!(|(scenario in rules::scenario(0..=64, 200))| { ... });
//! ```
//!
//! A [`Scenario`] is one set of rules, the live names of addresses, and flows to decide by
//! them; `naive::classify(&s.rules, s.default, flow, s.names_of(flow.dst))` is the truth.
//! Everything is made from small numbers, so a failing scenario shrinks to few rules with few
//! values and one flow. Addresses are unicast and ports may be 0 or 53: the packet's other
//! fates (DNS, fragments, local addresses) are not the business of rules.

#![allow(clippy::expect_used, reason = "a test that cannot go on should panic")]
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use dae::rules::domain::DomainPattern;
use dae::rules::net::Net;
use dae::rules::port::PortRange;
use dae::rules::{Action, Family, Flow, Mac, Proto, Rule, Selector, Verdict};
use proptest::collection::vec;
use proptest::prelude::*;

/// Input interfaces that rules speak of.
pub const INTERFACES: usize = 3;

/// Rules, names and flows that belong together.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub rules: Vec<Rule>,
    pub default: Verdict,
    pub names: BTreeMap<IpAddr, Vec<String>>,
    pub flows: Vec<Flow>,
}

impl Scenario {
    /// Live names of an address.
    pub fn names_of(&self, addr: IpAddr) -> &[String] {
        self.names.get(&addr).map_or(&[], Vec::as_slice)
    }
}

/// Scenarios of so many rules and at most `flows` flows.
pub fn scenario(
    rules: RangeInclusive<usize>,
    flows: usize,
) -> impl Strategy<Value = Scenario> + Clone {
    let names = vec(((any::<u16>(), any::<bool>()), vec(name(), 1..4)), 0..6);
    (vec(rule(), rules), verdict(), names, vec(flow(), 1..=flows)).prop_map(
        |(mut rules, default, names, flows)| {
            for (at, rule) in rules.iter_mut().enumerate() {
                rule.name = format!("rule[{at}]");
            }
            let names = names.into_iter();
            let names = names
                .map(|((code, v6), names)| (address(code, v6), names))
                .collect();
            Scenario {
                rules,
                default,
                names,
                flows,
            }
        },
    )
}

/// A decision of any kind.
fn verdict() -> impl Strategy<Value = Verdict> + Clone {
    (0..4u8, 2..5u16).prop_map(|(kind, node)| match kind {
        0 => Verdict {
            action: Action::Direct,
            outbound: 0,
            mark: 0,
        },
        1 => Verdict {
            action: Action::Block,
            outbound: 1,
            mark: 0,
        },
        2 => Verdict {
            action: Action::Proxy,
            outbound: node,
            mark: 0,
        },
        _ => Verdict {
            action: Action::Direct,
            outbound: 0,
            mark: u32::from(node) << 4,
        },
    })
}

/// One option: which, and the numbers that its values are made of.
type OptionSeed = (u8, Vec<u32>, Vec<u32>);

/// A rule with few options, so that it has a chance to match.
fn rule() -> impl Strategy<Value = Rule> + Clone {
    let option = (0..14u8, vec(any::<u32>(), 0..4), vec(any::<u32>(), 0..3));
    (vec(option, 0..4), verdict()).prop_map(|(options, verdict)| {
        let mut rule = Rule {
            verdict,
            ..Rule::default()
        };
        for option in options {
            apply(&mut rule, option);
        }
        rule
    })
}

fn apply(rule: &mut Rule, (which, include, exclude): OptionSeed) {
    fn fill<T>(selector: &mut Selector<T>, seeds: [Vec<u32>; 2], make: impl Fn(u32) -> T) {
        let [include, exclude] = seeds.map(|seeds| seeds.into_iter().map(&make).collect());
        *selector = Selector { include, exclude };
    }
    let seeds = [include, exclude];
    match which {
        0 | 1 => fill(&mut rule.src_ip, seeds, net),
        2..=4 => fill(&mut rule.dest_ip, seeds, net),
        5 | 6 => fill(&mut rule.domain, seeds, pattern),
        7 => fill(&mut rule.src_mac, seeds, mac),
        8 => fill(&mut rule.src_port, seeds, ports),
        9 => fill(&mut rule.dest_port, seeds, ports),
        10 => fill(&mut rule.proto, seeds, |seed| {
            [Proto::Tcp, Proto::Udp][seed as usize % 2]
        }),
        11 => fill(&mut rule.family, seeds, |seed| {
            [Family::V4, Family::V6][seed as usize % 2]
        }),
        12 => fill(&mut rule.dscp, seeds, dscp),
        _ => fill(&mut rule.interface, seeds, |seed| {
            (seed % INTERFACES as u32) as u16
        }),
    }
}

fn flow() -> impl Strategy<Value = Flow> + Clone {
    let addrs = (any::<u16>(), any::<u16>(), any::<bool>());
    let ports = (any::<u32>(), any::<u32>());
    let rest = (any::<bool>(), any::<u32>(), 0..5u32, 0..=INTERFACES as u16);
    (addrs, ports, rest).prop_map(
        |((src, dst, v6), ports, (udp, class, ethernet, interface))| Flow {
            src: address(src, v6),
            dst: address(dst, v6),
            src_port: port(ports.0),
            dst_port: port(ports.1),
            proto: if udp { Proto::Udp } else { Proto::Tcp },
            dscp: dscp(class),
            src_mac: (ethernet > 0).then(|| mac(ethernet)),
            interface: (usize::from(interface) < INTERFACES).then_some(interface),
        },
    )
}

/// One of some hundred unicast addresses that share prefixes of every length.
fn address(code: u16, v6: bool) -> IpAddr {
    let bit = |n: u16| u8::from(code & (1 << n) != 0);
    let last = ((code >> 3) & 3) as u8;
    if v6 {
        let high = 0x2001_0db8 | u32::from(bit(0));
        let mut octets = [0; 16];
        octets[..4].copy_from_slice(&high.to_be_bytes());
        octets[7] = bit(1);
        octets[8] = bit(2) << 7;
        octets[15] = last;
        Ipv6Addr::from(octets).into()
    } else {
        Ipv4Addr::new(10 | bit(0), bit(1) << 7, bit(2), last).into()
    }
}

/// A prefix around one of the addresses; a tenth of them is of length 0.
fn net(seed: u32) -> Net {
    let v6 = seed & 1 != 0;
    let max = if v6 { 129 } else { 33 };
    let len = (seed >> 20) % (max + 3);
    let len = if len >= max { 0 } else { len };
    Net::new(address((seed >> 1) as u16, v6), len as u8).expect("no longer than the address")
}

/// Ends of 16 bits, neighbours, and places at which a table of four per entry is cut.
const PORTS: [u16; 12] = [0, 1, 3, 4, 53, 80, 442, 443, 444, 1024, 65_534, 65_535];

fn port(seed: u32) -> u16 {
    PORTS[seed as usize % PORTS.len()]
}

fn ports(seed: u32) -> PortRange {
    let (a, b) = (port(seed), port(seed >> 8));
    let b = if seed & 0x1_0000 == 0 { a } else { b };
    PortRange::new(a.min(b), a.max(b)).expect("ordered")
}

fn dscp(seed: u32) -> u8 {
    [0, 1, 46, 63][seed as usize % 4]
}

fn mac(seed: u32) -> Mac {
    Mac([2, 0, 0, 0, 0, (seed % 5) as u8])
}

/// Names over two letters, so that suffixes and keywords meet.
fn name() -> impl Strategy<Value = String> + Clone {
    any::<u32>().prop_map(text)
}

fn text(seed: u32) -> String {
    let letter = |n: u32| if seed & (1 << n) == 0 { 'a' } else { 'b' };
    let labels = 1 + (seed >> 8) % 3;
    let label = |n| format!("{}{}", letter(2 * n), letter(2 * n + 1));
    (0..labels).map(label).collect::<Vec<_>>().join(".")
}

fn pattern(seed: u32) -> DomainPattern {
    let text = text(seed);
    match (seed >> 16) % 4 {
        0 | 1 => DomainPattern::Suffix(text.into()),
        2 => DomainPattern::Full(text.into()),
        _ => DomainPattern::Keyword(text[..=(seed as usize >> 20) % text.len()].into()),
    }
}
