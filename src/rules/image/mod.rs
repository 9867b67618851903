//! The rules as the exact content of the BPF maps, and their evaluation as `bpf/classify.h`
//! does it: one vector per dimension, the AND of all of them, the lowest bit.
//!
//! A vector is named by its index into [`Image::vectors`]. Bit i of it says "rule i does not
//! reject this value"; bits of rules that do not exist are clear in every vector but that of
//! index 0, and [`Image::kinds`] never uses index 0 with fewer than 256 rules, so the AND
//! never has such a bit.
//!
//! The tables are small enough to stay: about 7 bytes for an IPv4 prefix, 19 for an IPv6
//! prefix, 4 for a port range. What the kernel wants larger (a vector index for each of
//! 65,536 ports) is an iterator.

mod compile;
mod ports;
mod prefixes;
mod vectors;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ports::PortTable;
pub use prefixes::PrefixTable;

use super::index::DomainIndex;
use super::{Bits, Family, Flow, MAX_RULES, Mac, Proto, Verdict};

/// Index into [`Image::vectors`].
pub type VectorIndex = u16;

/// Entries of the kernel's map of vectors (`DAE_VECTORS` of bpf/dae.h).
pub const MAX_VECTORS: usize = 4096;

/// Of these, always left to [`super::names::NameTable`].
pub const NAME_VECTORS: usize = 1024;

/// "No rule rejects this value" (`DAE_VECTOR_ALL` of bpf/dae.h).
pub const VECTOR_ALL: VectorIndex = 0;

/// The content of every map that rules decide about. Made by [`Image::compile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Distinct vectors of all dimensions, at most [`MAX_VECTORS`] less [`NAME_VECTORS`];
    /// index 0 has all bits set. The indices behind them, up to [`MAX_VECTORS`], belong to
    /// [`super::names::NameTable`].
    pub vectors: Vec<Bits>,
    /// Source addresses.
    pub src: AddressTable,
    /// Destination addresses.
    pub dst: AddressTable,
    /// Source MACs that rules speak of, ascending.
    pub macs: Vec<(Mac, VectorIndex)>,
    /// All other MACs, and none at all.
    pub mac_miss: VectorIndex,
    /// Source ports.
    pub src_ports: PortTable,
    /// Destination ports.
    pub dst_ports: PortTable,
    /// By DSCP.
    pub dscp: [VectorIndex; 64],
    /// By transport and IP version, see [`kind`].
    pub kinds: [VectorIndex; 4],
    /// By input interface.
    pub interfaces: Vec<VectorIndex>,
    /// An interface that is none of those.
    pub interface_miss: VectorIndex,
    /// What each name means; shared with the [`super::names::NameTable`]. An image may be made by
    /// another thread.
    pub names: std::sync::Arc<DomainIndex>,
    /// Destinations without an entry in the kernel's map of learnt names.
    pub name_miss: VectorIndex,
    /// By rule.
    pub verdicts: Vec<Verdict>,
    /// When no rule matches (entry `DAE_RULES` of the map).
    pub default: Verdict,
}

/// Longest prefix wins, and its vector is the whole answer for the addresses whose longest
/// listed prefix it is. Prefixes that would change nothing are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressTable {
    /// IPv4, addresses in host order.
    pub v4: PrefixTable<u32>,
    /// IPv6, addresses in host order.
    pub v6: PrefixTable<u128>,
    /// Addresses of either version in no listed prefix.
    pub miss: VectorIndex,
}

/// Index into [`Image::kinds`]: bit 0 is UDP, bit 1 IPv6 (`DAE_PORT_UDP` and `DAE_PORT_V6` of
/// bpf/dae.h).
pub fn kind(proto: Proto, family: Family) -> usize {
    usize::from(proto == Proto::Udp) | usize::from(family == Family::V6) << 1
}

/// Rules that the kernel cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More than [`MAX_RULES`].
    #[error("{count} rules are more than the {MAX_RULES} that the kernel program decides among")]
    TooManyRules {
        /// How many there are.
        count: usize,
    },
    /// More distinct answers than the kernel's map holds.
    #[error(
        "the rules overlap in more than {} different ways; use fewer rules, or fewer different \
         prefixes and ports in them",
        MAX_VECTORS - NAME_VECTORS
    )]
    TooManyVectors,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The rule that matched, or the default did.
    pub rule: Option<u16>,
    /// Its verdict.
    pub verdict: Verdict,
}

impl AddressTable {
    fn at(&self, addr: IpAddr) -> VectorIndex {
        match addr {
            IpAddr::V4(v4) => self.v4.longest(v4.into()),
            IpAddr::V6(v6) => self.v6.longest(v6.into()),
        }
        .unwrap_or(self.miss)
    }

    /// IPv4 prefixes, for `struct dae_net4`: address, length, vector.
    pub fn nets4(&self) -> impl ExactSizeIterator<Item = (Ipv4Addr, u8, VectorIndex)> + '_ {
        self.v4
            .iter()
            .map(|(addr, len, vector)| (addr.into(), len, vector))
    }

    /// IPv6 prefixes, for `struct dae_net6`: address, length, vector.
    pub fn nets6(&self) -> impl ExactSizeIterator<Item = (Ipv6Addr, u8, VectorIndex)> + '_ {
        self.v6
            .iter()
            .map(|(addr, len, vector)| (addr.into(), len, vector))
    }
}

impl Image {
    /// The decision for a flow to a destination whose names are `names`: the answer of
    /// [`super::names::NameTable::vector_of`], or of [`DomainIndex::matches_any`].
    pub fn classify(&self, flow: &Flow, names: Bits) -> Decision {
        let mac = flow.src_mac.and_then(|mac| {
            let at = self
                .macs
                .binary_search_by_key(&mac, |(listed, _)| *listed)
                .ok()?;
            Some(self.macs[at].1)
        });
        let interface = flow
            .interface
            .and_then(|i| self.interfaces.get(usize::from(i)));
        let indices = [
            self.kinds[kind(flow.proto, flow.family())],
            self.src.at(flow.src),
            self.dst.at(flow.dst),
            self.src_ports.at(flow.src_port),
            self.dst_ports.at(flow.dst_port),
            self.dscp[usize::from(flow.dscp & 63)],
            mac.unwrap_or(self.mac_miss),
            *interface.unwrap_or(&self.interface_miss),
        ];
        let matching = indices.into_iter().fold(names, |matching, index| {
            matching & self.vectors[usize::from(index)]
        });
        self.decide(matching)
    }

    fn decide(&self, matching: Bits) -> Decision {
        let rule = matching.first();
        match rule.and_then(|rule| self.verdicts.get(rule)) {
            Some(verdict) => Decision {
                rule: rule.map(|rule| rule as u16),
                verdict: *verdict,
            },
            None => Decision {
                rule: None,
                verdict: self.default,
            },
        }
    }
}

#[cfg(test)]
mod tests;
