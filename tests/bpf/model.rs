//! What the BPF program should do with a packet, said in Rust: bytes to a flow, a flow to a
//! fate. Written from the words of bpf/dae.h and docs, not from the program.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dae::kernel::abi::Count;
use dae::rules::image::Decision;
use dae::rules::{Action, Family, Flow, Mac, Proto};

/// What a device's packets begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Ether,
    Ip,
}

/// A packet after the parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Not TCP or UDP, malformed, or nested too deep.
    Other,
    /// Not for one host, or not for this one.
    Groupcast,
    Flow {
        flow: Flow,
        fragment: bool,
        syn: bool,
    },
}

const EXTENSIONS: usize = 6;

/// Parses a packet that came in on a device with the address `own`.
pub fn parse(link: Link, bytes: &[u8], own: Mac, interface: Option<u16>) -> Parsed {
    let parsed = match link {
        Link::Ether => parse_ether(bytes),
        Link::Ip => match bytes.first().map(|first| first >> 4) {
            Some(4) => parse4(bytes),
            _ => parse6(bytes),
        },
    };
    let Some(Network {
        mut flow,
        fragment,
        l4,
    }) = parsed
    else {
        return Parsed::Other;
    };
    flow.interface = interface;
    let mut syn = false;
    if !fragment {
        let least = if flow.proto == Proto::Tcp { 20 } else { 8 };
        if l4.len() < least {
            return Parsed::Other;
        }
        flow.src_port = u16::from_be_bytes([l4[0], l4[1]]);
        flow.dst_port = u16::from_be_bytes([l4[2], l4[3]]);
        syn = flow.proto == Proto::Tcp && l4[13] & 0x12 == 0x02;
    }
    let others = link == Link::Ether && bytes[..6] != own.0;
    if others || !is_unicast(flow.dst) {
        return Parsed::Groupcast;
    }
    Parsed::Flow {
        flow,
        fragment,
        syn,
    }
}

/// The network layer of a packet, and the bytes of the transport that are within it.
struct Network<'a> {
    flow: Flow,
    fragment: bool,
    l4: &'a [u8],
}

fn is_unicast(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => {
            !(v4.is_multicast() || v4.is_broadcast() || v4.is_loopback() || v4.octets()[0] == 0)
        }
        IpAddr::V6(v6) => !(v6.is_multicast() || v6.is_loopback() || v6.is_unspecified()),
    }
}

fn parse_ether(bytes: &[u8]) -> Option<Network<'_>> {
    let mac = Mac(*bytes.get(6..)?.first_chunk()?);
    let mut kind = bytes.get(12..14)?;
    let mut inner = &bytes[14..];
    if matches!(kind, [0x81, 0x00] | [0x88, 0xa8]) {
        kind = inner.get(2..4)?;
        inner = &inner[4..];
    }
    let mut network = match kind {
        [0x08, 0x00] => parse4(inner),
        [0x86, 0xdd] => parse6(inner),
        _ => None,
    }?;
    network.flow.src_mac = Some(mac);
    Some(network)
}

fn proto(number: u8) -> Option<Proto> {
    match number {
        6 => Some(Proto::Tcp),
        17 => Some(Proto::Udp),
        _ => None,
    }
}

fn flow(src: IpAddr, dst: IpAddr, proto: Proto, class: u8) -> Flow {
    Flow {
        src,
        dst,
        src_port: 0,
        dst_port: 0,
        proto,
        dscp: class >> 2,
        src_mac: None,
        interface: None,
    }
}

fn parse4(bytes: &[u8]) -> Option<Network<'_>> {
    let head: &[u8; 20] = bytes.first_chunk()?;
    let header = usize::from(head[0] & 15) * 4;
    let total = match u16::from_be_bytes([head[2], head[3]]) {
        0 => bytes.len(),
        total => total.into(),
    };
    if head[0] >> 4 != 4 || header < 20 {
        return None;
    }
    let addr = |at: usize| {
        IpAddr::from(Ipv4Addr::new(
            head[at],
            head[at + 1],
            head[at + 2],
            head[at + 3],
        ))
    };
    Some(Network {
        flow: flow(addr(12), addr(16), proto(head[9])?, head[1]),
        fragment: u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0,
        l4: bytes.get(..total)?.get(header..)?,
    })
}

fn parse6(bytes: &[u8]) -> Option<Network<'_>> {
    let head: &[u8; 40] = bytes.first_chunk()?;
    let payload = u16::from_be_bytes([head[4], head[5]]);
    let end = if payload == 0 {
        bytes.len()
    } else {
        40 + usize::from(payload)
    };
    if head[0] >> 4 != 6 || end > bytes.len() {
        return None;
    }
    let addr = |at: usize| -> Option<Ipv6Addr> {
        let octets: [u8; 16] = *head.get(at..)?.first_chunk()?;
        let addr = Ipv6Addr::from(octets);
        addr.to_ipv4_mapped().is_none().then_some(addr)
    };
    let (src, dst) = (addr(8)?, addr(24)?);
    let (mut next, mut at, mut fragment) = (head[6], 40, false);
    for _ in 0..EXTENSIONS {
        if !matches!(next, 0 | 43 | 44 | 51 | 60) || fragment {
            break;
        }
        let head: &[u8; 4] = bytes.get(at..)?.first_chunk()?;
        at += match next {
            44 => 8,
            51 => (usize::from(head[1]) + 2) * 4,
            _ => (usize::from(head[1]) + 1) * 8,
        };
        if next == 44 {
            fragment = u16::from_be_bytes([head[2], head[3]]) & 0xfff9 != 0;
        }
        next = head[0];
    }
    Some(Network {
        flow: flow(
            src.into(),
            dst.into(),
            proto(next)?,
            head[0] << 4 | head[1] >> 4,
        ),
        fragment,
        l4: bytes.get(..end)?.get(at..)?,
    })
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    pub told: Told,
    /// Index of the counter that counts it.
    pub counter: u32,
    /// The mark it leaves with, 0: as it came.
    pub mark: u32,
}

