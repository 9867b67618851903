//! A DNS server that answers every question with the same addresses, and a client. I/O.
//!
//! Names that begin with `silent.` get no answer by UDP, with `truncated.` an empty one that says
//! so (RFC 1035, 4.1.1: TC). `proxied.` has the addresses of a server that a rule proxies by name.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::thread;

use crate::client::{connect, datagrams};
use crate::server::{for_ever, tcp};
use crate::wrong;

const PORT: u16 = 53;
const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const ID: [u8; 2] = [0x5a, 0xa5];
/// What `proxied.` names have.
const PROXIED: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(203, 0, 113, 20),
    Ipv6Addr::new(0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x20),
);

pub fn serve(a: Ipv4Addr, aaaa: Ipv6Addr, addresses: &[&str]) -> io::Result<String> {
    for address in addresses {
        let address: IpAddr = crate::parse(address)?;
        let socket = UdpSocket::bind((address, PORT))?;
        thread::spawn(move || serve_udp(&socket, (a, aaaa)));
        tcp((address, PORT), move |stream| serve_tcp(stream, (a, aaaa)))?;
    }
    for_ever()
}

fn serve_udp(socket: &UdpSocket, own: (Ipv4Addr, Ipv6Addr)) {
    let mut query = [0; 2048];
    loop {
        let Ok((length, client)) = socket.recv_from(&mut query) else {
            continue;
        };
        if let Some(reply) = answer(&query[..length], own, true) {
            // Who is gone gets nothing.
            let _ = socket.send_to(&reply, client);
        }
    }
}

fn serve_tcp(mut stream: TcpStream, own: (Ipv4Addr, Ipv6Addr)) -> io::Result<()> {
    loop {
        let query = read_framed(&mut stream)?;
        if let Some(reply) = answer(&query, own, false) {
            write_framed(&mut stream, &reply)?;
        }
    }
}

/// The reply to a query, None when it gets none.
fn answer(query: &[u8], own: (Ipv4Addr, Ipv6Addr), udp: bool) -> Option<Vec<u8>> {
    let question = question(query)?;
    // A label is a byte of length and so many of text.
    let (length, rest) = question.split_first()?;
    let first = rest.get(..usize::from(*length))?;
    if udp && first == b"silent" {
        return None;
    }
    let (a, aaaa) = if first == b"proxied" { PROXIED } else { own };
    let kind = u16::from_be_bytes([question[question.len() - 4], question[question.len() - 3]]);
    let address = match kind {
        A => a.octets().to_vec(),
        AAAA => aaaa.octets().to_vec(),
        _ => Vec::new(),
    };
    let truncated = udp && first == b"truncated";
    let found = u8::from(!truncated && !address.is_empty());
    let mut reply = vec![query[0], query[1], 0x81 | u8::from(truncated) << 1, 0x80];
    reply.extend([0, 1, 0, found, 0, 0, 0, 0]);
    reply.extend(question);
    if found == 1 {
        reply.extend([0xc0, HEADER as u8]);
        reply.extend(kind.to_be_bytes());
        // Class IN, 60 seconds.
        reply.extend([0, 1, 0, 0, 0, 60, 0, address.len() as u8]);
        reply.extend(address);
    }
    Some(reply)
}

/// Name, type and class of the one question, as they stand in the message.
fn question(message: &[u8]) -> Option<&[u8]> {
    let rest = message.get(HEADER..)?;
    let mut at = 0;
    while *rest.get(at)? != 0 {
        at += 1 + usize::from(rest[at]);
    }
    rest.get(..at + 5)
}

/// The first address that a server has for a name.
pub fn ask(server: IpAddr, name: &str, kind: &str, how: &str) -> io::Result<String> {
    let kind = if kind == "a" { A } else { AAAA };
    let mut query = [&ID[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.push(0);
    query.extend(kind.to_be_bytes());
    query.extend([0, 1]);
    let reply = if how == "tcp" {
        let mut stream = connect(server, PORT)?;
        write_framed(&mut stream, &query)?;
        read_framed(&mut stream)?
    } else {
        let socket = datagrams(server, PORT)?;
        socket.send(&query)?;
        let mut reply = vec![0; 2048];
        let length = socket.recv(&mut reply)?;
        reply.truncate(length);
        reply
    };
    read_answer(&reply, kind).ok_or_else(|| wrong("an answer without an address"))
}

fn read_answer(reply: &[u8], kind: u16) -> Option<String> {
    let records = reply.get(HEADER + question(reply)?.len()..)?;
    // The name is a pointer of two bytes, before type, class, TTL and length.
    let (head, data) = records.split_at_checked(12)?;
    let right = reply[..2] == ID && head[2..4] == kind.to_be_bytes();
    if !right {
        return None;
    }
    match kind {
        A => <[u8; 4]>::try_from(data.get(..4)?)
            .ok()
            .map(|it| Ipv4Addr::from(it).to_string()),
        _ => <[u8; 16]>::try_from(data.get(..16)?)
            .ok()
            .map(|it| Ipv6Addr::from(it).to_string()),
    }
}

/// A message behind its length (RFC 1035, 4.2.2).
fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], message].concat())
}
