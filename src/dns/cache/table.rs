//! One hash table with chains through the slots and one list in the order of use, both made of
//! indices into a fixed array of slots: nothing is allocated but the answers themselves.

use std::hash::{BuildHasher, Hasher};
use std::time::Instant;

use foldhash::fast::RandomState;

use super::super::upstream::Server;
use super::super::wire::{HEADER, Stored};
use super::Key;

/// One slot for so many bytes of the bound: a short answer with its slot. With longer ones the
/// bytes run out first.
const BYTES_PER_SLOT: usize = 192;

/// No slot.
const NONE: u32 = u32::MAX;

/// Slots with answers, the most recently used first.
pub(super) struct Table {
    slots: Vec<Slot>,
    /// First slot of each hash value's chain; a power of two.
    heads: Box<[u32]>,
    /// Slots that hold nothing, a chain.
    free: u32,
    /// Most and least recently used.
    newest: u32,
    oldest: u32,
    entries: usize,
    /// Bytes in use: the arrays and what the answers take of the heap.
    bytes: usize,
    /// Bytes that the arrays take.
    fixed: usize,
    bound: usize,
    max_slots: usize,
    hasher: RandomState,
}

/// An answer and what is known of it.
pub(super) struct Entry {
    pub(super) stored: Stored,
    /// [`Key::flags`].
    pub(super) flags: u8,
    /// How often it was used, as far as anybody wants to know.
    pub(super) hits: u8,
    pub(super) server: Server,
    pub(super) since: Instant,
    /// Seconds.
    pub(super) life: u32,
    /// An age, seconds. While the answer lives: from here on its next use asks for a prefetch.
    /// Afterwards: up to here nobody is to wait for a better one. At the end of its life it
    /// says neither.
    pub(super) mark: u32,
}

struct Slot {
    /// None: free.
    entry: Option<Entry>,
    hash: u32,
    /// Next in the hash chain, or in the chain of free slots.
    chain: u32,
    newer: u32,
    older: u32,
}

impl Table {
    /// A table of at most `bound` bytes, all counted.
    pub(super) fn new(bound: usize) -> Self {
        Self::with_hasher(bound, RandomState::default())
    }

    fn with_hasher(bound: usize, hasher: RandomState) -> Self {
        let max_slots = (bound / BYTES_PER_SLOT).min(NONE as usize - 1);
        let heads = vec![NONE; max_slots.next_power_of_two()].into_boxed_slice();
        let slots = Vec::with_capacity(max_slots);
        let fixed = size_of_val(&*heads) + max_slots * size_of::<Slot>();
        Self {
            slots,
            heads,
            free: NONE,
            newest: NONE,
            oldest: NONE,
            entries: 0,
            bytes: fixed,
            fixed,
            bound,
            max_slots,
            hasher,
        }
    }

    /// The same answers, the most recently used ones, in another bound.
    pub(super) fn resized(mut self, bound: usize) -> Self {
        let mut table = Self::with_hasher(bound, self.hasher.clone());
        let mut at = self.oldest;
        while let Some(slot) = self.slots.get_mut(at as usize) {
            at = slot.newer;
            if let Some(entry) = slot.entry.take() {
                table.insert(slot.hash, entry, |_| {});
            }
        }
        table
    }

    pub(super) fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes in use, the empty arrays included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    pub(super) fn hash(&self, key: Key<'_>) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.question);
        hasher.write_u8(key.flags);
        hasher.finish() as u32
    }

    /// The place of an answer to `key` from a server that `fits`.
    pub(super) fn find(
        &self,
        hash: u32,
        key: Key<'_>,
        fits: impl Fn(Server) -> bool,
    ) -> Option<u32> {
        let mut at = self.heads[self.head(hash)];
        while let Some(slot) = self.slots.get(at as usize) {
            if slot.hash == hash
                && let Some(entry) = &slot.entry
                && entry.flags == key.flags
                && entry.stored.wire()[HEADER..].starts_with(key.question)
                && fits(entry.server)
            {
                return Some(at);
            }
            at = slot.chain;
        }
        None
    }

    /// What is at a place that [`Self::find`] gave.
    pub(super) fn get(&mut self, at: u32) -> Option<&mut Entry> {
        self.slots.get_mut(at as usize)?.entry.as_mut()
    }