/// What the kernel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Pass,
    Drop,
    /// Given to a socket of ours, of DNS or of flows.
    Deliver {
        dns: bool,
    },
}

/// The flow cache's key.
pub type Key = (IpAddr, IpAddr, u16, u16, Proto);

/// The flow cache's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub decision: Decision,
    pub midstream: bool,
    pub epoch: u32,
}

/// The datapath's memory.
#[derive(Debug, Default)]
pub struct Model {
    pub flows: HashMap<Key, Entry>,
    pub local: HashSet<IpAddr>,
    pub epoch: u32,
    pub dns: bool,
    /// The kill switch is on.
    pub closed: bool,
    /// Families of which we have listeners.
    pub alive: Vec<Family>,
}

/// Key of a flow.
pub fn key(flow: &Flow) -> Key {
    (flow.src, flow.dst, flow.src_port, flow.dst_port, flow.proto)
}

impl Model {
    /// The fate of a packet; `classify` is asked only when the rules must be.
    pub fn fate(&mut self, parsed: &Parsed, classify: impl FnOnce(&Flow) -> Decision) -> Fate {
        let pass = |count: Count| Fate {
            told: Told::Pass,
            counter: count as u32,
            mark: 0,
        };
        let (flow, fragment, syn) = match parsed {
            Parsed::Other => return pass(Count::Other),
            Parsed::Groupcast => return pass(Count::Groupcast),
            Parsed::Flow {
                flow,
                fragment,
                syn,
            } => (flow, *fragment, *syn),
        };
        let alive = self.alive.contains(&flow.family());
        let continues = flow.proto == Proto::Tcp && !syn && !fragment;
        if self.dns && flow.dst_port == 53 {
            return if continues && !self.closed {
                pass(Count::Midstream)
            } else if alive {
                Fate {
                    told: Told::Deliver { dns: true },
                    counter: Count::Dns as u32,
                    mark: 0,
                }
            } else {
                nobody(self.closed)
            };
        }
        let epoch = self.epoch;
        let cached = self.flows.get_mut(&key(flow)).filter(|entry| {
            !fragment && !syn && (flow.proto == Proto::Tcp || epoch.wrapping_sub(entry.epoch) < 2)
        });
        if let Some(entry) = cached {
            entry.epoch = epoch;
            return if entry.midstream {
                pass(Count::Midstream)
            } else {
                act(entry.decision, false, alive, self.closed)
            };
        }
        if self.local.contains(&flow.dst) {
            return pass(Count::Local);
        }
        let entry = if continues && !self.closed {
            let decision = Decision {
                rule: None,
                verdict: Default::default(),
            };
            Entry {
                decision,
                midstream: true,
                epoch,
            }
        } else {
            Entry {
                decision: classify(flow),
                midstream: false,
                epoch,
            }
        };
        // One under way that is not let pass is not to be remembered as if it had begun here.
        let begins = !continues || entry.decision.verdict.action == Action::Direct;
        if !fragment && begins {
            self.flows.insert(key(flow), entry);
        }
        if entry.midstream {
            pass(Count::Midstream)
        } else {
            act(entry.decision, fragment, alive, self.closed)
        }
    }
}

/// Nobody of ours takes a packet that is for us.
fn nobody(closed: bool) -> Fate {
    let (told, count) = match closed {
        true => (Told::Drop, Count::FailClosed),
        false => (Told::Pass, Count::FailOpen),
    };
    Fate {
        told,
        counter: count as u32,
        mark: 0,
    }
}

fn act(decision: Decision, fragment: bool, alive: bool, closed: bool) -> Fate {
    let counter = decision.rule.map_or(Count::Default as u32, u32::from);
    let verdict = decision.verdict;
    let fate = |told, counter, mark| Fate {
        told,
        counter,
        mark,
    };
    match verdict.action {
        Action::Direct if verdict.mark == 0 => fate(Told::Pass, counter, 0),
        _ if !alive && !closed => nobody(closed),
        Action::Direct => fate(Told::Pass, counter, verdict.mark),
        Action::Block => fate(Told::Drop, counter, 0),
        Action::Proxy if fragment => fate(Told::Drop, Count::Fragment as u32, 0),
        Action::Proxy if !alive => nobody(closed),
        Action::Proxy => fate(Told::Deliver { dns: false }, counter, 0),
    }
}
