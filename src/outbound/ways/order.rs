//! What the checker has to do, and what the log is told. Pure but for the lines of the log.

use std::net::SocketAddr;
use std::rc::Rc;

use super::super::health::{CheckId, Kind};
use super::super::network::Network;
use super::Way;
use crate::config::Check;
use crate::rules::Family;

/// Something that the checker has to do.
#[derive(Debug)]
pub enum Order {
    /// Ask, and tell [`Ways::check_done`].
    Check {
        /// For the outcome.
        id: CheckId,
        /// By which way.
        way: Rc<Way>,
        /// What.
        question: Question,
    },
    /// Ask no more; the outcome is not wanted.
    Cancel(CheckId),
}

/// What is asked to see whether a node works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// For this page; any answer of HTTP will do.
    Http {
        /// Server.
        addr: SocketAddr,
        /// The Host field.
        host: Box<str>,
        /// Starts with a slash.
        path: Box<str>,
    },
    /// A DNS server by UDP; any answer to the question will do.
    Dns(SocketAddr),
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http { addr, .. } => write!(f, "http {addr}"),
            Self::Dns(addr) => write!(f, "dns {addr}"),
        }
    }
}

/// What is asked in a network; None when there is nobody to ask.
pub(super) fn question(check: &Check, network: Network, kind: Kind) -> Option<Question> {
    let of_family = |addrs: &[SocketAddr]| {
        let v6 = network.family == Family::V6;
        addrs.iter().copied().find(|addr| addr.is_ipv6() == v6)
    };
    match (kind, &check.http) {
        (Kind::Http, Some(http)) => Some(Question::Http {
            addr: of_family(&http.addrs)?,
            host: http.host.clone(),
            path: http.path.clone(),
        }),
        (Kind::Http, None) => None,
        (Kind::Dns, _) => Some(Question::Dns(of_family(&check.dns)?)),
    }
}

pub(super) fn tell_turned(way: &Way, network: Network, alive: bool) {
    let (node, network) = (&*way.name, network.as_str());
    match alive {
        true => log::info!(event = "node", node, network, state = "alive"; ""),
        false => log::warn!(event = "node", node, network, state = "dead"; ""),
    }
}

pub(super) fn tell_outage(network: Network, over: bool) {
    let network = network.as_str();
    match over {
        true => log::info!(event = "network", network, state = "up"; ""),
        false => {
            log::warn!(event = "network", network, state = "down"; "nothing answers, with or without a node")
        }
    }
}
