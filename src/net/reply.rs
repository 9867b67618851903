//! Answers in the name of any address and port, also one that is not ours or that another
//! process has bound. I/O.
//!
//! A raw socket of protocol UDP sends what a pool of transparent sockets, one per source
//! address and port, would: the kernel writes the IP header (IP_TRANSPARENT allows a foreign
//! source, given by IP_PKTINFO) and fragments, we write the 8 bytes of UDP (RFC 768).

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use libc::{iovec, msghdr};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::OWN_MARK;
use super::control::Control;
use super::options::{set, set_int};
use super::outbox::{Head, Outbox, Outgoing, Sent};

/// Longest payload of a UDP datagram over IPv4; over IPv6 20 bytes more would fit.
pub const MAX_PAYLOAD: usize = 65_507;

const UDP_HEADER: usize = 8;

/// A raw socket takes a copy of every datagram that matches its address, for nothing here.
/// Bound to an address that no packet has, it is never looked at: the last of 127/8, and one
/// of the discard-only prefix (RFC 6666). A filter drops the rest.
const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 254);
const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// Sends UDP datagrams with any source. One per daemon.
pub struct Replier {
    v4: Socket,
    v6: Option<Socket>,
    dropped: Cell<u64>,
}

impl Replier {
    /// Opens the raw sockets; needs CAP_NET_RAW and CAP_NET_ADMIN. A system without IPv6 gets
    /// a replier without it.
    pub fn new() -> io::Result<Self> {
        let v4 = open_v4()?;
        let v6 = match open_v6() {
            Ok(socket) => Some(socket),
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            v4,
            v6,
            dropped: Cell::new(0),
        })
    }

    /// Sends `payload` from `from` to `to`, which are of the same family. Never waits: an
    /// error, also that of a full send buffer, means that the datagram was dropped, and it
    /// was counted.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let result = self.try_send(from, to, payload);
        if result.is_err() {
            self.dropped.set(self.dropped.get() + 1);
        }
        result
    }

    /// Sends datagrams, each from an address of its own, to one receiver: in order, many per
    /// system call. Never waits; what cannot be sent is dropped and counted.
    pub fn send_many<'a>(
        &self,
        outbox: &mut Outbox,
        to: SocketAddr,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Sent {
        let mut unfit = 0;
        let outgoing = datagrams.filter_map(|(from, payload)| {
            let fits = from.is_ipv4() == to.is_ipv4() && payload.len() <= MAX_PAYLOAD;
            unfit += u64::from(!fits);
            fits.then(|| Outgoing {
                to: Some(host(to)),
                source: Some(from),
                head: Head::new(&udp_header(from, to, payload)),
                payload,
            })
        });
        let mut sent = match self.socket(to) {
            Ok(socket) => outbox.send(socket.as_fd(), outgoing),
            Err(_) => Sent {
                dropped: outgoing.count() as u64,
                ..Sent::default()
            },
        };
        sent.dropped += unfit;
        self.dropped.set(self.dropped.get() + sent.dropped);
        sent
    }

    /// Datagrams dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    fn try_send(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MAX_PAYLOAD {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if from.is_ipv4() != to.is_ipv4() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let header = udp_header(from, to, payload);
        let socket = self.socket(to)?;
        send_message(socket.as_fd(), from, host(to), &[&header, payload])
    }

    fn socket(&self, to: SocketAddr) -> io::Result<&Socket> {
        match to {
            SocketAddr::V4(_) => Ok(&self.v4),
            SocketAddr::V6(_) => Ok(self.v6.as_ref().ok_or(io::ErrorKind::Unsupported)?),
        }
    }
}

/// The port of a raw destination is no port: IPv6 takes it for a protocol number.
fn host(to: SocketAddr) -> SocketAddr {
    let mut host = to;
    host.set_port(0);
    host
}

/// Sends from a plain socket of [`super::listen::plain_udp`], with the address that was asked
/// as the source. Never waits.
pub fn send_from(
    socket: &UdpSocket,
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
) -> io::Result<()> {
    send_message(socket.as_fd(), from, to, &[payload])
}

fn send_message(
    socket: BorrowedFd<'_>,
    from: SocketAddr,
    to: SocketAddr,
    parts: &[&[u8]],
) -> io::Result<()> {
    let name = SockAddr::from(to);
    let mut vectors = [iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }; 2];
    for (vector, part) in vectors.iter_mut().zip(parts) {
        // The kernel only reads; iovec has no const form.
        *vector = iovec {
            iov_base: part.as_ptr().cast_mut().cast(),
            iov_len: part.len(),
        };
    }
    // SAFETY: zero is a valid msghdr.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_ptr().cast_mut().cast();
    message.msg_namelen = name.len();
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = parts.len().min(vectors.len()) as _;
    let mut control = Control::EMPTY;
    control.attach_source(&mut message, from);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: all pointers of `message` are to locals and arguments alive during the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, flags) };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn open_v4() -> io::Result<Socket> {
    let socket = open(Domain::IPV4)?;
    set_int(&socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1)?;
    // Fragment by the device's MTU and never set "don't fragment": an ICMP answer to a
    // source that is not ours would not come to us.
    set_int(
        &socket,
        libc::SOL_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_OMIT,
    )?;
    socket.bind(&SocketAddr::from((NOBODY_V4, 0)).into())?;
    Ok(socket)
}

