//! A bounded memory of what was decided for flows that are in use. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// Two generations: what is asked for moves to the young one, and the old one is forgotten as a
/// whole when the young one has become `age` old, or full. What is not asked for is gone after
/// twice `age` at the latest.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    /// Entries per generation.
    room: usize,
    age: Duration,
    turned: Option<Instant>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// Remembers at most `limit` entries.
    pub fn new(limit: usize, age: Duration) -> Self {
        let room = (limit / 2).max(1);
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            room,
            age,
            turned: None,
        }
    }

    /// The value of `key`, or that of `decide`, which is remembered if it says so.
    pub fn get(&mut self, key: K, now: Instant, decide: impl FnOnce() -> (V, bool)) -> V {
        let due = self
            .turned
            .is_none_or(|turned| now.saturating_duration_since(turned) >= self.age);
        if due {
            self.turn(now);
        }
        if let Some(value) = self.young.get(&key) {
            return value.clone();
        }
        let known = self.old.remove(&key).map(|value| (value, true));
        let (value, lasts) = known.unwrap_or_else(decide);
        if !lasts {
            return value;
        }
        if self.young.len() >= self.room {
            self.turn(now);
        }
        self.young.insert(key, value.clone());
        value
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    fn turn(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.turned = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AGE: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_in_use_is_decided_once() {
        let mut recent = Recent::new(8, AGE);
        let start = Instant::now();
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            assert_eq!(recent.get(1, now, || (second, true)), 0);
        }
    }

    #[test]
    fn what_is_not_asked_for_is_decided_anew() {
        let mut recent = Recent::new(8, AGE);
        let start = Instant::now();
        assert_eq!(recent.get(1, start, || ('a', true)), 'a');
        assert_eq!(recent.get(2, start + AGE, || ('b', true)), 'b');
        assert_eq!(recent.get(1, start + 2 * AGE, || ('c', true)), 'c');
    }

    #[test]
    fn what_was_decided_before_is_forgotten_at_once() {
        let mut recent = Recent::new(8, AGE);
        let start = Instant::now();
        recent.get(1, start, || ('a', true));
        recent.get(2, start, || ('a', true));
        // One is young, the other old.
        recent.get(2, start + AGE, || ('x', true));
        recent.clear();
        for key in [1, 2] {
            assert_eq!(recent.get(key, start + AGE, || ('b', true)), 'b');
        }
    }

    #[test]
    fn what_is_not_certain_is_decided_until_it_is() {
        let mut recent = Recent::new(8, AGE);
        let start = Instant::now();
        assert_eq!(recent.get(1, start, || ('a', false)), 'a');
        assert_eq!(recent.get(1, start, || ('b', true)), 'b');
        assert_eq!(recent.get(1, start, || ('c', true)), 'b');
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_its_limit(keys in prop::collection::vec(0u8..40, 0..400)) {
            let mut recent = Recent::new(16, AGE);
            for key in keys {
                prop_assert_eq!(recent.get(key, Instant::now(), || (key, true)), key);
                prop_assert!(recent.young.len() + recent.old.len() <= 16);
            }
        }
    }
}
