//! Addresses that are not of the Internet. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one of a house, or of the machine itself: those that dnsmasq's
/// `--stop-dns-rebind` takes for private, but for the addresses of documentation, which nobody
/// has. IPv4 addresses inside IPv6 ones are judged as what they are. 100.64.0.0/10 belongs to
/// providers (RFC 6598), and names of theirs do have such addresses.
pub fn is_private(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => is_private_v4(addr),
        IpAddr::V6(addr) => is_private_v6(addr),
    }
}

fn is_private_v4(addr: Ipv4Addr) -> bool {
    let this_network = addr.octets()[0] == 0;
    this_network
        || addr.is_loopback()
        || addr.is_private()
        || addr.is_link_local()
        || addr.is_broadcast()
}

fn is_private_v6(addr: Ipv6Addr) -> bool {
    // Mapped (RFC 4291, 2.5.5.2) or translated with the well-known prefix (RFC 6052, 2.1): both
    // lead to the IPv4 address.
    let [a, b, c, d, e, f, high, low] = addr.segments();
    if matches!(
        [a, b, c, d, e, f],
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0]
    ) {
        let bits = u32::from(high) << 16 | u32::from(low);
        return is_private_v4(Ipv4Addr::from_bits(bits));
    }
    let site_local = a & 0xffc0 == 0xfec0;
    addr.is_unspecified()
        || addr.is_loopback()
        || addr.is_unicast_link_local()
        || addr.is_unique_local()
        || site_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_end_where_they_should() {
        // First and last of each range, and their neighbours outside.
        for (range, outside) in [
            (["0.0.0.0", "0.255.255.255"], ["1.0.0.0", "1.1.1.1"]),
            (
                ["10.0.0.0", "10.255.255.255"],
                ["9.255.255.255", "11.0.0.0"],
            ),
            (
                ["127.0.0.0", "127.255.255.255"],
                ["126.255.255.255", "128.0.0.0"],
            ),
            (
                ["169.254.0.0", "169.254.255.255"],
                ["169.253.255.255", "169.255.0.0"],
            ),
            (
                ["172.16.0.0", "172.31.255.255"],
                ["172.15.255.255", "172.32.0.0"],
            ),
            (
                ["192.168.0.0", "192.168.255.255"],
                ["192.167.255.255", "192.169.0.0"],
            ),
            (
                ["255.255.255.255", "255.255.255.255"],
                ["255.255.255.254", "192.0.2.1"],
            ),
            (["::", "::1"], ["::2", "2001:db8::1"]),
            (["fe80::", "febf:ffff::1"], ["fe7f:ffff::1", "ff02::1"]),
            (["fec0::", "feff:ffff::1"], ["fe00::", "ff00::"]),
            (["fc00::", "fdff:ffff::1"], ["fbff:ffff::1", "fe00::1"]),
            (
                ["::ffff:10.0.0.1", "::ffff:127.0.0.1"],
                ["::ffff:8.8.8.8", "::1:10.0.0.1"],
            ),
            (
                ["64:ff9b::a00:1", "64:ff9b::c0a8:101"],
                ["64:ff9b::808:808", "64:ff9b:1::a00:1"],
            ),
            (["0.0.0.0", "::"], ["100.64.0.1", "100.127.255.255"]),
        ] {
            let parse = |text: &str| text.parse().unwrap();
            for inside in range {
                assert!(is_private(parse(inside)), "{inside}");
            }
            for outside in outside {
                assert!(!is_private(parse(outside)), "{outside}");
            }
        }
    }
}
