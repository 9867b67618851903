//! References from one section to another by name.

use crate::rules::{Action, Selector};

use super::low::{Item, Low};
use super::problem::{Problems, Wrong, show, suggest};
use super::spec::Opt;
use super::types::{Candidates, Policy, Resolver};

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

    fn missing(&self, kind: &str, name: &str, words: &[&'static str]) -> Wrong {
        let named = self.0.iter().copied().filter(|name| !name.is_empty());
        let known = words.iter().copied().chain(named);
        Wrong::new(format!("there is no {kind} '{name}'"), suggest(name, known))
    }
}

/// Outbounds that are neither nodes nor groups, in the order of `Config::outbounds`.
pub(super) const FIXED: [&str; 2] = ["direct", "block"];

/// Where flows can go: nodes in file order, then groups in the order of `Config::outbounds`.
pub(super) struct Outbounds<'a> {
    nodes: usize,
    names: Names<'a>,
}

impl<'a> Outbounds<'a> {
    pub(super) fn new(nodes: &[&'a Low<'a>], groups: &[&'a Low<'a>]) -> Self {
        Self {
            nodes: nodes.len(),
            names: Names::new(nodes.iter().chain(groups).copied()),
        }
    }

    /// Index into `Config::outbounds` of a node or group.
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        Some(self.names.index(name)? + FIXED.len())
    }

    /// The name at an index into `Config::outbounds`.
    pub(super) fn name(&self, index: usize) -> Option<&'a str> {
        let index = index.checked_sub(FIXED.len())?;
        self.names.0.get(index).copied()
    }

    /// Indices of all nodes.
    pub(super) fn nodes(&self) -> std::ops::Range<usize> {
        FIXED.len()..FIXED.len() + self.nodes
    }

    /// There is nothing of this name. `words` could stand there, too.
    pub(super) fn missing(&self, name: &str, words: &[&'static str]) -> Wrong {
        self.names.missing("node or group", name, words)
    }

    /// The action, and the index into `Config::outbounds`; a missing name is told. `words` could
    /// stand there, too.
    pub(super) fn resolve(
        &self,
        low: &Low,
        option: &Opt<String>,
        words: &[&'static str],
        problems: &mut Problems,
    ) -> Option<(Action, u16)> {
        let name = low.get(option)?;
        match name.as_str() {
            "direct" => Some((Action::Direct, 0)),
            "block" => Some((Action::Block, 1)),
            name => {
                let index = self.index(name).and_then(|index| u16::try_from(index).ok());
                if index.is_none() && !problems.is_full() {
                    let wrong = self.missing(name, words);
                    problems.add(low.place(option), &low.label, option.spec.name, wrong);
                }
                index.map(|index| (Action::Proxy, index))
            }
        }
    }
}

/// Who answers queries.
pub(super) struct Resolvers<'a>(pub(super) Names<'a>);

/// Resolvers that stand alone, not in a list.
const ALONE: [&str; 2] = ["asis", "reject"];

impl Resolvers<'_> {
    /// The resolver that a list and a policy name; what is wrong with them is told.
    pub(super) fn resolve(
        &self,
        low: &Low,
        list: &Opt<String>,
        policy: &Opt<Policy>,
        problems: &mut Problems,
    ) -> Option<Resolver> {
        let items = low.list(list);
        let Some(alone) = items.iter().find(|item| ALONE.contains(&&*item.value)) else {
            let asked = self.candidates(low, list, policy, &ALONE, problems);
            return asked.map(Resolver::Ask);
        };
        if items.len() > 1 {
            let what = format!("{} stands beside others", alone.value);
            let wrong = Wrong::new(what, "keep it alone, or names of upstreams alone");
            problems.add(alone.place, &low.label, list.spec.name, wrong);
            return None;
        }
        Some(match alone.value.as_str() {
            "asis" => Resolver::AsIs,
            _ => Resolver::Reject,
        })
    }

    /// Upstreams that a list and a policy name; what is wrong with them is told. `words` could
    /// stand there, too.
    pub(super) fn candidates(
        &self,
        low: &Low,
        list: &Opt<String>,
        policy: &Opt<Policy>,
        words: &[&'static str],
        problems: &mut Problems,
    ) -> Option<Candidates> {
        let mut upstreams = Vec::new();
        let mut good = true;
        let items = low.list(list);
        for item in &items {
            match self.index(low, list, item, words, problems) {
                Some(index) if upstreams.contains(&index) => {
                    let wrong = twice(show(&item.value));
                    problems.add(item.place, &low.label, list.spec.name, wrong);
                    good = false;
                }
                Some(index) => upstreams.push(index),
                None => good = false,
            }
        }
        if items.is_empty() && low.is_blank(list) {
            let wrong = Wrong::new("it is empty", format!("write {}", list.spec.form));
            problems.add(low.place(list), &low.label, list.spec.name, wrong);
        }
        let policy = low.get(policy)?;
        (good && !upstreams.is_empty()).then_some(Candidates { upstreams, policy })
    }

    /// A selector over upstreams; missing ones are told.
    pub(super) fn selector(
        &self,
        low: &Low,
        list: &Opt<String>,
        problems: &mut Problems,
    ) -> Option<Selector<usize>> {
        let mut selector = Selector::default();
        let mut good = true;
        for item in low.list(list) {
            match self.index(low, list, &item, &[], problems) {
                Some(index) if item.negated => selector.exclude.push(index),
                Some(index) => selector.include.push(index),
                None => good = false,
            }
        }
        good.then_some(selector)
    }

    /// The upstream of this name, if there is one.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.0.index(name)
    }

    /// The upstream that a value names; a missing one is told.
    pub(super) fn index(
        &self,
        low: &Low,
        option: &Opt<String>,
        item: &Item<String>,
        words: &[&'static str],
        problems: &mut Problems,
    ) -> Option<usize> {
        let index = self.0.index(&item.value);
        if index.is_none() && !problems.is_full() {
            let wrong = self.0.missing("upstream", &item.value, words);
            problems.add(item.place, &low.label, option.spec.name, wrong);
        }
        index
    }
}

/// A value that a list has already.
pub(super) fn twice(value: impl std::fmt::Display) -> Wrong {
    Wrong::new(format!("{value} is in the list already"), "remove it")
}
