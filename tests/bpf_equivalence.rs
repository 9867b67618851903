//! The BPF program decides as the classifier in Rust does, and as the rules say: random rules
//! and random packets through BPF_PROG_TEST_RUN. Needs root.
//!
//! In a test run the kernel refuses `bpf_sk_assign` (the packet is not at an ingress), so a
//! packet that would be delivered is one that passes, counted as fail open, although our
//! listener is there; `tests/bpf_live.rs` sees it arrive.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bpf;
#[path = "common/rules.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use bpf::model::{self, Entry, Fate, Link, Model, Parsed, Told};
use bpf::netns::Namespace;
use bpf::packet::{self, Shape};
use bpf::peers::Listeners;
use bpf::runner;
use common::{INTERFACES, Scenario};
use dae::config::Attach;
use dae::kernel::abi::{self, Count};
use dae::kernel::{Object, Ports};
use dae::rules::image::Decision;
use dae::rules::names::{NameTable, NameUpdate};
use dae::rules::{Family, Flow, Image, Mac, Proto, naive};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};

/// Pairs of rule set and packet that must have been compared.
const PAIRS: usize = 100_000;

/// Ways in which a packet can end: see the list that the test prints.
const FATES: usize = 15;

/// Most packets of one rule set.
const PACKETS: usize = 800;

/// Address of every device.
const OWN: Mac = Mac([2, 0xda, 0xe0, 0, 0, 1]);

/// Rules, and what comes in.
#[derive(Debug, Clone)]
struct Case {
    scenario: Scenario,
    shapes: Vec<Shape>,
    link: Link,
    dns: bool,
    alive: Vec<Family>,
    /// Of the flows' destinations, the router's own.
    local: Vec<usize>,
}

fn case() -> impl Strategy<Value = Case> {
    let rules = prop_oneof![
        common::scenario(0..=8, PACKETS),
        common::scenario(0..=256, PACKETS)
    ];
    let link = prop_oneof![3 => Just(Link::Ether), 1 => Just(Link::Ip)];
    let alive = prop_oneof![
        6 => Just(vec![Family::V4, Family::V6]),
        1 => Just(vec![Family::V4]),
        1 => Just(vec![]),
    ];
    let dns = prop_oneof![3 => Just(true), 1 => Just(false)];
    (
        rules,
        vec(packet::shape(), PACKETS),
        link,
        dns,
        alive,
        vec(0..PACKETS, 0..3),
    )
        .prop_map(|(scenario, shapes, link, dns, alive, local)| Case {
            scenario,
            shapes,
            link,
            dns,
            alive,
            local,
        })
}

/// The namespace's devices and listeners, made once.
struct Bench {
    devices: Vec<u32>,
    ports: Ports,
    seen: Mutex<Seen>,
}

/// What was compared, to know that the generator reaches everything.
#[derive(Debug, Default)]
struct Seen {
    pairs: usize,
    fates: BTreeMap<String, usize>,
}

impl Seen {
    fn note(&mut self, fate: Fate) {
        let counter = match fate.counter {
            rule if rule < abi::RULES => "by a rule".into(),
            other => format!("counter {other}"),
        };
        let mark = if fate.mark == 0 { "" } else { ", marked" };
        self.pairs += 1;
        *self
            .fates
            .entry(format!("{:?} {counter}{mark}", fate.told))
            .or_default() += 1;
    }
}

impl Bench {
    /// Index of the device that a flow comes in by; the last is in no configuration.
    fn device(&self, flow: &Flow) -> u32 {
        self.devices[flow.interface.map_or(INTERFACES, usize::from)]
    }
}

/// Everything about one rule set: the loaded program, and the model beside it.
struct Pair<'a> {
    bench: &'a Bench,
    case: &'a Case,
    image: Image,
    names: NameTable,
    object: Object,
    model: Model,
    expected: Vec<abi::Counter>,
}

