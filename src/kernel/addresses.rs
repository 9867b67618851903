//! The router's own addresses: packets to them are not ours to steer. I/O: rtnetlink.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{Client, Request};

// include/uapi/linux/if_addr.h
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;

/// All addresses of all devices, and their broadcast addresses.
pub fn own(client: &mut Client) -> io::Result<BTreeSet<IpAddr>> {
    let mut own = BTreeSet::new();
    // struct ifaddrmsg of family 0: every family.
    let request = Request::new(libc::RTM_GETADDR, 0, &[0; 8]);
    client.dump(request, |message| {
        let Some((_, attrs)) = message.split::<8>() else {
            return;
        };
        // IFA_ADDRESS is the other end where the two differ.
        let local = attrs.get(IFA_LOCAL).or_else(|| attrs.get(IFA_ADDRESS));
        for bytes in [local, attrs.get(IFA_BROADCAST)].into_iter().flatten() {
            own.extend(parse(bytes));
        }
    })?;
    Ok(own)
}

fn parse(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(v4).into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(v6).into())
}
