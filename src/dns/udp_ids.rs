//! The IDs of one socket: which were used, and who waits for which. Pure.
//!
//! An ID is drawn at random and never used twice on a socket, so an answer that comes late
//! finds its own query or nobody.

/// Entry of the table that no ID has taken.
const FREE: u16 = u16::MAX;

/// Entry of an ID whose query has ended.
const SPENT: u16 = u16::MAX - 1;

/// What an ID on the wire means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<A> {
    /// The query of this attempt.
    Waiting(A),
    /// A query that has ended: a late or repeated answer.
    Late,
    /// No query ever sent from here.
    Foreign,
}

/// The IDs of a socket. `A` names an attempt.
#[derive(Debug)]
pub struct Ids<A> {
    /// Open addressing from the ID's own lower bits, which are random; at most half full.
    table: Box<[Entry]>,
    waiting: Vec<Waiting<A>>,
    /// IDs that may still be taken.
    left: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: u16,
    /// [`FREE`], [`SPENT`] or an index into `waiting`.
    state: u16,
}

#[derive(Debug, Clone, Copy)]
struct Waiting<A> {
    id: u16,
    /// An answer came, whatever the forwarder thought of it.
    heard: bool,
    attempt: A,
}

impl<A: Copy> Ids<A> {
    /// None used; `life` may be, 16,384 at most.
    pub fn new(life: usize) -> Self {
        let entry = Entry { id: 0, state: FREE };
        Self {
            table: vec![entry; (2 * life).next_power_of_two()].into(),
            waiting: Vec::new(),
            left: life,
        }
    }

    /// Takes an ID that was never used here; None when all that may be were.
    pub fn take(&mut self, attempt: A, random: &mut dyn FnMut() -> u16) -> Option<u16> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let id = random();
            let at = self.find(id);
            if self.table[at].state == FREE {
                // Fewer wait than `life`.
                let state = self.waiting.len() as u16;
                self.table[at] = Entry { id, state };
                let heard = false;
                self.waiting.push(Waiting { id, heard, attempt });
                return Some(id);
            }
        }
    }

    /// Whose an ID is.
    pub fn hear(&mut self, id: u16) -> Heard<A> {
        let state = self.table[self.find(id)].state;
        match self.waiting.get_mut(usize::from(state)) {
            Some(waiting) => {
                waiting.heard = true;
                Heard::Waiting(waiting.attempt)
            }
            None if state == SPENT => Heard::Late,
            None => Heard::Foreign,
        }
    }

    /// Nobody waits for this ID any more. Whether an answer had come; None if nobody waited.
    pub fn end(&mut self, id: u16) -> Option<bool> {
        let at = self.find(id);
        let state = std::mem::replace(&mut self.table[at].state, SPENT);
        let index = usize::from(state);
        if index >= self.waiting.len() {
            self.table[at].state = state;
            return None;
        }
        let ended = self.waiting.swap_remove(index);
        if let Some(moved) = self.waiting.get(index) {
            let at = self.find(moved.id);
            self.table[at].state = state;
        }
        Some(ended.heard)
    }

    /// Attempts that wait.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = A> {
        self.waiting.iter().map(|waiting| waiting.attempt)
    }

    /// IDs that may still be taken.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The entry of an ID, or the free one where it would go. There is always a free one.
    fn find(&self, id: u16) -> usize {
        let mask = self.table.len() - 1;
        let mut at = usize::from(id) & mask;
        while self.table[at].state != FREE && self.table[at].id != id {
            at = (at + 1) & mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few different random numbers, so that they repeat and crowd the table.
        #[test]
        fn a_table_by_the_book(
            life in 1usize..40,
            draws in proptest::collection::vec(0u16..96, 2000),
            steps in proptest::collection::vec((0u8..3, 0u16..96), 0..200),
        ) {
            // Every number in reach comes up in the end.
            let mut draws = draws.into_iter().chain((0u16..=u16::MAX).cycle());
            let mut random = || draws.next().unwrap();
            let mut ids = Ids::new(life);
            let (mut waiting, mut used) = (HashMap::new(), HashSet::new());
            for (attempt, (step, id)) in steps.into_iter().enumerate() {
                match step {
                    0 => match ids.take(attempt, &mut random) {
                        Some(id) => {
                            prop_assert!(used.insert(id), "{id} twice");
                            waiting.insert(id, (attempt, false));
                        }
                        None => prop_assert_eq!(used.len(), life),
                    },
                    1 => {
                        let wanted = match waiting.get_mut(&id) {
                            Some((attempt, heard)) => {
                                *heard = true;
                                Heard::Waiting(*attempt)
                            }
                            None if used.contains(&id) => Heard::Late,
                            None => Heard::Foreign,
                        };
                        prop_assert_eq!(ids.hear(id), wanted);
                    }
                    _ => {
                        let wanted = waiting.remove(&id).map(|(_, heard)| heard);
                        prop_assert_eq!(ids.end(id), wanted);
                    }
                }
                prop_assert_eq!(ids.left(), life - used.len());
                let there: HashSet<_> = ids.waiting().collect();
                prop_assert_eq!(there, waiting.values().map(|(attempt, _)| *attempt).collect());
            }
        }
    }
}
