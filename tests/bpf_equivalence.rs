//! The BPF program decides as the classifier in Rust does, and as the rules say: random rules
//! and random packets through BPF_PROG_TEST_RUN. Needs root.
//!
//! In a test run the kernel refuses `bpf_sk_assign` (the packet is not at an ingress), so a
//! packet that would be delivered is one that passes, counted as fail open, although our
//! listener is there; `tests/bpf_live/` sees it arrive.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bpf;
#[path = "common/rules.rs"]
mod common;

use std::sync::Mutex;

use bpf::model::Link;
use bpf::netns::Namespace;
use bpf::packet;
use bpf::pair::{self, Bench, Case, OWN};
use bpf::peers::Listeners;
use bpf::reduce::reduce;
use common::INTERFACES;
use dae::rules::{Family, Flow, MAX_RULES, Proto, Rule};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

/// Pairs of rule set and packet that must have been compared.
const PAIRS: usize = 100_000;

/// Ways in which a packet can end: see the list that the test prints.
const FATES: usize = 16;

/// Most packets of one rule set.
const PACKETS: usize = 800;

/// Programs loaded to make a failing case small.
const ATTEMPTS: usize = 300;

/// A rule that never matches: in front of others it moves them to the vectors' later words.
fn never() -> Rule {
    let mut rule = Rule::default();
    rule.proto.include = vec![Proto::Tcp];
    rule.proto.exclude = vec![Proto::Tcp];
    rule
}

fn case() -> impl Strategy<Value = Case> {
    let rules = prop_oneof![
        common::scenario(0..=8, PACKETS),
        common::scenario(0..=256, PACKETS)
    ];
    let padding = prop_oneof![Just(0), 50..256usize];
    let rules = (rules, padding).prop_map(|(mut scenario, padding)| {
        let padding = padding.min(MAX_RULES - scenario.rules.len());
        scenario.rules.splice(..0, vec![never(); padding]);
        scenario
    });
    // Half of the packets are of a flow seen before, but for what the cache does not look at.
    let repeats = vec(proptest::option::of(any::<Index>()), PACKETS);
    let rules = (rules, repeats).prop_map(|(mut scenario, repeats)| {
        for (at, repeat) in repeats.iter().enumerate().take(scenario.flows.len()) {
            if let Some(before) = repeat {
                let before = scenario.flows[before.index(at + 1)].clone();
                let flow = &mut scenario.flows[at];
                *flow = Flow {
                    dscp: flow.dscp,
                    src_mac: flow.src_mac,
                    interface: flow.interface,
                    ..before
                };
            }
        }
        scenario
    });
    let link = prop_oneof![3 => Just(Link::Ether), 1 => Just(Link::Ip)];
    let alive = prop_oneof![
        6 => Just(vec![Family::V4, Family::V6]),
        1 => Just(vec![Family::V4]),
        1 => Just(vec![]),
    ];
    let dns = prop_oneof![3 => Just(true), 1 => Just(false)];
    let closed = prop_oneof![2 => Just(false), 1 => Just(true)];
    let shapes = vec(packet::shape(), PACKETS);
    let local = vec(any::<Index>(), 0..3);
    (rules, shapes, link, (dns, closed), alive, local).prop_map(
        |(scenario, shapes, link, (dns, closed), alive, local)| Case {
            local: local.iter().map(|at| at.get(&scenario.flows).dst).collect(),
            rules: scenario.rules,
            default: scenario.default,
            names: scenario.names,
            packets: scenario.flows.into_iter().zip(shapes).collect(),
            link,
            dns,
            closed,
            alive,
        },
    )
}

fn seed() -> u64 {
    match std::env::var("DAE_TEST_SEED") {
        Ok(text) => text.parse().expect("DAE_TEST_SEED is a number"),
        Err(_) => getrandom::u64().unwrap(),
    }
}

fn bench() -> Bench {
    let devices = (0..=INTERFACES)
        .map(|at| nix::net::if_::if_nametoindex(format!("d{at}").as_str()).unwrap())
        .collect();
    Bench {
        devices,
        ports: Default::default(),
        seen: Mutex::default(),
    }
}

#[test]
fn the_program_decides_as_the_rules_say() {
    let seed = seed();
    println!("DAE_TEST_SEED={seed}");
    let mut bytes = [1; 16];
    bytes[..8].copy_from_slice(&seed.to_ne_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), rng);
    let namespace = Namespace::new("equivalence");
    // One device more than rules speak of.
    for (a, b) in [("d0", "d1"), ("d2", "d3")] {
        namespace.ip(&format!(
            "link add {a} address {OWN} type veth peer name {b} address {OWN}"
        ));
    }
    namespace.enter(|| {
        let listeners = Listeners::open();
        let mut bench = bench();
        bench.ports = listeners.ports;
        let cases = case();
        while bench.seen.lock().unwrap().pairs < PAIRS {
            let case = cases.new_tree(&mut runner).unwrap().current();
            if pair::holds(&bench, &case).is_err() {
                let case = reduce(case, ATTEMPTS, |case| pair::holds(&bench, case).is_err());
                let reason = pair::holds(&bench, &case).unwrap_err();
                panic!("DAE_TEST_SEED={seed}\n{}{reason}", readable(&case));
            }
        }
        let seen = bench.seen.into_inner().unwrap();
        println!("{seen:#?}");
        let often = seen.fates.values().all(|count| *count >= 20);
        assert!(seen.fates.len() == FATES && often, "a fate was hardly met");
    });
}

/// A failing case for people: what each rule says, and each packet.
fn readable(case: &Case) -> String {
    let Case {
        link,
        dns,
        closed,
        alive,
        ..
    } = case;
    let mut text = format!("on {link:?}, dns {dns}, kill switch {closed}, listeners {alive:?}\n");
    for rule in &case.rules {
        text += &format!("{}\n", options(rule));
    }
    text += &format!("default {:?}\n", case.default);
    text += &format!("names {:?}, own addresses {:?}\n", case.names, case.local);
    for (flow, shape) in &case.packets {
        text += &format!("{flow:?}\n  as {shape:?}\n");
    }
    text
}

/// The options of a rule that say something.
fn options(rule: &dae::rules::Rule) -> String {
    let all = format!("{rule:?}").replace("Selector { include: [], exclude: [] }", "any");
    let said = all.split(", ").filter(|option| !option.ends_with(": any"));
    said.collect::<Vec<_>>().join(", ")
}
