//! Both ends of relayed connections.

use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
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

    pub fn addr(&self, host: &str) -> SocketAddr {
        let host = ip(host);
        let port = if host.is_ipv4() {
            self.router.tcp4
        } else {
            self.router.tcp6
        };
        SocketAddr::new(host, port)
    }

    pub fn serve(&self, serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) {
        for any in ["0.0.0.0", "::"] {
            let addr = self.addr(any);
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
        let addr = self.addr(host);
        let stream = self
            .home
            .client
            .run(move || TcpStream::connect(addr).unwrap());
        stream.set_read_timeout(Some(WAIT)).unwrap();
        stream
    }

    /// Whether the router resets a connection, be it before the client's call returns.
    pub fn refuses(&self, host: &str) -> bool {
        let addr = self.addr(host);
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
