//! What is to be done, and what can go wrong. Pure.

use super::super::network::Network;

/// Names a check; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckId(pub(super) u64);

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
