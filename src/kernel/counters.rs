//! What the programs saw since the start, whichever of them it was. Pure.

use super::abi::{self, Count, Counter};
use crate::rules::Kept;

/// Packets and bytes, by rule and by fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters(Vec<Counter>);

impl Default for Counters {
    fn default() -> Self {
        Self(vec![Counter::default(); abi::COUNTERS as usize])
    }
}

impl Counters {
    /// What a rule decided.
    pub fn rule(&self, rule: u16) -> Counter {
        self.0.get(usize::from(rule)).copied().unwrap_or_default()
    }

    /// What no rule decided, by fate.
    pub fn fate(&self, fate: Count) -> Counter {
        self.0.get(fate as usize).copied().unwrap_or_default()
    }

    /// These and what a program has counted.
    pub(super) fn plus(&self, counted: &[Counter]) -> Self {
        let sum = |(a, b): (&Counter, &Counter)| Counter {
            packets: a.packets.wrapping_add(b.packets),
            bytes: a.bytes.wrapping_add(b.bytes),
        };
        Self(self.0.iter().zip(counted).map(sum).collect())
    }

    /// The same under other rules: a rule that is still there goes on, a new one begins with
    /// nothing, and fates do not depend on rules.
    pub(super) fn under(&self, kept: &Kept) -> Self {
        let mut now = Self::default();
        for (index, counter) in self.0.iter().enumerate() {
            let index = match index as u32 {
                rule if rule < abi::RULES => kept.rule(index).map(usize::from),
                abi::RULES => kept.default.then_some(index),
                _ => Some(index),
            };
            if let Some(place) = index.and_then(|index| now.0.get_mut(index)) {
                *place = *counter;
            }
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_stays_goes_on_and_fates_always_do() {
        let counted: Vec<Counter> = (0..u64::from(abi::COUNTERS))
            .map(|n| Counter {
                packets: n + 1,
                bytes: 10 * n,
            })
            .collect();
        let before = Counters::default().plus(&counted);
        let kept = Kept::find(2, 2, false, |old, new| (old, new) == (1, 0));
        let now = before.under(&kept);
        assert_eq!(now.rule(0), before.rule(1));
        assert_eq!(now.rule(1), Counter::default());
        assert_eq!(now.fate(Count::Default), Counter::default());
        assert_eq!(now.fate(Count::FlowFull), before.fate(Count::FlowFull));
        assert_eq!(now.fate(Count::Dns), before.fate(Count::Dns));
        let later = now.plus(&counted);
        let sum = Counter {
            packets: 2 + 1,
            bytes: 10,
        };
        assert_eq!(later.rule(0), sum);
        let all = before.under(&Kept::everything(2));
        assert_eq!(all.fate(Count::Default), before.fate(Count::Default));
    }
}
