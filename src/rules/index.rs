//! One index that asks many domain selectors about a name at once.
//!
//! All patterns lie in one hash table over one piece of text, so that ten thousand of them
//! cost some 300 kB and no allocation each. A name costs one probe per label, whatever the
//! number of patterns; keywords add probes only at places where one can begin.

use std::collections::HashMap;

use super::domain::{DomainPattern, MAX_NAME};
use super::{Bits, MAX_RULES, Selector};

/// Which of up to 256 selectors accept a name; used for flow rules and for DNS rules alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainIndex {
    /// Patterns one after the other: kind, length, characters.
    text: Box<[u8]>,
    /// Open addressing, linear probing, a power of two of slots, at least a third free.
    slots: Box<[Slot]>,
    /// What the patterns do, each different effect once.
    effects: Box<[Effect]>,
    /// Lengths that keywords have.
    keyword_lengths: Bits,
    /// Characters that keywords begin with.
    keyword_starts: Bits,
    /// Selectors that accept a name of which no pattern speaks.
    unknown: Bits,
}

/// More than 256 selectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} rules are more than the {MAX_RULES} that one index takes")]
pub struct TooManySelectors {
    /// How many there are.
    pub count: usize,
}

/// A hash slot; `text` is an offset, [`FREE`] when the slot is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    text: u32,
    effect: u32,
}

const FREE: u32 = u32::MAX;

/// Selectors that a matching pattern includes in, and excludes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Effect {
    include: Bits,
    exclude: Bits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Suffix,
    Full,
    Keyword,
}

