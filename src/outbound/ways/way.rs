//! A way out, and what it has carried. Pure.

use std::cell::Cell;
use std::net::SocketAddr;

use super::super::Outbound;
use super::super::network::{NETWORKS, Network};
use crate::config::{self, OutboundKind};

/// Names a way out, once and for ever. A node whose settings change is another one; a group is
/// the same as long as there is one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WayId(u64);

impl WayId {
    /// The caller sees to it that no number is used twice.
    pub(super) const fn numbered(serial: u64) -> Self {
        Self(serial)
    }

    /// For tests of what holds them.
    #[cfg(test)]
    pub(crate) const fn of(serial: u64) -> Self {
        Self(serial)
    }
}

/// Payload carried, bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    /// From clients.
    pub up: Cell<u64>,
    /// To clients.
    pub down: Cell<u64>,
}

/// A way out: direct, block, a node or a group. It lives as long as something uses it.
#[derive(Debug)]
pub struct Way {
    /// Never used again.
    pub id: WayId,
    /// Name in the configuration.
    pub name: Box<str>,
    /// How it carries flows. A group carries none.
    pub outbound: Outbound,
    /// What it has carried. That of a group is counted at its nodes.
    pub traffic: Traffic,
    /// In which networks it is dead, by [`Network::index`].
    dead: Cell<[bool; NETWORKS]>,
    /// By which it is known again.
    kind: OutboundKind,
}

impl Way {
    pub(super) fn new(id: WayId, outbound: &config::Outbound) -> Self {
        Self {
            id,
            name: outbound.name.as_str().into(),
            outbound: Outbound::new(&outbound.kind),
            traffic: Traffic::default(),
            dead: Cell::default(),
            kind: outbound.kind.clone(),
        }
    }

    /// Whether it stands for others.
    pub fn is_group(&self) -> bool {
        matches!(self.kind, OutboundKind::Group(_))
    }

    /// Whether it is known to be dead in a network.
    pub fn is_dead(&self, network: Network) -> bool {
        self.dead.get()[network.index()]
    }

    pub(super) fn turned(&self, network: Network, alive: bool) {
        let mut dead = self.dead.get();
        dead[network.index()] = !alive;
        self.dead.set(dead);
    }

    /// Whether it needs no node.
    pub fn is_direct(&self) -> bool {
        self.kind == OutboundKind::Direct
    }

    /// The node's own address; None where there is no node.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        match self.kind {
            OutboundKind::Socks5 { addr, .. } => Some(addr),
            _ => None,
        }
    }

    /// Whether it is the same as before.
    pub(super) fn is(&self, outbound: &config::Outbound) -> bool {
        let groups = self.is_group() && matches!(outbound.kind, OutboundKind::Group(_));
        *self.name == *outbound.name && (groups || self.kind == outbound.kind)
    }
}
