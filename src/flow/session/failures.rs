//! Who failed whom a moment ago. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// What is remembered, each for the same time.
pub(super) struct Failures<K> {
    limit: usize,
    span: Duration,
    notes: HashMap<K, Note, RandomState>,
    /// In the order in which they are forgotten: until when, whose, the number of the note. One
    /// that was renewed has an older number here, too.
    order: VecDeque<(Instant, K, u64)>,
    last: u64,
}

#[derive(Clone, Copy)]
struct Note {
    until: Instant,
    refused: bool,
    number: u64,
}

impl<K: Eq + Hash + Copy> Failures<K> {
    /// Remembers at most `limit`, each for `span`; the oldest is forgotten for a new one.
    pub fn new(limit: usize, span: Duration) -> Self {
        Self {
            limit,
            span,
            notes: HashMap::default(),
            order: VecDeque::new(),
            last: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Whether it failed a moment ago.
    pub fn refuses(&self, key: &K, now: Instant) -> bool {
        let note = self.notes.get(key);
        note.is_some_and(|note| note.refused && now < note.until)
    }

    /// It failed.
    pub fn refuse(&mut self, key: K, now: Instant) {
        self.note(key, true, now);
    }

    /// It worked, and ended soon. The first time that is well, as another node may take its
    /// place; the second time within the span it counts as failed, or this would go on with
    /// every datagram. Whether it counts.
    pub fn ended_soon(&mut self, key: K, now: Instant) -> bool {
        let again = self.notes.get(&key).is_some_and(|note| now < note.until);
        self.note(key, again, now);
        again
    }

    /// Forgets what is long ago.
    pub fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            self.forget_first();
        }
    }

    pub fn clear(&mut self) {
        self.notes.clear();
        self.order.clear();
    }

    fn note(&mut self, key: K, refused: bool, now: Instant) {
        self.expire(now);
        if self.order.len() >= self.limit {
            self.forget_first();
        }
        let until = now + self.span;
        self.last += 1;
        let note = Note {
            until,
            refused,
            number: self.last,
        };
        self.notes.insert(key, note);
        self.order.push_back((until, key, self.last));
    }

    fn forget_first(&mut self) {
        if let Some((_, key, number)) = self.order.pop_front()
            && self
                .notes
                .get(&key)
                .is_some_and(|note| note.number == number)
        {
            self.notes.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(2);

    #[test]
    fn a_failure_is_remembered_for_the_span() {
        let mut failures = Failures::new(9, SPAN);
        let now = Instant::now();
        failures.refuse('a', now);
        assert!(failures.refuses(&'a', now + SPAN - Duration::from_nanos(1)));
        assert!(!failures.refuses(&'b', now));
        assert!(!failures.refuses(&'a', now + SPAN));
        failures.expire(now + SPAN);
        assert!(failures.is_empty() && failures.notes.is_empty());
    }

    #[test]
    fn a_soon_end_counts_only_the_second_time() {
        let mut failures = Failures::new(9, SPAN);
        let now = Instant::now();
        assert!(!failures.ended_soon('a', now));
        assert!(!failures.refuses(&'a', now));
        assert!(failures.ended_soon('a', now + SPAN / 2));
        assert!(failures.refuses(&'a', now + SPAN / 2));
        // Renewed, so the first time does not take it away.
        failures.expire(now + SPAN);
        assert!(failures.refuses(&'a', now + SPAN));
        assert!(!failures.ended_soon('a', now + 2 * SPAN), "long ago");
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut failures = Failures::new(3, SPAN);
        let now = Instant::now();
        for key in ['a', 'b', 'c', 'd'] {
            failures.refuse(key, now);
        }
        assert!(!failures.refuses(&'a', now) && failures.refuses(&'b', now));
        for _ in 0..9 {
            failures.refuse('e', now);
        }
        assert!(failures.order.len() <= 3 && failures.notes.len() <= 3);
    }
}
