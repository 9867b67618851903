//! When which flight needs something. Pure.
//!
//! Nothing is taken out in the middle: an entry counts only while its flight says the same, and
//! others are dropped when they come first or grow too many. Most flights end long before their
//! deadline, so that putting an entry in is most of the cost. Most deadlines come in order, as
//! the first wait of all flights is about the same: those stand in a queue, others in a heap.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Instant;

use super::flight::FlightId;

/// So many entries that count for nothing are always borne.
const SLACK: usize = 64;

/// An entry: what is due when.
pub type Due = (Instant, FlightId);

/// See the module.
#[derive(Debug, Default)]
pub struct Deadlines {
    /// Ascending.
    queue: VecDeque<Due>,
    heap: BinaryHeap<Reverse<Due>>,
}

impl Deadlines {
    /// Adds an entry. `flights` is the number of flights, of which each has one entry that
    /// counts, as `counts` says.
    pub fn push(&mut self, due: Due, flights: usize, counts: impl Fn(Due) -> bool) {
        if self.queue.len() + self.heap.len() >= 2 * flights + SLACK {
            self.queue.retain(|due| counts(*due));
            let mut kept = std::mem::take(&mut self.heap).into_vec();
            kept.retain(|Reverse(due)| counts(*due));
            kept.extend(self.queue.drain(..).map(Reverse));
            // One deadline may have been put in twice.
            kept.sort_unstable_by_key(|Reverse(due)| *due);
            kept.dedup();
            self.queue.extend(kept.into_iter().map(|Reverse(due)| due));
        }
        match self.queue.back() {
            Some(last) if due < *last => self.heap.push(Reverse(due)),
            _ => self.queue.push_back(due),
        }
    }

    /// The earliest entry that counts.
    pub fn first(&mut self, counts: impl Fn(Due) -> bool) -> Option<Due> {
        while let Some(first) = self.queue.front()
            && !counts(*first)
        {
            self.queue.pop_front();
        }
        while let Some(Reverse(first)) = self.heap.peek()
            && !counts(*first)
        {
            self.heap.pop();
        }
        let (queued, heaped) = (self.queue.front(), self.heap.peek());
        match (queued.copied(), heaped.map(|Reverse(due)| *due)) {
            (Some(queued), Some(heaped)) => Some(queued.min(heaped)),
            (queued, heaped) => queued.or(heaped),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_that_counts_comes_first_and_little_else_is_kept(
            steps in proptest::collection::vec((0u32..20, 0u64..50, 0u8..4), 0..600),
        ) {
            let start = Instant::now();
            let mut deadlines = Deadlines::default();
            let mut current: BTreeMap<FlightId, Instant> = BTreeMap::new();
            for (flight, at, step) in steps {
                let (id, at) = (FlightId::of(flight), start + Duration::from_millis(at));
                if step == 0 {
                    current.remove(&id);
                } else {
                    current.insert(id, at);
                    let counts = |(at, id): Due| current.get(&id) == Some(&at);
                    deadlines.push((at, id), current.len(), counts);
                }
                let counts = |(at, id): Due| current.get(&id) == Some(&at);
                let wanted = current.iter().map(|(id, at)| (*at, *id)).min();
                prop_assert_eq!(deadlines.first(counts), wanted);
                let kept = deadlines.queue.len() + deadlines.heap.len();
                prop_assert!(kept <= 2 * 20 + SLACK);
            }
        }
    }
}
