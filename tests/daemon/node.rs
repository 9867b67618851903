//! A SOCKS5 server of our own, and servers behind it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::bpf::netns::Namespace;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Greets with the address that it sees, then echoes; counts its connections.
pub fn echo(namespace: &Namespace, addr: SocketAddr) -> Arc<AtomicUsize> {
    let listener = namespace.enter(|| TcpListener::bind(addr).unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    count
}

/// A SOCKS5 server without a login that can CONNECT (RFC 1928); counts what it was asked.
pub fn socks(namespace: &Namespace, addr: SocketAddr) -> Arc<AtomicUsize> {
    let listener = namespace.enter(|| TcpListener::bind(addr).unwrap());
    let name = namespace.name.clone();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (name, counted) = (name.clone(), Arc::clone(&counted));
            thread::spawn(move || serve(stream, &name, &counted));
        }
    });
    count
}

fn serve(mut client: TcpStream, namespace: &str, count: &AtomicUsize) -> io::Result<()> {
    let mut hello = [0; 2];
    client.read_exact(&mut hello)?;
    let mut methods = vec![0; hello[1].into()];
    client.read_exact(&mut methods)?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    if request[..4] != [5, 1, 0, 1] {
        return client.write_all(&[5, 7, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let ip = Ipv4Addr::new(request[4], request[5], request[6], request[7]);
    let port = u16::from_be_bytes([request[8], request[9]]);
    count.fetch_add(1, Ordering::Relaxed);
    // This thread stays in the namespace.
    let file = std::fs::File::open(format!("/run/netns/{namespace}"))?;
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?;
    let mut server = TcpStream::connect((ip, port))?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(std::net::Shutdown::Write)
}

/// A client's connection that talks to an echo.
pub struct Talk(TcpStream);

impl Talk {
    /// None: nobody answered.
    pub fn open(namespace: &Namespace, to: SocketAddr, wait: Duration) -> Option<Self> {
        let stream = namespace
            .enter(|| TcpStream::connect_timeout(&to, wait))
            .ok()?;
        stream.set_read_timeout(Some(wait)).unwrap();
        let mut talk = Self(stream);
        talk.says("hello").then_some(talk)
    }

    /// Whether it is echoed.
    pub fn says(&mut self, words: &str) -> bool {
        let mut heard = vec![0; words.len()];
        let said = self.0.write_all(words.as_bytes());
        said.is_ok() && self.0.read_exact(&mut heard).is_ok() && heard == words.as_bytes()
    }

    /// Waits for a reset or the end; false when it goes on for that long.
    pub fn ends(&mut self, wait: Duration) -> bool {
        self.0.set_read_timeout(Some(wait)).unwrap();
        match self.0.read(&mut [0; 16]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        }
    }
}

pub fn load(count: &AtomicUsize) -> usize {
    count.load(Ordering::Relaxed)
}
