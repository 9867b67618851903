//! Which nodes work, in which network, and how fast. Pure: events and the time in, effects out.
//!
//! Checks are asked for with [`Effect::Check`], real flows tell how they fared. What fails is
//! first a **suspect**: it is passed over, but not dead. It dies as soon as something else is
//! known to work in its network: another node, or a check that goes through none. When that
//! check fails as well, and so do all nodes, the network is down for all, and nobody is at fault.
//! docs/groups.md has the whole story.

mod air;
mod item;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::network::{NETWORKS, Network};
use super::standing::{Known, Standing};
use crate::config::Config;
use air::Air;
use item::Item;
use plan::Node;

/// Checks under way at a time.
pub const MAX_CHECKS: usize = 4;

/// A check without an outcome after this long has failed.
pub const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// Nodes that fail together, with a check that goes through none, until nobody is at fault; if
/// there are fewer, all of them.
const WITNESSES: usize = 8;

/// Names a check; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckId(u64);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The page of `Check::http`, by TCP.
    Http,
    /// One of `Check::dns`, by UDP.
    Dns,
}

/// What went wrong with a flow or a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The node did not answer, refused, or broke its protocol. That it could not reach a
    /// destination, and said so, is no fault: the node works.
    Remote,
    /// We ran out of something: descriptors, memory, ports, a full table.
    Local,
    /// Whoever wanted it is gone.
    Cancelled,
    /// No route, no address, the link is down.
    NetworkDown,
}

/// To be done by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Check something, and tell [`Health::check_done`]. No time is to be kept:
    /// [`Effect::Cancel`] comes.
    Check {
        /// For the outcome.
        id: CheckId,
        /// Index into `Config::outbounds`, of a node. Its entry in `Config::checked` says which
        /// group has the addresses.
        node: usize,
        /// What is to be found out; its family chooses the address.
        network: Network,
        /// By what.
        kind: Kind,
        /// Without the node: ask the same directly.
        direct: bool,
    },
    /// Forget this check; its outcome is not wanted any more.
    Cancel {
        /// As given.
        id: CheckId,
    },
    /// For log, status and flows: a node has died, or lives again.
    Turned {
        /// Index into `Config::outbounds`.
        node: usize,
        /// Where.
        network: Network,
        /// Whether it lives.
        alive: bool,
    },
    /// For the log: nothing works in a network, with or without a node; or something does again.
    Outage {
        /// Which.
        network: Network,
        /// Whether it is over.
        over: bool,
    },
}

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

