//! Host names from the leases of dnsmasq. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

/// Longest name that is shown.
const MAX_NAME: usize = 63;

/// Names by address. A line is `END MAC ADDRESS NAME CLIENT-ID`, with an IAID in place of the MAC
/// for IPv6; hosts that told no name have `*`. Lines that are something else are skipped.
pub fn names(text: &str) -> HashMap<IpAddr, &str> {
    text.lines().filter_map(lease).collect()
}

fn lease(line: &str) -> Option<(IpAddr, &str)> {
    let mut words = line.split_ascii_whitespace();
    let addr = words.nth(2)?.parse().ok()?;
    let name = words.next().filter(|name| *name != "*")?;
    // Clients choose their names.
    let fits = name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic());
    // Without a client's ID behind the name the line was cut.
    let whole = words.next().is_some();
    (fits && whole).then_some((addr, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_of_both_versions_are_read_and_nonsense_is_not() {
        let text = "\
            1763900000 02:00:00:00:00:01 192.168.1.10 laptop 01:02:00:00:00:00:01\n\
            1763900000 02:00:00:00:00:02 192.168.1.11 * 01:02:00:00:00:00:02\n\
            duid 00:01:00:01:2c:aa\n\
            1763900000 12345678 2001:db8::10 laptop 00:01:00:01:2c:aa\n\
            1763900000 02:00:00:00:00:03 192.168.1.300 broken *\n\
            1763900000 02:00:00:00:00:04 192.168.1.12 cut-o";
        let found = names(text);
        let expected =
            ["192.168.1.10", "2001:db8::10"].map(|addr| (addr.parse().unwrap(), "laptop"));
        assert_eq!(found, HashMap::from(expected));
        let long = format!("1 02:00:00:00:00:01 192.168.1.10 {} *", "x".repeat(64));
        assert!(names(&long).is_empty());
        assert!(names("1 02:00:00:00:00:01 192.168.1.10 \u{1b}[2J *").is_empty());
    }
}
