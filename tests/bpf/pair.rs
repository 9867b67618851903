//! A rule set in the loaded program, and the model beside it: packets go through both.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Instant;

use dae::config::Attach;
use dae::kernel::abi::{self, Count};
use dae::kernel::{Object, Ports};
use dae::rules::image::Decision;
use dae::rules::names::{NameTable, NameUpdate};
use dae::rules::{Family, Flow, Image, Mac, Proto, Rule, Verdict, naive};

use super::model::{self, Entry, Fate, Link, Model, Parsed, Told};
use super::packet::{self, Shape};
use super::runner;

/// Address of every device.
pub const OWN: Mac = Mac([2, 0xda, 0xe0, 0, 0, 1]);

/// Input interfaces that rules speak of.
pub const INTERFACES: usize = 3;

/// Rules, and what comes in.
#[derive(Debug, Clone)]
pub struct Case {
    pub rules: Vec<Rule>,
    pub default: Verdict,
    /// Live names of addresses.
    pub names: BTreeMap<IpAddr, Vec<String>>,
    pub packets: Vec<(Flow, Shape)>,
    pub link: Link,
    pub dns: bool,
    /// The kill switch is on.
    pub closed: bool,
    /// Families of which we have listeners.
    pub alive: Vec<Family>,
    /// The router's own addresses.
    pub local: Vec<IpAddr>,
}

/// The namespace's devices and listeners, made once.
pub struct Bench {
    pub devices: Vec<u32>,
    pub ports: Ports,
    pub seen: Mutex<Seen>,
}

/// What was compared, to know that the generator reaches everything.
#[derive(Debug, Default)]
pub struct Seen {
    pub pairs: usize,
    pub fates: BTreeMap<String, usize>,
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

/// The loaded program, and the model beside it.
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
        let image = Image::compile(&case.rules, case.default, INTERFACES).unwrap();
        let mut config = super::config(Attach::Auto, &[]);
        config.dns = case.dns;
        config.kill_switch = case.closed;
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
            closed: case.closed,
            alive: case.alive.clone(),
            ..Model::default()
        };
        for addr in &case.local {
            object.set_own(*addr, true).unwrap();
            model.local.insert(*addr);
        }
        let mut names = NameTable::new(&image, 1024);
        let mut updates = Vec::new();
        for (addr, known) in &case.names {
            for name in known {
                names.learn(Instant::now(), name.as_str(), [*addr], 60, &mut updates);
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

    /// One packet through both. The error says where they differ.
    fn compare(&mut self, flow: &Flow, shape: &Shape) -> Result<(), String> {
        if shape.minute {
            self.object.advance_epoch().unwrap();
            self.model.epoch += 1;
        }
        let case = self.case;
        let bytes = packet::build(flow, shape, case.link, OWN);
        let parsed = model::parse(case.link, &bytes, OWN, flow.interface);
        let mut in_rust = Ok(());
        let fate = self.model.fate(&parsed, |flow| {
            let (said, check) = classify(case, &self.image, &self.names, flow);
            in_rust = check;
            said
        });
        in_rust?;
        self.bench.seen.lock().unwrap().note(fate);
        let device = self.bench.device(flow);
        let answer = runner::run(&mut self.object, case.link, &bytes, device, 1);
        let counter = &mut self.expected[counter_of(fate, case.closed)];
        counter.packets += 1;
        counter.bytes += bytes.len() as u64;
        let entry = entry_of(&self.model, &parsed);
        let stored = stored(&self.object, &parsed);
        if (answer.told, answer.mark) == answer_to(fate, case.closed) && entry == stored {
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

/// What the rules say, and whether the tables say the same.
fn classify(
    case: &Case,
    image: &Image,
    names: &NameTable,
    flow: &Flow,
) -> (Decision, Result<(), String>) {
    let known = case.names.get(&flow.dst).map_or(&[][..], Vec::as_slice);
    let said = naive::classify(&case.rules, case.default, flow, known);
    let done = image.classify(flow, names.vector_of(flow.dst));
    let same = (done == said)
        .then_some(())
        .ok_or_else(|| format!("the rules say {said:?} of {flow:?}, the tables {done:?}"));
    (said, same)
}

/// Return value and mark that a fate shows as in a test run.
fn answer_to(fate: Fate, closed: bool) -> (i32, u32) {
    const TC_ACT_UNSPEC: i32 = -1;
    const TC_ACT_SHOT: i32 = 2;
    match fate.told {
        Told::Drop => (TC_ACT_SHOT, 0),
        Told::Deliver { .. } if closed => (TC_ACT_SHOT, 0),
        Told::Pass | Told::Deliver { .. } => (TC_ACT_UNSPEC, fate.mark),
    }
}

/// The counter that a fate shows as in a test run.
fn counter_of(fate: Fate, closed: bool) -> usize {
    match fate.told {
        Told::Deliver { .. } if closed => Count::FailClosed as usize,
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

/// All packets of a case through both, in turn. The error says where they differ.
pub fn holds(bench: &Bench, case: &Case) -> Result<(), String> {
    let mut pair = Pair::new(bench, case);
    for (flow, shape) in &case.packets {
        pair.compare(flow, shape)?;
    }
    pair.compare_counters()
}
