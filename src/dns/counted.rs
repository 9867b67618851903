//! Hash tables keyed by numbers that we count up ourselves. Pure.
//!
//! Nobody outside can choose such a number, so nobody can make them collide, and the hash need
//! not resist: one multiplication instead of SipHash's hundred instructions.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A table whose key is one number of ours.
pub type CountedMap<K, V> = HashMap<K, V, BuildHasherDefault<CountedHasher>>;

/// 2^64 divided by the golden ratio: neighbours land far apart in the upper bits, and an odd
/// factor keeps the lower bits distinct (Knuth, The Art of Computer Programming 3, 6.4).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of a single integer.
#[derive(Default)]
pub struct CountedHasher(u64);

impl Hasher for CountedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u16(&mut self, number: u16) {
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
