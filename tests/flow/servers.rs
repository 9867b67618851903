//! Servers behind the router: echoes, real SOCKS5 servers, and one that follows a script.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::home::Namespace;

pub const WAIT: Duration = Duration::from_secs(20);

/// Listens on every address of `namespace` and hands each connection to `serve` in a thread.
pub fn tcp_server(
    namespace: &Namespace,
    addr: SocketAddr,
    serve: impl Fn(TcpStream) + Send + Sync + 'static,
) -> SocketAddr {
    let listener = namespace.run(move || TcpListener::bind(addr).unwrap());
    let local = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    // The thread ends with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            stream.set_read_timeout(Some(WAIT)).unwrap();
            std::thread::spawn(move || serve(stream));
        }
    });
    local
}

/// Answers every datagram with itself.
pub fn udp_echo(namespace: &Namespace, addr: SocketAddr) -> UdpSocket {
    let socket = namespace.run(move || UdpSocket::bind(addr).unwrap());
    let echo = socket.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = echo.recv_from(&mut buffer) {
            let _ = echo.send_to(&buffer[..length], from);
        }
    });
    socket
}

/// A process that ends with the test.
pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // Dante has children.
        let group = -(self.0.id() as libc::pid_t);
        // SAFETY: no memory is involved; the group is that of our child, not yet waited for.
        unsafe { libc::kill(group, libc::SIGKILL) };
        let _ = self.0.wait();
    }
}

/// Starts `command` and waits until something accepts TCP at `addr`.
fn daemon(namespace: &Namespace, command: &str, addr: &str) -> Daemon {
    let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let addr: SocketAddr = addr.parse().unwrap();
    namespace.run(move || {
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", words[0]));
        let start = Instant::now();
        while TcpStream::connect(addr).is_err() {
            assert!(start.elapsed() < WAIT, "{words:?} does not listen");
            assert!(child.try_wait().unwrap().is_none(), "{words:?} ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        Daemon(child)
    })
}

/// Dante without login, TCP and UDP, on 10.78.0.2:1080 of the internet.
pub struct Dante {
    _daemon: Daemon,
    _folder: TempFolder,
}

pub const DANTE: &str = "socks5://10.78.0.2:1080";

impl Dante {
    pub fn start(internet: &Namespace) -> Self {
        let folder = TempFolder::new();
        let config = folder.0.join("danted.conf");
        std::fs::write(
            &config,
            "logoutput: /dev/null
             internal: 10.78.0.2 port = 1080
             external: i0
             socksmethod: none
             clientmethod: none
             user.privileged: root
             user.unprivileged: nobody
             client pass { from: 0/0 to: 0/0 }
             socks pass { from: 0/0 to: 0/0 command: connect udpassociate udpreply }\n",
        )
        .unwrap();
        let pid = folder.0.join("pid");
        let command = format!("danted -N 1 -f {} -p {}", config.display(), pid.display());
        Self {
            _daemon: daemon(internet, &command, "10.78.0.2:1080"),
            _folder: folder,
        }
    }
}

/// Microsocks with a login, on every address of the internet, TCP only.
pub const MICROSOCKS: &str = "socks5://me:secret@[fd78::2]:1081";

pub fn microsocks(internet: &Namespace) -> Daemon {
    daemon(
        internet,
        "microsocks -i :: -p 1081 -u me -P secret",
        "[fd78::2]:1081",
    )
}

/// A folder removed with the value.
pub struct TempFolder(pub std::path::PathBuf);

impl TempFolder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("dae-flow-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a scripted server does with each connection.
#[derive(Clone)]
pub enum Step {
    /// Reads so many bytes.
    Read(usize),
    Write(Vec<u8>),
    /// Says nothing and reads nothing for ever.
    Hang,
}

/// A server that follows `script` and then closes; counts connections.
pub fn scripted(
    namespace: &Namespace,
    addr: SocketAddr,
    script: Vec<Step>,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let local = tcp_server(namespace, addr, move |mut stream| {
        counter.fetch_add(1, Ordering::SeqCst);
        for step in &script {
            match step {
                Step::Read(length) => {
                    if stream.read_exact(&mut vec![0; *length]).is_err() {
                        return;
                    }
                }
                Step::Write(bytes) => {
                    if stream.write_all(bytes).is_err() {
                        return;
                    }
                }
                Step::Hang => std::thread::sleep(WAIT * 3),
            }
        }
    });
    (local, count)
}
