//! SOCKS5 (RFC 1928) without login, IPv4 only: both ends of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::thread;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::batch::Batch;

const CONNECT: u8 = 1;
const ASSOCIATE: u8 = 3;

/// In front of every datagram: three zeros, IPv4, address, port (RFC 1928, 7).
pub const HEADER: usize = 10;

/// Bytes.
pub const RECEIVE_BUFFER: usize = 4 << 20;

/// A connection through the server to an address that nobody looks at.
pub fn connect(server: &str) -> TcpStream {
    ask(server, CONNECT).0
}

/// Where datagrams are to be sent; good as long as the stream is open.
pub fn associate(server: &str) -> (TcpStream, SocketAddr) {
    ask(server, ASSOCIATE)
}

fn ask(server: &str, command: u8) -> (TcpStream, SocketAddr) {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[5, 1, 0]).unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
    stream
        .write_all(&[5, command, 0, 1, 203, 0, 113, 33, 0, 9])
        .unwrap();
    let mut reply = [0; HEADER];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[1], 0, "refused");
    let [.., a, b, c, d, high, low] = reply;
    let port = u16::from_be_bytes([high, low]);
    (stream, (Ipv4Addr::new(a, b, c, d), port).into())
}

/// The header of a datagram to `addr`.
pub fn header(addr: SocketAddrV4) -> [u8; HEADER] {
    let mut header = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&addr.ip().octets());
    header[8..].copy_from_slice(&addr.port().to_be_bytes());
    header
}

/// Serves for ever.
pub fn sink(listen: &str) {
    let listener = TcpListener::bind(listen).unwrap();
    let datagrams = UdpSocket::bind(listen).unwrap();
    setsockopt(&datagrams, RcvBufForce, &RECEIVE_BUFFER).unwrap();
    thread::spawn(move || {
        let mut batch = Batch::new();
        loop {
            let count = batch.receive(datagrams.as_fd(), 0);
            for slot in 0..count {
                batch.answer(slot, 0);
            }
            batch.send(datagrams.as_fd(), count);
        }
    });
    for stream in listener.incoming() {
        // A peer that is gone already is no reason to end.
        thread::spawn(move || stream.and_then(serve).ok());
    }
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0; 3])?;
    stream.write_all(&[5, 0])?;
    stream.read_exact(&mut [0; HEADER])?;
    let mut reply = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    if let SocketAddr::V4(own) = stream.local_addr()? {
        reply[4..8].copy_from_slice(&own.ip().octets());
        reply[8..].copy_from_slice(&own.port().to_be_bytes());
    }
    stream.write_all(&reply)?;
    // The first byte is answered: it is how a connection shows that it works.
    let mut buffer = vec![0; 256 << 10];
    if stream.read(&mut buffer[..1])? == 1 {
        stream.write_all(&[0])?;
    }
    while stream.read(&mut buffer)? > 0 {}
    Ok(())
}
