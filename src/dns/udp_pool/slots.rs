//! Things with names that are never used again, found without a look-up.

use super::{MAX_SOCKETS, SocketId};

/// A name is a number that counts up, and in its last part the slot.
const SLOTS: u64 = MAX_SOCKETS as u64;

/// At most [`MAX_SOCKETS`] of `T`.
#[derive(Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Option<(SocketId, T)>>,
    /// Slots that hold nothing.
    free: Vec<u64>,
    /// Names given so far.
    named: u64,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            named: 0,
        }
    }

    /// Puts in what `make` makes of its name, which is greater than all before; None when all
    /// slots are taken.
    pub(super) fn insert<E>(
        &mut self,
        make: impl FnOnce(SocketId) -> Result<T, E>,
    ) -> Option<Result<SocketId, E>> {
        let slot = self.free.last().copied();
        let slot = slot.unwrap_or(self.slots.len() as u64);
        if slot >= SLOTS {
            return None;
        }
        let id = SocketId(self.named * SLOTS + slot);
        let made = match make(id) {
            Ok(made) => made,
            Err(error) => return Some(Err(error)),
        };
        self.named += 1;
        match self.free.pop() {
            Some(_) => self.slots[slot as usize] = Some((id, made)),
            None => self.slots.push(Some((id, made))),
        }
        Some(Ok(id))
    }

    /// The least name that the next one can have.
    pub(super) fn next(&self) -> SocketId {
        SocketId(self.named * SLOTS)
    }

    pub(super) fn get(&self, id: SocketId) -> Option<&T> {
        let (held, found) = self.slots.get((id.0 % SLOTS) as usize)?.as_ref()?;
        (*held == id).then_some(found)
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut T> {
        let (held, found) = self.slots.get_mut((id.0 % SLOTS) as usize)?.as_mut()?;
        (*held == id).then_some(found)
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<T> {
        let slot = self.slots.get_mut((id.0 % SLOTS) as usize)?;
        let (_, found) = slot.take_if(|(held, _)| *held == id)?;
        self.free.push(id.0 % SLOTS);
        Some(found)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketId, &T)> {
        let held = self.slots.iter().flatten();
        held.map(|(id, found)| (*id, found))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let held = self.slots.iter_mut().flatten();
        held.map(|(_, found)| found)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_whose_names_grow(steps in prop::collection::vec(0u8..10, 0..2000)) {
            let (mut slots, mut model) = (Slots::new(), BTreeMap::new());
            let (mut gone, mut last) = (None, None);
            for (at, step) in steps.into_iter().enumerate() {
                match step {
                    0..6 => match slots.insert(|_| if step == 0 { Err(()) } else { Ok(at) }) {
                        Some(Ok(id)) => {
                            prop_assert!(Some(id) > last);
                            last = Some(id);
                            model.insert(id, at);
                        }
                        Some(Err(())) => prop_assert_eq!(step, 0),
                        None => prop_assert_eq!(model.len(), MAX_SOCKETS),
                    },
                    _ => {
                        let chosen = model.keys().nth(at % model.len().max(1)).copied();
                        let Some(id) = chosen else { continue };
                        prop_assert_eq!(slots.remove(id), model.remove(&id));
                        gone = Some(id);
                    }
                }
                prop_assert!(gone.is_none_or(|id| slots.get(id).is_none()));
                prop_assert!(gone.is_none_or(|id| slots.remove(id).is_none()));
                prop_assert!(last < Some(slots.next()));
                prop_assert_eq!(slots.len(), model.len());
                let held: BTreeMap<_, _> = slots.iter().map(|(id, held)| (id, *held)).collect();
                prop_assert_eq!(&held, &model);
            }
        }
    }
}
