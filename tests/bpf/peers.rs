//! The people on the wire: the daemon's listeners without the daemon, and servers.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::{Duration, Instant};

use dae::kernel::Ports;
use dae::net::batch::Batch;
use dae::net::listen;
use dae::rules::{Family, Proto};
use nix::sys::socket::{Shutdown, shutdown};

/// Longer than anything here takes, shorter than a test may hang.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// The transparent listeners of the datapath's caller, for flows and for DNS.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    pub ports: Ports,
}

impl Listeners {
    /// To be called inside a namespace.
    pub fn open() -> Self {
        let mut listeners = Self {
            tcp: Vec::new(),
            udp: Vec::new(),
            ports: Ports::default(),
        };
        for dns in [false, true] {
            for family in [Family::V4, Family::V6] {
                let tcp = listen::transparent_tcp(loopback(family)).unwrap();
                let udp = listen::transparent_udp(loopback(family)).unwrap();
                tcp.set_nonblocking(true).unwrap();
                udp.set_nonblocking(true).unwrap();
                let tcp_port = tcp.local_addr().unwrap().port();
                let udp_port = udp.local_addr().unwrap().port();
                listeners.ports = listeners
                    .ports
                    .with(Proto::Tcp, family, dns, tcp_port)
                    .with(Proto::Udp, family, dns, udp_port);
                listeners.tcp.push(tcp);
                listeners.udp.push(udp);
            }
        }
        listeners
    }

    /// The next connection to a listener.
    pub fn accept(&self, family: Family, dns: bool) -> (TcpStream, SocketAddr) {
        let listener = &self.tcp[place(family, dns)];
        let accepted = until(|| listener.accept().ok()).expect("no connection came");
        accepted.0.set_nonblocking(false).unwrap();
        accepted.0.set_read_timeout(Some(PATIENCE)).unwrap();
        accepted
    }

    /// The next datagram to a listener: from, to, payload.
    pub fn recv(&self, family: Family, dns: bool) -> (SocketAddr, SocketAddr, Vec<u8>) {
        let socket = &self.udp[place(family, dns)];
        let mut batch = Batch::new(1, 2048);
        until(|| {
            let got = batch.try_recv(socket).ok()?.next()?;
            Some((got.from, got.to, got.payload.to_vec()))
        })
        .expect("no datagram came")
    }

    /// Whether nothing is waiting anywhere.
    pub fn is_idle(&self) -> bool {
        let mut batch = Batch::new(1, 2048);
        self.tcp.iter().all(|listener| listener.accept().is_err())
            && self.udp.iter().all(|socket| match batch.try_recv(socket) {
                Ok(mut got) => got.next().is_none(),
                Err(_) => true,
            })
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        // Another test may be starting a program just now: its child holds all sockets until exec.
        for listener in &self.tcp {
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
    }
}

fn place(family: Family, dns: bool) -> usize {
    usize::from(dns) * 2 + usize::from(family == Family::V6)
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Tries until it works or [`PATIENCE`] ends.
pub fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(result) = attempt() {
            return Some(result);
        }
        if Instant::now() > end {
            return None;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A server that greets every TCP connection and echoes every datagram, for as long as the
/// process lives. To be called inside a namespace.
pub fn serve(addr: SocketAddr) {
    let listener = TcpListener::bind(addr).unwrap();
    let socket = UdpSocket::bind(addr).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that is gone already is no concern of ours.
            let _ = stream.write_all(b"server");
        }
    });
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
}

/// What a TCP server at `addr` says, to a client inside the current namespace.
pub fn greeting(addr: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = [0; 6];
    stream.read_exact(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether a UDP echo server at `addr` answers.
pub fn echoes(addr: SocketAddr) -> bool {
    let any: SocketAddr = if addr.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    }
    .parse()
    .unwrap();
    let socket = UdpSocket::bind(any).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    socket.send_to(b"hello", addr).unwrap();
    let mut buffer = [0; 16];
    matches!(socket.recv_from(&mut buffer), Ok((5, from)) if from == addr)
}
