//! The least that a DNS forwarder can be, which the benches hold dae's latency against: queries
//! go on under IDs of its own and answers go back, and that is all.
//!
//!     dns_relay LISTEN_ADDRESS:PORT UPSTREAM_ADDRESS:PORT

#![allow(
    clippy::unwrap_used,
    reason = "a helper of the benches: it ends where it fails"
)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

/// Bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

type Id = [u8; 2];

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [listen, upstream] = &arguments[..] else {
        println!("usage: dns_relay ADDRESS:PORT ADDRESS:PORT");
        return;
    };
    let clients = socket(listen);
    let upstreams = socket("127.0.0.1:0");
    upstreams.connect(upstream).unwrap();
    relay(&clients, &upstreams);
}

fn socket(addr: &str) -> UdpSocket {
    let socket = UdpSocket::bind(addr).unwrap();
    setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn relay(clients: &UdpSocket, upstream: &UdpSocket) {
    let mut asked: HashMap<Id, (SocketAddr, Id)> = HashMap::new();
    let mut next = 0_u16;
    let mut buffer = [0; 4096];
    loop {
        let mut both =
            [clients, upstream].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        poll(&mut both, PollTimeout::NONE).unwrap();
        while let Ok((length, from)) = clients.recv_from(&mut buffer) {
            let id = next.to_be_bytes();
            next = next.wrapping_add(1);
            if let Some(head) = buffer[..length].first_chunk_mut::<2>() {
                asked.insert(id, (from, std::mem::replace(head, id)));
                // Lost, as on the way.
                let _ = upstream.send(&buffer[..length]);
            }
        }
        while let Ok(length) = upstream.recv(&mut buffer) {
            let Some(head) = buffer[..length].first_chunk_mut::<2>() else {
                continue;
            };
            if let Some((from, id)) = asked.remove(head) {
                *head = id;
                let _ = clients.send_to(&buffer[..length], from);
            }
        }
    }
}
