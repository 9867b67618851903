//! Sockets towards upstreams, marked so that their packets are never intercepted. I/O.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use futures_lite::future;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use socket2::{Domain, Protocol, Socket, Type};

use super::OWN_MARK;
use super::options::prepare_stream;
use super::reactor::{Interest, Source, Timer};

/// Connects to `addr`; put it in [`within`] for a limit. Small writes are sent at once
/// (TCP_NODELAY), and a peer that vanished is noticed (keepalive).
pub async fn tcp(addr: SocketAddr) -> io::Result<Source<TcpStream>> {
    let socket = open(addr, Type::STREAM, Protocol::TCP)?;
    prepare_stream(&socket)?;
    let connected = socket.connect(&addr.into());
    let stream = Source::new(TcpStream::from(socket), Interest::Both)?;
    match connected {
        Ok(()) => return Ok(stream),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    stream.filled();
    stream.writable().await;
    match stream.get_ref().take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// Waits for `work`, at most `limit`; TimedOut after that.
pub async fn within<T, E: From<io::Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    future::or(work, async {
        Timer::after(limit).await;
        Err(io::Error::from(io::ErrorKind::TimedOut).into())
    })
    .await
}

/// A UDP socket of `peer`'s family on an ephemeral port of every address, not connected: it
/// hears any remote.
pub fn udp(peer: SocketAddr) -> io::Result<Source<UdpSocket>> {
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = open(any, Type::DGRAM, Protocol::UDP)?;
    socket.bind(&any.into())?;
    Source::new(socket.into(), Interest::Read)
}

/// A UDP socket connected to `peer`: it hears nobody else, and ICMP errors come back as
/// errors of send and receive. It does not block. Every call has a new random source port.
pub fn udp_connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let socket = open(peer, Type::DGRAM, Protocol::UDP)?;
    // Without it only "port unreachable" is told, not that host or network are (man 7 ip).
    match peer {
        SocketAddr::V4(_) => setsockopt(&socket, Ipv4RecvErr, &true)?,
        SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvErr, &true)?,
    }
    socket.connect(&peer.into())?;
    Ok(socket.into())
}

/// The address that packets to `peer` would have as their source; None: there is no route.
/// Nothing is sent.
pub fn source_to(peer: SocketAddr) -> Option<IpAddr> {
    let socket = open(peer, Type::DGRAM, Protocol::UDP).ok()?;
    socket.connect(&peer.into()).ok()?;
    let local = socket.local_addr().ok()?.as_socket()?;
    Some(local.ip())
}

fn open(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(addr),
        kind.nonblocking(),
        Some(protocol),
    )?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_mark(OWN_MARK)?;
    Ok(socket)
}