fn open_v6() -> io::Result<Socket> {
    let socket = open(Domain::IPV6)?;
    set_int(&socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1)?;
    set_int(
        &socket,
        libc::SOL_IPV6,
        libc::IPV6_MTU_DISCOVER,
        libc::IPV6_PMTUDISC_OMIT,
    )?;
    socket.bind(&SocketAddr::from((NOBODY_V6, 0)).into())?;
    Ok(socket)
}

/// A marked raw socket that receives nothing from the start.
fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(Protocol::UDP))?;
    let mut reject = libc::sock_filter {
        code: BPF_RET,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: &mut reject,
    };
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    socket.set_mark(OWN_MARK)?;
    Ok(socket)
}

/// Classic BPF "return k": 0 takes no byte of the packet.
const BPF_RET: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn udp_header(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> [u8; UDP_HEADER] {
    // At most 65,515: MAX_PAYLOAD was checked.
    let length = (UDP_HEADER + payload.len()) as u16;
    let mut header = [0; UDP_HEADER];
    header[0..2].copy_from_slice(&from.port().to_be_bytes());
    header[2..4].copy_from_slice(&to.port().to_be_bytes());
    header[4..6].copy_from_slice(&length.to_be_bytes());

    let mut sum = Checksum::default();
    for ip in [from.ip(), to.ip()] {
        match ip {
            IpAddr::V4(v4) => sum.add(&v4.octets()),
            IpAddr::V6(v6) => sum.add(&v6.octets()),
        }
    }
    // The rest of the pseudo header (RFC 768, RFC 8200 section 8.1): zero, protocol, length.
    sum.add(&[0, libc::IPPROTO_UDP as u8]);
    sum.add(&length.to_be_bytes());
    sum.add(&header);
    sum.add(payload);
    header[6..8].copy_from_slice(&sum.finish());
    header
}

/// The Internet checksum (RFC 1071), summed in the machine's byte order: swapping the bytes
/// of every word only swaps the bytes of the sum.
#[derive(Default)]
struct Checksum(u64);

impl Checksum {
    /// Adds bytes; only the last piece may be of odd length.
    fn add(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<4>();
        for word in words {
            self.0 += u64::from(u32::from_ne_bytes(*word));
        }
        let (pairs, odd) = tail.as_chunks::<2>();
        for pair in pairs {
            self.0 += u64::from(u16::from_ne_bytes(*pair));
        }
        if let [last] = odd {
            self.0 += u64::from(u16::from_ne_bytes([*last, 0]));
        }
    }

    /// The two bytes of the field. UDP sends 0xffff for 0, which means "no checksum".
    fn finish(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let field = !(sum as u16);
        if field == 0 {
            [0xff; 2]
        } else {
            field.to_ne_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 768 and RFC 1071 word by word, over the whole datagram with its checksum.
    fn verify(from: SocketAddr, to: SocketAddr, header: [u8; 8], payload: &[u8]) -> u16 {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let mut bytes = [octets(from.ip()), octets(to.ip())].concat();
        bytes.extend([0, 17, header[4], header[5]]);
        bytes.extend(header);
        bytes.extend(payload);
        bytes.push(0);
        bytes.chunks_exact(2).fold(0, |sum: u16, pair| {
            let (sum, carry) = sum.overflowing_add(u16::from_be_bytes([pair[0], pair[1]]));
            sum + u16::from(carry)
        })
    }

    proptest! {
        #[test]
        fn checksums_are_those_of_the_rfc(
            (from, to) in prop_oneof![
                any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
                any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
            ],
            ports: (u16, u16),
            payload in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            let (from, to) = (SocketAddr::new(from, ports.0), SocketAddr::new(to, ports.1));
            let header = udp_header(from, to, &payload);
            prop_assert_eq!(verify(from, to, header, &payload), 0xffff);
            prop_assert_eq!(usize::from(u16::from_be_bytes([header[4], header[5]])), 8 + payload.len());
        }
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_ffff() {
        let to = SocketAddr::from(([0, 0, 0, 0], 0));
        // 17 + length 10 twice + the payload make 0xffff, whose complement is 0.
        let payload = (0xffffu16 - 17 - 10 - 10).to_be_bytes();
        assert_eq!(udp_header(to, to, &payload)[6..8], [0xff, 0xff]);
    }
}
