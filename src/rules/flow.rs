//! What is known of a flow when it must be decided.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

/// A word that names no [`Proto`], [`Family`] or [`Mac`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlowWordError {
    /// Not a transport we know.
    #[error("write tcp or udp")]
    Proto,
    /// Not an IP version.
    #[error("write ipv4 or ipv6")]
    Family,
    /// Not six pairs of hexadecimal digits.
    #[error("write six pairs of hexadecimal digits, like 00:11:22:33:44:55")]
    Mac,
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// `tcp`, `udp` or their numbers in IP (6, 17), in any case.
impl FromStr for Proto {
    type Err = FlowWordError;

    fn from_str(text: &str) -> Result<Self, FlowWordError> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" | "6" => Ok(Self::Tcp),
            "udp" | "17" => Ok(Self::Udp),
            _ => Err(FlowWordError::Proto),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// `ipv4` or `ipv6` (also `4`, `6`, `inet`, `inet6`, as in `/etc/config/firewall`), in any case.
impl FromStr for Family {
    type Err = FlowWordError;

    fn from_str(text: &str) -> Result<Self, FlowWordError> {
        match text.to_ascii_lowercase().as_str() {
            "ipv4" | "4" | "inet" => Ok(Self::V4),
            "ipv6" | "6" | "inet6" => Ok(Self::V6),
            _ => Err(FlowWordError::Family),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// `00:11:22:33:44:55`, with `-` in place of `:` too, in any case.
impl FromStr for Mac {
    type Err = FlowWordError;

    fn from_str(text: &str) -> Result<Self, FlowWordError> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut mac = [0; 6];
        let mut pairs = text.split(separator);
        for byte in &mut mac {
            let pair = pairs.next().ok_or(FlowWordError::Mac)?;
            // from_str_radix alone would take "+1".
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(FlowWordError::Mac);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| FlowWordError::Mac)?;
        }
        if pairs.next().is_some() {
            Err(FlowWordError::Mac)
        } else {
            Ok(Self(mac))
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        assert_eq!("UDP".parse(), Ok(Proto::Udp));
        assert_eq!("6".parse(), Ok(Proto::Tcp));
        assert_eq!("icmp".parse::<Proto>(), Err(FlowWordError::Proto));
        assert_eq!("inet6".parse(), Ok(Family::V6));
        assert_eq!("any".parse::<Family>(), Err(FlowWordError::Family));
        let mac = Mac([0, 0x11, 0x22, 0x33, 0x44, 0xff]);
        assert_eq!("00:11:22:33:44:fF".parse(), Ok(mac));
        assert_eq!("00-11-22-33-44-FF".parse(), Ok(mac));
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }

    #[test]
    fn a_mac_that_is_not_six_pairs_is_refused() {
        for text in [
            "",
            ":",
            "0:1:2:3:4:5",
            "00:11:22:33:44",
            "00:11:22:33:44:55:66",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(FlowWordError::Mac), "{text}");
        }
        for text in [
            "+0:11:22:33:44:55",
            "00:11:22:33:44:gg",
            "00:11-22:33:44:55",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(FlowWordError::Mac), "{text}");
        }
    }
}