impl<'a> Pair<'a> {
    fn new(bench: &'a Bench, case: &'a Case) -> Self {
        let scenario = &case.scenario;
        let image = Image::compile(&scenario.rules, scenario.default, INTERFACES).unwrap();
        let mut config = bpf::config(Attach::Auto, &[]);
        config.dns = case.dns;
        config.ports = Ports::default();
        config.max_flows = 16_384;
        if !case.alive.is_empty() {
            config.ports = bench.ports;
        }
        if case.alive == [Family::V4] {
            for (proto, dns) in [
                (Proto::Tcp, false),
                (Proto::Tcp, true),
                (Proto::Udp, false),
                (Proto::Udp, true),
            ] {
                config.ports = config.ports.with(proto, Family::V6, dns, 0);
            }
        }
        let mut object = Object::load(&image, &config).unwrap();
        for (interface, device) in (0..).zip(&bench.devices[..INTERFACES]) {
            object.set_interface(*device, Some(interface)).unwrap();
        }
        let mut model = Model {
            dns: case.dns,
            alive: case.alive.clone(),
            ..Model::default()
        };
        for local in &case.local {
            let addr = scenario.flows[local % scenario.flows.len()].dst;
            object.set_local(addr, true).unwrap();
            model.local.insert(addr);
        }
        let mut names = NameTable::new(&image, 1024);
        let mut updates = Vec::new();
        for (addr, known) in &scenario.names {
            for name in known {
                names.learn(Instant::now(), name, [*addr], 60, &mut updates);
            }
        }
        for update in updates {
            match update {
                NameUpdate::Vector { index, vector } => object.set_vector(index, vector),
                NameUpdate::Set { addr, vector } => object.set_name(addr, Some(vector)),
                NameUpdate::Remove { addr } => object.set_name(addr, None),
            }
            .unwrap();
        }
        let expected = vec![abi::Counter::default(); abi::COUNTERS as usize];
        Self {
            bench,
            case,
            image,
            names,
            object,
            model,
            expected,
        }
    }

    /// What the rules say, which both classifiers in Rust must.
    fn classify(scenario: &Scenario, image: &Image, names: &NameTable, flow: &Flow) -> Decision {
        let said = naive::classify(
            &scenario.rules,
            scenario.default,
            flow,
            scenario.names_of(flow.dst),
        );
        let done = image.classify(flow, names.vector_of(flow.dst));
        assert_eq!(done, said, "the classifiers in Rust differ on {flow:?}");
        said
    }

    /// One packet through both. The error says where they differ.
    fn compare(&mut self, flow: &Flow, shape: &Shape) -> Result<(), String> {
        if shape.minute {
            self.object.advance_epoch().unwrap();
            self.model.epoch += 1;
        }
        let bytes = packet::build(flow, shape, self.case.link, OWN);
        let parsed = model::parse(self.case.link, &bytes, OWN, flow.interface);
        let Self {
            case,
            image,
            names,
            model,
            ..
        } = self;
        let fate = model.fate(&parsed, |flow| {
            Self::classify(&case.scenario, image, names, flow)
        });
        let answer = runner::run(
            &mut self.object,
            case.link,
            &bytes,
            self.bench.device(flow),
            1,
        );
        self.bench.seen.lock().unwrap().note(fate);
        let wanted = answer_to(fate);
        let counter = &mut self.expected[counter_of(fate)];
        counter.packets += 1;
        counter.bytes += bytes.len() as u64;
        let entry = entry_of(&self.model, &parsed);
        let stored = stored(&self.object, &parsed);
        if (answer.told, answer.mark) == wanted && entry == stored {
            return Ok(());
        }
        Err(format!(
            "packet {bytes:02x?}\n  is {parsed:?}\n  should meet {fate:?}, cached as {entry:?}\n  \
             but the program said {answer:?} and cached {stored:?}"
        ))
    }

    /// Every packet was counted once, and where it should be.
    fn compare_counters(&self) -> Result<(), String> {
        let counted = self.object.counters().unwrap();
        let differing = (0..)
            .zip(counted.iter().zip(&self.expected))
            .filter(|(_, (a, b))| a != b);
        let differing: Vec<(usize, _)> = differing.collect();
        if differing.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "counters (index, counted, expected): {differing:?}"
            ))
        }
    }
}

/// Return value and mark that a fate shows as in a test run.
fn answer_to(fate: Fate) -> (i32, u32) {
    const TC_ACT_UNSPEC: i32 = -1;
    const TC_ACT_SHOT: i32 = 2;
    match fate.told {
        Told::Drop => (TC_ACT_SHOT, 0),
        Told::Pass | Told::Deliver { .. } => (TC_ACT_UNSPEC, fate.mark),
    }
}

/// The counter that a fate shows as in a test run.
fn counter_of(fate: Fate) -> usize {
    match fate.told {
        Told::Deliver { .. } => Count::FailOpen as usize,
        Told::Pass | Told::Drop => fate.counter as usize,
    }
}

/// The cache's entry of a packet's flow: counter, outbound, action, mark, epoch.
type Cached = Option<(u32, u16, u8, u32, u32)>;

