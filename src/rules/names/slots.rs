//! Places in the kernel's map of vectors that are given out at run time.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use crate::rules::Bits;
use crate::rules::image::VectorIndex;

/// So many freed places rest before the one freed first is written again: a packet that the
/// kernel is classifying may have read its index just before. It is over within microseconds,
/// sixty-four changes of names are not.
const REST: usize = 64;

/// Distinct vectors with the number of their users.
#[derive(Debug)]
pub(super) struct Slots {
    places: Range<VectorIndex>,
    /// Places used so far, from the first on.
    slots: Vec<Slot>,
    place_of: HashMap<Bits, VectorIndex>,
    /// Without users, in the order in which they were left.
    free: VecDeque<VectorIndex>,
}

#[derive(Debug)]
struct Slot {
    vector: Bits,
    users: u32,
}

/// The place of a vector.
pub(super) enum Place {
    /// It is there already.
    Known(VectorIndex),
    /// It must be written there first.
    New(VectorIndex),
}

impl Slots {
    pub fn new(places: Range<VectorIndex>) -> Self {
        let (place_of, free) = (HashMap::new(), VecDeque::new());
        Self {
            places,
            slots: Vec::new(),
            place_of,
            free,
        }
    }

    /// Adds a user; none when all places are taken by other vectors.
    pub fn acquire(&mut self, vector: Bits) -> Option<Place> {
        if let Some(place) = self.place_of.get(&vector) {
            let place = *place;
            self.slot(place).users += 1;
            return Some(Place::Known(place));
        }
        let unused = self.slots.len() < self.places.len();
        let place = if unused && self.free.len() <= REST {
            self.slots.push(Slot { vector, users: 0 });
            // Below the length of a range of u16.
            self.places.start + (self.slots.len() - 1) as VectorIndex
        } else {
            self.free.pop_front()?
        };
        *self.slot(place) = Slot { vector, users: 1 };
        self.place_of.insert(vector, place);
        Some(Place::New(place))
    }

    /// Takes a user away.
    pub fn release(&mut self, place: VectorIndex) {
        let slot = self.slot(place);
        slot.users -= 1;
        if slot.users == 0 {
            let vector = slot.vector;
            self.place_of.remove(&vector);
            self.free.push_back(place);
        }
    }

    /// The vector at a place that has users.
    pub fn vector(&self, place: VectorIndex) -> Bits {
        self.slots[usize::from(place - self.places.start)].vector
    }

    /// Places with users.
    pub fn used(&self) -> usize {
        self.place_of.len()
    }

    fn slot(&mut self, place: VectorIndex) -> &mut Slot {
        &mut self.slots[usize::from(place - self.places.start)]
    }

    /// Users of each place that has some.
    #[cfg(test)]
    pub fn users(&self) -> HashMap<VectorIndex, u32> {
        let users = (self.places.start..)
            .zip(&self.slots)
            .map(|(place, slot)| (place, slot.users));
        users.filter(|(_, users)| *users > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(n: u64) -> Bits {
        Bits([n, 0, 0, 0])
    }

    fn place(slots: &mut Slots, n: u64) -> Option<(VectorIndex, bool)> {
        slots.acquire(vector(n)).map(|place| match place {
            Place::Known(place) => (place, false),
            Place::New(place) => (place, true),
        })
    }

    #[test]
    fn equal_vectors_share_a_place_until_the_last_user_leaves() {
        let mut slots = Slots::new(10..12);
        assert_eq!(place(&mut slots, 1), Some((10, true)));
        assert_eq!(place(&mut slots, 1), Some((10, false)));
        assert_eq!(place(&mut slots, 2), Some((11, true)));
        assert_eq!(place(&mut slots, 3), None, "both places are taken");
        slots.release(10);
        assert_eq!(place(&mut slots, 3), None, "one user is left");
        slots.release(10);
        assert_eq!(slots.used(), 1);
        assert_eq!(place(&mut slots, 3), Some((10, true)));
        assert_eq!(slots.vector(10), vector(3));
    }

    #[test]
    fn a_freed_place_rests() {
        let mut slots = Slots::new(0..1000);
        let mut used_again = None;
        for n in 0..200 {
            let (at, _) = place(&mut slots, n).unwrap();
            used_again = used_again.or((u64::from(at) != n).then_some(n));
            slots.release(at);
        }
        assert_eq!(used_again, Some(REST as u64 + 1));
        assert_eq!(slots.slots.len(), REST + 1);
    }
}
