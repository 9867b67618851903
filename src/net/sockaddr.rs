//! The kernel's socket addresses and Rust's. Scope ids of link-local addresses are kept.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{in_addr, in6_addr, sockaddr_in, sockaddr_in6, sockaddr_storage};

/// Decodes a `sockaddr_in` or `sockaddr_in6`; None for other families.
pub(super) fn decode(storage: &sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: sockaddr_storage is larger than sockaddr_in, aligned for it, and every
            // bit pattern is a valid one; the family says which it is.
            Some(decode_v4(unsafe { &*std::ptr::from_ref(storage).cast() }))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for sockaddr_in6.
            Some(decode_v6(unsafe { &*std::ptr::from_ref(storage).cast() }))
        }
        _ => None,
    }
}

pub(super) fn decode_v4(addr: &sockaddr_in) -> SocketAddr {
    let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into()
}

pub(super) fn decode_v6(addr: &sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
    SocketAddrV6::new(ip, u16::from_be(addr.sin6_port), 0, addr.sin6_scope_id).into()
}

pub(super) fn in_addr(ip: Ipv4Addr) -> in_addr {
    in_addr {
        s_addr: u32::from(ip).to_be(),
    }
}

pub(super) fn in6_addr(ip: Ipv6Addr) -> in6_addr {
    in6_addr {
        s6_addr: ip.octets(),
    }
}
