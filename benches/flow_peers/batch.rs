//! Datagrams, many per system call, both ways.

use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams per call.
pub const SLOTS: usize = 64;
/// Bytes of the largest, with room in front for a header.
const SIZE: usize = 2048;

/// The same buffers for what is received and what is sent.
pub struct Batch {
    buffers: Box<[[u8; SIZE]]>,
    names: Box<[libc::sockaddr_in]>,
    /// Where a slot's bytes are.
    spans: [(usize, usize); SLOTS],
    /// Whether to send to the slot's name; else the socket is connected.
    named: [bool; SLOTS],
}

impl Batch {
    /// All empty.
    pub fn new() -> Self {
        // SAFETY: plain integers, for which zero is valid.
        let name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        Self {
            buffers: vec![[0; SIZE]; SLOTS].into(),
            names: vec![name; SLOTS].into(),
            spans: [(0, 0); SLOTS],
            named: [false; SLOTS],
        }
    }

    /// Who sent what is in a slot.
    pub fn from(&self, slot: usize) -> SocketAddr {
        let name = &self.names[slot];
        let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
        SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(name.sin_port)))
    }

    /// Sends it back to where it came from, but for the first `skip` bytes.
    pub fn answer(&mut self, slot: usize, skip: usize) {
        self.named[slot] = true;
        let (begin, end) = self.spans[slot];
        self.spans[slot] = (begin + skip, end);
    }

    /// To this address, without the first `skip` bytes.
    pub fn readdress(&mut self, slot: usize, to: SocketAddrV4, skip: usize) {
        self.answer(slot, skip);
        self.names[slot].sin_family = libc::AF_INET as _;
        self.names[slot].sin_addr.s_addr = u32::from(*to.ip()).to_be();
        self.names[slot].sin_port = to.port().to_be();
    }

    /// To whom the socket is connected, with `header` in front.
    pub fn wrap(&mut self, slot: usize, header: &[u8]) {
        let (begin, end) = self.spans[slot];
        let start = begin - header.len();
        self.buffers[slot][start..begin].copy_from_slice(header);
        self.spans[slot] = (start, end);
        self.named[slot] = false;
    }

    /// Fills a slot with a datagram of `length` zeros for whom the socket is connected to.
    pub fn zeros(&mut self, slot: usize, length: usize) {
        self.spans[slot] = (0, length);
        self.named[slot] = false;
    }

    /// Takes what is there into the slots from 0 on, each with `room` bytes left in front.
    /// Waits if the socket is blocking; 0 if it is not and nothing is there.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, room: usize) -> usize {
        self.spans = [(room, SIZE); SLOTS];
        self.named = [true; SLOTS];
        let (mut headers, _vectors) = self.headers(0..SLOTS);
        // SAFETY: the headers point to live buffers and names of this batch, one each.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                SLOTS as _,
                libc::MSG_WAITFORONE as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for (span, header) in self.spans.iter_mut().zip(&headers).take(count) {
            span.1 = span.0 + header.msg_len as usize;
        }
        count
    }

    /// Sends the slots from 0 to `count`.
    pub fn send(&mut self, socket: BorrowedFd<'_>, count: usize) {
        self.send_some(socket, 0..count);
    }

    /// Sends these slots. What a full buffer does not take is lost, as on the way.
    pub fn send_some(&mut self, socket: BorrowedFd<'_>, slots: std::ops::Range<usize>) {
        let (mut headers, _vectors) = self.headers(slots);
        let mut left = &mut headers[..];
        while !left.is_empty() {
            // SAFETY: as in `receive`.
            let sent = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as _, 0)
            };
            match usize::try_from(sent) {
                Ok(sent) => left = &mut left[sent..],
                Err(_) if Error::last_os_error().kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn headers(&mut self, slots: std::ops::Range<usize>) -> (Vec<libc::mmsghdr>, Vec<libc::iovec>) {
        let mut vectors = Vec::with_capacity(SLOTS);
        for slot in slots.clone() {
            let (begin, end) = self.spans[slot];
            vectors.push(libc::iovec {
                iov_base: self.buffers[slot][begin..].as_mut_ptr().cast(),
                iov_len: end - begin,
            });
        }
        let headers = slots.zip(&mut vectors).map(|(slot, vector)| {
            // SAFETY: plain integers and pointers, for which zero is valid.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if self.named[slot] {
                header.msg_hdr.msg_name = ptr::from_mut(&mut self.names[slot]).cast();
                header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as _;
            }
            header
        });
        (headers.collect(), vectors)
    }
}
