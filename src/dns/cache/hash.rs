//! The hash of a question: sums of products of 32-bit words with secret keys added, NH of UMAC
//! (RFC 4418, 5.2), whose collisions nobody can choose who does not know the keys. A question
//! costs a quarter of what SipHash takes for it, also where a word has 32 bits.

use std::hash::{BuildHasher, RandomState};

use super::super::wire::MAX_NAME;

/// Words of the longest question, name, type and class, in pairs.
const WORDS: usize = (MAX_NAME + 4).next_multiple_of(8) / 4;

/// The keys of one table.
#[derive(Clone)]
pub(super) struct Keys {
    words: Box<[u32; WORDS]>,
    length: u64,
    last: u64,
}

impl Keys {
    /// Keys that nobody else knows.
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        let mut words = Box::new([0; WORDS]);
        for (number, word) in words.iter_mut().enumerate() {
            *word = random.hash_one(number) as u32;
        }
        Self {
            words,
            length: random.hash_one("length") | 1,
            last: random.hash_one("last") | 1,
        }
    }

    /// The hash of a question; of longer bytes, that of as many as a question has.
    pub(super) fn hash(&self, bytes: &[u8], flags: u8) -> u32 {
        let (pairs, rest) = bytes.as_chunks::<8>();
        let (keys, _) = self.words.as_chunks::<2>();
        let mut sum = (u64::from(flags) << 32 | bytes.len() as u64).wrapping_mul(self.length);
        let mut keys = keys.iter();
        for (pair, key) in pairs.iter().zip(&mut keys) {
            sum = sum.wrapping_add(product(*pair, *key));
        }
        if let Some(key) = keys.next() {
            let mut pair = [0; 8];
            pair[..rest.len()].copy_from_slice(rest);
            sum = sum.wrapping_add(product(pair, *key));
        }
        // The sums of names that are counted up lie in a row; folded, they do not any more.
        ((sum ^ sum >> 32).wrapping_mul(self.last) >> 32) as u32
    }
}

fn product([a, b, c, d, e, f, g, h]: [u8; 8], [first, second]: [u32; 2]) -> u64 {
    let left = u32::from_le_bytes([a, b, c, d]).wrapping_add(first);
    let right = u32::from_le_bytes([e, f, g, h]).wrapping_add(second);
    u64::from(left) * u64::from(right)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_of_a_question_counts() {
        let keys = Keys::new();
        let question: Vec<u8> = (0..MAX_NAME as u32 + 4).map(|n| (n * 7) as u8).collect();
        let mut seen = HashSet::new();
        for length in 0..=question.len() {
            seen.insert(keys.hash(&question[..length], 0));
            seen.insert(keys.hash(&question[..length], 1));
        }
        for at in 0..question.len() {
            let mut other = question.clone();
            other[at] ^= 0x20;
            seen.insert(keys.hash(&other, 0));
        }
        // 800 values in 32 bits: two that meet are one chance in ten thousand, three never.
        assert!(seen.len() >= 2 * (question.len() + 1) + question.len() - 2);
        assert_ne!(
            keys.hash(&question, 0),
            Keys::new().hash(&question, 0),
            "secret"
        );
        assert_eq!(keys.hash(&question, 0), keys.clone().hash(&question, 0));
    }

    /// How many of 4,096 places 8,192 names leave empty.
    fn empty(keys: &Keys, name: impl Fn(u32) -> String) -> usize {
        let mut places = vec![true; 4096];
        for number in 0..8192 {
            let hash = keys.hash(name(number).as_bytes(), 0);
            places[hash as usize & 4095] = false;
        }
        places.into_iter().filter(|empty| *empty).count()
    }

    /// Names as they are asked for fill the places of a table like random numbers do: those
    /// leave 554 empty, give or take 17.
    #[test]
    fn like_names_spread() {
        for _ in 0..10 {
            let keys = Keys::new();
            for empty in [
                empty(&keys, |n| format!("n{n}.example")),
                empty(&keys, |n| format!("{n}.{n}.1.10.in-addr.arpa")),
                empty(&keys, |n| format!("{n:08x}.a.very.long.zone.example.com")),
            ] {
                assert!((450..660).contains(&empty), "{empty} of 4096 empty");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_hash(bytes in prop::collection::vec(any::<u8>(), 0..400), flags: u8) {
            let keys = Keys::new();
            prop_assert_eq!(keys.hash(&bytes, flags), keys.clone().hash(&bytes, flags));
        }
    }
}
