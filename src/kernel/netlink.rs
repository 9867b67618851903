//! A small rtnetlink client: builds requests, waits for answers, walks attributes. I/O: one
//! netlink socket per client.
//!
//! Messages are a 16-byte header, a fixed structure of their kind and attributes of type,
//! length and value, all padded to 4 bytes, in the machine's byte order (RFC 3549,
//! include/uapi/linux/netlink.h).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike as _};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Largest answer: the kernel's dumps come in pieces of at most 32 KiB.
const BUFFER: usize = 32 * 1024;

/// The kernel answers at once; a wait this long, in seconds, means it never will.
const PATIENCE: i64 = 5;

/// A request under construction.
#[derive(Debug)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of kind `RTM_*` with `NLM_F_*` flags; `body` is the kind's fixed structure.
    pub fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = flags as u16 | libc::NLM_F_REQUEST as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(body);
        let mut request = Self { bytes };
        request.pad();
        request
    }

    /// Appends an attribute.
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// Appends an attribute whose value is attributes.
    pub fn nested(mut self, kind: u16, attrs: &[(u16, &[u8])]) -> Self {
        let start = self.bytes.len();
        self.push(kind, &[]);
        for (kind, value) in attrs {
            self.push(*kind, value);
        }
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        // Values are addresses, names and numbers: far below 64 KiB.
        let len = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A message of an answer, borrowed from the receive buffer.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// `RTM_*` or `NLMSG_*`.
    pub kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The fixed structure of `N` bytes in front, and the attributes behind it.
    pub fn split<const N: usize>(&self) -> Option<(&'a [u8; N], Attrs<'a>)> {
        let (body, rest) = self.payload.split_first_chunk()?;
        let padding = N.next_multiple_of(4) - N;
        Some((body, Attrs(rest.get(padding..)?)))
    }
}

/// Attributes in turn: type without flag bits, value. Ends at the first that is cut short.
#[derive(Debug, Clone, Copy)]
pub struct Attrs<'a>(pub &'a [u8]);

impl<'a> Attrs<'a> {
    /// The first attribute of a type.
    pub fn get(self, kind: u16) -> Option<&'a [u8]> {
        let mut attrs = self;
        attrs
            .find(|(found, _)| *found == kind)
            .map(|(_, value)| value)
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Messages in a datagram. Ends at the first that is cut short.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = u32_at(self.0, 0)? as usize;
        let message = Message {
            kind: u16_at(self.0, 4)?,
            sequence: u32_at(self.0, 8)?,
            payload: self.0.get(HEADER..len)?,
        };
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// The 16-bit number at `offset`.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// The 32-bit number at `offset`.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A socket that asks and waits for the answer.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    sequence: u32,
}

impl Client {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let socket = open(SockFlag::empty(), 0)?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(PATIENCE),
        )?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Sends a request and waits for the kernel's yes or no.
    pub fn ask(&mut self, mut request: Request) -> io::Result<()> {
        let flags = u16_at(&request.bytes, 6).unwrap_or_default() | libc::NLM_F_ACK as u16;
        request.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.exchange(request, &mut |_| ())
    }

    /// As [`Self::ask`], but these errors are as good as success: it was so already.
    pub fn ask_unless(&mut self, request: Request, fine: &[i32]) -> io::Result<()> {
        match self.ask(request) {
            Err(error)
                if error
                    .raw_os_error()
                    .is_some_and(|code| fine.contains(&code)) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Asks for a list and hands each of its messages to `each`.
    pub fn dump(
        &mut self,
        mut request: Request,
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        let flags = u16_at(&request.bytes, 6).unwrap_or_default() | libc::NLM_F_DUMP as u16;
        request.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.exchange(request, &mut each)
    }

    fn exchange(&mut self, request: Request, each: &mut dyn FnMut(Message<'_>)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let fd = self.socket.as_raw_fd();
        send(fd, &request.finish(self.sequence), MsgFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let len = recv(fd, &mut buffer, MsgFlags::empty())?;
            for message in Messages(&buffer[..len]) {
                if message.sequence != self.sequence {
                    continue;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = u32_at(message.payload, 0).unwrap_or_default() as i32;
                        return match code {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => each(message),
                }
            }
        }
    }
}

/// A socket that hears of changes, without ever blocking.
#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
}

impl Monitor {
    /// Listens to groups, a set of `RTMGRP_*`.
    pub fn open(groups: i32) -> io::Result<Self> {
        let socket = open(SockFlag::SOCK_NONBLOCK, groups as u32)?;
        Ok(Self { socket })
    }

    /// Throws away what came; true when anything did, or some was lost. What changed is to
    /// be asked for: that way a lost message costs nothing.
    pub fn drain(&self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let mut heard = false;
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(nix::Error::ENOBUFS) => heard = true,
                Err(nix::Error::EAGAIN) => return Ok(heard),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Hears of links and routes of both IP versions.
#[derive(Debug)]
pub struct RouteMonitor(Monitor);

impl RouteMonitor {
    /// In the network namespace of the calling thread.
    pub fn open() -> io::Result<Self> {
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;
        Monitor::open(groups).map(Self)
    }

    /// Throws away what came; true when anything did.
    pub fn drain(&self) -> io::Result<bool> {
        self.0.drain()
    }
}

impl AsFd for RouteMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(flags: SockFlag, groups: u32) -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn requests_are_read_back() {
        let request = Request::new(7, 0, &[9; 5])
            .attr(1, b"abc")
            .nested(2, &[(3, b"x"), (4, b"")]);
        let bytes = request.finish(42);
        let message = Messages(&bytes).next().unwrap();
        assert_eq!((message.kind, message.sequence), (7, 42));
        let (body, attrs) = message.split::<5>().unwrap();
        assert_eq!(body, &[9; 5]);
        assert_eq!(attrs.get(1), Some(&b"abc"[..]));
        let nested = Attrs(attrs.get(2).unwrap());
        assert_eq!(nested.collect::<Vec<_>>(), [(3, &b"x"[..]), (4, &b""[..])]);
        assert_eq!(Messages(&bytes).count(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in vec(any::<u8>(), 0..200)) {
            for message in Messages(&bytes) {
                if let Some((_, attrs)) = message.split::<8>() {
                    prop_assert!(attrs.count() <= bytes.len());
                }
            }
            prop_assert!(Attrs(&bytes).count() <= bytes.len());
        }
    }
}