    /// Every place; the empty ones give nothing.
    pub(super) fn places(&self) -> std::ops::Range<u32> {
        0..self.slots.len() as u32
    }

    /// Puts an answer in; false when it is larger than the table. What has to leave for it is
    /// shown to `evicted`.
    pub(super) fn insert(
        &mut self,
        hash: u32,
        entry: Entry,
        mut evicted: impl FnMut(&Entry),
    ) -> bool {
        let cost = cost(&entry.stored);
        if self.fixed + cost > self.bound {
            return false;
        }
        while self.bytes + cost > self.bound || self.entries == self.max_slots {
            if self.oldest == NONE {
                return false;
            }
            if let Some(entry) = self.remove(self.oldest) {
                evicted(&entry);
            }
        }
        let head = self.head(hash);
        let at = self.take_slot(Slot {
            entry: Some(entry),
            hash,
            chain: self.heads[head],
            newer: NONE,
            older: NONE,
        });
        self.heads[head] = at;
        self.link_newest(at);
        self.entries += 1;
        self.bytes += cost;
        true
    }

    /// Takes away what is at a place that is in use.
    pub(super) fn remove(&mut self, at: u32) -> Option<Entry> {
        self.unlink_use(at);
        let head = self.head(self.slots[at as usize].hash);
        let next = self.slots[at as usize].chain;
        if self.heads[head] == at {
            self.heads[head] = next;
        } else {
            let mut before = self.heads[head];
            while self.slots[before as usize].chain != at {
                before = self.slots[before as usize].chain;
            }
            self.slots[before as usize].chain = next;
        }
        let slot = &mut self.slots[at as usize];
        slot.chain = self.free;
        self.free = at;
        let entry = slot.entry.take()?;
        self.bytes -= cost(&entry.stored);
        self.entries -= 1;
        Some(entry)
    }

    /// Notes that what is at this place was used.
    pub(super) fn touch(&mut self, at: u32) {
        if self.newest != at {
            self.unlink_use(at);
            self.link_newest(at);
        }
    }

    fn head(&self, hash: u32) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// A free slot or a new one; the caller knows that there are fewer than `max_slots`.
    fn take_slot(&mut self, slot: Slot) -> u32 {
        let at = self.free;
        match self.slots.get_mut(at as usize) {
            Some(free) => {
                self.free = free.chain;
                *free = slot;
                at
            }
            None => {
                self.slots.push(slot);
                self.slots.len() as u32 - 1
            }
        }
    }

    fn unlink_use(&mut self, at: u32) {
        let Slot { newer, older, .. } = self.slots[at as usize];
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.newest, at);
        self.slots[at as usize].older = older;
        self.slots[at as usize].newer = NONE;
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
    }

    /// Counts everything anew.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let living = self.slots.iter().filter_map(|slot| slot.entry.as_ref());
        let bytes: usize = living.clone().map(|entry| cost(&entry.stored)).sum();
        assert_eq!(self.bytes, self.fixed + bytes);
        assert_eq!(self.entries, living.count());
        // The smallest array of heads is there even when nothing may be.
        let bound = self.bound.max(size_of::<u32>());
        assert!(self.bytes <= bound && self.slots.len() <= self.max_slots);
        let capacity = self.slots.capacity();
        assert_eq!(capacity, self.max_slots, "the array never grows");
        let chain = |mut at: u32, next: fn(&Slot) -> u32| {
            let mut length = 0;
            while let Some(slot) = self.slots.get(at as usize) {
                length += 1;
                at = next(slot);
            }
            length
        };
        assert_eq!(chain(self.newest, |slot| slot.older), self.entries);
        assert_eq!(chain(self.oldest, |slot| slot.newer), self.entries);
        let free = self.slots.len() - self.entries;
        assert_eq!(chain(self.free, |slot| slot.chain), free);
        let heads = self.heads.iter();
        let chained: usize = heads.map(|head| chain(*head, |slot| slot.chain)).sum();
        assert_eq!(chained, self.entries);
    }
}

/// What an answer takes of the heap: allocators keep a header and round to 16 bytes.
fn cost(stored: &Stored) -> usize {
    (stored.memory() + 8).next_multiple_of(16)
}
