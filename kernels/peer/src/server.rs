//! Servers that say who called: web and echo. I/O.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

pub const WEB: u16 = 80;
pub const ECHO: u16 = 7;
/// Where QUIC would be.
const QUIC: u16 = 443;

/// Web and echo on every address.
pub fn serve(addresses: &[&str]) -> io::Result<String> {
    for address in addresses {
        let address: IpAddr = crate::parse(address)?;
        tcp((address, WEB), |stream| answer_page(&stream))?;
        tcp((address, ECHO), parrot)?;
        for port in [ECHO, QUIC] {
            let socket = UdpSocket::bind((address, port))?;
            thread::spawn(move || echo(&socket));
        }
    }
    for_ever()
}

/// Serves each connection in a thread of its own.
pub fn tcp(
    address: (IpAddr, u16),
    serve: impl Fn(TcpStream) -> io::Result<()> + Copy + Send + 'static,
) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that is gone already is no reason to end.
            thread::spawn(move || stream.and_then(serve));
        }
    });
    Ok(())
}

pub fn for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn answer_page(mut stream: &TcpStream) -> io::Result<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request)?;
    let caller = stream.peer_addr()?.ip();
    write!(stream, "HTTP/1.0 200 OK\r\n\r\n{caller}\n")
}

fn parrot(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length])?;
    }
}

fn echo(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        if let Ok((_, caller)) = socket.recv_from(&mut buffer) {
            // Who is gone gets nothing.
            let _ = socket.send_to(caller.ip().to_string().as_bytes(), caller);
        }
    }
}
