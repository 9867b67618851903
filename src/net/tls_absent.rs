//! TLS in a build without the feature `tls`: types of which there are no values. Pure.

use std::io;
use std::net::TcpStream;
use std::path::Path;

use super::reactor::Source;

/// As in a build with TLS.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What a server would have to show.
#[derive(Debug)]
pub struct Checks {
    /// Who may vouch for it.
    pub anchors: Option<Anchors>,
    /// Public keys of which it must have one.
    pub pins: Vec<[u8; 32]>,
}

/// Root certificates.
#[derive(Debug, Clone)]
pub enum Anchors {
    /// That come with dae, if they did.
    Bundled,
}

/// How to speak TLS with one server: not at all.
#[derive(Debug)]
pub enum Client {}

/// A connection.
#[derive(Debug)]
pub enum Stream {}

impl Client {
    /// Always an error.
    pub fn new(_: &str, _: Checks, _: &[u8]) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called.
    pub async fn connect(&self, _: Source<TcpStream>) -> io::Result<Stream> {
        match *self {}
    }
}

impl Stream {
    /// Never called.
    pub async fn read(&self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    /// Never called.
    pub async fn write_all(&self, _: &[u8]) -> io::Result<()> {
        match *self {}
    }
}

/// Always an error.
pub fn read_roots(_: &Path) -> io::Result<Anchors> {
    Err(io::ErrorKind::Unsupported.into())
}
