//! Which node of a group carries a flow. Pure.
//!
//! A group chooses among its members by its policy; a member that is a group stands for the one
//! that it would choose itself. What is dead or suspected is passed over as long as there is
//! something else. When there is nothing else it is the last resort: the fallback of the group
//! that was asked, or without one the members all the same.

mod choices;
mod order;
#[cfg(test)]
mod tests;

pub use choices::ChoiceError;

use super::dice::further;
use super::network::{NETWORKS, Network};
use super::standing::Known;
use crate::config::{self, Group, GroupPolicy, OutboundKind};

/// Most nodes that one flow tries.
pub const MAX_CANDIDATES: usize = 8;

/// Where a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Index into `Config::outbounds`, of direct (0), block (1) or a node; never of a group.
    pub outbound: usize,
    /// No member lives: this is the fallback, or a member that is probably dead.
    pub last_resort: bool,
}

/// The groups of a configuration, and what each of them uses now.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    /// Parallel to `Config::outbounds`.
    ways: Vec<Way>,
}

#[derive(Debug, Clone)]
struct Way {
    name: Box<str>,
    group: Option<Set>,
}

/// A group at work.
#[derive(Debug, Clone)]
struct Set {
    config: Group,
    /// All groups below it, each behind those that it has as members.
    below: Vec<usize>,
    /// A member chosen by hand.
    pinned: Option<usize>,
    /// The member in use in each network.
    current: [usize; NETWORKS],
}

impl Set {
    /// The only member that may be used.
    fn only(&self) -> Option<usize> {
        match self.config.policy {
            GroupPolicy::Fixed(member) => Some(self.pinned.unwrap_or(member)),
            _ => None,
        }
    }
}

impl Groups {
    /// Of a configuration's outbounds.
    pub fn new(outbounds: &[config::Outbound]) -> Self {
        let mut ways: Vec<Way> = Vec::with_capacity(outbounds.len());
        for outbound in outbounds {
            let group = match &outbound.kind {
                OutboundKind::Group(group) => Some(Set {
                    config: group.clone(),
                    below: below(&ways, group),
                    pinned: None,
                    current: [0; NETWORKS],
                }),
                _ => None,
            };
            ways.push(Way {
                name: outbound.name.as_str().into(),
                group,
            });
        }
        Self { ways }
    }

    /// Whether these are the same groups, whatever they use and whoever was chosen.
    pub fn says_as(&self, other: &Self) -> bool {
        let said = |groups: &Self| -> Vec<_> {
            let ways = groups.ways.iter();
            let said = ways.map(|way| {
                (
                    way.name.clone(),
                    way.group.as_ref().map(|it| it.config.clone()),
                )
            });
            said.collect()
        };
        said(self) == said(other)
    }

    /// Takes over choices and members in use from the groups of the last configuration, by name.
    pub fn inherit(&mut self, old: &Self) {
        for way in 0..self.ways.len() {
            let before = old
                .ways
                .iter()
                .find(|other| other.name == self.ways[way].name);
            let Some(before) = before.and_then(|way| way.group.as_ref()) else {
                continue;
            };
            let named = |member: usize| {
                let member = before.config.members.get(member)?;
                let name = &old.ways.get(member.outbound)?.name;
                self.member(way, name)
            };
            let pinned = before.pinned.and_then(named);
            let current = before.current.map(|member| named(member).unwrap_or(0));
            if let Some(set) = &mut self.ways[way].group {
                set.pinned = pinned;
                set.current = current;
            }
        }
    }

    /// Where a new flow to `outbound` goes, which may be no group. `random` is a fresh number:
    /// only policy `random` looks at it.
    pub fn choose(
        &mut self,
        outbound: usize,
        network: Network,
        random: u64,
        known: &impl Known,
    ) -> Choice {
        self.refresh(outbound, network, known);
        let member = self.descend(outbound, network, random, known);
        let fallback = self.set(outbound).and_then(|set| set.config.fallback);
        let usable =
            self.set(outbound).is_none() || known.standing(member, network).life.is_usable();
        match fallback {
            // The configuration has no circles, and a fallback comes before its group.
            Some(fallback) if !usable => Choice {
                last_resort: true,
                ..self.choose(fallback, network, random, known)
            },
            _ => Choice {
                outbound: member,
                last_resort: !usable,
            },
        }
    }

