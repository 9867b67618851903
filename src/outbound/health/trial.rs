//! Whose fault it is that a node fails: its own, or that of a network which is down for all. Pure.

use std::time::Instant;

use super::checks::Check;
use super::{Effect, Health};
use crate::outbound::network::Network;

/// Nodes that fail together, with a check that goes through none, until nobody is at fault; if
/// there are fewer, all of them.
const WITNESSES: usize = 8;

impl Health {
    /// Whose fault it is that a node fails.
    pub(super) fn judge(&mut self, at: usize, network: Network, now: Instant) {
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
    pub(super) fn settle(&mut self, network: Network, now: Instant) {
        let was_down = self.outage_ends(network, now);
        for at in 0..self.nodes.len() {
            let item = self.item(at, network);
            if was_down {
                item.acquit(now);
                item.look_now(now);
            } else if item.is_suspect() {
                self.dies(at, network, now);
            }
        }
        self.start_checks(now);
    }

    /// Nobody asks any more whether a network works. True when it did not.
    pub(super) fn outage_ends(&mut self, network: Network, now: Instant) -> bool {
        self.forget_question(network);
        let was_down = self.airs[network.index()].settle(now);
        if was_down {
            let over = true;
            self.effects.push_back(Effect::Outage { network, over });
        }
        was_down
    }

    /// Gives up the check that goes through no node, if one is under way.
    pub(super) fn forget_question(&mut self, network: Network) {
        let asks = |check: &Check| check.direct && check.network == network;
        if let Some(at) = self.under_way.iter().position(asks) {
            let id = self.under_way.swap_remove(at).id;
            self.effects.push_back(Effect::Cancel { id });
        }
    }

    /// A check without a node failed, too. As long as there are nodes that were alive they are
    /// looked at: the server that is asked may be one that cannot be reached without a node.
    pub(super) fn falls(&mut self, network: Network, now: Instant) {
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
            node.items[network.index()].acquit(now);
        }
    }
}
