//! Where attempts wait: a table by flight, as a look-up by hash costs several times as much.

use smallvec::SmallVec;

use super::Attempt;

/// What has a small number that only a few others have at the same time.
pub trait Numbered: Copy + Eq {
    /// The number.
    fn number(self) -> usize;
}

/// Attempts by their numbers. As long as the largest number that there was: that of the flights,
/// which are bounded.
#[derive(Debug)]
pub(super) struct Places<A> {
    rows: Vec<SmallVec<[(A, Attempt); 1]>>,
}

impl<A: Numbered> Places<A> {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new() }
    }

    pub(super) fn get_mut(&mut self, attempt: A) -> Option<&mut Attempt> {
        let row = self.rows.get_mut(attempt.number())?;
        let found = row.iter_mut().find(|(other, _)| *other == attempt);
        found.map(|(_, known)| known)
    }

    /// Adds one that is not there.
    pub(super) fn insert(&mut self, attempt: A, known: Attempt) {
        let number = attempt.number();
        if number >= self.rows.len() {
            self.rows.resize_with(number + 1, SmallVec::new);
        }
        self.rows[number].push((attempt, known));
    }

    pub(super) fn remove(&mut self, attempt: A) -> Option<Attempt> {
        let row = self.rows.get_mut(attempt.number())?;
        let at = row.iter().position(|(other, _)| *other == attempt)?;
        Some(row.swap_remove(at).1)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.iter().map(SmallVec::len).sum()
    }
}
