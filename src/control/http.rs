//! `*` The metrics endpoint: `GET /metrics` on a loopback address.

mod request;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _, future};

use request::{MAX_HEAD, Reply};

use crate::error::{IoContext as _, Result};
use crate::net::reactor::{self, Interest, Source, Timer};

/// Clients served at once; one more is closed.
const MAX_CLIENTS: usize = 8;
/// A client must ask and read within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause after an error of accept, such as no descriptor left.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes the page.
pub type Page = Rc<dyn Fn() -> String>;

/// A listener that gives out one page.
pub struct Endpoint {
    listener: Source<TcpListener>,
    clients: Rc<Cell<usize>>,
}

impl Endpoint {
    /// Opens the listener.
    pub fn open(addr: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(addr).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Source::new(listener, Interest::Read)
        });
        Ok(Self {
            listener: listener.context(|| format!("listen for metrics on {addr}"))?,
            clients: Rc::default(),
        })
    }

    async fn accept(&self) -> io::Result<Source<TcpStream>> {
        let (stream, _) = self.listener.read_with(TcpListener::accept).await?;
        stream.set_nonblocking(true)?;
        Source::new(stream, Interest::Both)
    }

    /// Serves clients for ever.
    pub async fn run(&self, page: Page) {
        loop {
            let stream = match self.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    log::warn!(event = "metrics.accept", reason:% = error; "");
                    Timer::after(PAUSE).await;
                    continue;
                }
            };
            if self.clients.get() >= MAX_CLIENTS {
                future::yield_now().await;
                continue;
            }
            self.clients.set(self.clients.get() + 1);
            let (clients, page) = (self.clients.clone(), page.clone());
            let client = async move {
                let timeout = async {
                    Timer::after(PATIENCE).await;
                    Err(io::ErrorKind::TimedOut.into())
                };
                if let Err(error) = serve(stream, page).or(timeout).await {
                    log::debug!(event = "metrics.client", reason:% = error; "");
                }
                clients.set(clients.get() - 1);
            };
            reactor::spawn(client).detach();
        }
    }
}

async fn serve(socket: Source<TcpStream>, page: Page) -> io::Result<()> {
    let mut stream = &socket;
    let mut head = vec![0; MAX_HEAD];
    let mut length = 0;
    let reply = loop {
        let count = stream.read(&mut head[length..]).await?;
        length += count;
        match request::read(&head[..length]) {
            Some(reply) => break reply,
            None if count == 0 => break Reply::Nonsense,
            None => {}
        }
    };
    let response = request::response(reply, || page());
    stream.write_all(&response).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::reactor::block_on;
    use std::io::{Read, Write};
    use std::time::Instant;

    /// Runs `client` on a thread while an endpoint is served.
    fn with_endpoint<T: Send + 'static>(
        client: impl FnOnce(SocketAddr) -> T + Send + 'static,
    ) -> T {
        let endpoint = Endpoint::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = endpoint.listener.get_ref().local_addr().unwrap();
        let thread = std::thread::spawn(move || client(addr));
        block_on(async {
            let done = async {
                while !thread.is_finished() {
                    Timer::after(Duration::from_millis(5)).await;
                }
            };
            // More than a socket takes at once.
            let page = Rc::new(|| "x".repeat(8 << 20));
            done.or(endpoint.run(page)).await;
        });
        thread.join().unwrap()
    }

    fn get(addr: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn pages_are_whole_and_errors_are_read_by_those_who_sent_too_much() {
        let ((page, body, long), took) = with_endpoint(|addr| {
            let started = Instant::now();
            let answers = (
                get(addr, b"GET /metrics HTTP/1.1\r\n\r\n"),
                get(
                    addr,
                    &[b"POST / HTTP/1.1\r\n\r\n", &[b'x'; 50_000][..]].concat(),
                ),
                get(addr, &[b'x'; 50_000]),
            );
            (answers, started.elapsed())
        });
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(page.ends_with(&"x".repeat(8 << 20)));
        assert!(body.starts_with("HTTP/1.1 404 "), "{body}");
        assert!(long.starts_with("HTTP/1.1 414 "), "{long}");
        assert!(took < PATIENCE, "{took:?}");
    }

    #[test]
    fn silent_clients_are_bounded_and_put_out() {
        let ((refused, served), took) = with_endpoint(|addr| {
            let silent: Vec<_> = (0..MAX_CLIENTS)
                .map(|_| TcpStream::connect(addr).unwrap())
                .collect();
            std::thread::sleep(Duration::from_millis(200));
            let refused = get(addr, b"GET /metrics HTTP/1.1\r\n\r\n").is_empty();
            // Nor does one stay who asks and does not read.
            let started = Instant::now();
            for mut silent in &silent {
                let _ = silent.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
            }
            std::thread::sleep(PATIENCE);
            let served = !get(addr, b"GET /metrics HTTP/1.1\r\n\r\n").is_empty();
            ((refused, served), started.elapsed())
        });
        assert!(refused && served, "{refused} {served}");
        assert!(took < 2 * PATIENCE, "{took:?}");
    }
}
