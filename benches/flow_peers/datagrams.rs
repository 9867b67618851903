//! Datagrams to and fro, and a bare relay of them.

use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::batch::{Batch, SLOTS};
use crate::socks::{self, HEADER, RECEIVE_BUFFER};

/// Bytes: about what a game or a call sends.
const LENGTH: usize = 200;
/// Under way per socket.
const WINDOW: usize = 32;
/// What has not come back by then is lost, and replaced.
const PATIENCE: u16 = 100;

/// Keeps [`WINDOW`] datagrams under way on each of some sockets; prints how many came back per
/// second, and how often a socket's window had to be filled anew.
pub fn echo(to: &str, sockets: usize, seconds: usize) {
    let open = |_| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).unwrap();
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let sockets: Vec<UdpSocket> = (0..sockets).map(open).collect();
    let mut batch = Batch::new();
    let mut send = |socket: &UdpSocket, count: usize| {
        for slot in 0..count {
            batch.zeros(slot, LENGTH);
        }
        batch.send(socket.as_fd(), count);
    };
    for socket in &sockets {
        send(socket, WINDOW);
    }
    let (mut returned, mut refills) = (0, 0);
    let mut into = Batch::new();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(seconds as u64) {
        let mut wanted: Vec<_> = sockets
            .iter()
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        if poll(&mut wanted, PollTimeout::from(PATIENCE)).unwrap() == 0 {
            refills += 1;
            sockets.iter().for_each(|socket| send(socket, WINDOW));
        }
        let ready: Vec<_> = wanted.iter().map(|fd| fd.any() == Some(true)).collect();
        for (socket, _) in sockets.iter().zip(ready).filter(|(_, ready)| *ready) {
            let count = into.receive(socket.as_fd(), 0);
            returned += count;
            send(socket, count);
        }
    }
    let rate = returned as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} {refills}");
}

/// Relays for ever: one socket to all clients, one per client to the SOCKS5 server.
pub fn shuttle(listen: &str, server: &str) {
    let clients = UdpSocket::bind(listen).unwrap();
    setsockopt(&clients, RcvBufForce, &RECEIVE_BUFFER).unwrap();
    clients.set_nonblocking(true).unwrap();
    let (_open, relay) = socks::associate(server);
    let header = socks::header("203.0.113.33:9".parse().unwrap());
    let mut known: HashMap<SocketAddr, usize> = HashMap::new();
    let mut ways: Vec<(UdpSocket, SocketAddrV4)> = Vec::new();
    let mut batch = Batch::new();
    loop {
        let sockets = std::iter::once(&clients).chain(ways.iter().map(|(socket, _)| socket));
        let mut wanted: Vec<_> = sockets
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut wanted, PollTimeout::NONE).unwrap();
        let ready: Vec<_> = wanted.iter().map(|fd| fd.any() == Some(true)).collect();
        drop(wanted);
        for (way, (socket, client)) in ways.iter().enumerate() {
            if ready[way + 1] {
                let count = batch.receive(socket.as_fd(), 0);
                (0..count).for_each(|slot| batch.readdress(slot, *client, HEADER));
                batch.send(clients.as_fd(), count);
            }
        }
        let count = if ready[0] {
            batch.receive(clients.as_fd(), HEADER)
        } else {
            0
        };
        let mut begin = 0;
        while begin < count {
            let from = batch.from(begin);
            let end = (begin..count).find(|slot| batch.from(*slot) != from);
            let end = end.unwrap_or(count);
            let way = *known.entry(from).or_insert_with(|| {
                ways.push((upstream(relay), v4(from)));
                ways.len() - 1
            });
            (begin..end).for_each(|slot| batch.wrap(slot, &header));
            batch.send_some(ways[way].0.as_fd(), begin..end);
            begin = end;
        }
    }
}

fn v4(addr: SocketAddr) -> SocketAddrV4 {
    match addr {
        SocketAddr::V4(addr) => addr,
        SocketAddr::V6(_) => unreachable!("the listener is IPv4"),
    }
}

fn upstream(relay: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).unwrap();
    socket.connect(relay).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

const _: () = assert!(WINDOW <= SLOTS);
