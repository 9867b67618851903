//! IP prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A prefix with its host bits clear, by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Net {
    addr: IpAddr,
    len: u8,
}

impl Net {
    /// The prefix of `len` bits around `addr`; host bits are cleared. None when `len` is
    /// longer than the address.
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        let addr = match addr {
            IpAddr::V4(v4) => {
                let mask = u32::MAX
                    .checked_shl(32u32.checked_sub(len.into())?)
                    .unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX
                    .checked_shl(128u32.checked_sub(len.into())?)
                    .unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
            }
        };
        Some(Self { addr, len })
    }

    /// First address.
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// Length in bits.
    pub fn prefix_len(&self) -> u8 {
        self.len
    }

    /// Whether `addr` is of this family and inside.
    pub fn contains(&self, addr: IpAddr) -> bool {
        Self::new(addr, self.len).is_some_and(|net| net.addr == self.addr)
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// Text that is no [`Net`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The part before the slash is not an address.
    #[error("write an address or a prefix, like 192.168.1.0/24 or 2001:db8::/32")]
    Address,
    /// The part behind the slash is not a number of bits, or a mask with a hole.
    #[error("write the length of the prefix in bits, like /24")]
    Length,
    /// Longer than the address.
    #[error("a prefix has at most {max} bits here")]
    TooLong {
        /// 32 or 128.
        max: u8,
    },
    /// `::ffff:0:0/96` and below: packets with such addresses are never classified, so the
    /// rule could never match.
    #[error("no packet carries an IPv4-mapped address; write it as IPv4")]
    Mapped,
}

/// `192.168.1.0/24`, `192.168.1.0/255.255.255.0`, `2001:db8::/32`, or an address alone. Host
/// bits are cleared, as `/etc/config/firewall` does: `192.168.1.1/24` is `192.168.1.0/24`.
impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let (addr, len) = match text.split_once('/') {
            Some((addr, len)) => (addr, Some(len)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| NetError::Address)?;
        let max = if addr.is_ipv4() { 32 } else { 128 };
        let len = match len {
            None => max,
            Some(mask) if addr.is_ipv4() && mask.contains('.') => mask_len(mask)?,
            Some(digits) => decimal(digits)?,
        };
        let net = Self::new(addr, len).ok_or(NetError::TooLong { max })?;
        let mapped = matches!(net.addr, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        if mapped && len >= 96 {
            Err(NetError::Mapped)
        } else {
            Ok(net)
        }
    }
}

/// Digits only: the library's parser would take a sign.
fn decimal(digits: &str) -> Result<u8, NetError> {
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(NetError::Length);
    }
    digits.parse().map_err(|_| NetError::Length)
}

/// `255.255.255.0` is 24.
fn mask_len(mask: &str) -> Result<u8, NetError> {
    let mask = u32::from(mask.parse::<Ipv4Addr>().map_err(|_| NetError::Length)?);
    let ones = mask.leading_ones();
    if mask.checked_shl(ones).unwrap_or(0) != 0 {
        return Err(NetError::Length);
    }
    Ok(ones as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, NetError> {
        text.parse::<Net>().map(|net| net.to_string())
    }

    #[test]
    fn prefixes_and_addresses_are_read() {
        for (text, net) in [
            ("192.168.1.77/24", "192.168.1.0/24"),
            ("192.168.1.77/255.255.255.0", "192.168.1.0/24"),
            ("10.0.0.1", "10.0.0.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("1.2.3.4/0.0.0.0", "0.0.0.0/0"),
            ("2001:DB8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("::/0", "::/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(read(text), Ok(net.into()), "{text}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for (text, error) in [
            ("", NetError::Address),
            ("/24", NetError::Address),
            ("1.2.3/24", NetError::Address),
            ("1.2.3.4/", NetError::Length),
            ("1.2.3.4/+8", NetError::Length),
            ("1.2.3.4/999", NetError::Length),
            ("1.2.3.4/33", NetError::TooLong { max: 32 }),
            ("1.2.3.4/255.0.255.0", NetError::Length),
            ("::1/129", NetError::TooLong { max: 128 }),
            ("::1/255.0.0.0", NetError::Length),
            ("::ffff:1.2.3.4", NetError::Mapped),
            ("::ffff:1.2.3.4/96", NetError::Mapped),
        ] {
            assert_eq!(read(text), Err(error), "{text}");
        }
    }

    #[test]
    fn contains_looks_at_the_prefix_only() {
        let net = Net::new("10.1.0.0".parse().unwrap(), 16).unwrap();
        assert!(net.contains("10.1.255.255".parse().unwrap()));
        assert!(!net.contains("10.2.0.0".parse().unwrap()));
        assert!(!net.contains("::".parse().unwrap()));
        let all = Net::new("1.2.3.4".parse().unwrap(), 0).unwrap();
        assert!(all.contains("255.0.0.1".parse().unwrap()));
    }
}
