//! Where our listeners are. Pure.

use super::abi;
use crate::rules::image::kind;
use crate::rules::{Family, Proto};

/// Loopback ports of our transparent listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports(pub(super) [u16; 8]);

impl Ports {
    /// Sets the port of a listener; `dns`: it is the resolver's. A datapath without one lets
    /// such packets pass.
    #[must_use]
    pub fn with(mut self, proto: Proto, family: Family, dns: bool, port: u16) -> Self {
        self.0[kind(proto, family) + if dns { abi::PORT_DNS } else { 0 }] = port;
        self
    }

    /// Takes over the ports of a family.
    pub(super) fn add(&mut self, other: &Self, family: Family) {
        for proto in [Proto::Tcp, Proto::Udp] {
            for at in [kind(proto, family), kind(proto, family) + abi::PORT_DNS] {
                self.0[at] = other.0[at];
            }
        }
    }

    pub(super) fn has(&self, family: Family) -> bool {
        [Proto::Tcp, Proto::Udp].into_iter().any(|proto| {
            let at = kind(proto, family);
            self.0[at] != 0 || self.0[at + abi::PORT_DNS] != 0
        })
    }
}
