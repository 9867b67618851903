//! Address hints of SVCB and HTTPS records (RFC 9460).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Addresses, skip_name, word};

/// Keys of the hints (RFC 9460, 7.3).
const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;

/// Appends the addresses in the hints of a record whose data begins at `start` and ends the
/// message. A record that breaks the rules (RFC 9460, 2.2) has none, nor has one in alias mode,
/// whose parameters nobody looks at (2.4.2). A compressed target breaks them too, yet clients
/// read it, and what they read shall be judged.
pub(super) fn hints(message: &[u8], start: usize, addresses: &mut Addresses) {
    let before = addresses.len();
    if collect(message, start, addresses).is_none() {
        addresses.truncate(before);
    }
}

fn collect(data: &[u8], start: usize, addresses: &mut Addresses) -> Option<()> {
    let priority = word(data, start)?;
    let mut at = skip_name(data, start + 2)?;
    if priority == 0 {
        return Some(());
    }
    let mut last = None;
    while at < data.len() {
        let key = word(data, at)?;
        let end = at + 4 + usize::from(word(data, at + 2)?);
        let value = data.get(at + 4..end)?;
        // In ascending order, each at most once.
        if last.is_some_and(|last| last >= key) {
            return None;
        }
        match key {
            IPV4HINT => take::<4, Ipv4Addr>(value, addresses)?,
            IPV6HINT => take::<16, Ipv6Addr>(value, addresses)?,
            _ => {}
        }
        (last, at) = (Some(key), end);
    }
    Some(())
}

/// A list of one or more addresses of `N` bytes.
fn take<const N: usize, A: From<[u8; N]> + Into<IpAddr>>(
    value: &[u8],
    addresses: &mut Addresses,
) -> Option<()> {
    let (all, []) = value.as_chunks::<N>() else {
        return None;
    };
    addresses.extend(all.iter().map(|octets| A::from(*octets).into()));
    (!all.is_empty()).then_some(())
}
