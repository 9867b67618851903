//! Which names an address has, learnt from DNS answers, and what the kernel must know of them.
//!
//! The kernel maps an address to a vector, the union over the address's live names of what
//! each name means to the rules. Most names mean nothing to them: an address whose union is
//! that of an address without a name has no entry in the kernel. Its names are kept all the
//! same, for they count in the union as soon as a name that a rule excludes joins them.
//!
//! Time is an argument and the kernel an effect: calls append [`NameUpdate`]s, to be carried
//! out in their order.

mod publish;
mod recent;
mod slots;

use std::net::IpAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use recent::Recent;
use slots::Slots;
use smallvec::SmallVec;

use super::domain::MAX_NAME;
use super::image::{MAX_VECTORS, VectorIndex};
use super::index::DomainIndex;
use super::{Bits, Image};

/// A name stays with its address for so long after the TTL: our cache may hand out the last
/// second of a TTL, and clients go on using an address for minutes after that.
pub const GRACE: Duration = Duration::from_secs(300);

/// Longer TTLs count as this.
pub const MAX_TTL: Duration = Duration::from_secs(86_400);

/// [`NameTable::expire`] looks at the addresses at most this often: leases are minimums.
pub const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// Names of one address; then the one learnt least recently leaves.
pub const MAX_NAMES_PER_ADDRESS: usize = 16;

/// What a name costs beside its characters, roughly: record, text header, allocations.
const NAME_COST: usize = 48;

/// Bytes of names allowed per allowed address, on average.
const COST_PER_ADDRESS: usize = 128;

/// A change to the kernel's maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameUpdate {
    /// Write a vector; no entry of the names uses its index at this moment.
    Vector {
        /// Where, behind those of [`Image::vectors`].
        index: VectorIndex,
        /// What.
        vector: Bits,
    },
    /// Write an address's entry, new or not.
    Set {
        /// The address.
        addr: IpAddr,
        /// Index of a vector written before.
        vector: VectorIndex,
    },
    /// Remove an address's entry: it counts as one without a name.
    Remove {
        /// The address.
        addr: IpAddr,
    },
}

/// How often a bound was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NameCounters {
    /// Addresses forgotten early, to make room for others.
    pub addresses_evicted: u64,
    /// Names forgotten early, because their address had too many.
    pub names_evicted: u64,
    /// Times that an address got no vector because all were taken; it counts as one without a
    /// name until it is learnt again.
    pub vectors_exhausted: u64,
}

/// The learnt names. At most so many addresses as told, [`MAX_NAMES_PER_ADDRESS`] names each,
/// and 128 bytes of names per allowed address in all; what was learnt least recently goes first.
#[derive(Debug)]
pub struct NameTable {
    index: Arc<DomainIndex>,
    addresses: Recent<IpAddr, Entry>,
    slots: Slots,
    max_addresses: usize,
    /// Sum of [`cost`] over all names of all addresses, and its bound.
    cost: usize,
    max_cost: usize,
    /// When [`Self::expire`] has something to do.
    due: Option<Instant>,
    counters: NameCounters,
}

#[derive(Debug, Default)]
struct Entry {
    /// Learnt least recently first; never empty between calls.
    names: SmallVec<[Known; 1]>,
    /// What the kernel has; none: no entry.
    place: Option<VectorIndex>,
    /// It should have an entry, but all vectors were taken.
    homeless: bool,
}

impl Entry {
    fn cost(&self) -> usize {
        self.names.iter().map(|known| cost(&known.name)).sum()
    }
}

#[derive(Debug)]
struct Known {
    name: Rc<str>,
    until: Instant,
}

/// What a name that was added or renewed has changed for the kernel.
enum Added {
    Nothing,
    /// The address's names mean this now.
    Union(Bits),
    /// All its names have to be looked at.
    Unknown,
}

impl NameTable {
    /// An empty table for the rules of an image, of at most so many addresses (at least one).
    pub fn new(image: &Image, max_addresses: usize) -> Self {
        // At most MAX_VECTORS, which fits.
        let places = image.vectors.len() as VectorIndex..MAX_VECTORS as VectorIndex;
        Self::with_places(Arc::clone(&image.names), places, max_addresses)
    }

    fn with_places(
        index: Arc<DomainIndex>,
        places: Range<VectorIndex>,
        max_addresses: usize,
    ) -> Self {
        let max_addresses = max_addresses.max(1);
        // Never less than one full address, so that what was just learnt stays.
        let one = MAX_NAMES_PER_ADDRESS * (MAX_NAME + NAME_COST);
        Self {
            index,
            addresses: Recent::new(),
            slots: Slots::new(places),
            max_addresses,
            cost: 0,
            max_cost: one.max(max_addresses * COST_PER_ADDRESS),
            due: None,
            counters: NameCounters::default(),
        }
    }

    /// The same names under other rules: a table of at most so many addresses (at least one), and
    /// in `updates` all that a kernel must be told that knows nothing yet. Names that it has no
    /// room for are those learnt least recently. This table stays as it is.
    pub fn under(
        &self,
        image: &Image,
        max_addresses: usize,
        updates: &mut Vec<NameUpdate>,
    ) -> Self {
        let mut table = Self::new(image, max_addresses);
        table.take_over(self, updates);
        table
    }

    fn take_over(&mut self, old: &Self, updates: &mut Vec<NameUpdate>) {
        self.counters = old.counters;
        self.due = old.due;
        let surplus = old.len().saturating_sub(self.max_addresses);
        let mut left = old.cost;
        for (at, (addr, entry)) in old.addresses.iter().enumerate() {
            // Oldest first, as they would be evicted.
            if at < surplus || left > self.max_cost {
                left -= entry.cost();
                self.counters.addresses_evicted += 1;
                continue;
            }
            let names = entry.names.iter().map(|known| Known {
                name: Rc::clone(&known.name),
                until: known.until,
            });
            let names = names.collect();
            self.addresses.put(addr, || Entry {
                names,
                place: None,
                homeless: false,
            });
            self.cost += entry.cost();
            self.publish(addr, None, updates);
        }
    }

