//! One relayed connection: bytes both ways until both ends have said all they had. I/O.
//!
//! A FIN is passed on at once and the other direction goes on (half-close); a reset is passed
//! on as a reset. Bytes move by `splice` and never enter the daemon.
//!
//! The relay has no clock: it notes that bytes moved, and a sweep once a second decides
//! ([`Connection::verdict`]) whether it has been quiet for too long.

use std::cell::{Cell, OnceCell};
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::future;

use super::live::Live;
use crate::net::reactor::{Source, Timer};
use crate::net::splice::{LARGE, Pipe, PipePool, SMALL};
use crate::net::stream;

/// After one FIN, a connection that is silent for so long ends. The same as a connection that
/// conntrack has seen half closed (nf_conntrack_tcp_timeout_close_wait): a client that is
/// gone for good cannot be told from one that waits for its answer, so the answer may take as
/// long through us as through plain NAT.
pub const HALF_CLOSED_IDLE: Duration = Duration::from_secs(60);

/// Until a pipe is asked for again when the system had none.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(200);

/// Times that one direction moves bytes, a pipe full at most, before others get their turn.
const TURN: u32 = 4;

/// More bytes than this at once are a bulk transfer: they go by large pipes, as far as the other
/// side has room for them. Frames of a device fill a small pipe with little more.
const BULK: usize = 16 * 1024;

/// What relay and sweep share of one connection.
#[derive(Debug)]
pub struct Connection {
    live: Rc<Live>,
    client: Source<TcpStream>,
    /// Empty while being dialled.
    server: OnceCell<Source<TcpStream>>,
    /// Bytes moved since the last sweep.
    moved: Cell<bool>,
    /// Time of the last sweep that saw bytes.
    active: Cell<Instant>,
    up: Direction,
    down: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    /// The source's FIN was passed on.
    finished: Cell<bool>,
    /// Waits for the destination, so nobody looks at the source.
    stalled: Cell<bool>,
}

impl Direction {
    /// A pipe. When the system has no descriptors or no memory for one, bytes wait where they
    /// are until it has: new flows are refused, those that are there go on.
    async fn pipe(&self, pipes: &Rc<PipePool>, bytes: usize) -> Pipe {
        loop {
            match pipes.pipe(bytes) {
                Ok(pipe) => return pipe,
                Err(error) => log::warn!(event = "flow.pipe", reason:% = error; ""),
            }
            self.stalled.set(true);
            Timer::after(SHORTAGE_PAUSE).await;
            self.stalled.set(false);
        }
    }
}

/// Why a sweep ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Quiet for too long.
    Idle,
    /// One side broke while nobody was looking at it.
    Broken,
}

impl Connection {
    /// A client's connection that is going to be dialled.
    pub fn new(client: Source<TcpStream>, live: Rc<Live>) -> Self {
        Self {
            client,
            server: OnceCell::new(),
            moved: Cell::new(false),
            active: Cell::new(live.since()),
            live,
            up: Direction::default(),
            down: Direction::default(),
        }
    }

    /// Relays until both directions have ended. On an error the side that had not been told
    /// everything is told so by a reset.
    pub async fn relay(&self, server: Source<TcpStream>, pipes: &Rc<PipePool>) -> io::Result<()> {
        self.moved.set(true);
        let server = self.server.get_or_init(|| server);
        let count = |bytes| self.live.add_up(bytes);
        let up = self.pump(&self.client, server, pipes, &self.up, count);
        let count = |bytes| self.live.add_down(bytes);
        let down = self.pump(server, &self.client, pipes, &self.down, count);
        let result = future::try_zip(up, down).await.map(drop);
        if result.is_err() {
            self.reset_unfinished();
        }
        result
    }

    /// What is known of the flow.
    pub fn live(&self) -> &Rc<Live> {
        &self.live
    }

    /// Both sides are to learn that this does not end well.
    pub fn cut(&self) {
        self.reset_unfinished();
    }

    /// The client cannot be served.
    pub fn refuse(&self) {
        stream::reset_on_close(self.client.get_ref());
    }

