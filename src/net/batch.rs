//! Datagrams, many per system call (`recvmmsg`). I/O.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{iovec, mmsghdr, sockaddr_storage};

use super::control::{self, Control};
use super::reactor::Source;
use super::sockaddr;

/// One datagram received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it; a link-local IPv6 address has its interface as scope id.
    pub from: SocketAddr,
    /// Where it was going, whoever that is.
    pub to: SocketAddr,
    /// UDP payload.
    pub payload: &'a [u8],
}

/// One datagram received by a socket with an address of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// UDP payload.
    pub payload: &'a [u8],
}

/// Buffers for a batch of datagrams, allocated once.
pub struct Batch {
    size: usize,
    buffers: Box<[u8]>,
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    /// Slots from the first on that the kernel may have written since they were prepared.
    used: usize,
    full: bool,
    oversized: u64,
}

impl Batch {
    /// Room for `slots` datagrams of at most `size` bytes each.
    pub fn new(slots: usize, size: usize) -> Self {
        // SAFETY: these C structures are plain integers and pointers, for which zero is valid.
        let (name, header) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let vector = iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            size,
            buffers: vec![0; slots * size].into(),
            names: vec![name; slots].into(),
            controls: vec![Control::EMPTY; slots].into(),
            vectors: vec![vector; slots].into(),
            headers: vec![header; slots].into(),
            used: slots,
            full: false,
            oversized: 0,
        }
    }

    /// Datagrams dropped so far because they were longer than `size`.
    pub fn oversized(&self) -> u64 {
        self.oversized
    }

    /// Whether the last [`Self::recv`] left perhaps more, so that the next one does not wait.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Waits for datagrams and takes what is there, at most a batch. The socket must report
    /// destinations, as those of [`super::listen`] do. One that has to be dropped (too long,
    /// no destination) is left out, so the iterator may be empty.
    pub async fn recv(&mut self, socket: &Source<UdpSocket>) -> io::Result<Datagrams<'_>> {
        let count = socket.read_with(|socket| self.fill(socket)).await?;
        self.full = count == self.headers.len();
        if !self.full {
            socket.drained();
        }
        Ok(Datagrams {
            batch: self,
            slots: 0..count,
        })
    }

    /// The same without waiting: WouldBlock when nothing is there.
    pub fn take(&mut self, socket: &Source<UdpSocket>) -> io::Result<Datagrams<'_>> {
        let slots = 0..self.take_slots(socket)?;
        Ok(Datagrams { batch: self, slots })
    }

    /// The same of a socket that is no source of events.
    pub fn try_recv(&mut self, socket: &UdpSocket) -> io::Result<Datagrams<'_>> {
        let slots = 0..self.fill(socket)?;
        Ok(Datagrams { batch: self, slots })
    }

    /// As [`Self::take`], of a socket that does not report destinations.
    pub fn take_packets(&mut self, socket: &Source<UdpSocket>) -> io::Result<Packets<'_>> {
        let slots = 0..self.take_slots(socket)?;
        Ok(Packets { batch: self, slots })
    }

    fn take_slots(&mut self, socket: &Source<UdpSocket>) -> io::Result<usize> {
        let count = socket.try_read(|socket| self.fill(socket))?;
        self.full = count == self.headers.len();
        if !self.full {
            socket.drained();
        }
        Ok(count)
    }

    fn fill(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let slots = self.headers.len();
        for slot in 0..self.used {
            self.vectors[slot] = iovec {
                iov_base: self.buffers[slot * self.size..][..self.size]
                    .as_mut_ptr()
                    .cast(),
                iov_len: self.size,
            };
            let message = &mut self.headers[slot].msg_hdr;
            message.msg_name = ptr::from_mut(&mut self.names[slot]).cast();
            message.msg_namelen = size_of::<sockaddr_storage>() as _;
            message.msg_iov = &mut self.vectors[slot];
            message.msg_iovlen = 1;
            message.msg_flags = 0;
            self.controls[slot].attach(message);
        }
        // The buffers never move, so the other slots still point where they should.
        self.used = 0;
        // SAFETY: every header points into buffers of `self`, which are distinct per slot, of
        // the lengths given, and alive and not otherwise used during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                slots as _,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.used = received;
        let oversized = self.headers[..received]
            .iter()
            .filter(|header| is_cut(header))
            .count();
        self.oversized += oversized as u64;
        Ok(received)
    }

    fn datagram(&self, slot: usize) -> Option<Datagram<'_>> {
        let Packet { from, payload } = self.packet(slot)?;
        let to = control::original_destination(&self.headers[slot].msg_hdr)?;
        Some(Datagram { from, to, payload })
    }

    fn packet(&self, slot: usize) -> Option<Packet<'_>> {
        let header = &self.headers[slot];
        if is_cut(header) {
            return None;
        }
        let from = sockaddr::decode(&self.names[slot])?;
        let payload = &self.buffers[slot * self.size..][..header.msg_len as usize];
        Some(Packet { from, payload })
    }
}

fn is_cut(header: &mmsghdr) -> bool {
    header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0
}

/// The datagrams of one batch, in the order of arrival.
pub struct Datagrams<'a> {
    batch: &'a Batch,
    slots: std::ops::Range<usize>,
}

/// The same of a socket with an address of its own; None stands for one that had to be dropped.
pub struct Packets<'a> {
    batch: &'a Batch,
    slots: std::ops::Range<usize>,
}

impl Datagrams<'_> {
    /// How many were received and not looked at yet, those that are left out included.
    pub fn received(&self) -> usize {
        self.slots.len()
    }
}

impl Packets<'_> {
    /// How many were received and not looked at yet.
    pub fn received(&self) -> usize {
        self.slots.len()
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Option<Packet<'a>>;

    fn next(&mut self) -> Option<Option<Packet<'a>>> {
        let slot = self.slots.next()?;
        Some(self.batch.packet(slot))
    }
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        self.slots
            .by_ref()
            .find_map(|slot| self.batch.datagram(slot))
    }
}
