//! What the kernel must know of the names, and when it must know it. Pure.

use std::net::IpAddr;

use super::slots::Place;
use super::{NameTable, NameUpdate};
use crate::rules::Bits;
use crate::rules::image::VectorIndex;

impl NameTable {
    /// Forgets the address learnt least recently.
    pub(super) fn evict(&mut self, updates: &mut Vec<NameUpdate>) {
        if let Some(addr) = self.addresses.oldest() {
            self.forget(addr, updates);
            self.counters.addresses_evicted += 1;
        }
    }

    pub(super) fn forget(&mut self, addr: IpAddr, updates: &mut Vec<NameUpdate>) {
        let Some(entry) = self.addresses.remove(&addr) else {
            return;
        };
        self.cost -= entry.cost();
        if let Some(place) = entry.place {
            updates.push(NameUpdate::Remove { addr });
            self.slots.release(place);
        }
    }

    /// Brings the kernel's entry of an address up to date with its names, whose union may be
    /// known.
    pub(super) fn publish(
        &mut self,
        addr: IpAddr,
        union: Option<Bits>,
        updates: &mut Vec<NameUpdate>,
    ) {
        let Some(entry) = self.addresses.get(&addr) else {
            return;
        };
        let names = || entry.names.iter().map(|known| &*known.name);
        let vector = union.unwrap_or_else(|| self.index.matches_any(names()));
        let old = entry.place;
        let wanted = (vector != self.index.unknown()).then_some(vector);
        if old.map(|place| self.slots.vector(place)) == wanted {
            return;
        }
        // The new place comes before the old one is left, so that the kernel's entry never
        // names a place that is being written.
        let mut new = wanted.and_then(|vector| self.place(vector, updates));
        if let Some(old) = old {
            if new.is_none() {
                updates.push(NameUpdate::Remove { addr });
            }
            self.slots.release(old);
            new = new.or_else(|| wanted.and_then(|vector| self.place(vector, updates)));
        }
        if let Some(vector) = new {
            updates.push(NameUpdate::Set { addr, vector });
        } else if wanted.is_some() {
            self.counters.vectors_exhausted += 1;
        }
        if let Some(entry) = self.addresses.get_mut(&addr) {
            entry.place = new;
            entry.homeless = new.is_none() && wanted.is_some();
        }
    }

    fn place(&mut self, vector: Bits, updates: &mut Vec<NameUpdate>) -> Option<VectorIndex> {
        match self.slots.acquire(vector)? {
            Place::Known(index) => Some(index),
            Place::New(index) => {
                updates.push(NameUpdate::Vector { index, vector });
                Some(index)
            }
        }
    }
}
