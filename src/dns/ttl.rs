//! TTLs that the configuration gives to names. Pure.

use crate::config::DnsTtl;
use crate::rules::MAX_RULES;
use crate::rules::index::DomainIndex;

/// Names with a TTL of their own, the first that matches decides.
pub struct Ttls {
    ttls: Vec<u32>,
    /// One index for every [`MAX_RULES`] entries.
    index: Vec<DomainIndex>,
}

impl Ttls {
    /// As configured.
    pub fn new(entries: &[DnsTtl]) -> Self {
        let chunks = entries.chunks(MAX_RULES);
        Self {
            ttls: entries.iter().map(|entry| entry.ttl).collect(),
            // A chunk is never more than an index takes.
            index: chunks
                .filter_map(|chunk| DomainIndex::new(chunk.iter().map(|e| &e.domain)).ok())
                .collect(),
        }
    }

    /// Whether no name has one.
    pub fn is_empty(&self) -> bool {
        self.ttls.is_empty()
    }

    /// The TTL of a name (lower case, no final dot), seconds.
    pub fn of(&self, name: &str) -> Option<u32> {
        let places = self.index.iter().enumerate();
        let mut found = places.filter_map(|(chunk, index)| {
            let first = index.matches(name).first()?;
            self.ttls.get(chunk * MAX_RULES + first)
        });
        found.next().copied()
    }
}