    /// What a new flow to `outbound` tries one after the other: the first is what
    /// [`Groups::choose`] says, the others are for when it fails. At least one, at most
    /// [`MAX_CANDIDATES`], distinct, none a group. While there is a member that may live, there
    /// is no other and no fallback among them.
    pub fn candidates(
        &mut self,
        outbound: usize,
        network: Network,
        random: u64,
        known: &impl Known,
    ) -> Vec<usize> {
        self.refresh(outbound, network, known);
        let Some(set) = self.set(outbound) else {
            return vec![outbound];
        };
        let fallback = set.config.fallback;
        let mut walk = order::Walk::new(known, network, true);
        walk.collect(self, outbound, random);
        match (walk.found.is_empty(), fallback) {
            (true, Some(fallback)) => self.candidates(fallback, network, random, known),
            (true, None) => {
                let mut walk = order::Walk::new(known, network, false);
                walk.collect(self, outbound, random);
                walk.found
            }
            (false, _) => walk.found,
        }
    }

    /// The member that a group would use now, as an index into `Config::outbounds`; a node or a
    /// group. Policy `random` has none. None also when `group` is no group.
    pub fn current(&self, group: usize, network: Network) -> Option<usize> {
        let set = self.set(group)?;
        if set.config.policy == GroupPolicy::Random && set.pinned.is_none() {
            return None;
        }
        let member = set.config.members.get(set.current[network.index()])?;
        Some(member.outbound)
    }

    /// None when it is no group.
    pub fn policy(&self, group: usize) -> Option<GroupPolicy> {
        Some(self.set(group)?.config.policy)
    }

    /// Its members, as indices into `Config::outbounds`; none when it is no group.
    pub fn members(&self, group: usize) -> Vec<usize> {
        let members = self.set(group).map(|set| set.config.members.iter());
        let members = members.into_iter().flatten();
        members.map(|member| member.outbound).collect()
    }

    fn set(&self, way: usize) -> Option<&Set> {
        self.ways.get(way)?.group.as_ref()
    }

    /// Looks anew at what is known of a group and all below it.
    fn refresh(&mut self, outbound: usize, network: Network, known: &impl Known) {
        let Some(set) = self.set(outbound) else {
            return;
        };
        for at in 0..=set.below.len() {
            let Some(set) = self.set(outbound) else {
                return;
            };
            let group = set.below.get(at).copied().unwrap_or(outbound);
            let member = order::first(self, group, network, known);
            if let Some(set) = self.ways.get_mut(group).and_then(|way| way.group.as_mut()) {
                set.current[network.index()] = member;
            }
        }
    }

    /// The node that an outbound leads to.
    fn descend(&self, outbound: usize, network: Network, random: u64, known: &impl Known) -> usize {
        let (mut way, mut random) = (outbound, random);
        while let Some(set) = self.set(way) {
            let member = order::drawn(self, set, network, random, known);
            let member = member.unwrap_or(set.current[network.index()]);
            // A group has members, and `current` is one of them.
            let Some(member) = set.config.members.get(member) else {
                break;
            };
            way = member.outbound;
            random = further(random);
        }
        way
    }
}

/// All groups below one whose members are in `ways`, in ascending order: those that a group has
/// as members come before it.
fn below(ways: &[Way], group: &Group) -> Vec<usize> {
    let mut below = Vec::new();
    for member in &group.members {
        if let Some(set) = ways.get(member.outbound).and_then(|way| way.group.as_ref()) {
            below.push(member.outbound);
            below.extend(&set.below);
        }
    }
    below.sort_unstable();
    below.dedup();
    below
}
