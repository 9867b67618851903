//! A SOCKS5 server without login (RFC 1928): CONNECT and UDP ASSOCIATE, IPv4 and IPv6. I/O.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::server::{for_ever, tcp};
use crate::wrong;

const PORT: u16 = 1080;
const CONNECT: u8 = 1;
const ASSOCIATE: u8 = 3;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// How often an association looks whether its stream is still there.
const LOOK: Duration = Duration::from_millis(200);

pub fn serve(address: IpAddr) -> io::Result<String> {
    tcp((address, PORT), session)?;
    for_ever()
}

fn session(mut stream: TcpStream) -> io::Result<()> {
    let [_, methods] = read(&mut stream)?;
    io::copy(&mut (&stream).take(u64::from(methods)), &mut io::sink())?;
    stream.write_all(&[5, 0])?;
    let [_, command, _] = read(&mut stream)?;
    let target = read_address(&mut stream)?;
    match command {
        CONNECT => {
            let far = TcpStream::connect(target)?;
            stream.write_all(&[&[5, 0, 0][..], &address_bytes(target)].concat())?;
            relay(stream, far)
        }
        ASSOCIATE => associate(stream),
        _ => stream.write_all(&[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]),
    }
}

fn relay(near: TcpStream, far: TcpStream) -> io::Result<()> {
    let (mut near_in, mut far_out) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut near_in, &mut far_out);
        let _ = far_out.shutdown(Shutdown::Write);
    });
    let (mut near, mut far) = (near, far);
    let copied = io::copy(&mut far, &mut near);
    near.shutdown(Shutdown::Write)?;
    copied.map(drop)
}

/// Two sockets: one for the client, one for the world, in both families.
fn associate(mut stream: TcpStream) -> io::Result<()> {
    let near = UdpSocket::bind((stream.local_addr()?.ip(), 0))?;
    let far = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    stream.write_all(&[&[5, 0, 0][..], &address_bytes(near.local_addr()?)].concat())?;
    let mut buffer = [0; 4096];
    let (length, client) = near.recv_from(&mut buffer)?;
    near.connect(client)?;
    send_out(&far, &buffer[..length])?;
    near.set_read_timeout(Some(LOOK))?;
    let (near_out, far_in) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || send_back(&far_in, &near_out));
    stream.set_nonblocking(true)?;
    // The association lives as long as its stream.
    while !matches!(stream.read(&mut [0]), Ok(0)) {
        if let Ok(length) = near.recv(&mut buffer) {
            // What cannot be sent is lost, as datagrams are.
            let _ = send_out(&far, &buffer[..length]);
        }
    }
    Ok(())
}

/// Sends on what the client sent: three zeros, the target's address, the datagram.
fn send_out(far: &UdpSocket, datagram: &[u8]) -> io::Result<()> {
    let mut rest = datagram.get(3..).ok_or_else(|| wrong("a short datagram"))?;
    let target = match read_address(&mut rest)? {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        v6 => v6,
    };
    far.send_to(rest, target).map(drop)
}

fn send_back(far: &UdpSocket, near: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = far.recv_from(&mut buffer)?;
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        near.send(&[&[0, 0, 0][..], &address_bytes(from), &buffer[..length]].concat())?;
    }
}

fn read_address(from: &mut impl io::Read) -> io::Result<SocketAddr> {
    let [kind] = read(from)?;
    let address: IpAddr = match kind {
        IPV4 => Ipv4Addr::from(read::<4>(from)?).into(),
        IPV6 => Ipv6Addr::from(read::<16>(from)?).into(),
        NAME => return Err(wrong("names are not resolved here")),
        _ => return Err(wrong("an unknown kind of address")),
    };
    Ok((address, u16::from_be_bytes(read(from)?)).into())
}

fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        IpAddr::V4(v4) => [&[IPV4][..], &v4.octets()].concat(),
        IpAddr::V6(v6) => [&[IPV6][..], &v6.octets()].concat(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}

fn read<const N: usize>(from: &mut impl io::Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}