    /// An answer says that `name` (lower case, no final dot) has these addresses for `ttl`
    /// seconds. Addresses that no flow can have, and names longer than [`MAX_NAME`], are ignored.
    pub fn learn(
        &mut self,
        now: Instant,
        name: impl Into<Rc<str>>,
        addrs: impl IntoIterator<Item = IpAddr>,
        ttl: u32,
        updates: &mut Vec<NameUpdate>,
    ) {
        let name: Rc<str> = name.into();
        if name.is_empty() || name.len() > MAX_NAME {
            return;
        }
        let until = now + Duration::from_secs(ttl.into()).min(MAX_TTL) + GRACE;
        for addr in addrs.into_iter().filter(is_flow_address) {
            if self.addresses.len() >= self.max_addresses && self.addresses.get(&addr).is_none() {
                self.evict(updates);
            }
            let known = Known {
                name: Rc::clone(&name),
                until,
            };
            let added = self.add(addr, known);
            // The one just learnt is the newest, and the bound holds any single address.
            while self.cost > self.max_cost {
                self.evict(updates);
            }
            match added {
                Added::Nothing => {}
                Added::Union(union) => self.publish(addr, Some(union), updates),
                Added::Unknown => self.publish(addr, None, updates),
            }
            self.due = Some(self.due.map_or(until, |due| due.min(until)));
        }
    }

    /// Forgets names whose lease has ended. Cheap before [`Self::next_expiry`].
    pub fn expire(&mut self, now: Instant, updates: &mut Vec<NameUpdate>) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        let mut changed = Vec::new();
        let mut earliest = None;
        for (addr, entry) in self.addresses.iter_mut() {
            let before = entry.names.len();
            entry.names.retain(|known| {
                let lives = now < known.until;
                let known_cost = if lives { 0 } else { cost(&known.name) };
                self.cost -= known_cost;
                lives
            });
            if entry.names.len() < before {
                changed.push(addr);
            }
            let first = entry.names.iter().map(|known| known.until).min();
            earliest = [earliest, first].into_iter().flatten().min();
        }
        for addr in changed {
            if self
                .addresses
                .get(&addr)
                .is_some_and(|entry| entry.names.is_empty())
            {
                self.forget(addr, updates);
            } else {
                self.publish(addr, None, updates);
            }
        }
        self.due = earliest.map(|at: Instant| at.max(now + EXPIRE_EVERY));
    }

    /// When [`Self::expire`] next has something to do; none while the table is empty.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.due
    }

    /// What the names of an address mean to the rules, as the kernel sees it.
    pub fn vector_of(&self, addr: IpAddr) -> Bits {
        let place = self.addresses.get(&addr).and_then(|entry| entry.place);
        place.map_or(self.index.unknown(), |place| self.slots.vector(place))
    }

    /// Live names of an address: lower case, no final dot, learnt least recently first.
    pub fn names(&self, addr: IpAddr) -> impl Iterator<Item = &str> {
        let names = self
            .addresses
            .get(&addr)
            .map_or(&[][..], |entry| &entry.names);
        names.iter().map(|known| &*known.name)
    }

    /// Addresses with a name.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// True when no address has a name.
    pub fn is_empty(&self) -> bool {
        self.addresses.len() == 0
    }

    /// Distinct vectors in use.
    pub fn vectors(&self) -> usize {
        self.slots.used()
    }

    /// How often a bound was hit.
    pub fn counters(&self) -> NameCounters {
        self.counters
    }

    /// Adds or renews a name of an address. The union of its names follows from what the kernel
    /// has, unless a name has left, or there was no room for a vector.
    fn add(&mut self, addr: IpAddr, known: Known) -> Added {
        let entry = self.addresses.put(addr, Entry::default);
        let first = entry.names.is_empty();
        let old = entry.place.map(|place| self.slots.vector(place));
        let mut union = (!entry.homeless).then(|| old.unwrap_or(self.index.unknown()));
        let names = &mut entry.names;
        match names.iter().position(|other| other.name == known.name) {
            Some(at) => {
                // An answer with a shorter TTL does not take back what an earlier one promised.
                let mut renewed = names.remove(at);
                renewed.until = renewed.until.max(known.until);
                names.push(renewed);
            }
            None => {
                self.cost += cost(&known.name);
                let added = self.index.matches(&*known.name);
                union = union.map(|union| if first { added } else { union | added });
                if names.len() == MAX_NAMES_PER_ADDRESS {
                    union = None;
                    self.cost -= cost(&names.remove(0).name);
                    self.counters.names_evicted += 1;
                }
                names.reserve_exact(1);
                names.push(known);
            }
        }
        match union {
            None => Added::Unknown,
            Some(union) if union == old.unwrap_or(self.index.unknown()) => Added::Nothing,
            Some(union) => Added::Union(union),
        }
    }
}

fn cost(name: &str) -> usize {
    name.len() + NAME_COST
}

/// Whether a flow that the kernel classifies can have this destination. IPv4-mapped IPv6 would
/// besides be taken for the IPv4 address in the kernel's keys.
fn is_flow_address(addr: &IpAddr) -> bool {
    let special = addr.is_unspecified() || addr.is_loopback() || addr.is_multicast();
    let other = match addr {
        IpAddr::V4(v4) => v4.is_broadcast(),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
    };
    !special && !other
}

#[cfg(test)]
mod tests;
