//! Listening sockets: transparent ones that intercepted packets are assigned to, and plain
//! local ones. I/O.
//!
//! A transparent listener is bound to loopback, so nobody outside reaches it by address; the
//! BPF program finds it by its port and gives it packets for any destination. The original
//! destination of an accepted TCP connection is its `local_addr()`, that of a datagram comes
//! with it ([`super::batch`]).

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::OWN_MARK;
use super::options::{prepare_stream, set_int};

/// Connections that wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 1024;

/// Receive buffer of a UDP listener, bytes (the kernel doubles it for its own overhead). All
/// flows share one socket, so the default of 208 KiB would lose datagrams of a burst.
const UDP_RECEIVE: libc::c_int = 1 << 20;

/// A TCP listener on an ephemeral port of `loopback` that accepts connections to any address.
/// Needs CAP_NET_ADMIN.
pub fn transparent_tcp(loopback: IpAddr) -> io::Result<TcpListener> {
    let socket = open(loopback, Type::STREAM, Protocol::TCP)?;
    set_transparent(&socket, loopback)?;
    prepare_stream(&socket)?;
    socket.bind(&SocketAddr::new(loopback, 0).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A UDP socket on an ephemeral port of `loopback` that takes datagrams to any address and
/// reports where they were going. Needs CAP_NET_ADMIN.
pub fn transparent_udp(loopback: IpAddr) -> io::Result<UdpSocket> {
    let socket = open(loopback, Type::DGRAM, Protocol::UDP)?;
    set_transparent(&socket, loopback)?;
    report_destination(&socket, loopback)?;
    enlarge_receive(&socket)?;
    socket.bind(&SocketAddr::new(loopback, 0).into())?;
    Ok(socket.into())
}

/// A plain TCP listener on `addr`.
pub fn plain_tcp(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(addr.ip(), Type::STREAM, Protocol::TCP)?;
    // A restart must not wait for TIME_WAIT sockets of the last instance.
    socket.set_reuse_address(true)?;
    prepare_stream(&socket)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A plain UDP socket on `addr` that reports which of our addresses was asked, so that an
/// answer can leave from it ([`super::reply::send_from`]) also when `addr` is a wildcard.
pub fn plain_udp(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(addr.ip(), Type::DGRAM, Protocol::UDP)?;
    report_destination(&socket, addr.ip())?;
    enlarge_receive(&socket)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Accepts a connection without waiting. The stream does not block; its `local_addr()` is the
/// original destination on a transparent listener.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    // accept4 sets the flag in the same call; the standard library needs another.
    let (socket, peer) =
        SockRef::from(listener).accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)?;
    let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok((socket.into(), peer))
}

/// A marked socket of `ip`'s family, IPv6 without IPv4-mapped addresses.
fn open(ip: IpAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let domain = if ip.is_ipv4() {
        Domain::IPV4
    } else {
        Domain::IPV6
    };
    let socket = Socket::new(domain, kind.nonblocking(), Some(protocol))?;
    if ip.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_mark(OWN_MARK)?;
    Ok(socket)
}

fn set_transparent(socket: &Socket, ip: IpAddr) -> io::Result<()> {
    match ip {
        IpAddr::V4(_) => set_int(socket, libc::SOL_IP, libc::IP_TRANSPARENT, 1),
        IpAddr::V6(_) => set_int(socket, libc::SOL_IPV6, libc::IPV6_TRANSPARENT, 1),
    }
}

fn report_destination(socket: &Socket, ip: IpAddr) -> io::Result<()> {
    match ip {
        IpAddr::V4(_) => set_int(socket, libc::SOL_IP, libc::IP_RECVORIGDSTADDR, 1),
        IpAddr::V6(_) => set_int(socket, libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR, 1),
    }
}

fn enlarge_receive(socket: &Socket) -> io::Result<()> {
    // Without CAP_NET_ADMIN (a plain listener in a test) the sysctl's limit has to do.
    set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, UDP_RECEIVE)
        .or_else(|_| set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, UDP_RECEIVE))
}
