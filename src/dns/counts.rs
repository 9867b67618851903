//! How many wait for each of many. Whoever is counted has a place, with which it leaves without
//! a look-up. Pure.

use std::hash::Hash;

use foldhash::HashMap;

/// Numbers by key. An entry exists only while somebody is counted in it.
#[derive(Debug)]
pub struct Counts<K> {
    by_key: HashMap<K, u32>,
    slots: Vec<Slot<K>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<K> {
    key: K,
    count: u32,
}

/// A place among those counted, to be given back with [`Counts::leave`].
#[derive(Debug)]
#[must_use = "a place that is not given back stays taken"]
pub struct Place(u32);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self {
            by_key: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<K: Copy + Eq + Hash> Counts<K> {
    /// Counts one more, unless there are `bound` already.
    pub fn enter(&mut self, key: K, bound: u32) -> Option<Place> {
        if let Some(&at) = self.by_key.get(&key) {
            let slot = &mut self.slots[at as usize];
            let enters = slot.count < bound;
            slot.count += u32::from(enters);
            return enters.then_some(Place(at));
        }
        if bound == 0 {
            return None;
        }
        let slot = Slot { key, count: 1 };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        };
        self.by_key.insert(key, at);
        Some(Place(at))
    }

    /// Counts one less.
    pub fn leave(&mut self, place: Place) {
        let Place(at) = place;
        let slot = &mut self.slots[at as usize];
        slot.count -= 1;
        if slot.count == 0 {
            self.by_key.remove(&slot.key);
            self.free.push(at);
        }
    }

    /// The largest number of all.
    pub fn largest(&self) -> u32 {
        // Those that are free have none.
        let counts = self.slots.iter().map(|slot| slot.count);
        counts.max().unwrap_or(0)
    }

    /// Keys in which somebody is counted.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether nobody is counted.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_books_are_right(
            bound in 0u32..5,
            steps in prop::collection::vec((0u8..6, any::<bool>()), 0..200),
        ) {
            let mut counts = Counts::default();
            let mut places: Vec<(u8, Place)> = Vec::new();
            for (key, enters) in steps {
                let own = places.iter().filter(|(other, _)| *other == key).count();
                if enters {
                    let place = counts.enter(key, bound);
                    prop_assert_eq!(place.is_some(), own < bound as usize);
                    places.extend(place.map(|place| (key, place)));
                } else if own > 0 {
                    let at = places.iter().position(|(other, _)| *other == key).unwrap();
                    counts.leave(places.swap_remove(at).1);
                }
                let of = |key| places.iter().filter(|(other, _)| *other == key).count();
                let all: Vec<_> = (0..6).map(of).filter(|count| *count > 0).collect();
                prop_assert_eq!(counts.len(), all.len());
                prop_assert_eq!(counts.is_empty(), all.is_empty());
                prop_assert_eq!(counts.largest() as usize, all.into_iter().max().unwrap_or(0));
                prop_assert!(counts.slots.len() <= 6, "slots are used again");
            }
        }
    }
}
