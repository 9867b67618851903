//! Hashes for tables that are looked at for every query. SipHash, the standard library's, costs
//! hundreds of instructions for a key of a few words. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// 2^64 divided by the golden ratio: neighbours land far apart in the upper bits, and an odd
/// factor keeps the lower bits distinct (Knuth, The Art of Computer Programming 3, 6.4).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A table whose keys are numbers that we count up ourselves. Nobody outside chooses them, so
/// nobody can make them collide.
pub type CountedMap<K, V> = HashMap<K, V, BuildHasherDefault<CountedHasher>>;

/// A table whose keys others choose.
pub type KeyedMap<K, V> = HashMap<K, V, Keyed>;

/// Hash of our own numbers.
#[derive(Default)]
pub struct CountedHasher(u64);

impl Hasher for CountedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(FACTOR);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes hashes with a secret: two random factors, so that who chooses keys cannot choose their
/// hashes. Every word is multiplied into the state and both halves of the product are kept. It
/// is no cryptography; the tables behind it are bounded, whatever is in them.
#[derive(Debug, Clone)]
pub struct Keyed {
    start: u64,
    factor: u64,
}

impl Default for Keyed {
    /// A new secret, of the system's randomness.
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            start: random.hash_one(0),
            // An even factor would lose bits.
            factor: random.hash_one(1) | 1,
        }
    }
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher {
            state: self.start,
            factor: self.factor,
        }
    }
}

/// See [`Keyed`].
pub struct KeyedHasher {
    state: u64,
    factor: u64,
}

impl Hasher for KeyedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // The length keeps apart what differs in final zeros only.
        self.write_u64(u64::from_le_bytes(last) ^ (bytes.len() as u64).rotate_right(8));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.state = fold(self.state ^ number, self.factor);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        fold(self.state, FACTOR)
    }
}

/// Both halves of the product of two words.
#[cfg(target_pointer_width = "64")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// The same for processors that multiply 32 bits at a time: two products that cover all bits.
#[cfg(not(target_pointer_width = "64"))]
fn fold(a: u64, b: u64) -> u64 {
    let low = u64::from(a as u32) * (b >> 32);
    let high = (a >> 32) * u64::from(b as u32);
    low ^ high.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Buckets of 2^12, by lower and by upper bits, and how many of them 4,096 keys reach: by
    /// chance about 2,590.
    fn spread(hashes: &[u64]) -> (usize, usize) {
        let by = |shift: u32| {
            let buckets: HashSet<_> = hashes.iter().map(|hash| (hash >> shift) & 0xfff).collect();
            buckets.len()
        };
        (by(0), by(52))
    }

    #[test]
    fn names_and_numbers_that_resemble_each_other_spread() {
        let keyed = Keyed::default();
        let names: Vec<_> = (0..4096u32)
            .map(|number| keyed.hash_one(format!("\x04n{number:03x}\x07example\x00\x00\x01")))
            .collect();
        let zeros: Vec<_> = (0..4096)
            .map(|length| {
                let mut hasher = keyed.build_hasher();
                hasher.write(&vec![0; length]);
                hasher.finish()
            })
            .collect();
        let numbers: Vec<_> = (0..4096u64)
            .map(|number| keyed.hash_one(number << 40))
            .collect();
        for hashes in [names, zeros, numbers] {
            let (lower, upper) = spread(&hashes);
            assert!(lower > 2400 && upper > 2400, "{lower} and {upper} buckets");
        }
    }

    #[test]
    fn every_table_has_its_own_secret() {
        assert_ne!(Keyed::default().hash_one(1), Keyed::default().hash_one(1));
        let keyed = Keyed::default();
        assert_eq!(keyed.hash_one("a"), keyed.clone().hash_one("a"));
    }

    #[test]
    fn counted_numbers_fill_different_buckets() {
        let hash = BuildHasherDefault::<CountedHasher>::default();
        let hashes: Vec<_> = (0..4096u64).map(|number| hash.hash_one(number)).collect();
        assert_eq!(spread(&hashes).0, 4096);
    }
}
