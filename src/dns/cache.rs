//! Answers kept for as long as they say, bounded by bytes. Pure.
//!
//! One hash table with chains through the slots and one list in the order of use, both made of
//! indices into a fixed array of slots: nothing is allocated but the answers themselves.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Instant;

use super::route::Server;
use super::wire::{HEADER, Question, Stored};

/// One slot for so many bytes of the bound: a short answer with its slot. With longer ones the
/// bytes run out first.
const BYTES_PER_SLOT: usize = 192;

/// No slot.
const NONE: u32 = u32::MAX;

/// Bits of [`Key::flags`].
pub const DNSSEC_OK: u8 = 1;
/// Checking disabled.
pub const CHECKING_DISABLED: u8 = 2;

/// What an answer depends on. A question decides by the rules which upstream answers it, so
/// only an `asis` answer needs its server told.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Name (lower case), type and class.
    pub question: &'a [u8],
    /// [`DNSSEC_OK`], [`CHECKING_DISABLED`].
    pub flags: u8,
}

impl<'a> Key<'a> {
    /// The key of a question.
    pub fn new<B: AsRef<[u8]>>(question: &'a Question<B>, dnssec_ok: bool, cd: bool) -> Self {
        let dnssec_ok = if dnssec_ok { DNSSEC_OK } else { 0 };
        let cd = if cd { CHECKING_DISABLED } else { 0 };
        Self {
            question: question.as_bytes(),
            flags: dnssec_ok | cd,
        }
    }
}

/// Answers, the least recently used of which leaves first.
pub struct Cache {
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
    bound: usize,
    max_slots: usize,
    hasher: RandomState,
    counters: Counters,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Queries answered from the cache.
    pub hits: u64,
    /// Answers stored.
    pub stored: u64,
    /// Answers that had to leave before their time, for want of room.
    pub evicted: u64,
}

struct Slot {
    /// None: free.
    stored: Option<Stored>,
    hash: u32,
    flags: u8,
    server: Server,
    since: Instant,
    /// Seconds.
    life: u32,
    /// Next in the hash chain, or in the chain of free slots.
    chain: u32,
    newer: u32,
    older: u32,
}

/// An answer that lives.
pub struct Hit<'a> {
    /// Its bytes.
    pub stored: &'a Stored,
    /// Whole seconds since it came, less than its smallest TTL.
    pub age: u32,
}

impl Cache {
    /// A cache of at most `bound` bytes, all counted.
    pub fn new(bound: usize) -> Self {
        let max_slots = (bound / BYTES_PER_SLOT).min(NONE as usize - 1);
        let heads = vec![NONE; max_slots.next_power_of_two()].into_boxed_slice();
        let slots = Vec::with_capacity(max_slots);
        let bytes = size_of_val(&*heads) + max_slots * size_of::<Slot>();
        Self {
            slots,
            heads,
            free: NONE,
            newest: NONE,
            oldest: NONE,
            entries: 0,
            bytes,
            bound,
            max_slots,
            hasher: RandomState::new(),
            counters: Counters::default(),
        }
    }

