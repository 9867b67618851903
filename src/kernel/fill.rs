//! The rules' image into the maps of a new object. I/O: the `bpf` system call.

use super::abi::{self, Node, Settings};
use super::object::{Object, vector};
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
    let vectors: Vec<_> = image.vectors.iter().map(|bits| vector(*bits)).collect();
    object.set_all("vectors", &vectors)?;
    let mut verdicts: Vec<_> = image.verdicts.iter().map(verdict_value).collect();
    verdicts.resize(abi::RULES as usize, abi::VerdictValue::default());
    verdicts.push(verdict_value(&image.default));
    object.set_all("verdicts", &verdicts)?;
    fill_ports(object, "src_ports", &image.src_ports)?;
    fill_ports(object, "dst_ports", &image.dst_ports)?;
    object.set_all("src4", &tries.src)?;
    object.set_all("dst4", &tries.dst)?;
    fill_nets6(object, "src6", &image.src)?;
    fill_nets6(object, "dst6", &image.dst)?;
    let macs = image.macs.iter().map(|(mac, index)| {
        let key = abi::MacKey {
            addr: mac.0,
            pad: [0; 2],
        };
        (key, u32::from(*index))
    });
    let (keys, values): (Vec<_>, Vec<_>) = macs.unzip();
    object.set_many("macs", &keys, &values)
}

fn fill_ports(object: &mut Object, name: &str, table: &PortTable) -> Result<()> {
    if table.is_uniform() {
        return Ok(());
    }
    let mut ports = vec![abi::Ports::default(); 65_536 / 4];
    let places = ports.iter_mut().flat_map(|ports| &mut ports.vector);
    for (place, vector) in places.zip(table.iter()) {
        *place = vector;
    }
    object.set_all(name, &ports)
}

fn fill_nets6(object: &mut Object, name: &str, table: &AddressTable) -> Result<()> {
    let trie = object.map::<abi::Net6, u32>(name)?;
    for (addr, len, index) in table.nets6() {
        let key = abi::Net6 {
            prefix_len: len.into(),
            addr: addr.octets(),
        };
        trie.set(&key, &u32::from(index))
            .map_err(|error| fail(name, &error))?;
    }
    Ok(())
}

pub(super) fn verdict_value(verdict: &Verdict) -> abi::VerdictValue {
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
        closed: config.kill_switch.into(),
        port: config.ports.0,
        asked,
        miss,
        kind: image.kinds,
        dscp: image.dscp,
    }
}
