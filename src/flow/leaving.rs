//! Ways that are configured no more, and from when on their flows are cut. Pure.

use std::time::{Duration, Instant};

use crate::outbound::DIAL_LIMIT;
use crate::outbound::ways::WayId;

/// A flow that was being dialled when its way went may be carried by it after this time at most.
const LATE: Duration = DIAL_LIMIT.saturating_add(Duration::from_secs(2));

/// Those that leave; a way is here once.
#[derive(Debug, Default)]
pub struct Leaving(Vec<(WayId, Instant)>);

impl Leaving {
    /// These go; what they carry is cut at `end`, or at the time that was said before.
    pub fn add(&mut self, ways: &[WayId], end: Instant) {
        for way in ways {
            match self.0.iter_mut().find(|(known, _)| known == way) {
                Some((_, known)) => *known = end.min(*known),
                None => self.0.push((*way, end)),
            }
        }
    }

    /// Those whose flows are to be cut now. They are told again for a while, as dials under way
    /// come to their end.
    pub fn due(&mut self, now: Instant) -> Vec<WayId> {
        self.0.retain(|(_, end)| now < *end + LATE);
        let due = self.0.iter().filter(|(_, end)| *end <= now);
        due.map(|(way, _)| *way).collect()
    }

    /// All that are known.
    pub fn ways(&self) -> impl Iterator<Item = WayId> {
        self.0.iter().map(|(way, _)| *way)
    }

    /// Nothing is left that could be cut.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_due_from_their_end_until_the_last_dial_is_over() {
        let [one, two] = [1, 2].map(WayId::of);
        let second = Duration::from_secs(1);
        let now = Instant::now();
        let mut leaving = Leaving::default();
        leaving.add(&[one], now);
        leaving.add(&[two, one], now + 5 * second);
        assert_eq!(leaving.due(now), [one]);
        assert_eq!(leaving.due(now + 5 * second), [one, two]);
        leaving.add(&[two], now + 3 * second);
        assert_eq!(
            leaving.due(now + 3 * second),
            [one, two],
            "the earlier end counts"
        );
        assert_eq!(leaving.due(now + LATE), [two]);
        assert_eq!(leaving.due(now + LATE + 3 * second), []);
        assert!(leaving.0.is_empty());
    }
}
