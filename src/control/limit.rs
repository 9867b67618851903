//! Flood limit for log lines: the first of a kind, then one in [`ONE_IN`] with the total.
//! Pure: the caller gives the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Of repeated lines, every such one is written.
pub const ONE_IN: u64 = 100;
/// A kind that was quiet for so long starts anew.
pub const QUIET: Duration = Duration::from_secs(60);
/// Kinds remembered at once; the quietest is forgotten for a new one.
pub const MAX_KINDS: usize = 256;

/// Which lines are repetitions of each other: event and what identifies its object.
pub type Kind = u64;

/// Remembers how often each kind of line came.
#[derive(Debug, Default)]
pub struct Limiter {
    kinds: HashMap<Kind, Seen>,
}

#[derive(Debug)]
struct Seen {
    total: u64,
    last: Instant,
}

impl Limiter {
    /// Whether to write a line of this kind now; `Some(total)` carries how many there have
    /// been since the first.
    pub fn admit(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        if let Some(seen) = self.kinds.get_mut(&kind) {
            let quiet = now.saturating_duration_since(seen.last) >= QUIET;
            seen.total = if quiet { 1 } else { seen.total + 1 };
            seen.last = now;
            return (seen.total == 1 || seen.total.is_multiple_of(ONE_IN)).then_some(seen.total);
        }
        if self.kinds.len() >= MAX_KINDS
            && let Some(oldest) = self.kinds.iter().min_by_key(|(_, seen)| seen.last)
        {
            let oldest = *oldest.0;
            self.kinds.remove(&oldest);
        }
        self.kinds.insert(
            kind,
            Seen {
                total: 1,
                last: now,
            },
        );
        Some(1)
    }

    /// Kinds remembered, at most [`MAX_KINDS`].
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// True before the first line.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_then_one_in_n_with_the_total() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let written: Vec<u64> = (0..250).filter_map(|_| limiter.admit(7, now)).collect();
        assert_eq!(written, [1, 100, 200]);
        assert_eq!(
            limiter.admit(8, now),
            Some(1),
            "another kind is not held back"
        );
    }

    #[test]
    fn a_quiet_kind_starts_anew() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        limiter.admit(7, now);
        assert_eq!(limiter.admit(7, now + QUIET / 2), None);
        assert_eq!(limiter.admit(7, now + QUIET * 2), Some(1));
    }

    #[test]
    fn the_memory_of_kinds_is_bounded() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for kind in 0..10 * MAX_KINDS as u64 {
            limiter.admit(kind, start + Duration::from_millis(kind));
        }
        assert_eq!(limiter.len(), MAX_KINDS);
        let later = start + Duration::from_secs(5);
        assert_eq!(
            limiter.admit(10 * MAX_KINDS as u64 - 1, later),
            None,
            "the newest is kept"
        );
        assert_eq!(limiter.admit(0, later), Some(1), "the oldest was forgotten");
    }
}
