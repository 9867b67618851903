//! Sending datagrams, many per system call (`sendmmsg`). I/O.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{iovec, mmsghdr};
use socket2::SockAddr;

use super::control::Control;

/// Longest head of a datagram, bytes: that of SOCKS5 with an IPv6 address has 22.
const MAX_HEAD: usize = 24;

/// Bytes in front of a payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; MAX_HEAD],
    length: usize,
}

impl Head {
    /// Of at most 24 bytes; what is longer is cut.
    pub fn new(head: &[u8]) -> Self {
        let length = head.len().min(MAX_HEAD);
        let mut bytes = [0; MAX_HEAD];
        bytes[..length].copy_from_slice(&head[..length]);
        Self { bytes, length }
    }
}

/// A datagram on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// None for a connected socket.
    pub to: Option<SocketAddr>,
    /// A source of its own (IP_PKTINFO); its port says nothing here.
    pub source: Option<SocketAddr>,
    /// Goes first.
    pub head: Head,
    /// The rest.
    pub payload: &'a [u8],
}

/// What became of datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Taken by the socket.
    pub datagrams: u64,
    /// Their payload, heads not counted.
    pub bytes: u64,
    /// Dropped, as the socket did not take them.
    pub dropped: u64,
}

/// Room for the headers of a batch, allocated once.
pub struct Outbox {
    names: Box<[SockAddr]>,
    controls: Box<[Control]>,
    heads: Box<[Head]>,
    vectors: Box<[[iovec; 2]]>,
    headers: Box<[mmsghdr]>,
}

impl Outbox {
    /// Sends at most `slots` datagrams per system call.
    pub fn new(slots: usize) -> Self {
        let nobody = SockAddr::from(SocketAddr::from(([0; 4], 0)));
        let empty = iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        // SAFETY: plain integers and pointers, for which zero is valid.
        let header: mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            names: vec![nobody; slots].into(),
            controls: vec![Control::EMPTY; slots].into(),
            heads: vec![Head::default(); slots].into(),
            vectors: vec![[empty; 2]; slots].into(),
            headers: vec![header; slots].into(),
        }
    }

    /// Sends in order and never waits. A datagram that the socket does not take is dropped; when
    /// that is for want of room, so are those behind it of the same system call: the newest go,
    /// and what was taken is in order.
    pub fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl IntoIterator<Item = Outgoing<'a>>,
    ) -> Sent {
        let mut sent = Sent::default();
        let mut filled = 0;
        for datagram in datagrams {
            self.fill(filled, datagram);
            filled += 1;
            if filled == self.headers.len() {
                self.flush(socket, filled, &mut sent);
                filled = 0;
            }
        }
        self.flush(socket, filled, &mut sent);
        sent
    }

    /// Prepares a slot. The payload outlives [`Self::send`], which flushes before it returns;
    /// nothing else looks at what is here.
    fn fill(&mut self, slot: usize, datagram: Outgoing<'_>) {
        self.heads[slot] = datagram.head;
        // The kernel only reads; iovec has no const form.
        self.vectors[slot] = [
            iovec {
                iov_base: self.heads[slot].bytes.as_mut_ptr().cast(),
                iov_len: datagram.head.length,
            },
            iovec {
                iov_base: datagram.payload.as_ptr().cast_mut().cast(),
                iov_len: datagram.payload.len(),
            },
        ];
        let message = &mut self.headers[slot].msg_hdr;
        message.msg_iov = self.vectors[slot].as_mut_ptr();
        message.msg_iovlen = 2;
        message.msg_name = ptr::null_mut();
        message.msg_namelen = 0;
        if let Some(to) = datagram.to {
            self.names[slot] = to.into();
            message.msg_name = self.names[slot].as_ptr().cast_mut().cast();
            message.msg_namelen = self.names[slot].len();
        }
        message.msg_control = ptr::null_mut();
        message.msg_controllen = 0;
        if let Some(source) = datagram.source {
            self.controls[slot].attach_source(message, source);
        }
    }

    fn flush(&mut self, socket: BorrowedFd<'_>, filled: usize, sent: &mut Sent) {
        let mut rest = 0..filled;
        while !rest.is_empty() {
            match self.send_some(socket, rest.clone()) {
                Ok(count) => {
                    let taken = rest.start..rest.start + count;
                    sent.datagrams += count as u64;
                    let payloads = self.vectors[taken].iter().map(|[_, payload]| payload);
                    sent.bytes += payloads.map(|payload| payload.iov_len as u64).sum::<u64>();
                    rest.start += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => {
                    sent.dropped += rest.len() as u64;
                    break;
                }
                Err(_) => {
                    sent.dropped += 1;
                    rest.start += 1;
                }
            }
        }
    }

    /// At least one datagram, or the error of the first.
    fn send_some(
        &mut self,
        socket: BorrowedFd<'_>,
        slots: std::ops::Range<usize>,
    ) -> io::Result<usize> {
        let headers = &mut self.headers[slots];
        // SAFETY: every header points to name, control, head and payload of its slot, which are
        // alive as `fill` says; the boxes they are in never move.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as _,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Whether a send buffer, or the queue of a device, has no room. A raw socket says ENOBUFS where
/// others say EAGAIN.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::*;

    fn to<'a>(socket: &UdpSocket, payload: &'a [u8]) -> Outgoing<'a> {
        Outgoing {
            to: Some(socket.local_addr().unwrap()),
            source: None,
            head: Head::new(b"head "),
            payload,
        }
    }

    #[test]
    fn more_than_a_batch_arrives_in_order_and_one_that_cannot_go_is_left_out() {
        let [receiver, sender] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        let mut outbox = Outbox::new(32);
        let huge = vec![0; 65_536];
        let datagrams = texts.iter().flat_map(|text| {
            // In the middle of a batch, and at the beginning of one.
            let huge = ["40", "63"].contains(&text.as_str()).then_some(&huge[..]);
            huge.into_iter().chain([text.as_bytes()])
        });
        // 10 numbers have one digit, 90 have two.
        let sent = outbox.send(sender.as_fd(), datagrams.map(|text| to(&receiver, text)));
        let expected = Sent {
            datagrams: 100,
            bytes: 190,
            dropped: 2,
        };
        assert_eq!(sent, expected);
        let mut buffer = [0; 64];
        for text in &texts {
            let length = receiver.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], *format!("head {text}").as_bytes());
        }
    }

    #[test]
    fn a_full_socket_drops_the_newest_and_does_not_wait() {
        // The queue of a Unix socket holds few datagrams and loses none.
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let payloads: Vec<[u8; 1]> = (0..=255).map(|number| [number]).collect();
        let datagrams = payloads
            .iter()
            .cycle()
            .take(10_000)
            .map(|payload| Outgoing {
                to: None,
                source: None,
                head: Head::default(),
                payload,
            });
        let sent = Outbox::new(16).send(sender.as_fd(), datagrams);
        assert!(sent.datagrams > 0 && sent.dropped > 0);
        assert_eq!(sent.datagrams + sent.dropped, 10_000);
        receiver.set_nonblocking(true).unwrap();
        let mut buffer = [0; 8];
        for number in 0..sent.datagrams {
            assert_eq!(receiver.recv(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], number as u8);
        }
    }

    #[test]
    fn heads_are_bounded() {
        assert_eq!(Head::new(&[1; 30]), Head::new(&[1; MAX_HEAD]));
    }
}
