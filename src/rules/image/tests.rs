//! What random scenarios (`tests/rules.rs`) do not reach: bounds, sizes, and the shape of the
//! tables that the kernel is filled with.

use super::*;
use crate::rules::net::Net;
use crate::rules::port::PortRange;
use crate::rules::{Action, Rule, Selector};

fn proxy() -> Verdict {
    Verdict {
        action: Action::Proxy,
        outbound: 2,
        mark: 0,
    }
}

fn rule(change: impl FnOnce(&mut Rule)) -> Rule {
    let mut rule = Rule {
        verdict: proxy(),
        ..Rule::default()
    };
    change(&mut rule);
    rule
}

fn only<T: std::str::FromStr>(words: &[&str]) -> Selector<T> {
    let include = words
        .iter()
        .map(|word| word.parse().ok().unwrap())
        .collect();
    Selector {
        include,
        exclude: Vec::new(),
    }
}

fn flow(dst: &str, dst_port: u16) -> Flow {
    Flow {
        src: "192.0.2.1".parse().unwrap(),
        dst: dst.parse().unwrap(),
        src_port: 1024,
        dst_port,
        proto: Proto::Tcp,
        dscp: 0,
        src_mac: None,
        interface: None,
    }
}

fn compile(rules: &[Rule]) -> Image {
    Image::compile(rules, Verdict::default(), 1).unwrap()
}

#[test]
fn no_rules_need_two_vectors_and_no_entry() {
    let image = compile(&[]);
    assert_eq!(
        image.vectors,
        [Bits::ALL, Bits::NONE],
        "all, and that of the kinds"
    );
    assert!(image.dst.v4.is_empty() && image.src_ports.is_uniform());
    let decision = image.classify(&flow("203.0.113.1", 1), Bits::ALL);
    assert_eq!(
        decision,
        Decision {
            rule: None,
            verdict: Verdict::default()
        }
    );
}

#[test]
fn every_rule_of_the_most_allowed_can_decide() {
    let address = |n: usize| format!("203.0.{}.{}", n / 100, n % 100);
    let rules: Vec<Rule> = (0..MAX_RULES)
        .map(|n| rule(|rule| rule.dest_ip = only(&[&address(n)])))
        .collect();
    let image = compile(&rules);
    for n in 0..MAX_RULES {
        let decision = image.classify(&flow(&address(n), 1), image.names.unknown());
        assert_eq!(decision.rule, Some(n as u16));
    }
    assert_eq!(
        image
            .classify(&flow("203.0.9.9", 1), image.names.unknown())
            .rule,
        None
    );
    let more = vec![Rule::default(); MAX_RULES + 1];
    let error = Image::compile(&more, Verdict::default(), 1);
    assert_eq!(
        error,
        Err(CompileError::TooManyRules {
            count: MAX_RULES + 1
        })
    );
}

/// One rule per bit; address n is in the rules of its set bits.
fn rules_of_bits(addresses: u32) -> Vec<Rule> {
    let mut rules = vec![rule(|_| ()); 13];
    for n in 1..=addresses {
        let net = Net::new(IpAddr::V4((0x0a00_0000 + n).into()), 32).unwrap();
        for (_, rule) in rules
            .iter_mut()
            .enumerate()
            .filter(|(bit, _)| n & (1 << bit) != 0)
        {
            rule.dest_ip.include.push(net);
        }
    }
    rules
}

#[test]
fn more_vectors_than_the_kernel_holds_are_refused() {
    // Each address is a vector of its own; beside them index 0, that of the kinds, and the miss.
    let most = (MAX_VECTORS - NAME_VECTORS - 3) as u32;
    let image = compile(&rules_of_bits(most));
    assert_eq!(image.vectors.len(), MAX_VECTORS - NAME_VECTORS);
    let error = Image::compile(&rules_of_bits(most + 1), Verdict::default(), 1);
    assert_eq!(error, Err(CompileError::TooManyVectors));
}

#[test]
fn prefixes_that_change_nothing_are_left_out() {
    let image = compile(&[
        rule(|rule| rule.dest_ip = only(&["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24"])),
        rule(|rule| rule.dest_ip = only(&["10.1.2.0/24", "2001:db8::/32"])),
    ]);
    let nets: Vec<_> = image
        .dst
        .nets4()
        .map(|(addr, len, _)| (addr.to_string(), len))
        .collect();
    assert_eq!(nets, [("10.0.0.0".into(), 8), ("10.1.2.0".into(), 24)]);
    let nets: Vec<_> = image
        .dst
        .nets6()
        .map(|(addr, len, _)| (addr.to_string(), len))
        .collect();
    assert_eq!(nets, [("2001:db8::".into(), 32)]);
    assert!(image.src.v4.is_empty());
}

#[test]
fn the_ports_for_the_kernel_are_those_of_the_classifier() {
    let ranges: [&[&str]; 4] = [
        &["0"],
        &["65535", "1-4", "5-6"],
        &["0-65535"],
        &["3-10", "443", "80-90"],
    ];
    let mut rules: Vec<Rule> = ranges
        .iter()
        .map(|words| rule(|rule| rule.dest_port = only(words)))
        .collect();
    rules[2].dest_port.exclude = vec![PortRange::new(85, 1000).unwrap()];
    let image = compile(&rules);
    let filled: Vec<VectorIndex> = image.dst_ports.iter().collect();
    assert_eq!(filled.len(), 65_536);
    for (port, vector) in (0..=u16::MAX).zip(filled) {
        assert_eq!(vector, image.dst_ports.at(port));
        let accepts = |rule: &Rule| rule.dest_port.accepts(|range| range.contains(port));
        let expected = Bits::collect(rules.iter().map(accepts));
        assert_eq!(
            image.vectors[usize::from(vector)] & Bits::below(4),
            expected,
            "port {port}"
        );
    }
    assert!(image.src_ports.iter().all(|vector| vector == VECTOR_ALL));
}

#[test]
fn bits_behind_the_rules_stay_clear() {
    let image = compile(&[rule(|rule| rule.proto = only(&["tcp"])), rule(|_| ())]);
    for (index, vector) in image.vectors.iter().enumerate().skip(1) {
        assert_eq!(*vector & !Bits::below(2), Bits::NONE, "vector {index}");
    }
    assert!(!image.kinds.contains(&VECTOR_ALL));
}

#[test]
fn a_hundred_thousand_prefixes_fit() {
    let nets = (0..100_000u32).map(|n| Net::new(IpAddr::V4((n << 12).into()), 24).unwrap());
    let image = compile(&[rule(|rule| rule.dest_ip.include = nets.collect())]);
    assert_eq!(image.dst.v4.len(), 100_000);
    assert_eq!(image.vectors.len(), 3);
    let n = 99_999u32 << 12;
    let last = std::net::Ipv4Addr::from(n | 77).to_string();
    assert_eq!(
        image.classify(&flow(&last, 1), image.names.unknown()).rule,
        Some(0)
    );
    let beside = std::net::Ipv4Addr::from(n | 256).to_string();
    assert_eq!(
        image
            .classify(&flow(&beside, 1), image.names.unknown())
            .rule,
        None
    );
}
