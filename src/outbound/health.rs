//! Which nodes work, in which network, and how fast. Pure: events and the time in, effects out.
//!
//! Checks are asked for with [`Effect::Check`], real flows tell how they fared. What fails is
//! first a **suspect**: it is passed over, but not dead. It dies as soon as something else is
//! known to work in its network: another node, or a check that goes through none. When that
//! check fails as well, and so do all nodes, the network is down for all, and nobody is at fault.
//! docs/groups.md has the whole story.

mod air;
mod checks;
mod effect;
mod item;
mod plan;
#[cfg(test)]
mod tests;
mod trial;

pub use effect::{CheckId, Effect, Fault, Kind};

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::network::{NETWORKS, Network};
use super::standing::{Known, Standing};
use crate::config::{self, Config};
use air::Air;
use checks::Check;
use item::Item;
use plan::Node;

/// Checks under way at a time.
pub const MAX_CHECKS: usize = 4;

/// A check without an outcome after this long has failed.
pub const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// Counters, for status and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Checks begun.
    pub checks: u64,
    /// Of these, those that failed or had no outcome in time.
    pub failed: u64,
    /// Times that a check was due and [`MAX_CHECKS`] were under way.
    pub waited: u64,
    /// Nodes that died, each network by itself.
    pub deaths: u64,
    /// Networks that were down for all.
    pub outages: u64,
}

/// Health of all nodes that are in groups.
#[derive(Debug, Clone)]
pub struct Health {
    nodes: Vec<Node>,
    airs: [Air; NETWORKS],
    links_up: bool,
    /// At most [`MAX_CHECKS`].
    under_way: Vec<Check>,
    next_id: u64,
    dice: Dice,
    effects: VecDeque<Effect>,
    counters: Counters,
}

impl Health {
    /// Nothing is known of any node yet. `seed` is for jitter.
    pub fn new(config: &Config, seed: u64, now: Instant) -> Self {
        let mut health = Self {
            nodes: Vec::new(),
            airs: Default::default(),
            links_up: true,
            under_way: Vec::with_capacity(MAX_CHECKS),
            next_id: 0,
            dice: Dice::new(seed),
            effects: VecDeque::new(),
            counters: Counters::default(),
        };
        health.reconfigure(config, now);
        health
    }

    /// A flow was carried: the node answered, even if only to say that it cannot reach the
    /// destination. `latency` is the time that took, from our first byte on.
    pub fn dial_ok(&mut self, node: usize, network: Network, latency: Duration, now: Instant) {
        if let Some(at) = self.position(node) {
            self.works(at, network, (latency, false), now);
        }
    }

    /// A flow failed at the node.
    pub fn dial_failed(&mut self, node: usize, network: Network, fault: Fault, now: Instant) {
        let Some(at) = self.position(node) else {
            return;
        };
        if fault != Fault::Remote || self.excuses(network) {
            return;
        }
        if self.item(at, network).failed(now) {
            self.judge(at, network, now);
        }
    }

    /// Something came back without any node: an answer to a direct DNS query, a connection that
    /// was established or refused by somebody outside. False when that was no news.
    pub fn heard(&mut self, network: Network, now: Instant) -> bool {
        let air = &mut self.airs[network.index()];
        air.hears(now);
        let is_news = !air.is_calm();
        if is_news {
            self.settle(network, now);
        }
        is_news
    }

    /// The links towards the Internet have changed. Whatever fails while they are down says
    /// nothing. When they come up, all nodes are checked at once, [`MAX_CHECKS`] at a time.
    pub fn links(&mut self, up: bool, now: Instant) {
        self.links_up = up;
        if !up {
            for check in std::mem::take(&mut self.under_way) {
                self.effects.push_back(Effect::Cancel { id: check.id });
                self.put_back(&check, now);
            }
        }
        for network in Network::ALL {
            self.forget_question(network);
            self.airs[network.index()].links(now);
            for node in &mut self.nodes {
                let item = &mut node.items[network.index()];
                item.acquit(now);
                if up {
                    item.look_now(now);
                }
            }
        }
        self.start_checks(now);
    }

