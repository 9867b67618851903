//! Entries in lists by their last use. Pure.
//!
//! All lists share one array of places and are chains through it, so that every step costs the
//! same however many entries there are.

/// No place.
const NONE: u32 = u32::MAX;

/// `N` lists; an entry is in one of them.
pub(super) struct Lists<T, const N: usize> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    ends: [Ends; N],
    /// Number of the last use.
    turn: u64,
}

struct Place<T> {
    /// None: free.
    entry: Option<T>,
    list: usize,
    /// Number of its last use, to compare entries of different lists.
    turn: u64,
    older: u32,
    newer: u32,
}

#[derive(Clone, Copy)]
struct Ends {
    oldest: u32,
    newest: u32,
}

impl<T, const N: usize> Lists<T, N> {
    pub fn new() -> Self {
        let empty = Ends {
            oldest: NONE,
            newest: NONE,
        };
        Self {
            places: Vec::new(),
            free: Vec::new(),
            ends: [empty; N],
            turn: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Where the next entry will be.
    pub fn next_place(&self) -> u32 {
        // Tables are bounded far below 2^32.
        self.free
            .last()
            .copied()
            .unwrap_or(self.places.len() as u32)
    }

    /// Adds an entry to a list, as the one used last.
    pub fn insert(&mut self, list: usize, entry: T) -> u32 {
        let place = Place {
            entry: Some(entry),
            list,
            turn: 0,
            older: NONE,
            newer: NONE,
        };
        let at = self.next_place();
        match self.free.pop() {
            Some(at) => self.places[at as usize] = place,
            None => self.places.push(place),
        }
        self.append(at, list);
        at
    }

    pub fn remove(&mut self, at: u32) -> Option<T> {
        let entry = self.places.get_mut(at as usize)?.entry.take()?;
        self.unlink(at);
        self.free.push(at);
        Some(entry)
    }

    /// The entry was used, and is of this list from now on.
    pub fn renew(&mut self, at: u32, list: usize) {
        let place = &mut self.places[at as usize];
        if place.newer == NONE && place.list == list {
            self.turn += 1;
            place.turn = self.turn;
            return;
        }
        self.unlink(at);
        self.append(at, list);
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.places.get_mut(at as usize)?.entry.as_mut()
    }

    /// The one of a list that was not used for the longest time.
    pub fn oldest(&self, list: usize) -> Option<(u32, &T)> {
        let at = self.ends[list].oldest;
        Some((at, self.places.get(at as usize)?.entry.as_ref()?))
    }

    /// The same of all lists.
    pub fn oldest_of_all(&self) -> Option<u32> {
        let firsts = self.ends.iter().map(|ends| ends.oldest);
        let known = firsts.filter(|at| *at != NONE);
        known.min_by_key(|at| self.places[*at as usize].turn)
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let places = (0..).zip(&self.places);
        places.filter_map(|(at, place)| Some((at, place.entry.as_ref()?)))
    }

    fn append(&mut self, at: u32, list: usize) {
        self.turn += 1;
        let newest = std::mem::replace(&mut self.ends[list].newest, at);
        match newest {
            NONE => self.ends[list].oldest = at,
            newest => self.places[newest as usize].newer = at,
        }
        let place = &mut self.places[at as usize];
        place.list = list;
        place.turn = self.turn;
        place.older = newest;
        place.newer = NONE;
    }

    fn unlink(&mut self, at: u32) {
        let Place {
            list, older, newer, ..
        } = self.places[at as usize];
        match older {
            NONE => self.ends[list].oldest = newer,
            older => self.places[older as usize].newer = newer,
        }
        match newer {
            NONE => self.ends[list].newest = older,
            newer => self.places[newer as usize].older = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(usize),
        Remove(prop::sample::Index),
        Renew(prop::sample::Index, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..3usize).prop_map(Step::Insert),
            2 => any::<prop::sample::Index>().prop_map(Step::Remove),
            4 => (any::<prop::sample::Index>(), 0..3usize)
                .prop_map(|(index, list)| Step::Renew(index, list)),
        ]
    }

    proptest! {
        #[test]
        fn lists_are_in_the_order_of_use(steps in prop::collection::vec(step(), 0..200)) {
            let mut lists = Lists::<u32, 3>::new();
            // Place, list, entry; the last is the last used.
            let mut model: Vec<(u32, usize, u32)> = Vec::new();
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Insert(list) => {
                        let at = lists.insert(list, number);
                        prop_assert!(model.iter().all(|(other, ..)| *other != at));
                        model.push((at, list, number));
                    }
                    Step::Remove(index) if !model.is_empty() => {
                        let (at, _, entry) = model.remove(index.index(model.len()));
                        prop_assert_eq!(lists.remove(at), Some(entry));
                        prop_assert_eq!(lists.remove(at), None);
                    }
                    Step::Renew(index, list) if !model.is_empty() => {
                        let (at, _, entry) = model.remove(index.index(model.len()));
                        lists.renew(at, list);
                        model.push((at, list, entry));
                    }
                    _ => {}
                }
                prop_assert_eq!(lists.len(), model.len());
                prop_assert_eq!(lists.oldest_of_all(), model.first().map(|(at, ..)| *at));
                for list in 0..3 {
                    let oldest = model.iter().find(|(_, of, _)| *of == list);
                    let expected = oldest.map(|(at, _, entry)| (*at, entry));
                    prop_assert_eq!(lists.oldest(list), expected);
                }
                let mut all: Vec<_> = lists.iter().map(|(at, entry)| (at, *entry)).collect();
                let mut expected: Vec<_> = model.iter().map(|(at, _, entry)| (*at, *entry)).collect();
                all.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(all, expected);
            }
        }
    }
}
