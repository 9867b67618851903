//! Which nodes are looked at, and how a new configuration takes over what is known of them.
//! Pure.

use std::time::Instant;

use super::{Check, Effect, Health, Kind};
use crate::config::{self, Config, OutboundKind};
use crate::outbound::network::{NETWORKS, Network};
use crate::rules::{Family, Proto};

use super::item::Item;

/// A node that is in a group.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Index into `Config::outbounds`.
    pub(super) node: usize,
    /// By which it is known again.
    outbound: config::Outbound,
    pub(super) check: config::Check,
    /// In the order of [`Network::index`].
    pub(super) items: [Item; NETWORKS],
}

/// How a network is checked.
pub(super) fn kind(network: Network) -> Kind {
    match network.proto {
        Proto::Tcp => Kind::Http,
        Proto::Udp => Kind::Dns,
    }
}

/// Whether there is somebody to ask in a network.
fn is_checked(check: &config::Check, network: Network) -> bool {
    let addrs = match (kind(network), &check.http) {
        (Kind::Http, Some(http)) => http.addrs.as_slice(),
        (Kind::Http, None) => &[],
        (Kind::Dns, _) => &check.dns,
    };
    addrs
        .iter()
        .any(|addr| addr.is_ipv6() == (network.family == Family::V6))
}

impl Health {
    /// Goes on with another configuration, to which all indices belong from now on. Nodes with
    /// the same name and settings keep their health. One that is alive wherever it is checked,
    /// and is checked as before, keeps the time of its next check as well; all others are
    /// checked at once. Checks under way go on where they still mean the same.
    pub fn reconfigure(&mut self, config: &Config, now: Instant) {
        let old = std::mem::take(&mut self.nodes);
        let mut nodes = Vec::with_capacity(config.checked.len());
        for checked in &config.checked {
            let outbound = config.outbounds.get(checked.node);
            let group = config.outbounds.get(checked.group);
            let Some(OutboundKind::Group(group)) = group.map(|group| &group.kind) else {
                continue;
            };
            let Some(outbound) = outbound else {
                continue;
            };
            let before = old.iter().find(|node| node.outbound == *outbound);
            nodes.push(Node {
                node: checked.node,
                outbound: outbound.clone(),
                check: group.check.clone(),
                items: self.items(&group.check, before, now),
            });
        }
        self.nodes = nodes;
        self.carry_checks_over(&old, now);
        for network in Network::ALL {
            // There may be nobody left to ask, or nobody who is suspect.
            let suspect = |node: &Node| node.items[network.index()].is_suspect();
            let asked_for = self.is_down(network) || self.nodes.iter().any(suspect);
            if !asked_for || self.asker(network).is_none() {
                self.outage_ends(network, now);
                for node in &mut self.nodes {
                    let item = &mut node.items[network.index()];
                    if item.is_suspect() {
                        item.acquit(now);
                    }
                }
            }
        }
        self.start_checks(now);
    }

    fn items(
        &mut self,
        check: &config::Check,
        before: Option<&Node>,
        now: Instant,
    ) -> [Item; NETWORKS] {
        Network::ALL.map(|network| {
            let checked = is_checked(check, network);
            let Some(before) = before else {
                return Item::new(checked, check.interval, now, &mut self.dice);
            };
            let same = before.asks_as(check) && before.is_well();
            before.items[network.index()].inherit(checked, check.interval, same, now)
        })
    }

    /// Keeps the checks under way that still mean the same.
    fn carry_checks_over(&mut self, old: &[Node], now: Instant) {
        let mut kept = Vec::with_capacity(self.under_way.len());
        for check in std::mem::take(&mut self.under_way) {
            let before = &old[check.node];
            let same =
                |node: &Node| node.outbound == before.outbound && before.asks_as(&node.check);
            match self.nodes.iter().position(same) {
                Some(node) => {
                    if !check.direct {
                        // Its end says when the next one is.
                        self.item(node, check.network).due = None;
                    }
                    kept.push(Check { node, ..check });
                }
                None => {
                    self.effects.push_back(Effect::Cancel { id: check.id });
                    if check.direct {
                        self.airs[check.network.index()].again(now);
                    }
                }
            }
        }
        self.under_way = kept;
    }
}

impl Node {
    /// Whether checks ask the same servers.
    fn asks_as(&self, check: &config::Check) -> bool {
        self.check.http == check.http && self.check.dns == check.dns
    }

    /// Whether it is alive wherever it is checked.
    fn is_well(&self) -> bool {
        let mut checked = self.items.iter().filter(|item| item.checked);
        checked.all(|item| item.is_alive())
    }
}
