//! Control messages of `recvmsg` and `sendmsg`. I/O structures, no system call.

use std::net::SocketAddr;

use libc::{c_int, msghdr};

use super::sockaddr;

/// Room for one control message of ours, the largest being an IPv6 socket address.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control([u8; 64]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; 64]);

    /// Points `message` at this space, all of it.
    pub(super) fn attach(&mut self, message: &mut msghdr) {
        message.msg_control = self.0.as_mut_ptr().cast();
        message.msg_controllen = self.0.len() as _;
    }

    /// Writes the source address that the kernel shall use (IP_PKTINFO, IPV6_PKTINFO) and
    /// attaches it. The scope of a link-local one chooses the interface.
    pub(super) fn attach_source(&mut self, message: &mut msghdr, source: SocketAddr) {
        match source {
            SocketAddr::V4(v4) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: sockaddr::in_addr(*v4.ip()),
                    ipi_addr: sockaddr::in_addr(*v4.ip()),
                };
                self.put(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            SocketAddr::V6(v6) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: sockaddr::in6_addr(*v6.ip()),
                    ipi6_ifindex: v6.scope_id() as _,
                };
                self.put(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }

    fn put<T: Copy>(&mut self, message: &mut msghdr, level: c_int, kind: c_int, value: T) {
        const { assert!(size_of::<T>() <= 28) };
        self.attach(message);
        // SAFETY: the space is aligned for cmsghdr and holds CMSG_SPACE(28) = 48 bytes or
        // fewer on every target, so CMSG_FIRSTHDR is not null and the value fits.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
            message.msg_controllen = libc::CMSG_SPACE(size_of::<T>() as u32) as _;
        }
    }
}

/// The destination that the sender wrote: IP_ORIGDSTADDR or IPV6_ORIGDSTADDR of a message
/// that the kernel has filled.
pub(super) fn original_destination(message: &msghdr) -> Option<SocketAddr> {
    // SAFETY: msg_control and msg_controllen describe memory that the kernel has filled and
    // that is alive while `message` is; the CMSG macros stay inside it, and data is copied out
    // only when the header says that it is long enough.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            let length = (*header).cmsg_len as usize;
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) if holds::<libc::sockaddr_in>(length) => {
                    return Some(sockaddr::decode_v4(
                        &data.cast::<libc::sockaddr_in>().read_unaligned(),
                    ));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR)
                    if holds::<libc::sockaddr_in6>(length) =>
                {
                    return Some(sockaddr::decode_v6(
                        &data.cast::<libc::sockaddr_in6>().read_unaligned(),
                    ));
                }
                _ => header = libc::CMSG_NXTHDR(message, header),
            }
        }
        None
    }
}

fn holds<T>(cmsg_len: usize) -> bool {
    // SAFETY: pure arithmetic.
    cmsg_len >= unsafe { libc::CMSG_LEN(size_of::<T>() as u32) } as usize
}
