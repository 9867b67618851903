//! SOCKS5 servers: CONNECT and UDP ASSOCIATE (RFC 1928). I/O; the bytes are in [`wire`].

pub mod wire;

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;

use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use socket2::SockRef;

use super::DialError;
use crate::config::Secret;
use crate::net::batch::{Batch, Packets};
use crate::net::dial;
use crate::net::outbox::{Head, Outbox, Outgoing, Sent};
use crate::net::reactor::{Interest, Source};
use wire::{AddressKind, Command, Error};

/// A SOCKS5 server.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    login: Option<(String, Secret)>,
}

impl Server {
    /// `login` is offered when given, and used if the server asks for it.
    pub fn new(addr: SocketAddr, login: Option<(String, Secret)>) -> Self {
        Self { addr, login }
    }

    /// A stream to `destination` through the server. Nothing behind the server's reply has
    /// been read. `answered` is set when the server has said something.
    pub async fn connect(
        &self,
        destination: SocketAddr,
        answered: &Cell<bool>,
    ) -> Result<Source<TcpStream>, DialError> {
        let (stream, _) = self.ask(Command::Connect, destination, answered).await?;
        Ok(stream)
    }

    /// A UDP association; it lives as long as its TCP connection.
    pub async fn associate(&self, answered: &Cell<bool>) -> Result<Association, DialError> {
        // All zeros: behind a NAT we do not know from where our datagrams will come.
        let unknown = (Ipv4Addr::UNSPECIFIED, 0).into();
        let (control, bound) = self.ask(Command::UdpAssociate, unknown, answered).await?;
        let socket = dial::udp_connected(self.reachable(bound))?;
        let socket = Source::new(socket, Interest::Read)?;
        Ok(Association { control, socket })
    }

    /// Where to send datagrams: servers that listen on every address, or only know their own
    /// side, say so; then their known address is meant.
    fn reachable(&self, mut relay: SocketAddr) -> SocketAddr {
        let useless = match relay.ip() {
            IpAddr::V4(v4) => v4.is_unspecified() || v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback(),
        };
        if useless {
            let port = relay.port();
            relay = self.addr;
            relay.set_port(port);
        }
        relay
    }

    async fn ask(
        &self,
        command: Command,
        addr: SocketAddr,
        answered: &Cell<bool>,
    ) -> Result<(Source<TcpStream>, SocketAddr), DialError> {
        let socket = dial::tcp(self.addr).await?;
        let mut stream = &socket;
        let with_login = self.login.is_some();
        stream.write_all(wire::greeting(with_login)).await?;
        let method = read(stream).await?;
        answered.set(true);
        if wire::parse_method(method, with_login)?
            && let Some((user, password)) = &self.login
        {
            stream
                .write_all(&wire::login(user, password.reveal()))
                .await?;
            wire::parse_login(read(stream).await?)?;
        }
        stream
            .write_all(wire::request(command, addr).as_bytes())
            .await?;
        let bound = match wire::parse_reply(read(stream).await?)? {
            AddressKind::V4 => wire::parse_v4(read(stream).await?),
            AddressKind::V6 => wire::parse_v6(read(stream).await?),
        };
        Ok((socket, bound))
    }
}

/// Reads a part of known size and nothing behind it.
async fn read<const N: usize>(mut stream: &Source<TcpStream>) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A UDP association with a server.
#[derive(Debug)]
pub struct Association {
    control: Source<TcpStream>,
    socket: Source<UdpSocket>,
}

impl Association {
    pub(super) fn send(&self, destination: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let header = wire::datagram_header(destination);
        let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(payload)];
        SockRef::from(&self.socket).send_vectored(&parts).map(drop)
    }

    pub(super) fn send_many<'a>(
        &self,
        outbox: &mut Outbox,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> Sent {
        let outgoing = datagrams.map(|(destination, payload)| Outgoing {
            to: None,
            source: None,
            head: Head::new(wire::datagram_header(destination).as_bytes()),
            payload,
        });
        outbox.send(self.socket.as_fd(), outgoing)
    }

    pub(super) fn receive<'a>(&self, batch: &'a mut Batch) -> io::Result<Packets<'a>> {
        batch.take_packets(&self.socket)
    }

    /// What the server has put into a datagram of its own.
    pub(super) fn open(datagram: &[u8]) -> io::Result<(SocketAddr, &[u8])> {
        wire::parse_datagram(datagram)
            .map_err(|error: Error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    pub(super) async fn readable(&self) {
        self.socket.readable().await;
    }

    pub(super) fn recv<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(SocketAddr, &'a [u8])> {
        let length = self.socket.try_read(|socket| socket.recv(buffer))?;
        Self::open(&buffer[..length])
    }

    /// The end of the TCP connection ends the association (RFC 1928 section 7).
    pub(super) async fn ended(&self) -> io::Error {
        let mut ignored = [0; 64];
        // The server has nothing more to say; what it says nevertheless is skipped.
        loop {
            match (&self.control).read(&mut ignored).await {
                Ok(0) => return io::ErrorKind::ConnectionAborted.into(),
                Ok(_) => future::yield_now().await,
                Err(error) => return error,
            }
        }
    }
}
