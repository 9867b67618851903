//! References from one section to another by name.

use crate::rules::Action;

use super::low::Low;
use super::problem::{Wrong, suggest};
use super::types::Resolver;

/// Names of the sections of one type, in file order.
pub(super) struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    pub(super) fn new(sections: impl Iterator<Item = &'a Low<'a>>) -> Self {
        // A section without a name, which is a problem, keeps its place.
        Self(
            sections
                .map(|low| low.section.name.as_deref().unwrap_or(""))
                .collect(),
        )
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| *known == name)
    }

    fn missing(&self, kind: &str, name: &str, words: [&'a str; 2]) -> Wrong {
        let known = words
            .into_iter()
            .chain(self.0.iter().copied().filter(|name| !name.is_empty()));
        Wrong::new(format!("there is no {kind} '{name}'"), suggest(name, known))
    }
}

/// Where flows can go.
pub(super) struct Outbounds<'a>(pub(super) Names<'a>);

impl Outbounds<'_> {
    /// The action, and the index into `Config::outbounds`.
    pub(super) fn resolve(&self, name: &str) -> Result<(Action, u16), Wrong> {
        match name {
            "direct" => Ok((Action::Direct, 0)),
            "block" => Ok((Action::Block, 1)),
            _ => {
                let index = self
                    .0
                    .index(name)
                    .and_then(|index| u16::try_from(index + 2).ok());
                let index = index.ok_or_else(|| self.0.missing("node", name, ["direct", "block"]));
                index.map(|index| (Action::Proxy, index))
            }
        }
    }
}

/// Who answers queries.
pub(super) struct Resolvers<'a>(pub(super) Names<'a>);

impl Resolvers<'_> {
    /// The resolver of this name.
    pub(super) fn resolve(&self, name: &str) -> Result<Resolver, Wrong> {
        match name {
            "asis" => Ok(Resolver::AsIs),
            "reject" => Ok(Resolver::Reject),
            _ => match self.0.index(name) {
                Some(index) => Ok(Resolver::Upstream(index)),
                None => Err(self.0.missing("upstream", name, ["asis", "reject"])),
            },
        }
    }
}