    /// Answers held.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes in use, the empty tables included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The living answer to a question: an upstream's, or that of the server asked.
    pub fn lookup(
        &mut self,
        now: Instant,
        key: Key<'_>,
        asked: Option<SocketAddr>,
    ) -> Option<Hit<'_>> {
        let hash = self.hash(key);
        let at = self.find(hash, key, |server| match server {
            Server::Upstream(_) => true,
            Server::AsIs(server) => asked == Some(server),
        })?;
        let slot = &self.slots[at as usize];
        // An age of weeks needs no exact number.
        let age = now
            .saturating_duration_since(slot.since)
            .as_secs()
            .min(u32::MAX.into()) as u32;
        if age >= slot.life {
            self.remove(at);
            return None;
        }
        self.counters.hits += 1;
        if self.newest != at {
            self.unlink_use(at);
            self.link_newest(at);
        }
        let stored = self.slots[at as usize].stored.as_ref()?;
        Some(Hit { stored, age })
    }

    /// Keeps an answer for `life` seconds in place of an earlier one to the same question.
    pub fn insert(
        &mut self,
        now: Instant,
        key: Key<'_>,
        server: Server,
        stored: Stored,
        life: u32,
    ) {
        let hash = self.hash(key);
        if let Some(old) = self.find(hash, key, |other| other == server) {
            self.remove(old);
        }
        let cost = cost(&stored);
        while self.bytes + cost > self.bound || self.entries == self.max_slots {
            if self.oldest == NONE {
                return;
            }
            self.remove(self.oldest);
            self.counters.evicted += 1;
        }
        let at = self.take_slot(Slot {
            stored: Some(stored),
            hash,
            flags: key.flags,
            server,
            since: now,
            life,
            chain: self.heads[self.head(hash)],
            newer: NONE,
            older: NONE,
        });
        let head = self.head(hash);
        self.heads[head] = at;
        self.link_newest(at);
        self.entries += 1;
        self.bytes += cost;
        self.counters.stored += 1;
    }

    fn hash(&self, key: Key<'_>) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        std::hash::Hasher::write(&mut hasher, key.question);
        std::hash::Hasher::write_u8(&mut hasher, key.flags);
        std::hash::Hasher::finish(&hasher) as u32
    }

    fn head(&self, hash: u32) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    fn find(&self, hash: u32, key: Key<'_>, fits: impl Fn(Server) -> bool) -> Option<u32> {
        let mut at = self.heads[self.head(hash)];
        while let Some(slot) = self.slots.get(at as usize) {
            if slot.hash == hash
                && slot.flags == key.flags
                && slot.question().starts_with(key.question)
                && fits(slot.server)
            {
                return Some(at);
            }
            at = slot.chain;
        }
        None
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

    fn remove(&mut self, at: u32) {
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
        if let Some(stored) = slot.stored.take() {
            self.bytes -= cost(&stored);
            self.entries -= 1;
        }
        slot.chain = self.free;
        self.free = at;
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
}

impl Slot {
    /// The stored message from its question on, which is in lower case.
    fn question(&self) -> &[u8] {
        self.stored
            .as_ref()
            .map_or(&[], |stored| &stored.wire()[HEADER..])
    }
}

/// What an answer takes of the heap: allocators keep a header and round to 16 bytes.
fn cost(stored: &Stored) -> usize {
    (stored.memory() + 8).next_multiple_of(16)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::wire::{upstream_query, walk};
    use super::*;

    const SERVER: Server = Server::Upstream(0);

    /// A question and an answer to it with `size` bytes of data.
    fn pair(number: u32, size: usize) -> (Question, Stored) {
        let question = Question::of(&format!("n{number}.example"), 16).unwrap();
        let mut message = upstream_query(0, &question, false, false, false);
        message[2] |= 0x80;
        message[7] = 1;
        message.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60]);
        message.extend((size as u16).to_be_bytes());
        message.resize(message.len() + size, 0);
        let stored = walk(&message, &question).unwrap().stored;
        (question, stored)
    }

    fn key(question: &Question) -> Key<'_> {
        Key::new(question, false, false)
    }

    impl Cache {
        /// Counts everything anew.
        fn check(&self) {
            let fixed = size_of_val(&*self.heads) + self.max_slots * size_of::<Slot>();
            let living = self.slots.iter().filter_map(|slot| slot.stored.as_ref());
            let bytes: usize = living.clone().map(cost).sum();
            assert_eq!(self.bytes, fixed + bytes);
            assert_eq!(self.entries, living.count());
            assert!(self.bytes <= self.bound && self.slots.len() <= self.max_slots);
            assert_eq!(
                self.slots.capacity(),
                self.max_slots,
                "the array never grows"
            );
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
            assert_eq!(
                chain(self.free, |slot| slot.chain),
                self.slots.len() - self.entries
            );
            let chained: usize = self
                .heads
                .iter()
                .map(|head| chain(*head, |slot| slot.chain))
                .sum();
            assert_eq!(chained, self.entries);
        }
    }

    #[test]
    fn the_least_recently_used_leaves_first() {
        let now = Instant::now();
        let mut cache = Cache::new(64 * 1024);
        let first = pair(0, 1000).0;
        let mut number = 0;
        while cache.counters().evicted == 0 {
            let (question, stored) = pair(number, 1000);
            cache.insert(now, key(&question), SERVER, stored, 60);
            // The first is asked for again and again, and stays.
            assert!(cache.lookup(now, key(&first), None).is_some());
            cache.check();
            number += 1;
        }
        assert!(number > 25, "{number} answers of a kilobyte");
        assert!(cache.lookup(now, key(&pair(1, 0).0), None).is_none());
        assert!(cache.lookup(now, key(&pair(2, 0).0), None).is_some());
    }

    #[test]
    fn an_answer_larger_than_the_cache_is_not_kept() {
        for bound in [0, 100, 4096] {
            let mut cache = Cache::new(bound);
            let (question, stored) = pair(0, 5000);
            cache.insert(Instant::now(), key(&question), SERVER, stored, 60);
            assert_eq!(cache.entries(), 0);
            assert!(cache.lookup(Instant::now(), key(&question), None).is_none());
        }
    }

    proptest! {
        /// Against a list: what is found was put there last, and lives.
        #[test]
        fn it_holds_what_was_put_there(
            steps in prop::collection::vec((0u32..40, 0usize..600, 0u32..4, 0u64..3), 1..300),
        ) {
            let mut now = Instant::now();
            let mut cache = Cache::new(16 * 1024);
            let mut model: Vec<(u32, usize, Instant, u32)> = Vec::new();
            for (number, size, life, pass) in steps {
                now += Duration::from_secs(pass);
                let (question, stored) = pair(number, size);
                if life > 0 {
                    cache.insert(now, key(&question), SERVER, stored, life);
                    model.retain(|(other, ..)| *other != number);
                    model.push((number, size, now, life));
                } else if let Some(hit) = cache.lookup(now, key(&question), None) {
                    let (_, size, since, life) =
                        model.iter().find(|(other, ..)| *other == number).unwrap();
                    let age = (now - *since).as_secs() as u32;
                    prop_assert!(age < *life && hit.age == age);
                    prop_assert_eq!(hit.stored.memory(), pair(number, *size).1.memory());
                }
                cache.check();
            }
        }
    }
}
