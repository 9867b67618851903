//! A dimension of prefixes: from the rules' own to one complete vector each.

use super::vectors::Vectors;
use super::{CompileError, VectorIndex};
use crate::rules::Bits;

/// An address as a number in host order.
pub trait Address: Copy + Ord {
    /// Bits of an address.
    const WIDTH: u8;

    /// The address with all but the first `len` bits clear.
    fn prefix(self, len: u8) -> Self;
}

impl Address for u32 {
    const WIDTH: u8 = 32;

    fn prefix(self, len: u8) -> Self {
        self & Self::MAX
            .checked_shl(u32::from(Self::WIDTH - len))
            .unwrap_or(0)
    }
}

impl Address for u128 {
    const WIDTH: u8 = 128;

    fn prefix(self, len: u8) -> Self {
        self & Self::MAX
            .checked_shl(u32::from(Self::WIDTH - len))
            .unwrap_or(0)
    }
}

/// Prefixes with their vectors, ascending by address, then length. Columns rather than rows:
/// rows would be padded to the alignment of the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixTable<A> {
    addrs: Vec<A>,
    lens: Vec<u8>,
    vectors: Vec<VectorIndex>,
    /// Bit n: some prefix has n bits.
    has_len: [u64; 3],
}

impl<A: Address> PrefixTable<A> {
    fn new() -> Self {
        Self {
            addrs: Vec::new(),
            lens: Vec::new(),
            vectors: Vec::new(),
            has_len: [0; 3],
        }
    }

    fn push(&mut self, addr: A, len: u8, vector: VectorIndex) {
        self.addrs.push(addr);
        self.lens.push(len);
        self.vectors.push(vector);
        self.has_len[usize::from(len / 64)] |= 1 << (len % 64);
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.addrs.len()
    }

    /// True when no rule speaks of such addresses, or only in ways that change nothing.
    pub fn is_empty(&self) -> bool {
        self.addrs.is_empty()
    }

    /// Address (host bits clear), length in bits, vector; ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (A, u8, VectorIndex)> + '_ {
        (0..self.len()).map(|at| (self.addrs[at], self.lens[at], self.vectors[at]))
    }

    /// The vector of the longest prefix around an address. One binary search per length in
    /// use: the kernel's trie is for speed, this is for the few flows the kernel did not keep.
    pub fn longest(&self, addr: A) -> Option<VectorIndex> {
        let mut lens = (0..=A::WIDTH).rev();
        lens.find_map(|len| {
            let used = self.has_len[usize::from(len / 64)] & (1 << (len % 64)) != 0;
            if used {
                self.exact(addr.prefix(len), len)
            } else {
                None
            }
        })
    }

    fn exact(&self, addr: A, len: u8) -> Option<VectorIndex> {
        let from = self.addrs.partition_point(|listed| *listed < addr);
        // At most one prefix per length begins at an address.
        let same = self.addrs[from..]
            .iter()
            .take_while(|listed| **listed == addr)
            .count();
        let at = from + self.lens[from..from + same].binary_search(&len).ok()?;
        Some(self.vectors[at])
    }
}

/// One mention of a prefix in a rule: address, length, where.
pub(super) type Mention<A> = (A, u8, Side);

/// In which rule, and on which side of its selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Side {
    pub rule: u8,
    pub excludes: bool,
}

/// What is known of the addresses in a prefix, from it and all shorter ones around it.
#[derive(Clone, Copy)]
struct Known {
    include: Bits,
    exclude: Bits,
    vector: VectorIndex,
}

/// The table of one dimension and IP version. `any` are the rules whose selector includes
/// everything, `miss` is their vector's index.
pub(super) fn compile<A: Address>(
    mut mentions: Vec<Mention<A>>,
    any: Bits,
    miss: VectorIndex,
    vectors: &mut Vectors,
) -> Result<PrefixTable<A>, CompileError> {
    mentions.sort_unstable();
    let mut table = PrefixTable::new();
    // The chain of prefixes around the current one, shortest first: ascending order visits a
    // prefix before everything inside it.
    let mut around: Vec<(A, u8, Known)> = Vec::new();
    let outside = Known {
        include: Bits::NONE,
        exclude: Bits::NONE,
        vector: miss,
    };
    for group in mentions.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let (addr, len, _) = group[0];
        while around
            .last()
            .is_some_and(|(outer, bits, _)| addr.prefix(*bits) != *outer)
        {
            around.pop();
        }
        let outer = around.last().map_or(outside, |(_, _, known)| *known);
        let mut known = outer;
        for (_, _, side) in group {
            let set = if side.excludes {
                &mut known.exclude
            } else {
                &mut known.include
            };
            set.set(usize::from(side.rule));
        }
        known.vector = vectors.intern((any | known.include) & !known.exclude)?;
        if known.vector != outer.vector {
            table.push(addr, len, known.vector);
        }
        around.push((addr, len, known));
    }
    table.addrs.shrink_to_fit();
    table.lens.shrink_to_fit();
    table.vectors.shrink_to_fit();
    Ok(table)
}
