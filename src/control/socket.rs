//! `*` The control socket: one request line in, one JSON document out.
//!
//! A Unix socket in the run folder, for root only. The page and `dae status` use it.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, future};
use serde_json::Value;

use crate::error::{Error, IoContext as _, Result};
use crate::net::reactor::{self, Interest, Source, Timer};

/// Name of the socket in the run folder.
pub const SOCKET: &str = "control.sock";
/// Longest request line, bytes.
const MAX_REQUEST: usize = 256;
/// Clients served at once; one more is closed.
const MAX_CLIENTS: usize = 8;
/// A client must ask within this time, and read within it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The daemon must answer within this time; a reload takes the longest.
const ANSWER: Duration = Duration::from_secs(20);

/// Answers one request line; None when it makes no sense.
pub type Handler = Rc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<Value>>>>>;

/// The daemon's end. The file is removed with it.
pub struct Control {
    listener: Source<UnixListener>,
    path: PathBuf,
    clients: Rc<Cell<usize>>,
}

impl Control {
    /// Opens the socket in `run_dir`. The socket of a dead instance is replaced; a live one
    /// is an error that says so.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let path = run_dir.join(SOCKET);
        let name = || format!("control socket {}", path.display());
        if UnixStream::connect(&path).is_ok() {
            let source = io::Error::new(io::ErrorKind::AddrInUse, "another dae is running here");
            return Err(Error::Io {
                what: name(),
                source,
            });
        }
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).context(name)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).context(name)?;
        listener.set_nonblocking(true).context(name)?;
        let listener = Source::new(listener, Interest::Read).context(name)?;
        Ok(Self {
            listener,
            path,
            clients: Rc::default(),
        })
    }

    async fn accept(&self) -> io::Result<Source<UnixStream>> {
        let (stream, _) = self.listener.read_with(UnixListener::accept).await?;
        stream.set_nonblocking(true)?;
        Source::new(stream, Interest::Both)
    }

    /// Serves clients for ever.
    pub async fn run(&self, handler: Handler) {
        loop {
            let stream = match self.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    log::warn!(event = "control.accept", reason:% = error; "");
                    Timer::after(Duration::from_secs(1)).await;
                    continue;
                }
            };
            if self.clients.get() >= MAX_CLIENTS {
                future::yield_now().await;
                continue;
            }
            self.clients.set(self.clients.get() + 1);
            let (clients, handler) = (self.clients.clone(), handler.clone());
            let client = async move {
                if let Err(error) = serve(stream, handler).await {
                    log::debug!(event = "control.client", reason:% = error; "");
                }
                clients.set(clients.get() - 1);
            };
            reactor::spawn(client).detach();
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve(socket: Source<UnixStream>, handler: Handler) -> io::Result<()> {
    let request = patiently(read(&socket)).await?;
    let answer = match String::from_utf8(request) {
        Ok(line) => handler(line.trim().to_owned()).await,
        Err(_) => None,
    };
    let answer = answer.unwrap_or_else(|| serde_json::json!({ "error": "unknown request" }));
    let mut stream = &socket;
    patiently(async {
        stream.write_all(answer.to_string().as_bytes()).await?;
        stream.close().await
    })
    .await
}

async fn patiently<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let timeout = async {
        Timer::after(PATIENCE).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    work.or(timeout).await
}

async fn read(mut stream: &Source<UnixStream>) -> io::Result<Vec<u8>> {
    let mut request = Vec::with_capacity(MAX_REQUEST);
    let mut byte = [0];
    while stream.read(&mut byte).await? == 1 && byte[0] != b'\n' {
        if request.len() == MAX_REQUEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "request line too long",
            ));
        }
        request.push(byte[0]);
    }
    Ok(request)
}

/// Asks the daemon of `run_dir`. An error when none runs there.
pub fn ask(run_dir: &Path, request: &str) -> Result<Value> {
    use std::io::{Read as _, Write as _};
    let path = run_dir.join(SOCKET);
    let name = || format!("ask the daemon at {}", path.display());
    let mut stream = UnixStream::connect(&path).context(name)?;
    stream.set_read_timeout(Some(ANSWER)).context(name)?;
    writeln!(stream, "{request}").context(name)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context(name)?;
    serde_json::from_str(&answer)
        .map_err(io::Error::from)
        .context(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::reactor::block_on;

    /// Runs `client` on a thread while the socket of a fresh folder is served.
    fn with_control<T: Send + 'static>(
        name: &str,
        client: impl FnOnce(PathBuf) -> T + Send + 'static,
    ) -> T {
        let dir = std::env::temp_dir().join(format!("dae-control-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let control = Control::open(&dir).unwrap();
        let handler: Handler = Rc::new(|line| {
            Box::pin(
                async move { (line == "status").then(|| serde_json::json!({ "version": "test" })) },
            )
        });
        let thread = std::thread::spawn({
            let dir = dir.clone();
            move || client(dir)
        });
        block_on(async {
            let done = async {
                while !thread.is_finished() {
                    Timer::after(Duration::from_millis(5)).await;
                }
            };
            done.or(control.run(handler)).await;
        });
        drop(control);
        fs::remove_dir(&dir).expect("the socket file is gone and the folder empty");
        thread.join().unwrap()
    }

    #[test]
    fn answers_requests_and_refuses_nonsense() {
        let (good, bad, long) = with_control("ask", |dir| {
            (
                ask(&dir, "status"),
                ask(&dir, "make coffee"),
                ask(&dir, &"x".repeat(5000)),
            )
        });
        assert_eq!(good.unwrap()["version"], "test");
        assert_eq!(bad.unwrap()["error"], "unknown request");
        assert!(long.is_err(), "{long:?}");
    }

    #[test]
    fn silent_clients_are_bounded_and_put_out() {
        let closed_at_once = with_control("silent", |dir| {
            let path = dir.join(SOCKET);
            let connect = || UnixStream::connect(&path).unwrap();
            let silent: Vec<UnixStream> = (0..MAX_CLIENTS).map(|_| connect()).collect();
            std::thread::sleep(Duration::from_millis(200));
            let refused = ask(&dir, "status").is_err();
            std::thread::sleep(PATIENCE);
            drop(silent);
            (refused, ask(&dir, "status").is_ok())
        });
        assert_eq!(closed_at_once, (true, true));
    }

    #[test]
    fn a_second_daemon_is_refused_while_the_first_lives() {
        let error = with_control("second", |dir| {
            Control::open(&dir).err().unwrap().to_string()
        });
        assert!(error.contains("another dae is running here"), "{error}");
    }
}
