//! References from one section to another by name.

use crate::rules::Action;

use super::low::Low;
use super::problem::{Problems, Wrong, suggest};
use super::spec::Opt;
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
        let named = self.0.iter().copied().filter(|name| !name.is_empty());
        let known = words.into_iter().chain(named);
        Wrong::new(format!("there is no {kind} '{name}'"), suggest(name, known))
    }
}

/// Where flows can go.
pub(super) struct Outbounds<'a>(pub(super) Names<'a>);

impl Outbounds<'_> {
    /// The action, and the index into `Config::outbounds`; a missing node is told.
    pub(super) fn resolve(
        &self,
        low: &Low,
        option: &Opt<String>,
        problems: &mut Problems,
    ) -> Option<(Action, u16)> {
        let name = low.get(option)?;
        match name.as_str() {
            "direct" => Some((Action::Direct, 0)),
            "block" => Some((Action::Block, 1)),
            name => {
                let index = self
                    .0
                    .index(name)
                    .and_then(|index| u16::try_from(index + 2).ok());
                if index.is_none() && !problems.is_full() {
                    let wrong = self.0.missing("node", name, ["direct", "block"]);
                    problems.add(low.place(option), &low.label, option.spec.name, wrong);
                }
                index.map(|index| (Action::Proxy, index))
            }
        }
    }
}

/// Who answers queries.
pub(super) struct Resolvers<'a>(pub(super) Names<'a>);

impl Resolvers<'_> {
    /// The resolver that the option names; a missing upstream is told.
    pub(super) fn resolve(
        &self,
        low: &Low,
        option: &Opt<String>,
        problems: &mut Problems,
    ) -> Option<Resolver> {
        let name = low.get(option)?;
        match name.as_str() {
            "asis" => Some(Resolver::AsIs),
            "reject" => Some(Resolver::Reject),
            name => {
                let index = self.0.index(name);
                if index.is_none() && !problems.is_full() {
                    let wrong = self.0.missing("upstream", name, ["asis", "reject"]);
                    problems.add(low.place(option), &low.label, option.spec.name, wrong);
                }
                index.map(Resolver::Upstream)
            }
        }
    }
}
