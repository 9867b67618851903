//! What the BPF program costs per packet, by BPF_PROG_TEST_RUN, against an empty program in the
//! same run, turn by turn; and how long loading takes. Needs root. `make bench` runs it.
//!
//! A cached direct flow is a UDP packet whose verdict is in the flow cache. A fragment is
//! classified anew every time and never cached: classification alone. A TCP SYN is classified
//! and cached anew every time: a new flow as it is in life.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark fails by panicking"
)]

#[path = "../../tests/bpf/mod.rs"]
mod bpf;
mod empty;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bpf::netns::Namespace;
use dae::config::Attach;
use dae::kernel::{Datapath, Object, PROGRAM_ETHER};
use dae::rules::domain::DomainPattern;
use dae::rules::names::{NameTable, NameUpdate};
use dae::rules::net::Net;
use dae::rules::port::PortRange;
use dae::rules::{Action, Mac, Rule, Verdict};

const PREFIXES: usize = 5_000;
const ROUNDS: usize = 200;
const REPEAT: u32 = 5_000;

/// The packets come in by lo.
const LOOPBACK: u32 = 1;

/// Where the packets go.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// IPv4 header fields that tell the packets apart.
const UDP: u8 = 17;
const TCP: u8 = 6;
const MORE_FRAGMENTS: u16 = 0x2000;

fn main() {
    // Arguments of cargo (`--bench`) are of no interest.
    let namespace = Namespace::new("bpf-cost");
    let good = namespace.enter(costs) & namespace.enter(loading);
    // Leaving the process would leave the namespace.
    drop(namespace);
    std::process::exit(i32::from(!good));
}

fn costs() -> bool {
    let empty = empty::Program::load().expect("load the empty program");
    let mut many = loaded(256);
    let mut few = loaded(8);
    let (cached, fragment, syn) = (packet(UDP, 0), packet(UDP, MORE_FRAGMENTS), packet(TCP, 0));
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(empty.nanos(&cached, REPEAT));
        times[1].push(nanos(&mut many, &cached));
        times[2].push(nanos(&mut many, &fragment));
        times[3].push(nanos(&mut few, &fragment));
        times[4].push(nanos(&mut many, &syn));
    }
    let median = |index: usize| median(&times[index]);
    let ratio = |of: usize, to: usize| {
        let rounds = times[of].iter().zip(&times[to]);
        self::median(&rounds.map(|(of, to)| of / to).collect::<Vec<_>>())
    };
    println!("empty program: {:.1} ns", median(0));
    let mut good = true;
    let mut bar = |what: &str, nanos: f64, ratio: f64, bar: f64| {
        let word = if ratio <= bar { "PASS" } else { "FAIL" };
        good &= ratio <= bar;
        println!("{what}: {nanos:.1} ns, ratio {ratio:.2} (bar {bar})  {word}");
    };
    bar("cached direct flow / empty", median(1), ratio(1, 0), 3.5);
    bar(
        "256 rules, 5,000 prefixes, classified / empty",
        median(2),
        ratio(2, 0),
        10.0,
    );
    bar(
        "256 rules / 8 rules, same prefixes",
        median(3),
        ratio(2, 3),
        1.2,
    );
    println!(
        "for information: classified and put into the flow cache: {:.1} ns, ratio {:.2}",
        median(4),
        ratio(4, 0)
    );
    good
}

/// From nothing to an attached program, with 256 rules and 5,000 prefixes.
fn loading() -> bool {
    bpf::netns::run(
        "ip",
        &[
            "link", "add", "lan0", "type", "veth", "peer", "name", "lan1",
        ],
    );
    let image = bpf::image(&rules(256));
    let mut times = Vec::new();
    for _ in 0..11 {
        let config = bpf::config(Attach::Auto, &["lan0"]);
        std::fs::create_dir_all(&config.run_dir).unwrap();
        let run_dir = config.run_dir.clone();
        let began = Instant::now();
        let datapath = Datapath::start(&image, config).unwrap();
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(datapath.devices().count(), 1);
        assert!(datapath.stop().is_empty());
        let _ = std::fs::remove_dir_all(run_dir);
    }
    let median = median(&times);
    let word = if median <= 100.0 { "PASS" } else { "FAIL" };
    println!("verified, filled and attached in {median:.0} ms (bar 100)  {word}");
    median <= 100.0
}