impl DomainIndex {
    /// An index over selectors; bit i of every answer is the i-th selector's.
    pub fn new<'a>(
        selectors: impl IntoIterator<Item = &'a Selector<DomainPattern>>,
    ) -> Result<Self, TooManySelectors> {
        let selectors: Vec<_> = selectors.into_iter().collect();
        if selectors.len() > MAX_RULES {
            return Err(TooManySelectors {
                count: selectors.len(),
            });
        }
        let mut uses = Vec::new();
        for (bit, selector) in selectors.iter().enumerate() {
            uses.extend(selector.include.iter().map(|pattern| (pattern, false, bit)));
            uses.extend(selector.exclude.iter().map(|pattern| (pattern, true, bit)));
        }
        // Parsed patterns are never else; one made by hand that is matches no name.
        uses.retain(|(pattern, ..)| (1..=MAX_NAME).contains(&pattern.name().len()));
        uses.sort_unstable();
        let unknown = selectors.iter().map(|selector| selector.include.is_empty());
        Ok(Builder::default().build(&uses, Bits::collect(unknown)))
    }

    /// The selectors that accept a destination of which no name is known.
    pub fn unknown(&self) -> Bits {
        self.unknown
    }

    /// The selectors that accept a name, in any case, with or without its final dot.
    pub fn matches(&self, name: impl AsRef<[u8]>) -> Bits {
        self.find(name.as_ref())
    }

    /// The selectors that accept at least one of these names; without a name, [`Self::unknown`].
    pub fn matches_any(&self, names: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Bits {
        let union = |union, name| union | self.matches(name);
        let mut names = names.into_iter();
        match names.next() {
            Some(name) => names.fold(self.matches(name), union),
            None => self.unknown,
        }
    }

    fn find(&self, name: &[u8]) -> Bits {
        if self.slots.is_empty() {
            return self.unknown;
        }
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut sum = Effect::default();
        let mut hash = HASH_START;
        for (at, byte) in name.iter().enumerate().rev() {
            hash = hash_step(hash, *byte);
            if at == 0 || name[at - 1] == b'.' {
                self.probe(Kind::Suffix, hash, &name[at..], &mut sum);
            }
        }
        self.probe(Kind::Full, hash, name, &mut sum);
        if self.keyword_starts != Bits::NONE {
            self.find_keywords(name, &mut sum);
        }
        (self.unknown | sum.include) & !sum.exclude
    }

    fn find_keywords(&self, name: &[u8], sum: &mut Effect) {
        for (at, first) in name.iter().enumerate() {
            if !self
                .keyword_starts
                .contains(usize::from(first.to_ascii_lowercase()))
            {
                continue;
            }
            let mut hash = HASH_START;
            // A pattern's length fits a byte, so longer parts are of no interest.
            for (length, byte) in (1..=usize::from(u8::MAX)).zip(&name[at..]) {
                hash = hash_step(hash, *byte);
                if self.keyword_lengths.contains(length) {
                    self.probe(Kind::Keyword, hash, &name[at..at + length], sum);
                }
            }
        }
    }

    /// Adds the effect of the pattern of this kind and text, if there is one.
    fn probe(&self, kind: Kind, hash: u32, text: &[u8], sum: &mut Effect) {
        let mask = self.slots.len() - 1;
        let mut at = hash_end(hash, kind) as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.text == FREE {
                return;
            }
            let (found, pattern) = self.pattern(slot);
            if found == kind as u8 && pattern.eq_ignore_ascii_case(text) {
                let effect = &self.effects[slot.effect as usize];
                sum.include = sum.include | effect.include;
                sum.exclude = sum.exclude | effect.exclude;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Kind and characters of a used slot's pattern.
    fn pattern(&self, slot: Slot) -> (u8, &[u8]) {
        let text = &self.text[slot.text as usize..];
        (text[0], &text[2..2 + usize::from(text[1])])
    }
}

/// A pattern, whether it excludes, and the selector it stands in.
type Use<'a> = (&'a DomainPattern, bool, usize);

#[derive(Default)]
struct Builder {
    text: Vec<u8>,
    effects: Vec<Effect>,
    effect_of: HashMap<Effect, u32>,
}

impl Builder {
    /// `uses` are sorted, so that those of one pattern stand together.
    fn build(mut self, uses: &[Use<'_>], unknown: Bits) -> DomainIndex {
        let groups = || uses.chunk_by(|a, b| a.0 == b.0);
        let count = groups().count();
        let slots = if count == 0 {
            0
        } else {
            (count * 3 / 2 + 1).next_power_of_two()
        };
        let free = Slot {
            text: FREE,
            effect: 0,
        };
        let mut index = DomainIndex {
            text: Box::default(),
            slots: vec![free; slots].into_boxed_slice(),
            effects: Box::default(),
            keyword_lengths: Bits::NONE,
            keyword_starts: Bits::NONE,
            unknown,
        };
        for group in groups() {
            let name = group[0].0.name();
            let kind = match group[0].0 {
                DomainPattern::Suffix(_) => Kind::Suffix,
                DomainPattern::Full(_) => Kind::Full,
                DomainPattern::Keyword(_) => Kind::Keyword,
            };
            let slot = Slot {
                text: self.put(kind, name),
                effect: self.effect(group),
            };
            insert(&mut index.slots, hash(kind, name), slot);
            if kind == Kind::Keyword {
                index.keyword_lengths.set(name.len());
                index.keyword_starts.set(usize::from(name.as_bytes()[0]));
            }
        }
        index.text = self.text.into_boxed_slice();
        index.effects = self.effects.into_boxed_slice();
        index
    }

    /// Appends a pattern's text; its offset.
    fn put(&mut self, kind: Kind, name: &str) -> u32 {
        let offset = self.text.len() as u32;
        self.text.extend([kind as u8, name.len() as u8]);
        self.text.extend(name.as_bytes());
        offset
    }

    fn effect(&mut self, group: &[Use<'_>]) -> u32 {
        let mut effect = Effect::default();
        for (_, excludes, bit) in group {
            let side = if *excludes {
                &mut effect.exclude
            } else {
                &mut effect.include
            };
            side.set(*bit);
        }
        *self.effect_of.entry(effect).or_insert_with(|| {
            self.effects.push(effect);
            self.effects.len() as u32 - 1
        })
    }
}

fn insert(slots: &mut [Slot], hash: u32, slot: Slot) {
    let mask = slots.len() - 1;
    let mut at = hash as usize & mask;
    while slots[at].text != FREE {
        at = (at + 1) & mask;
    }
    slots[at] = slot;
}

/// FNV-1a in 32 bits, which a mips multiplies at once. Only the owner's patterns are in the
/// table, so a client that picks names with equal hashes cannot make it slower.
const HASH_START: u32 = 0x811c_9dc5;

fn hash_step(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
}

/// FNV leaves the low bits poor; and the three kinds of one text must part.
fn hash_end(hash: u32, kind: Kind) -> u32 {
    let hash = hash ^ (kind as u32).wrapping_mul(0x9e37_79b9);
    (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d) >> 4
}

/// Suffixes and full names from their end, as they are met; keywords from their start.
fn hash(kind: Kind, text: &str) -> u32 {
    let bytes = text.bytes();
    let hash = match kind {
        Kind::Suffix | Kind::Full => bytes.rev().fold(HASH_START, hash_step),
        Kind::Keyword => bytes.fold(HASH_START, hash_step),
    };
    hash_end(hash, kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selector(include: &[&str], exclude: &[&str]) -> Selector<DomainPattern> {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Selector {
            include: parse(include),
            exclude: parse(exclude),
        }
    }

    #[test]
    fn empty_index_accepts_by_empty_includes() {
        let index = DomainIndex::new([]).unwrap();
        assert_eq!(index.matches("example.com"), Bits::NONE);
        let index = DomainIndex::new(&[Selector::default(), selector(&["a"], &[])]).unwrap();
        assert_eq!(index.matches("b"), Bits::below(1));
        assert_eq!(index.matches(""), Bits::below(1));
        assert_eq!(index.unknown(), Bits::below(1));
    }

    #[test]
    fn any_case_and_a_final_dot_are_the_same_name() {
        let selectors = [
            selector(&["example.com"], &[]),
            selector(&["full:a.b"], &[]),
            selector(&["keyword:mple"], &[]),
        ];
        let index = DomainIndex::new(&selectors).unwrap();
        let mut expected = Bits::NONE;
        expected.set(0);
        expected.set(2);
        assert_eq!(index.matches("WWW.Example.COM."), expected);
        assert_eq!(index.matches("A.b.").first(), Some(1));
    }

    #[test]
    fn more_selectors_than_bits_are_refused() {
        let many = vec![Selector::default(); MAX_RULES + 1];
        assert_eq!(
            DomainIndex::new(&many),
            Err(TooManySelectors {
                count: MAX_RULES + 1
            })
        );
        let full = DomainIndex::new(&many[1..]).unwrap();
        assert_eq!(full.matches("a"), Bits::ALL);
    }

    #[test]
    fn the_longest_patterns_and_names_are_found() {
        let name = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(name.len(), 253);
        let all = [&name, &format!("full:{name}"), &format!("keyword:{name}")]
            .map(|text| selector(&[text], &[]));
        let index = DomainIndex::new(&all).unwrap();
        assert_eq!(index.matches(&name), Bits::below(3));
        assert_eq!(index.matches(&name[1..]), Bits::NONE);
        assert_eq!(index.matches("x".repeat(1000)), Bits::NONE);
    }

    /// Names over a two-letter alphabet, so that patterns meet.
    fn name() -> impl Strategy<Value = String> {
        "[ab]{1,3}(\\.[ab]{1,3}){0,3}"
    }

    fn pattern() -> impl Strategy<Value = DomainPattern> {
        (0..3, name()).prop_map(|(kind, name)| match kind {
            0 => DomainPattern::Suffix(name.into()),
            1 => DomainPattern::Full(name.into()),
            _ => DomainPattern::Keyword(name.into()),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn the_index_says_what_each_selector_says(
            selectors in prop::collection::vec(
                (prop::collection::vec(pattern(), 0..6), prop::collection::vec(pattern(), 0..4))
                    .prop_map(|(include, exclude)| Selector { include, exclude }),
                0..12,
            ),
            names in prop::collection::vec(name(), 1..20),
        ) {
            let index = DomainIndex::new(&selectors).unwrap();
            let literal = |name: &str| {
                Bits::collect(selectors.iter().map(|s| s.accepts(|pattern| pattern.matches(name))))
            };
            for name in &names {
                prop_assert_eq!(index.matches(name), literal(name), "{}", name);
            }
            let union = names.iter().fold(Bits::NONE, |union, name| union | literal(name));
            prop_assert_eq!(index.matches_any(&names), union);
        }
    }
}
