//! One bit per rule: the currency of classification.

use std::ops::{BitAnd, BitOr, Not};

use super::MAX_RULES;

/// Bit i speaks of rule (or selector) i, lowest bit of word 0 first: the bytes of
/// `struct dae_vector` in `bpf/dae.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Bits(pub [u64; MAX_RULES / 64]);

impl Bits {
    /// No bit.
    pub const NONE: Self = Self([0; MAX_RULES / 64]);
    /// Every bit.
    pub const ALL: Self = Self([u64::MAX; MAX_RULES / 64]);

    /// Bits 0 to `count - 1`.
    pub fn below(count: usize) -> Self {
        let mut bits = Self::NONE;
        for (word, value) in bits.0.iter_mut().enumerate() {
            let here = count.saturating_sub(word * 64).min(64);
            // here is at most 64, and a shift by 64 leaves nothing.
            *value = u64::MAX.checked_shr(64 - here as u32).unwrap_or(0);
        }
        bits
    }

    /// The bits whose place in the sequence is true. Values beyond 256 are ignored.
    pub fn collect(values: impl Iterator<Item = bool>) -> Self {
        let mut bits = Self::NONE;
        for (bit, _) in values
            .take(MAX_RULES)
            .enumerate()
            .filter(|(_, value)| *value)
        {
            bits.set(bit);
        }
        bits
    }

    /// Sets a bit, below 256.
    pub fn set(&mut self, bit: usize) {
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    /// Clears a bit, below 256.
    pub fn clear(&mut self, bit: usize) {
        self.0[bit / 64] &= !(1 << (bit % 64));
    }

    /// Whether a bit, below 256, is set.
    pub fn contains(self, bit: usize) -> bool {
        self.0[bit / 64] & (1 << (bit % 64)) != 0
    }

    /// The lowest bit: the first rule.
    pub fn first(self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * 64 + self.0[word].trailing_zeros() as usize)
    }
}

impl BitAnd for Bits {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }
}

impl BitOr for Bits {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }
}

impl Not for Bits {
    type Output = Self;

    fn not(self) -> Self {
        Self(self.0.map(|word| !word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_has_exactly_that_many_bits() {
        for count in 0..=MAX_RULES {
            let bits = Bits::below(count);
            let set: u32 = bits.0.iter().map(|word| word.count_ones()).sum();
            assert_eq!(set as usize, count);
            assert_eq!((!bits).first(), (count < MAX_RULES).then_some(count));
        }
        assert_eq!(Bits::below(MAX_RULES), Bits::ALL);
    }

    #[test]
    fn first_is_the_lowest_bit_over_all_words() {
        for bit in 0..MAX_RULES {
            let mut bits = Bits::NONE;
            bits.set(255);
            bits.set(bit);
            assert_eq!(bits.first(), Some(bit));
            assert!(bits.contains(bit));
            bits.clear(bit);
            assert!(!bits.contains(bit));
        }
        assert_eq!(Bits::NONE.first(), None);
    }
}
