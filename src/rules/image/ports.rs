//! A dimension of ports: from ranges to a vector for each port.

use super::vectors::Vectors;
use super::{CompileError, VectorIndex};
use crate::rules::port::PortRange;
use crate::rules::{Bits, Selector};

/// The vector of every port, as the places where it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTable {
    /// First port and vector, ascending; the first entry is of port 0.
    steps: Vec<(u16, VectorIndex)>,
}

impl PortTable {
    /// The vector of a port.
    pub fn at(&self, port: u16) -> VectorIndex {
        let next = self.steps.partition_point(|(first, _)| *first <= port);
        // The first step is of port 0, so next is at least 1.
        self.steps[next - 1].1
    }

    /// The vectors of ports 0 to 65535: 65,536 values.
    pub fn iter(&self) -> impl Iterator<Item = VectorIndex> + '_ {
        let ends = self.steps[1..]
            .iter()
            .map(|(first, _)| usize::from(*first))
            .chain([65_536]);
        self.steps
            .iter()
            .zip(ends)
            .flat_map(|((first, vector), end)| {
                std::iter::repeat_n(*vector, end - usize::from(*first))
            })
    }

    /// True when every port has the same vector.
    pub fn is_uniform(&self) -> bool {
        self.steps.len() == 1
    }
}

/// A port from which a rule's selector starts or stops to speak of ports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    port: u16,
    rule: usize,
    excludes: bool,
    starts: bool,
}

/// The table of one direction; `selectors` by rule.
pub(super) fn compile<'a>(
    selectors: impl Iterator<Item = &'a Selector<PortRange>>,
    any: Bits,
    vectors: &mut Vectors,
) -> Result<PortTable, CompileError> {
    let mut edges = Vec::new();
    for (rule, selector) in selectors.enumerate() {
        for (ranges, excludes) in [(&selector.include, false), (&selector.exclude, true)] {
            for range in disjoint(ranges) {
                edges.push(Edge {
                    port: range.first(),
                    rule,
                    excludes,
                    starts: true,
                });
                if let Some(port) = range.last().checked_add(1) {
                    edges.push(Edge {
                        port,
                        rule,
                        excludes,
                        starts: false,
                    });
                }
            }
        }
    }
    edges.sort_unstable();
    let (mut include, mut exclude) = (Bits::NONE, Bits::NONE);
    let mut steps: Vec<(u16, VectorIndex)> = Vec::new();
    if edges.first().is_none_or(|edge| edge.port != 0) {
        steps.push((0, vectors.intern(any)?));
    }
    for group in edges.chunk_by(|a, b| a.port == b.port) {
        for edge in group {
            let set = if edge.excludes {
                &mut exclude
            } else {
                &mut include
            };
            if edge.starts {
                set.set(edge.rule)
            } else {
                set.clear(edge.rule)
            }
        }
        let vector = vectors.intern((any | include) & !exclude)?;
        if steps.last().is_none_or(|(_, before)| *before != vector) {
            steps.push((group[0].port, vector));
        }
    }
    steps.shrink_to_fit();
    Ok(PortTable { steps })
}

/// The same ports as ranges that neither overlap nor touch, so that one edge per port and
/// rule is the whole truth.
fn disjoint(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(last) if u32::from(range.first()) <= u32::from(last.last()) + 1 => {
                *last = last.cover(range);
            }
            _ => merged.push(range),
        }
    }
    merged
}
