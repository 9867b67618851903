//! Both ends of what is relayed, by TCP and by UDP.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use socket2::SockRef;

use crate::home::{Home, ip};
use crate::router::Router;
use crate::servers::{WAIT, tcp_server};

/// A home whose router relays, and a server at every address of the internet, on the port that
/// the router intercepts.
pub struct Scene {
    pub home: Home,
    pub router: Router,
}

impl Scene {
    pub fn new(nodes: &[&str]) -> Self {
        Self::with(nodes, |_| ())
    }

    pub fn with(
        nodes: &[&str],
        change: impl FnOnce(&mut dae::config::Config) + Send + 'static,
    ) -> Self {
        let home = Home::new();
        let router = Router::start(&home.router, nodes, change);
        Self { home, router }
    }

    /// `host` on the port whose connections the router intercepts.
    pub fn tcp(&self, host: &str) -> SocketAddr {
        on(host, self.router.tcp4, self.router.tcp6)
    }

    /// `host` on the port whose datagrams the router intercepts.
    pub fn udp(&self, host: &str) -> SocketAddr {
        on(host, self.router.udp4, self.router.udp6)
    }

    pub fn serve(&self, serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) {
        for any in ["0.0.0.0", "::"] {
            let addr = self.tcp(any);
            if addr.is_ipv4() || self.router.tcp6 != self.router.tcp4 {
                tcp_server(&self.home.internet, addr, serve.clone());
            }
        }
    }

    /// Gives every stream that the server accepts to the test.
    pub fn accept(&self) -> Receiver<TcpStream> {
        let (sender, receiver) = channel();
        self.serve(move |stream| sender.send(stream).unwrap());
        receiver
    }

    pub fn connect(&self, host: &str) -> TcpStream {
        let addr = self.tcp(host);
        let stream = self
            .home
            .client
            .run(move || TcpStream::connect(addr).unwrap());
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream
    }

    /// Whether the router resets a connection, be it before the client's call returns.
    pub fn refuses(&self, host: &str) -> bool {
        let addr = self.tcp(host);
        match self.home.client.run(move || TcpStream::connect(addr)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(WAIT)).unwrap();
                is_reset(&stream)
            }
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Both ends of a relayed connection.
    pub fn pair(&self, accepted: &Receiver<TcpStream>, host: &str) -> (TcpStream, TcpStream) {
        let client = self.connect(host);
        let server = accepted.recv_timeout(WAIT).unwrap();
        (client, server)
    }

    pub fn client(&self, addr: &'static str) -> UdpSocket {
        let socket = self
            .home
            .client
            .run(move || UdpSocket::bind((ip(addr), 0)).unwrap());
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket
    }

    /// A socket of the internet that the test itself reads.
    pub fn server(&self, addr: SocketAddr) -> UdpSocket {
        let socket = self
            .home
            .internet
            .run(move || UdpSocket::bind(addr).unwrap());
        socket.set_read_timeout(Some(WAIT)).unwrap();
        socket
    }
}

fn on(host: &str, port4: u16, port6: u16) -> SocketAddr {
    let host = ip(host);
    SocketAddr::new(host, if host.is_ipv4() { port4 } else { port6 })
}

pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Whether the stream ends in a reset.
pub fn is_reset(mut stream: &TcpStream) -> bool {
    loop {
        match stream.read(&mut [0; 4096]) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

pub fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    (buffer, from)
}

/// True when nothing comes for a while.
pub fn is_silent(socket: &UdpSocket) -> bool {
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let silent = socket.recv_from(&mut [0; 16]).is_err();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    silent
}
