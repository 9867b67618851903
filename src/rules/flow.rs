//! What is known of a flow when it must be decided.

use std::net::IpAddr;

/// Transport protocols that rules speak of; all others pass untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proto {
    /// IPPROTO_TCP.
    Tcp,
    /// IPPROTO_UDP.
    Udp,
}

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// An Ethernet address.
pub type Mac = [u8; 6];

/// One flow's first packet, as a classifier sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Source port; 0 in a fragment, whose ports are not known.
    pub src_port: u16,
    /// Destination port; 0 in a fragment.
    pub dst_port: u16,
    /// Transport.
    pub proto: Proto,
    /// DSCP, 0 to 63.
    pub dscp: u8,
    /// Source MAC; none on a device without an Ethernet header.
    pub src_mac: Option<Mac>,
    /// Input interface: index into `Config::main.interfaces`, if it is one of them.
    pub interface: Option<u16>,
}

impl Flow {
    /// IP version, told by the destination.
    pub fn family(&self) -> Family {
        if self.dst.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }
}
