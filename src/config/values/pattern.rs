//! Regular expressions in filters of groups. Pure.

use regex_lite::{Regex, RegexBuilder};

use crate::config::problem::{Wrong, show};

/// Bytes of a compiled pattern: it is held against every node while the file is read.
const MAX_PATTERN: usize = 4096;

/// A regular expression.
#[derive(Debug, Clone)]
pub(in crate::config) struct Pattern(Regex);

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, Wrong> {
        let regex = RegexBuilder::new(text).size_limit(MAX_PATTERN).build();
        regex.map(Self).map_err(|error| {
            Wrong::new(
                format!("{} is no regular expression: {error}", show(text)),
                "write one like regex:^jp[0-9]+$, or keyword: and a text",
            )
        })
    }

    pub(in crate::config) fn accepts(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_for() {
        let accepts = |text, name| Pattern::new(text).unwrap().accepts(name);
        assert!(accepts("o[kr]", "tokyo"));
        assert!(!accepts("^o", "tokyo") && accepts("o$", "tokyo"));
        assert!(!accepts("TOK", "tokyo") && accepts("(?i)TOK", "tokyo"));
    }
}
