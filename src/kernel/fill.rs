//! The rules' image into the maps of a new object. I/O: the `bpf` system call.

use aya::maps::lpm_trie::Key;

use super::abi::{self, Node, Settings};
use super::object::{Object, set, vector};
use super::{DatapathConfig, fail, nodes};
use crate::error::Result;
use crate::net::{DELIVER_MARK, OWN_MARK};
use crate::rules::image::{AddressTable, Image, PortTable};
use crate::rules::{Action, Verdict};

/// The IPv4 prefixes of both directions.
#[derive(Debug)]
pub(super) struct Tries {
    pub src: Vec<Node>,
    pub dst: Vec<Node>,
}

impl Tries {
    pub fn new(image: &Image) -> Self {
        Self {
            src: nodes::build(image.src.nets4(), image.src.miss),
            dst: nodes::build(image.dst.nets4(), image.dst.miss),
        }
    }
}

/// Fills the maps of a new object: what it does not write is zero already, or never asked.
pub(super) fn fill(object: &mut Object, image: &Image, tries: &Tries) -> Result<()> {
    let mut vectors = object.array::<abi::Vector>("vectors")?;
    for (index, bits) in (0..).zip(&image.vectors) {
        set(&mut vectors, index, vector(*bits)).map_err(|error| fail("vectors", &error))?;
    }
    let mut verdicts = object.array::<abi::VerdictValue>("verdicts")?;
    let all = (0..)
        .zip(&image.verdicts)
        .chain([(abi::RULES, &image.default)]);
    for (rule, verdict) in all {
        set(&mut verdicts, rule, verdict_value(verdict))
            .map_err(|error| fail("verdicts", &error))?;
    }
    fill_ports(object, "src_ports", &image.src_ports)?;
    fill_ports(object, "dst_ports", &image.dst_ports)?;
    fill_nodes(object, "src4", &tries.src)?;
    fill_nodes(object, "dst4", &tries.dst)?;
    fill_nets6(object, "src6", &image.src)?;
    fill_nets6(object, "dst6", &image.dst)?;
    let mut macs = object.hash::<abi::MacKey, u32>("macs")?;
    for (mac, index) in &image.macs {
        let key = abi::MacKey {
            addr: mac.0,
            pad: [0; 2],
        };
        macs.insert(key, u32::from(*index), 0)
            .map_err(|error| fail("macs", &error))?;
    }
    Ok(())
}

fn fill_ports(object: &mut Object, name: &str, table: &PortTable) -> Result<()> {
    if table.is_uniform() {
        return Ok(());
    }
    let mut map = object.array::<abi::Ports>(name)?;
    let mut vectors = table.iter();
    for index in 0..65_536 / 4 {
        let mut ports = abi::Ports::default();
        for vector in &mut ports.vector {
            *vector = vectors.next().unwrap_or_default();
        }
        // A new array is zero.
        if ports != abi::Ports::default() {
            set(&mut map, index, ports).map_err(|error| fail(name, &error))?;
        }
    }
    Ok(())
}

fn fill_nodes(object: &mut Object, name: &str, nodes: &[Node]) -> Result<()> {
    let mut map = object.array::<Node>(name)?;
    for (index, node) in (0..).zip(nodes) {
        set(&mut map, index, *node).map_err(|error| fail(name, &error))?;
    }
    Ok(())
}

fn fill_nets6(object: &mut Object, name: &str, table: &AddressTable) -> Result<()> {
    let mut trie = object.trie::<abi::Net6>(name)?;
    for (addr, len, index) in table.nets6() {
        trie.insert(&Key::new(len.into(), addr.octets()), u32::from(index), 0)
            .map_err(|error| fail(name, &error))?;
    }
    Ok(())
}

fn verdict_value(verdict: &Verdict) -> abi::VerdictValue {
    abi::VerdictValue {
        mark: verdict.mark,
        outbound: verdict.outbound,
        action: match verdict.action {
            Action::Direct => abi::DIRECT,
            Action::Block => abi::BLOCK,
            Action::Proxy => abi::PROXY,
        },
        pad: 0,
    }
}

/// The first settings: epoch 0, and the vectors of the small dimensions.
pub(super) fn settings(image: &Image, config: &DatapathConfig) -> Settings {
    let mut asked = 0;
    let mut miss = [0; 8];
    let interface_miss = image.interface_miss;
    let has_addresses = |table: &AddressTable| !(table.v4.is_empty() && table.v6.is_empty());
    for (table, is_asked, vector) in [
        (abi::TABLE_SRC, has_addresses(&image.src), image.src.miss),
        (abi::TABLE_DST, has_addresses(&image.dst), image.dst.miss),
        // Asked in any case: its map knows the router's own addresses too.
        (abi::TABLE_NAME, true, image.name_miss),
        (abi::TABLE_MAC, !image.macs.is_empty(), image.mac_miss),
        (
            abi::TABLE_INTERFACE,
            image
                .interfaces
                .iter()
                .any(|vector| *vector != interface_miss),
            interface_miss,
        ),
        (
            abi::TABLE_SRC_PORT,
            !image.src_ports.is_uniform(),
            image.src_ports.at(0),
        ),
        (
            abi::TABLE_DST_PORT,
            !image.dst_ports.is_uniform(),
            image.dst_ports.at(0),
        ),
    ] {
        asked |= u32::from(is_asked) << table;
        miss[table] = vector;
    }
    Settings {
        epoch: 0,
        deliver_mark: DELIVER_MARK,
        own_mark: OWN_MARK,
        dns: config.dns.into(),
        port: config.ports.0,
        asked,
        miss,
        kind: image.kinds,
        dscp: image.dscp,
    }
}
