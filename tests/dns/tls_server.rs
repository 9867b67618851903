//! Servers with TLS: certificates made on the spot, DNS over TLS in a thread per connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{
    HandshakeKind, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};

use crate::upstream::{good, read};

/// An authority with its certificate in a file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pub file: PathBuf,
}

/// A certificate with its chain and key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    chain_pem: String,
    key_pem: String,
    /// As in the configuration: `sha256/...`.
    pub pin: String,
}

impl Authority {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let file = format!("dae-tls-test-{}-{number}.pem", std::process::id());
        let file = std::env::temp_dir().join(file);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let public = key.subject_public_key_info();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(&file, certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate: certificate.der().clone(),
            key: public,
            file,
        }
    }

    /// A certificate for names and addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, (2099, 1, 1))
    }

    /// One that has expired long ago.
    pub fn issue_expired(&self, names: &[&str]) -> Identity {
        self.issue_until(names, (2001, 1, 1))
    }

    fn issue_until(&self, names: &[&str], not_after: (i32, u8, u8)) -> Identity {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let (year, month, day) = not_after;
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![certificate.der().clone(), self.certificate.clone()],
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            pin: pin(&key.subject_public_key_info()),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    pub fn pin(&self) -> String {
        pin(&self.key)
    }

    /// Lines of an upstream whose certificate is of this authority and for `dns.example`.
    pub fn lines(&self) -> String {
        let file = self.file.display();
        format!("\toption ca '{file}'\n\toption tls_name 'dns.example'\n")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// SHA-256 of a public key, in base64.
fn pin(key: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = ring::digest::digest(&ring::digest::SHA256, key);
    let mut text = String::from("sha256/");
    // 32 bytes are ten times three and two.
    for three in hash.as_ref().chunks(3) {
        let all = three
            .iter()
            .fold(0, |all, byte| all << 8 | u32::from(*byte))
            << (8 * (3 - three.len()));
        for at in 0..=three.len() {
            text.push(DIGITS[(all >> (18 - 6 * at) & 63) as usize].into());
        }
    }
    text + "="
}

impl Identity {
    /// Without the authority's own certificate, which most servers do not send.
    pub fn alone(mut self) -> Self {
        self.chain.truncate(1);
        self
    }

    /// Files with chain and key in PEM, in a folder.
    pub fn write(&self, folder: &std::path::Path) -> (PathBuf, PathBuf) {
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        std::fs::write(&chain, &self.chain_pem).unwrap();
        std::fs::write(&key, &self.key_pem).unwrap();
        (chain, key)
    }

    pub fn config(&self, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        self.config_of(rustls::ALL_VERSIONS, alpn)
    }

    pub fn config_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .unwrap();
        config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }
}

/// What a server saw.
#[derive(Default)]
pub struct Seen {
    /// Names, in order.
    pub names: Mutex<Vec<String>>,
    /// Connections accepted, and of these those whose handshake came to an end.
    pub connections: AtomicUsize,
    pub full: AtomicUsize,
    pub resumed: AtomicUsize,
    /// Messages that began, whatever they were.
    pub begun: AtomicUsize,
    /// Connections open now.
    pub open: AtomicUsize,
    over: AtomicBool,
}

/// How a server behaves towards every connection.
#[derive(Clone, Copy, PartialEq)]
pub enum Manner {
    Good,
    /// Accepts connections and says nothing.
    Hangs,
    /// Only the first connection hangs.
    HangsOnce,
    /// Gives one answer, to the last of the queries that are there, and closes.
    OneAnswer,
}

/// Runs until dropped.
pub struct TlsServer {
    pub addr: SocketAddr,
    pub seen: Arc<Seen>,
}

impl TlsServer {
    pub fn start(identity: &Identity, manner: Manner) -> Self {
        Self::with_config(identity.config(&[]), manner)
    }

    pub fn with_config(config: Arc<ServerConfig>, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let all = Arc::clone(&seen);
        listener.set_nonblocking(true).unwrap();
        thread::spawn(move || {
            while !all.over.load(Ordering::Relaxed) {
                let Ok((tcp, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let number = all.connections.fetch_add(1, Ordering::Relaxed);
                let (config, seen) = (Arc::clone(&config), Arc::clone(&all));
                thread::spawn(move || {
                    tcp.set_nonblocking(false).unwrap();
                    seen.open.fetch_add(1, Ordering::Relaxed);
                    if manner == Manner::Hangs || manner == Manner::HangsOnce && number == 0 {
                        let mut rest = Vec::new();
                        let _ = (&tcp).read_to_end(&mut rest);
                    } else {
                        serve(tcp, config, &seen, manner);
                    }
                    seen.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { addr, seen }
    }

    pub fn names(&self) -> usize {
        self.seen.names.lock().unwrap().len()
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.seen.over.store(true, Ordering::Relaxed);
    }
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn serve(tcp: TcpStream, config: Arc<ServerConfig>, seen: &Seen, manner: Manner) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).ok()?;
    }
    match stream.conn.handshake_kind()? {
        HandshakeKind::Resumed => seen.resumed.fetch_add(1, Ordering::Relaxed),
        _ => seen.full.fetch_add(1, Ordering::Relaxed),
    };
    let mut late: Vec<Vec<u8>> = Vec::new();
    loop {
        let (reply, faults) = next(&mut stream, seen)?;
        let has = |fault: &str| faults.iter().any(|other| other == fault);
        if has("drop-tcp") {
            continue;
        }
        if has("late-tcp") {
            late.push(reply);
            continue;
        }
        if has("onebyte") {
            stream.write_all(&[0, 1, 0]).ok()?;
            continue;
        }
        if has("slow") {
            thread::sleep(Duration::from_millis(300));
        }
        stream.write_all(&reply).ok()?;
        for reply in late.drain(..) {
            stream.write_all(&reply).ok()?;
        }
        if manner == Manner::OneAnswer || has("close-after") {
            stream.conn.send_close_notify();
            stream.flush().ok()?;
            stream.sock.shutdown(std::net::Shutdown::Write).ok()?;
            // What is still to be read would turn the close into a reset.
            let mut rest = Vec::new();
            let _ = stream.sock.read_to_end(&mut rest);
            return None;
        }
    }
}

/// The next query: its answer with a length, and the faults it asks for.
fn next(stream: &mut Stream, seen: &Seen) -> Option<(Vec<u8>, Vec<String>)> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    seen.begun.fetch_add(1, Ordering::Relaxed);
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes).ok()?;
    assert!(bytes.len().is_multiple_of(128), "padded (RFC 8467)");
    let query = Message::from_vec(&bytes).unwrap();
    let (name, faults) = read(&query);
    seen.names.lock().unwrap().push(name);
    let reply = good(&query, &faults);
    let mut frame = (reply.len() as u16).to_be_bytes().to_vec();
    frame.extend(reply);
    Some((frame, faults))
}
