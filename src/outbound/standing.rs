//! What is known of a node in one network. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::network::Network;

/// Times that the mean is made of.
const KEPT: usize = 10;

/// Whether flows can go through a node; the better comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Life {
    /// The last that was heard is good.
    Alive,
    /// Nothing was heard yet, or what was heard is long ago.
    #[default]
    Unknown,
    /// It failed, and it is not known yet whether everything else fails, too.
    Suspect,
    /// It failed, and something else works.
    Dead,
}

impl Life {
    /// Whether new flows are sent there while there is nothing better.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Alive | Self::Unknown)
    }

    /// As logs, status and metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Unknown => "unknown",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
        }
    }
}

/// Of one node in one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whether it works.
    pub life: Life,
    /// How fast; None while nothing was measured.
    pub times: Option<Times>,
}

/// What measurements come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The last one.
    pub last: Duration,
    /// Mean of the last ten, or of as many as there are.
    pub avg10: Duration,
    /// Moving average: each new one counts half.
    pub moving: Duration,
}

/// Measurements of one node in one network.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// At most [`KEPT`].
    last: VecDeque<Duration>,
    moving: Duration,
}

impl Measured {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.moving = match self.last.is_empty() {
            true => time,
            false => (self.moving + time) / 2,
        };
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(time);
    }

    /// What they come to; None while there is none.
    pub fn times(&self) -> Option<Times> {
        let last = *self.last.back()?;
        // At most ten, so the number fits.
        let count = self.last.len() as u32;
        Some(Times {
            last,
            avg10: self.last.iter().sum::<Duration>() / count,
            moving: self.moving,
        })
    }
}

/// Somebody who knows nodes, by their index into `Config::outbounds`.
pub trait Known {
    /// Of this node in this network.
    fn standing(&self, node: usize, network: Network) -> Standing;
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn times_are_of_the_last_ten() {
        let mut measured = Measured::default();
        assert_eq!(measured.times(), None);
        for _ in 0..5 {
            measured.add(1000 * MS);
        }
        for time in 1..=10 {
            measured.add(time * 10 * MS);
        }
        let times = measured.times().unwrap();
        assert_eq!(times.last, 100 * MS);
        assert_eq!(times.avg10, 55 * MS);
        assert_eq!(measured.last.len(), KEPT);
    }

    #[test]
    fn the_moving_average_halves_the_past() {
        let mut measured = Measured::default();
        for time in [80, 40, 100] {
            measured.add(time * MS);
        }
        assert_eq!(measured.times().unwrap().moving, 80 * MS);
    }
}