fn entry_of(model: &Model, parsed: &Parsed) -> Cached {
    let Parsed::Flow { flow, .. } = parsed else {
        return None;
    };
    let Entry {
        decision,
        midstream,
        epoch,
    } = model.flows.get(&model::key(flow))?;
    let counter = match (midstream, decision.rule) {
        (true, _) => Count::Midstream as u32,
        (false, Some(rule)) => rule.into(),
        (false, None) => Count::Default as u32,
    };
    let verdict = decision.verdict;
    let action = verdict.action as u8;
    let outbound = if *midstream { 0 } else { verdict.outbound };
    Some((counter, outbound, action, verdict.mark, *epoch))
}

fn stored(object: &Object, parsed: &Parsed) -> Cached {
    let Parsed::Flow { flow, .. } = parsed else {
        return None;
    };
    let key = abi::FlowKeyValue {
        src: flow.src.into(),
        dst: flow.dst.into(),
        src_port: flow.src_port.to_be_bytes(),
        dst_port: flow.dst_port.to_be_bytes(),
        proto: match flow.proto {
            Proto::Tcp => 6,
            Proto::Udp => 17,
        },
        pad: [0; 3],
    };
    let value = object.flow(&key)?;
    Some((
        value.counter.into(),
        value.outbound,
        value.action,
        value.mark,
        value.epoch,
    ))
}

fn holds(bench: &Bench, case: &Case) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(bench, case);
    for (flow, shape) in case.scenario.flows.iter().zip(&case.shapes) {
        pair.compare(flow, shape).map_err(TestCaseError::fail)?;
    }
    pair.compare_counters().map_err(TestCaseError::fail)
}

fn seed() -> u64 {
    match std::env::var("DAE_TEST_SEED") {
        Ok(text) => text.parse().expect("DAE_TEST_SEED is a number"),
        Err(_) => getrandom::u64().unwrap(),
    }
}

#[test]
fn the_program_decides_as_the_rules_say() {
    let seed = seed();
    println!("DAE_TEST_SEED={seed}");
    let namespace = Namespace::new("equivalence");
    // One more than rules speak of.
    for pair in ["d0 d1", "d2 d3"] {
        let (a, b) = pair.split_once(' ').unwrap();
        namespace.ip(&format!(
            "link add {a} address {own} type veth peer name {b} address {own}",
            own = OWN
        ));
    }
    namespace.enter(|| {
        let listeners = Listeners::open();
        let devices = (0..=INTERFACES)
            .map(|at| nix::net::if_::if_nametoindex(format!("d{at}").as_str()).unwrap())
            .collect();
        let bench = Bench {
            devices,
            ports: listeners.ports,
            seen: Mutex::default(),
        };
        let mut bytes = [1; 16];
        bytes[..8].copy_from_slice(&seed.to_ne_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
        let config = ProptestConfig {
            failure_persistence: None,
            max_shrink_iters: 4096,
            ..ProptestConfig::default()
        };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let cases = case();
        while bench.seen.lock().unwrap().pairs < PAIRS {
            let tree = cases.new_tree(&mut runner).unwrap();
            match runner.run_one(tree, |case| holds(&bench, &case)) {
                Ok(_) => {}
                Err(TestError::Fail(reason, case)) => {
                    panic!(
                        "DAE_TEST_SEED={seed}: {}\n{}",
                        reason.message(),
                        readable(&case)
                    )
                }
                Err(TestError::Abort(reason)) => panic!("{}", reason.message()),
            }
        }
        let seen = bench.seen.into_inner().unwrap();
        println!("{seen:#?}");
        let rare: Vec<_> = seen
            .fates
            .iter()
            .filter(|(_, count)| **count < 20)
            .collect();
        assert!(
            seen.fates.len() == FATES && rare.is_empty(),
            "fates hardly met: {rare:?}"
        );
    });
}

/// A failing case for people: what each rule says, and each packet.
fn readable(case: &Case) -> String {
    let Scenario {
        rules,
        default,
        names,
        flows,
    } = &case.scenario;
    let mut text = format!(
        "on {:?}, dns {}, listeners {:?}\n",
        case.link, case.dns, case.alive
    );
    for rule in rules {
        text += &format!("{rule:?}\n");
    }
    text += &format!("default {default:?}\nnames {names:?}\n");
    for local in &case.local {
        text += &format!("own address {}\n", flows[local % flows.len()].dst);
    }
    for (flow, shape) in flows.iter().zip(&case.shapes) {
        text += &format!("{flow:?}\n  as {shape:?}\n");
    }
    text
}
