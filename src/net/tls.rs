//! TLS 1.2 and 1.3 towards servers, on rustls. I/O.
//!
//! One [`Client`] per server that is configured: it holds the sessions to resume, so a second
//! connection costs no key exchange with certificates. Reading and writing of a [`Stream`] go
//! side by side, in one task or two of the same thread.

mod verify;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring::{self as provider, kx_group};
use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor};
use rustls::sign::SigningKey;
use rustls::{ClientConfig, ClientConnection};

use super::reactor::Source;
use verify::{ALGORITHMS, Verifier};

pub use verify::{Anchors, Checks};

/// Roots of the system: OpenWrt's package `ca-bundle`, Debian's `ca-certificates`.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Server names whose sessions are kept; a client speaks to one.
const SESSIONS: usize = 2;

/// How to speak TLS with one server.
#[derive(Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    /// `name` is a host name or an address: the certificate must have it, and a host name is
    /// sent to the server (SNI). `alpn` is the one protocol to agree on; empty: none is asked
    /// for. An error when the name is none.
    pub fn new(name: &str, checks: Checks, alpn: &[u8]) -> io::Result<Self> {
        let invalid = |error: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {error}"))
        };
        let server = ServerName::try_from(name.to_owned()).map_err(|error| invalid(&error))?;
        let verifier = Arc::new(Verifier::new(checks));
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto()))
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        if !alpn.is_empty() {
            config.alpn_protocols = vec![alpn.to_vec()];
        }
        let config = Arc::new(config);
        Ok(Self {
            config,
            name: server,
        })
    }

    /// Shakes hands on a connection. When the server does not agree on the protocol that was
    /// asked for, that is an error.
    pub async fn connect(&self, tcp: Source<TcpStream>) -> io::Result<Stream> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let session = RefCell::new(session.map_err(broken)?);
        let stream = Stream { tcp, session };
        loop {
            stream.flush().await?;
            if !stream.session.borrow().is_handshaking() {
                break;
            }
            if stream.receive().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let wanted = self.config.alpn_protocols.first();
        if stream.session.borrow().alpn_protocol() != wanted.map(Vec::as_slice) {
            let wanted = String::from_utf8_lossy(wanted.map_or(b"", Vec::as_slice)).into_owned();
            return Err(broken(format!("the server does not speak {wanted}")));
        }
        Ok(stream)
    }
}

/// A connection after its handshake. Dropping it says goodbye, as far as that does not block.
#[derive(Debug)]
pub struct Stream {
    tcp: Source<TcpStream>,
    session: RefCell<ClientConnection>,
}

impl Stream {
    /// Waits for bytes; 0 at the end of the stream.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.borrow_mut().reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without a goodbye; messages have lengths, so none can be cut unnoticed.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                result => return result,
            }
            if self.receive().await? == 0 {
                return Ok(0);
            }
        }
    }

    /// Hands all bytes to the kernel.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.session.borrow_mut().writer().write(bytes)?;
            bytes = &bytes[taken..];
            self.flush().await?;
        }
        Ok(())
    }

    /// Whether the server took up an earlier session.
    pub fn is_resumed(&self) -> bool {
        self.session.borrow().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// Reads what the kernel has, waiting for some; 0 at the end.
    async fn receive(&self) -> io::Result<usize> {
        loop {
            let session = &self.session;
            let read = |mut tcp: &TcpStream| session.borrow_mut().read_tls(&mut tcp);
            match self.tcp.try_read(read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp.readable().await;
                }
                Err(error) => return Err(error),
                Ok(count) => {
                    let processed = self.session.borrow_mut().process_new_packets();
                    // An alert says what we did not like; or it is an update of keys, which
                    // may as well leave before the next query.
                    let told = self.send();
                    processed.map_err(broken)?;
                    told?;
                    return Ok(count);
                }
            }
        }
    }

    async fn flush(&self) -> io::Result<()> {
        while !self.send()? {
            self.tcp.writable().await;
        }
        Ok(())
    }

    /// Hands to the kernel what it takes now; whether that was all.
    fn send(&self) -> io::Result<bool> {
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            let mut write = |mut tcp: &TcpStream| session.write_tls(&mut tcp);
            match self.tcp.try_write(&mut write) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.session.borrow_mut().send_close_notify();
        // Whoever does not take it will see the end of the stream.
        let _ = self.send();
    }
}

/// Root certificates of a file in PEM. An error when it cannot be read or has none.
pub fn read_roots(path: &Path) -> io::Result<Anchors> {
    let fail = |error: &dyn std::fmt::Display| {
        let text = format!("{}: {error}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let text = std::fs::read(path).map_err(|error| fail(&error))?;
    let mut anchors: Vec<TrustAnchor<'static>> = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| fail(&error))?;
        // One of a system's hundred roots may be odd; it is then not trusted.
        if let Ok(anchor) = webpki::anchor_from_trusted_cert(&certificate) {
            anchors.push(anchor.to_owned());
        }
    }
    if anchors.is_empty() {
        return Err(fail(&"no certificate in it"));
    }
    Ok(Anchors::Own(anchors.into()))
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Ciphers and curves of ring, without its code for private keys, which is a quarter of TLS:
/// we never show a certificate of our own. The provider that rustls has ready refers to it.
fn crypto() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: provider::DEFAULT_CIPHER_SUITES.to_vec(),
        kx_groups: vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        signature_verification_algorithms: ALGORITHMS,
        secure_random: &System,
        key_provider: &System,
    }
}

#[derive(Debug)]
struct System;

impl SecureRandom for System {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for System {
    fn load_private_key(
        &self,
        _: PrivateKeyDer<'static>,
    ) -> Result<Arc<dyn SigningKey>, rustls::Error> {
        Err(rustls::Error::General("no keys of our own".to_owned()))
    }
}
