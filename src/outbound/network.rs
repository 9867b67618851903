//! Transport and IP version: what can work through a node while something else does not. Pure.

use std::net::SocketAddr;

use crate::rules::{Family, Proto};

/// How many there are.
pub const NETWORKS: usize = 4;

/// A transport of one IP version. It is that of the flow, whatever leads to the node itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// Transport.
    pub proto: Proto,
    /// IP version of the destination.
    pub family: Family,
}

impl Network {
    /// All of them, in the order of [`Network::index`].
    pub const ALL: [Self; NETWORKS] = [
        Self::new(Proto::Tcp, Family::V4),
        Self::new(Proto::Tcp, Family::V6),
        Self::new(Proto::Udp, Family::V4),
        Self::new(Proto::Udp, Family::V6),
    ];

    /// Of these.
    pub const fn new(proto: Proto, family: Family) -> Self {
        Self { proto, family }
    }

    /// That of a flow to this destination.
    pub const fn of(proto: Proto, to: SocketAddr) -> Self {
        match to {
            SocketAddr::V4(_) => Self::new(proto, Family::V4),
            SocketAddr::V6(_) => Self::new(proto, Family::V6),
        }
    }

    /// Below [`NETWORKS`].
    pub const fn index(self) -> usize {
        let udp = matches!(self.proto, Proto::Udp) as usize;
        let v6 = matches!(self.family, Family::V6) as usize;
        udp * 2 + v6
    }

    /// As logs, status and metrics have it.
    pub const fn as_str(self) -> &'static str {
        match (self.proto, self.family) {
            (Proto::Tcp, Family::V4) => "tcp4",
            (Proto::Tcp, Family::V6) => "tcp6",
            (Proto::Udp, Family::V4) => "udp4",
            (Proto::Udp, Family::V6) => "udp6",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_positions() {
        for (index, network) in Network::ALL.into_iter().enumerate() {
            assert_eq!(network.index(), index);
        }
        assert_eq!(Network::ALL.map(Network::as_str).len(), NETWORKS);
    }
}