    /// A check has an outcome: how long it took, or what went wrong. That of a check that was
    /// cancelled is ignored.
    pub fn check_done(&mut self, id: CheckId, outcome: Result<Duration, Fault>, now: Instant) {
        let Some(at) = self.under_way.iter().position(|check| check.id == id) else {
            return;
        };
        let check = self.under_way.swap_remove(at);
        self.conclude(&check, outcome, now);
        self.start_checks(now);
    }

    /// To be called when [`Health::next_deadline`] has come; earlier does no harm.
    pub fn tick(&mut self, now: Instant) {
        let overdue = |check: &Check| now >= check.began + CHECK_LIMIT;
        while let Some(at) = self.under_way.iter().position(overdue) {
            let check = self.under_way.swap_remove(at);
            self.effects.push_back(Effect::Cancel { id: check.id });
            self.conclude(&check, Err(Fault::Remote), now);
        }
        for node in &mut self.nodes {
            for item in &mut node.items {
                if !item.checked && item.due.is_some_and(|due| due <= now) {
                    item.forget(now);
                }
            }
        }
        self.start_checks(now);
    }

    /// The one time at which [`Health::tick`] is to be called; None: not before the next event.
    pub fn next_deadline(&self) -> Option<Instant> {
        let ends = self.under_way.iter().map(|check| check.began + CHECK_LIMIT);
        let can_start = self.links_up && self.under_way.len() < MAX_CHECKS;
        let items = self.nodes.iter().flat_map(|node| &node.items);
        let items = items.filter(|item| can_start || !item.checked);
        let airs = self.airs.iter().filter(|_| can_start);
        let dues = items.filter_map(|item| item.due);
        ends.chain(dues).chain(airs.filter_map(Air::due)).min()
    }

    /// What is to be done next, in order. To be asked after every event until there is nothing.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Nodes that are in groups, as indices into `Config::outbounds`, and how they are checked.
    pub fn nodes(&self) -> impl Iterator<Item = (usize, &config::Check)> {
        self.nodes.iter().map(|node| (node.node, &node.check))
    }

    /// How a node is checked; None when it is in no group.
    pub fn check_of(&self, node: usize) -> Option<&config::Check> {
        Some(&self.nodes.get(self.position(node)?)?.check)
    }

    /// Every node in every network where something is known of it or will be: its index into
    /// `Config::outbounds`, and since when it is what it is; None: since the start.
    pub fn all(&self) -> impl Iterator<Item = (usize, Network, Standing, Option<Instant>)> {
        self.nodes.iter().flat_map(|node| {
            let items = Network::ALL.into_iter().zip(&node.items);
            let known = items.filter(|(_, item)| item.checked || item.since().is_some());
            known.map(|(network, item)| (node.node, network, item.standing(), item.since()))
        })
    }

    /// Checks under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// For status and metrics.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether nothing works in a network, with or without a node.
    pub fn is_down(&self, network: Network) -> bool {
        self.airs[network.index()].is_down()
    }

    /// Failures in this network say nothing at present.
    fn excuses(&self, network: Network) -> bool {
        !self.links_up || self.is_down(network)
    }

    fn item(&mut self, at: usize, network: Network) -> &mut Item {
        &mut self.nodes[at].items[network.index()]
    }

    /// Position of a node by its index into `Config::outbounds`.
    fn position(&self, node: usize) -> Option<usize> {
        // In file order, so in ascending order.
        let found = self.nodes.binary_search_by_key(&node, |known| known.node);
        found.ok()
    }

    /// A node works; `by_check` says what was measured.
    fn works(&mut self, at: usize, network: Network, measured: (Duration, bool), now: Instant) {
        let (time, by_check) = measured;
        let item = &mut self.nodes[at].items[network.index()];
        item.measure(time, by_check);
        if item.works(now, &mut self.dice) {
            self.effects.push_back(Effect::Turned {
                node: self.nodes[at].node,
                network,
                alive: true,
            });
        }
        self.heard(network, now);
    }
}

impl Known for Health {
    fn standing(&self, node: usize, network: Network) -> Standing {
        let node = self.position(node).and_then(|at| self.nodes.get(at));
        node.map_or_else(Standing::default, |node| {
            node.items[network.index()].standing()
        })
    }
}
