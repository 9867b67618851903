//! Bytes and connections by TCP, and a bare relay of them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::unistd::pipe2;

use crate::socks;

/// Bytes per write.
const CHUNK: usize = 128 << 10;

fn open(to: &str) -> TcpStream {
    let stream = match to.strip_prefix("socks5:") {
        Some(server) => socks::connect(server),
        None => TcpStream::connect(to).unwrap(),
    };
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connection that has shown that it reaches the far end.
fn proven(to: &str) -> TcpStream {
    let mut stream = open(to);
    stream.write_all(&[1]).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

/// Runs `work` until the time is over in each of some threads; prints its results per second.
fn clock(threads: usize, seconds: usize, work: impl Fn(Instant) -> u64 + Sync) {
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds as u64);
    let total: u64 = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(end))).collect();
        running.into_iter().map(|each| each.join().unwrap()).sum()
    });
    println!("{:.0}", total as f64 / began.elapsed().as_secs_f64());
}

/// Bytes, as many as go.
pub fn send(to: &str, streams: usize, seconds: usize) {
    clock(streams, seconds, |end| {
        let mut stream = proven(to);
        let (chunk, mut sent) = (vec![0; CHUNK], 0);
        while Instant::now() < end {
            sent += stream.write(&chunk).unwrap() as u64;
        }
        sent
    });
}

/// Connections, each over before the next.
pub fn connect(to: &str, threads: usize, seconds: usize) {
    clock(threads, seconds, |end| {
        let mut opened = 0;
        while Instant::now() < end {
            drop(proven(to));
            opened += 1;
        }
        opened
    });
}

/// Connections that do nothing.
pub fn hold(to: &str, connections: usize) {
    let held: Vec<_> = (0..connections).map(|_| proven(to)).collect();
    println!("{}", held.len());
    loop {
        thread::park();
    }
}

/// Relays for ever.
pub fn splice_all(listen: &str, server: &str) {
    for client in TcpListener::bind(listen).unwrap().incoming() {
        let (client, server) = (Arc::new(client.unwrap()), server.to_owned());
        client.set_nodelay(true).unwrap();
        thread::spawn(move || {
            let server = Arc::new(socks::connect(&server));
            let (from, to) = (Arc::clone(&server), Arc::clone(&client));
            thread::spawn(move || pump(&from, &to));
            pump(&client, &server);
        });
    }
}

fn pump(from: &TcpStream, to: &TcpStream) {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
    let flags = SpliceFFlags::SPLICE_F_MOVE;
    // A peer that is gone ends this direction.
    while let Ok(mut left @ 1..) = splice(from, None, &write, None, 1 << 20, flags) {
        while left > 0 {
            match splice(&read, None, to, None, left, flags) {
                Ok(moved @ 1..) => left -= moved,
                _ => return,
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
