//! Port ranges.

use std::fmt;
use std::str::FromStr;

/// Ports `first..=last`; `first <= last` by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// None when `first > last`.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Lowest port.
    pub fn first(&self) -> u16 {
        self.first
    }

    /// Highest port.
    pub fn last(&self) -> u16 {
        self.last
    }

    /// The smallest range around both.
    pub fn cover(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// Whether `port` is inside.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Text that is no [`PortRange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not a number of at most 65535.
    #[error("write a port from 0 to 65535, or a range like 1000-2000")]
    Number,
    /// The first port is above the last.
    #[error("the range ends before it begins; write {last}-{first}")]
    Reversed {
        /// As written.
        first: u16,
        /// As written.
        last: u16,
    },
}

/// `443`, `1000-2000`, or `1000:2000` as in `/etc/config/firewall`.
impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (first, last) = match text.split_once(['-', ':']) {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        Self::new(first, last).ok_or(PortError::Reversed { first, last })
    }
}

/// Digits only: the library's parser would take a sign.
fn number(digits: &str) -> Result<u16, PortError> {
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(PortError::Number);
    }
    digits.parse().map_err(|_| PortError::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_read_and_written() {
        for (text, written) in [
            ("443", "443"),
            ("0-65535", "0-65535"),
            ("1000:2000", "1000-2000"),
            ("5-5", "5"),
        ] {
            assert_eq!(
                text.parse::<PortRange>().map(|range| range.to_string()),
                Ok(written.into())
            );
        }
        let range: PortRange = "10-20".parse().unwrap();
        assert!(range.contains(10) && range.contains(20));
        assert!(!range.contains(9) && !range.contains(21));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "", "-", "443-", "-443", "http", "+80", "65536", "1-2-3", "1 - 2",
        ] {
            assert_eq!(text.parse::<PortRange>(), Err(PortError::Number), "{text}");
        }
        let reversed = PortError::Reversed { first: 2, last: 1 };
        assert_eq!("2-1".parse::<PortRange>(), Err(reversed));
    }
}
