//! A set of IP prefixes that is asked for single addresses.

use std::net::IpAddr;

use super::net::Net;

/// Prefixes as ranges that neither touch nor overlap, in order: a look-up is a binary search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl NetSet {
    /// All addresses of these prefixes.
    pub fn new(nets: &[Net]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net.addr() {
                IpAddr::V4(addr) => {
                    let first = u32::from(addr);
                    let rest = u32::MAX.checked_shr(net.prefix_len().into());
                    v4.push((first, first | rest.unwrap_or(0)));
                }
                IpAddr::V6(addr) => {
                    let first = u128::from(addr);
                    let rest = u128::MAX.checked_shr(net.prefix_len().into());
                    v6.push((first, first | rest.unwrap_or(0)));
                }
            }
        }
        Self {
            v4: merge(v4),
            v6: merge(v6),
        }
    }

    /// Whether it holds no address.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in one of the prefixes.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => holds(&self.v4, u32::from(addr)),
            IpAddr::V6(addr) => holds(&self.v6, u128::from(addr)),
        }
    }
}

/// Prefixes are one inside the other or apart, so only the ends of larger ones matter.
fn merge<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= *end => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= value);
    behind > 0 && value <= ranges[behind - 1].1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net() -> impl Strategy<Value = Net> {
        // Few distinct bits, so that prefixes meet.
        prop_oneof![
            (0u32..64, 0u8..=32)
                .prop_map(|(bits, len)| (IpAddr::V4((bits << 24 | bits).into()), len)),
            (0u128..64, 0u8..=128)
                .prop_map(|(bits, len)| (IpAddr::V6((bits << 120 | bits).into()), len)),
        ]
        .prop_map(|(addr, len)| Net::new(addr, len).unwrap())
    }

    proptest! {
        #[test]
        fn it_holds_what_its_prefixes_hold(
            nets in prop::collection::vec(net(), 0..20),
            others in prop::collection::vec(net(), 0..20),
        ) {
            let set = NetSet::new(&nets);
            prop_assert_eq!(set.is_empty(), nets.is_empty());
            let addrs = nets.iter().chain(&others).map(|net| net.addr());
            for addr in addrs {
                prop_assert_eq!(set.contains(addr), nets.iter().any(|net| net.contains(addr)));
            }
        }
    }
}