/// A check under way.
#[derive(Debug, Clone, Copy)]
struct Check {
    id: CheckId,
    /// Position in `Health::nodes`.
    node: usize,
    network: Network,
    direct: bool,
    began: Instant,
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
    /// was established or refused by somebody outside.
    pub fn heard(&mut self, network: Network, now: Instant) {
        let air = &mut self.airs[network.index()];
        air.hears(now);
        if !air.is_calm() {
            self.settle(network, now);
        }
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
                item.acquit();
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
                    item.forget();
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

    /// Whose fault it is that a node fails.
    fn judge(&mut self, at: usize, network: Network, now: Instant) {
        let since = self.item(at, network).failing_since.unwrap_or(now);
        let air = &self.airs[network.index()];
        if air.heard_since(since) || self.asker(network).is_none() {
            self.dies(at, network, now);
        } else {
            self.airs[network.index()].ask(now);
            self.start_checks(now);
        }
    }

    fn dies(&mut self, at: usize, network: Network, now: Instant) {
        let item = &mut self.nodes[at].items[network.index()];
        self.counters.deaths += 1;
        if item.dies(now, &mut self.dice) {
            self.effects.push_back(Effect::Turned {
                node: self.nodes[at].node,
                network,
                alive: false,
            });
        }
    }

    /// Something works in a network: who is suspect is at fault. After an outage nobody is, and
    /// all are looked at.
    fn settle(&mut self, network: Network, now: Instant) {
        let was_down = self.outage_ends(network);
        for at in 0..self.nodes.len() {
            let item = self.item(at, network);
            if was_down {
                item.acquit();
                item.look_now(now);
            } else if item.is_suspect() {
                self.dies(at, network, now);
            }
        }
        self.start_checks(now);
    }

    /// Nobody asks any more whether a network works. True when it did not.
    fn outage_ends(&mut self, network: Network) -> bool {
        self.forget_question(network);
        let was_down = self.airs[network.index()].settle();
        if was_down {
            let over = true;
            self.effects.push_back(Effect::Outage { network, over });
        }
        was_down
    }

    /// Gives up the check that goes through no node, if one is under way.
    fn forget_question(&mut self, network: Network) {
        let asks = |check: &Check| check.direct && check.network == network;
        if let Some(at) = self.under_way.iter().position(asks) {
            let id = self.under_way.swap_remove(at).id;
            self.effects.push_back(Effect::Cancel { id });
        }
    }

    /// Takes in what came of a check that is under way no more.
    fn conclude(&mut self, check: &Check, outcome: Result<Duration, Fault>, now: Instant) {
        let network = check.network;
        self.counters.failed += u64::from(outcome.is_err());
        match (outcome, check.direct) {
            (Ok(_), true) => self.heard(network, now),
            (Ok(time), false) => {
                let item = &mut self.nodes[check.node].items[network.index()];
                item.schedule(now, &mut self.dice);
                self.works(check.node, network, (time, true), now);
            }
            (Err(Fault::Local | Fault::Cancelled), _) => self.put_back(check, now),
            (Err(_), true) => self.falls(network, now),
            (Err(fault), false) => {
                let item = &mut self.nodes[check.node].items[network.index()];
                item.back_off(now, &mut self.dice);
                let counts = fault == Fault::Remote && !self.excuses(network);
                if counts && self.item(check.node, network).check_failed(check.began) {
                    self.judge(check.node, network, now);
                }
            }
        }
    }

    /// A check that says nothing will be made again.
    fn put_back(&mut self, check: &Check, now: Instant) {
        if check.direct {
            self.airs[check.network.index()].again(now);
            return;
        }
        let item = &mut self.nodes[check.node].items[check.network.index()];
        item.back_off(now, &mut self.dice);
    }

    /// A check without a node failed, too. As long as there are nodes that were alive they are
    /// looked at: the server that is asked may be one that cannot be reached without a node.
    fn falls(&mut self, network: Network, now: Instant) {
        let items = self.nodes.iter_mut();
        let items = items.map(|node| &mut node.items[network.index()]);
        let (mut suspects, mut witnesses) = (0, 0);
        for item in items {
            if item.is_suspect() {
                suspects += 1;
            } else if item.checked && item.is_alive() && witnesses < WITNESSES {
                witnesses += 1;
                item.look_now(now);
            }
        }
        let air = &mut self.airs[network.index()];
        air.again(now);
        if air.is_down() || (witnesses > 0 && suspects < WITNESSES) {
            return;
        }
        air.falls();
        self.counters.outages += 1;
        let over = false;
        self.effects.push_back(Effect::Outage { network, over });
        for node in &mut self.nodes {
            node.items[network.index()].acquit();
        }
    }

    /// Begins what is due, as much as there is room for: first what tells whether a network
    /// works at all, then who has waited longest.
    fn start_checks(&mut self, now: Instant) {
        while self.links_up {
            let Some((node, network, direct)) = self.next_check(now) else {
                return;
            };
            if self.under_way.len() == MAX_CHECKS {
                self.counters.waited += 1;
                return;
            }
            match direct {
                true => self.airs[network.index()].begin(),
                false => self.item(node, network).begin(now),
            }
            let id = CheckId(self.next_id);
            self.next_id += 1;
            self.counters.checks += 1;
            self.under_way.push(Check {
                id,
                node,
                network,
                direct,
                began: now,
            });
            self.effects.push_back(Effect::Check {
                id,
                node: self.nodes[node].node,
                network,
                kind: plan::kind(network),
                direct,
            });
        }
    }

    /// The check that is to begin next: position of the node, network, whether without the node.
    fn next_check(&self, now: Instant) -> Option<(usize, Network, bool)> {
        let is_due = |due: Option<Instant>| due.filter(|due| *due <= now);
        for network in Network::ALL {
            let due = is_due(self.airs[network.index()].due());
            if let (Some(_), Some(node)) = (due, self.asker(network)) {
                return Some((node, network, true));
            }
        }
        let items = self.nodes.iter().enumerate().flat_map(|(at, node)| {
            let items = Network::ALL.into_iter().zip(&node.items);
            items.map(move |(network, item)| (at, network, item))
        });
        let due = items.filter_map(|(at, network, item)| {
            let due = is_due(item.due).filter(|_| item.checked)?;
            Some((due, at, network))
        });
        let (_, at, network) = due.min_by_key(|(due, at, _)| (*due, *at))?;
        Some((at, network, false))
    }

    /// The node whose check is made without it to see whether a network works: a suspect one,
    /// or any.
    fn asker(&self, network: Network) -> Option<usize> {
        let at = network.index();
        let can = |node: &Node| node.items[at].checked;
        let suspect = |node: &Node| can(node) && node.items[at].is_suspect();
        let mut nodes = self.nodes.iter();
        let found = nodes.position(suspect);
        found.or_else(|| self.nodes.iter().position(can))
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
