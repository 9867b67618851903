//! A rule, as the configuration says it.

use super::domain::DomainPattern;
use super::flow::{Family, Mac, Proto};
use super::net::Net;
use super::port::PortRange;

/// What one option of a rule accepts. A value is accepted when it is in `include` (or
/// `include` is empty) and not in `exclude`; UCI writes excluded values with `!`.
///
/// A value that is not known (the name of an address never looked up, the MAC on a device
/// that has none) is in no set: accepted exactly when `include` is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector<T> {
    /// Values accepted; empty: all.
    pub include: Vec<T>,
    /// Values refused, also when included.
    pub exclude: Vec<T>,
}

impl<T> Default for Selector<T> {
    fn default() -> Self {
        Self {
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }
}

impl<T> Selector<T> {
    /// True when the option was not given: every value is accepted.
    pub fn is_any(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether a value is accepted, given a test for membership in one element.
    pub fn accepts(&self, contains: impl Fn(&T) -> bool) -> bool {
        (self.include.is_empty() || self.include.iter().any(&contains))
            && !self.exclude.iter().any(&contains)
    }
}

/// What happens to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Action {
    /// The kernel forwards it, untouched but for the mark.
    #[default]
    Direct,
    /// Dropped.
    Block,
    /// Handed to our transparent socket.
    Proxy,
}

/// A rule's decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Verdict {
    /// What happens.
    pub action: Action,
    /// For [`Action::Proxy`]: index into `Config::outbounds`. 0 (direct) or 1 (block) otherwise.
    pub outbound: u16,
    /// For [`Action::Direct`]: the packet's new mark, 0 leaves it alone.
    pub mark: u32,
}

/// One `config rule` section. All selectors must accept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// `option name`, or `rule[3]` by position: what trace, status and logs call it.
    pub name: String,
    /// Source prefixes.
    pub src_ip: Selector<Net>,
    /// Destination prefixes.
    pub dest_ip: Selector<Net>,
    /// Names of the destination, learnt from DNS answers. An address that several live names
    /// share is accepted when any one of them is.
    pub domain: Selector<DomainPattern>,
    /// Source Ethernet addresses.
    pub src_mac: Selector<Mac>,
    /// Source ports.
    pub src_port: Selector<PortRange>,
    /// Destination ports.
    pub dest_port: Selector<PortRange>,
    /// Transports.
    pub proto: Selector<Proto>,
    /// IP versions.
    pub family: Selector<Family>,
    /// DSCP values, 0 to 63.
    pub dscp: Selector<u8>,
    /// Input interfaces: indices into `Config::main.interfaces`.
    pub interface: Selector<u16>,
    /// The decision.
    pub verdict: Verdict,
}
