//! Clients of the web and echo servers. I/O.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{ECHO, WEB};
use crate::wrong;

/// So long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// Between two bytes of [`hold`].
const PACE: Duration = Duration::from_millis(50);

/// A connection whose reads and writes end after [`PATIENCE`].
pub fn connect(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A socket that takes datagrams of this server alone, for [`PATIENCE`].
pub fn datagrams(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let any = match address {
        IpAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect((address, port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

pub fn fetch(address: IpAddr) -> io::Result<String> {
    let mut stream = connect(address, WEB)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    match page.split_once("\r\n\r\n") {
        Some((_, caller)) => Ok(caller.trim().into()),
        None => Err(wrong("no page")),
    }
}

pub fn echo(address: IpAddr, port: u16) -> io::Result<String> {
    let socket = datagrams(address, port)?;
    socket.send(b"who am I")?;
    let mut caller = [0; 64];
    let length = socket.recv(&mut caller)?;
    Ok(String::from_utf8_lossy(&caller[..length]).into())
}

pub fn hold(address: IpAddr, seconds: u64) -> io::Result<String> {
    let mut stream = connect(address, ECHO)?;
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(seconds) {
        let sent = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        longest = longest.max(sent.elapsed());
        thread::sleep(PACE);
    }
    Ok(longest.as_millis().to_string())
}
