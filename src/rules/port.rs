//! Port ranges.

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

    /// Whether `port` is inside.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}
