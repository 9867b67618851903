//! Which checks are under way, which one is next, and what comes of them. Pure.

use std::time::{Duration, Instant};

use super::plan::{self, Node};
use super::{CheckId, Effect, Fault, Health, MAX_CHECKS};
use crate::outbound::network::Network;

/// A check under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    pub(super) id: CheckId,
    /// Position in `Health::nodes`.
    pub(super) node: usize,
    pub(super) network: Network,
    pub(super) direct: bool,
    pub(super) began: Instant,
}

impl Health {
    /// Takes in what came of a check that is under way no more.
    pub(super) fn conclude(
        &mut self,
        check: &Check,
        outcome: Result<Duration, Fault>,
        now: Instant,
    ) {
        let network = check.network;
        self.counters.failed += u64::from(outcome.is_err());
        match (outcome, check.direct) {
            (Ok(_), true) => {
                self.heard(network, now);
            }
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
                let fair = self.airs[network.index()].is_past_outage(check.began);
                if !fair {
                    item.look_now(now);
                }
                let counts = fair && fault == Fault::Remote && !self.excuses(network);
                if counts
                    && self
                        .item(check.node, network)
                        .check_failed(check.began, now)
                {
                    self.judge(check.node, network, now);
                }
            }
        }
    }

    /// A check that says nothing will be made again.
    pub(super) fn put_back(&mut self, check: &Check, now: Instant) {
        if check.direct {
            self.airs[check.network.index()].again(now);
            return;
        }
        let item = &mut self.nodes[check.node].items[check.network.index()];
        item.back_off(now, &mut self.dice);
    }

    /// Begins what is due, as much as there is room for: first what tells whether a network
    /// works at all, then who has waited longest.
    pub(super) fn start_checks(&mut self, now: Instant) {
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
    pub(super) fn asker(&self, network: Network) -> Option<usize> {
        let at = network.index();
        let can = |node: &Node| node.items[at].checked;
        let suspect = |node: &Node| can(node) && node.items[at].is_suspect();
        let mut nodes = self.nodes.iter();
        let found = nodes.position(suspect);
        found.or_else(|| self.nodes.iter().position(can))
    }
}
