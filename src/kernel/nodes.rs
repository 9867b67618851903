//! IPv4 prefixes as the trie of nodes that the BPF program walks, four bits a step. Pure.
//!
//! Every leaf has the whole answer, so the walk remembers nothing: a prefix whose length is no
//! multiple of four is written to several children, and a new node starts as sixteen copies of
//! the leaf it takes the place of. A prefix costs at most seven nodes, neighbours share them.

use std::net::Ipv4Addr;

use super::abi::{NODE_INNER, Node};

/// Bits of an address that one node looks at.
const STEP: u32 = 4;

/// The nodes of prefixes that come ascending by address, then length; `miss` is the vector of
/// addresses in none of them.
pub fn build(prefixes: impl Iterator<Item = (Ipv4Addr, u8, u16)>, miss: u16) -> Vec<Node> {
    let mut nodes = vec![leaves(miss.into())];
    for (addr, len, vector) in prefixes {
        insert(&mut nodes, addr.into(), len.into(), vector.into());
    }
    nodes
}

fn leaves(vector: u32) -> Node {
    Node {
        child: [vector; 16],
    }
}

/// What contains a prefix came before it, so below the children written here is nothing yet.
fn insert(nodes: &mut Vec<Node>, addr: u32, len: u32, vector: u32) {
    let mut at = 0;
    let mut seen = 0;
    while len > seen + STEP {
        let child = nodes[at].child[bits(addr, seen)];
        at = if child & NODE_INNER == 0 {
            let new = nodes.len();
            nodes.push(leaves(child));
            // Fewer than 2^31: eight per prefix of which each takes bytes.
            nodes[at].child[bits(addr, seen)] = NODE_INNER | new as u32;
            new
        } else {
            (child & !NODE_INNER) as usize
        };
        seen += STEP;
    }
    let first = bits(addr, seen);
    let count = 1 << (seen + STEP - len);
    nodes[at].child[first..first + count].fill(vector);
}

/// The next four bits behind the first `seen`.
fn bits(addr: u32, seen: u32) -> usize {
    (addr << seen >> (u32::BITS - STEP)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// As `bpf/classify.h` does it.
    fn walk(nodes: &[Node], addr: u32) -> u32 {
        let mut child = NODE_INNER;
        for seen in (0..32).step_by(4) {
            child = nodes[(child & !NODE_INNER) as usize].child[bits(addr, seen)];
            if child & NODE_INNER == 0 {
                return child;
            }
        }
        panic!("deeper than an address is long")
    }

    fn longest(prefixes: &[(u32, u8, u16)], addr: u32) -> Option<u16> {
        let around = prefixes.iter().filter(|(net, len, _)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(*len)).unwrap_or(0);
            addr & mask == *net
        });
        around.max_by_key(|(_, len, _)| *len).map(|it| it.2)
    }

    proptest! {
        #[test]
        fn the_longest_prefix_wins(
            seeds in vec((any::<u32>(), 0..=32u8, 1..4000u16), 0..40),
            addrs in vec(any::<u32>(), 20),
            miss in 0..4000u16,
        ) {
            // Few high bits, so that prefixes nest.
            let mut prefixes: Vec<(u32, u8, u16)> = seeds
                .into_iter()
                .map(|(addr, len, vector)| {
                    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                    (addr & 0x8080_03ff & mask, len, vector)
                })
                .collect();
            prefixes.sort_unstable();
            prefixes.dedup_by_key(|(addr, len, _)| (*addr, *len));
            let nodes = build(prefixes.iter().map(|(addr, len, vector)| ((*addr).into(), *len, *vector)), miss);
            let edges = prefixes.iter().map(|(addr, _, _)| *addr);
            for addr in addrs.into_iter().map(|addr| addr & 0x8080_03ff).chain(edges) {
                let wanted = longest(&prefixes, addr).unwrap_or(miss);
                prop_assert_eq!(walk(&nodes, addr), u32::from(wanted), "{:x} in {:x?}", addr, prefixes);
            }
            let steps = |len: u8| usize::from(len.saturating_sub(1) / 4);
            prop_assert!(nodes.len() <= 1 + prefixes.iter().map(|it| steps(it.1)).sum::<usize>());
        }
    }
}