    /// To be called once a second: whether the connection must end.
    pub fn verdict(&self, now: Instant, idle: Duration) -> Option<Ending> {
        let Some(server) = self.server.get() else {
            // The dial has its own limit.
            return None;
        };
        if self.moved.take() {
            self.active.set(now);
        }
        let half_closed = self.up.finished.get() || self.down.finished.get();
        let limit = if half_closed {
            idle.min(HALF_CLOSED_IDLE)
        } else {
            idle
        };
        if now.saturating_duration_since(self.active.get()) >= limit {
            return Some(Ending::Idle);
        }
        let unwatched = half_closed || self.up.stalled.get() || self.down.stalled.get();
        let broken = || {
            [&self.client, server]
                .iter()
                .any(|end| stream::is_broken(end.get_ref()))
        };
        if unwatched && broken() {
            self.reset_unfinished();
            return Some(Ending::Broken);
        }
        None
    }

    /// A side that has got its FIN has got everything, and keeps it.
    fn reset_unfinished(&self) {
        if !self.down.finished.get() {
            stream::reset_on_close(self.client.get_ref());
        }
        if let Some(server) = self.server.get()
            && !self.up.finished.get()
        {
            stream::reset_on_close(server.get_ref());
        }
    }

    async fn pump(
        &self,
        from: &Source<TcpStream>,
        to: &Source<TcpStream>,
        pipes: &Rc<PipePool>,
        direction: &Direction,
        count: impl Fn(u64),
    ) -> io::Result<()> {
        let mut turns = 0;
        // Whether much came the last time, so that much may be there again.
        let mut bulk = false;
        loop {
            let room = if bulk { stream::room(to.get_ref()) } else { 0 };
            let bytes = room.clamp(SMALL, LARGE);
            let mut pipe = direction.pipe(pipes, bytes).await;
            match from.try_read(|from| pipe.fill(from, bytes)) {
                Ok(0) => break,
                Ok(filled) => bulk = filled >= BULK,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drop(pipe);
                    from.readable().await;
                    turns = 0;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            while pipe.filled() > 0 {
                match to.try_write(|to| pipe.drain(to)) {
                    Ok(moved) => {
                        count(moved as u64);
                        self.moved.set(true);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        direction.stalled.set(true);
                        to.writable().await;
                        direction.stalled.set(false);
                        turns = 0;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            drop(pipe);
            turns += 1;
            if turns >= TURN {
                turns = 0;
                future::yield_now().await;
            }
        }
        direction.finished.set(true);
        stream::finish(to.get_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::config::Config;
    use crate::net::reactor::Interest;
    use crate::outbound::ways::Ways;
    use crate::rules::Proto;

    /// Our two ends of a connection that is relayed, and the others' ends.
    fn connection(now: Instant) -> (Connection, [TcpStream; 2]) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || {
            let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (ours, _) = listener.accept().unwrap();
            (Source::new(ours, Interest::Both).unwrap(), theirs)
        };
        let config = Config::parse("test", b"config dae 'main'\n").unwrap();
        let ways = Ways::new(&config, 1, now);
        let nobody = SocketAddr::from(([0; 4], 0));
        let direct = Rc::clone(&ways.all()[0]);
        let live = Live::new(Proto::Tcp, (nobody, nobody), direct, None, now);
        let ((client, one), (server, two)) = (pair(), pair());
        let connection = Connection::new(client, Rc::new(live));
        connection.server.set(server).unwrap();
        (connection, [one, two])
    }

    #[test]
    fn one_that_is_half_closed_may_be_silent_for_a_minute() {
        const IDLE: Duration = Duration::from_secs(7200);
        let nothing = Duration::from_nanos(1);
        let begin = Instant::now();
        let (connection, _others) = connection(begin);
        let later = begin + IDLE - nothing;
        assert_eq!(connection.verdict(later, IDLE), None);
        assert_eq!(connection.verdict(begin + IDLE, IDLE), Some(Ending::Idle));
        for finished in [&connection.up, &connection.down] {
            connection.moved.set(true);
            assert_eq!(connection.verdict(begin, IDLE), None);
            finished.finished.set(true);
            let end = begin + HALF_CLOSED_IDLE;
            assert_eq!(connection.verdict(end - nothing, IDLE), None);
            assert_eq!(connection.verdict(end, IDLE), Some(Ending::Idle));
            // Bytes the other way begin the time anew.
            connection.moved.set(true);
            assert_eq!(connection.verdict(end, IDLE), None);
            assert_eq!(
                connection.verdict(end + HALF_CLOSED_IDLE, IDLE),
                Some(Ending::Idle)
            );
            finished.finished.set(false);
        }
    }
}