fn loaded(count: usize) -> Object {
    let image = bpf::image(&rules(count));
    let mut object = Object::load(&image, &bpf::config(Attach::Auto, &[])).unwrap();
    object.program(PROGRAM_ETHER).unwrap();
    object.set_interface(LOOPBACK, Some(0)).unwrap();
    let mut names = NameTable::new(&image, 16);
    let mut updates = Vec::new();
    names.learn(
        Instant::now(),
        "www.example",
        [SERVER.into()],
        60,
        &mut updates,
    );
    for update in updates {
        match update {
            NameUpdate::Vector { index, vector } => object.set_vector(index, vector),
            NameUpdate::Set { addr, vector } => object.set_name(addr, Some(vector)),
            NameUpdate::Remove { addr } => object.set_name(addr, None),
        }
        .unwrap();
    }
    object
}

/// Rules that share [`PREFIXES`] destination prefixes among them, and of which none accepts
/// the packets below: every dimension has something to say.
fn rules(count: usize) -> Vec<Rule> {
    let prefixes = prefixes();
    let share = PREFIXES / count;
    let rule = |index: usize| {
        let mut rule = Rule {
            name: format!("rule {index}"),
            ..Rule::default()
        };
        rule.dest_ip.include = prefixes[index * share..(index + 1) * share].to_vec();
        rule.src_ip.exclude = vec![Net::new(Ipv4Addr::new(192, 168, 77, 0).into(), 24).unwrap()];
        rule.src_port.include = PortRange::new(1024 + index as u16, 65_535)
            .into_iter()
            .collect();
        rule.dest_port.exclude = PortRange::new(index as u16, index as u16 + 7)
            .into_iter()
            .collect();
        rule.src_mac.exclude = vec![Mac([6, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, index as u8])];
        rule.interface.include = vec![0];
        rule.domain.include = vec![DomainPattern::Suffix(format!("n{index}.example").into())];
        rule.domain
            .include
            .push(DomainPattern::Suffix("www.example".into()));
        rule.dscp.exclude = vec![(index % 64) as u8];
        rule.verdict = Verdict {
            action: Action::Block,
            outbound: 1,
            mark: 0,
        };
        rule
    };
    (0..count).map(rule).collect()
}

/// Nested prefixes around the destination and others all over, by a fixed generator.
fn prefixes() -> Vec<Net> {
    let mut state = 0x2545_f491_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let near = u32::from(SERVER) & 0xff00_0000;
    (0..PREFIXES)
        .map(|index| {
            let base = if index % 4 == 0 {
                near | random() & 0x00ff_ffff
            } else {
                random()
            };
            let addr = IpAddr::V4(base.into());
            Net::new(addr, 12 + (random() % 21) as u8).unwrap()
        })
        .collect()
}

/// An IPv4 packet from a client to a server, with an Ethernet header for lo. TCP: a SYN.
fn packet(proto: u8, fragment: u16) -> Vec<u8> {
    let mut packet = vec![0; 6];
    packet.extend([6, 0, 0, 0, 0, 1, 0x08, 0x00]);
    packet.extend([0x45, 0, 0, 60, 0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, proto, 0, 0, 192, 168, 77, 10]);
    packet.extend(SERVER.octets());
    packet.extend(50_000_u16.to_be_bytes());
    packet.extend(8_443_u16.to_be_bytes());
    match proto {
        TCP => packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02]),
        _ => packet.extend(40_u16.to_be_bytes()),
    }
    packet.resize(14 + 60, 0);
    packet
}

/// Nanoseconds per run, by the clock around all of them.
fn nanos(object: &mut Object, packet: &[u8]) -> f64 {
    let began = Instant::now();
    bpf::runner::run(object, bpf::model::Link::Ether, packet, 1, REPEAT);
    began.elapsed().as_secs_f64() * 1e9 / f64::from(REPEAT)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
