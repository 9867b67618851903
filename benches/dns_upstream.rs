//! The upstream of the DNS benches: answers every question with one A record, an address for
//! every name, late by a fixed time. It does so little that it costs less than whatever is measured in front of it.
//!
//!     dns_upstream ADDRESS:PORT DELAY_MS [TLS_ADDRESS:PORT CERTIFICATE.pem KEY.pem]

#![allow(
    clippy::unwrap_used,
    reason = "a helper of the benches: it ends where it fails"
)]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Behind the question: its name again, A, IN, 300 s, and an address of 198.18.0.0/15, the
/// network for benches (RFC 2544), whose end is still to be written.
const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 198, 18, 0, 0];

/// Bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Answers that wait for their time, oldest first: the delay is the same for all.
type Late<T> = VecDeque<(Instant, T)>;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (addr, delay, tls) = match words[..] {
        [addr, delay] => (addr, delay, None),
        [addr, delay, tls, certificate, key] => (addr, delay, Some((tls, certificate, key))),
        _ => {
            println!("usage: dns_upstream ADDRESS:PORT DELAY_MS [ADDRESS:PORT CERTIFICATE KEY]");
            return;
        }
    };
    let delay = Duration::from_millis(delay.parse().unwrap());
    if let Some((addr, certificate, key)) = tls {
        let settings = Arc::new(settings(certificate, key));
        let listener = TcpListener::bind(addr).unwrap();
        thread::spawn(move || {
            accept(&listener, |stream, socket| {
                let session = ServerConnection::new(Arc::clone(&settings)).unwrap();
                serve_stream(StreamOwned::new(session, stream), socket, delay);
            });
        });
    }
    let datagrams = UdpSocket::bind(addr).unwrap();
    // What is lost here would be put down to who is measured.
    setsockopt(&datagrams, RcvBufForce, &RECEIVE_BUFFER).unwrap();
    let listener = TcpListener::bind(addr).unwrap();
    thread::spawn(move || serve_datagrams(&datagrams, delay));
    accept(&listener, |stream, socket| {
        serve_stream(stream, socket, delay)
    });
}

/// Gives every connection a thread.
fn accept(listener: &TcpListener, serve: impl Fn(TcpStream, BorrowedFd<'_>) + Sync) {
    thread::scope(|scope| {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_nonblocking(true).unwrap();
            let (socket, serve) = (stream.try_clone().unwrap(), &serve);
            scope.spawn(move || serve(stream, socket.as_fd()));
        }
    });
}

fn settings(certificate: &str, key: &str) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let settings = ServerConfig::builder().with_no_client_auth();
    settings.with_single_cert(chain, key).unwrap()
}

/// The answer to a query; None to what is none.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += 1 + usize::from(query[end]);
    }
    let mut answer = query.get(..end + 5)?.to_vec();
    // A response, recursion desired and available; one question, one answer, nothing more.
    answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    answer.extend(RECORD);
    let name = answer[12..end].iter();
    let sum = name.fold(0, |sum: u16, byte| {
        sum.wrapping_mul(31).wrapping_add(u16::from(*byte))
    });
    let host = answer.len() - 2;
    answer[host..].copy_from_slice(&sum.to_be_bytes());
    Some(answer)
}

/// Waits until something can be read or the oldest answer is due.
fn wait<T>(socket: BorrowedFd<'_>, late: &Late<T>) {
    let left = late
        .front()
        .map(|(due, _)| due.saturating_duration_since(Instant::now()));
    ppoll(
        &mut [PollFd::new(socket, PollFlags::POLLIN)],
        left.map(Into::into),
        None,
    )
    .unwrap();
}

/// An answer whose time has come.
fn due<T>(late: &mut Late<T>) -> Option<T> {
    let (_, answer) = late.pop_front_if(|(due, _)| *due <= Instant::now())?;
    Some(answer)
}

fn serve_datagrams(socket: &UdpSocket, delay: Duration) {
    socket.set_nonblocking(true).unwrap();
    let mut late = Late::new();
    let mut buffer = [0; 4096];
    loop {
        wait(socket.as_fd(), &late);
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let answer = answer(&buffer[..length]);
            late.extend(answer.map(|answer| (Instant::now() + delay, (answer, from))));
        }
        while let Some((answer, to)) = due(&mut late) {
            // Lost, as on the way.
            let _ = socket.send_to(&answer, to);
        }
    }
}

/// Pipelined queries, each behind its length (RFC 1035, 4.2.2), until the peer ends.
fn serve_stream(mut stream: impl Read + Write, socket: BorrowedFd<'_>, delay: Duration) {
    let mut late = Late::new();
    let mut unread = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        wait(socket, &late);
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => unread.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        let at = Instant::now() + delay;
        while let Some(query) = frame(&mut unread) {
            late.extend(answer(&query).map(|answer| (at, answer)));
        }
        let mut bytes = Vec::new();
        while let Some(answer) = due(&mut late) {
            bytes.extend((answer.len() as u16).to_be_bytes());
            bytes.extend(answer);
        }
        if write_all(&mut stream, socket, &bytes).is_err() {
            return;
        }
    }
}

/// Takes a whole message off the front.
fn frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*bytes.first_chunk()?));
    (bytes.len() >= 2 + length).then(|| bytes.drain(..2 + length).skip(2).collect())
}

fn write_all(stream: &mut impl Write, socket: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ppoll(&mut [PollFd::new(socket, PollFlags::POLLOUT)], None, None)?;
            }
            Err(error) => return Err(error),
        }
    }
    // What TLS has not written yet leaves with the next call.
    Ok(())
}
