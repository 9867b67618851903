//! What is said on one connection: messages with lengths (RFC 7766, RFC 7858) or HTTP/2
//! (RFC 8484). I/O.

use std::cell::RefCell;
use std::io;
use std::rc::Weak;
use std::time::Instant;

use futures_lite::future;

use super::Line;
use super::reach::{Reach, Wire};
use crate::dns::frame::{self, Frames};
use crate::dns::http2::{self, Event};
use crate::dns::server::Server;
use crate::dns::wire;

/// Bytes that are handed to the kernel at a time; a message more than this at most.
const WRITE: usize = 16 * 1024;

/// Bytes read at a time.
const READ: usize = 4096;

/// Reads before others have their turn.
const TURN: u32 = 8;

/// Carries queries and answers until the connection ends. The error is that of the
/// connection, or of a server that does not keep to the protocol.
pub(super) async fn talk(
    server: &Weak<Server>,
    line: &Line,
    reach: &Reach,
    wire: &Wire,
) -> io::Result<()> {
    match reach.http() {
        None => {
            let reading = read_messages(server, line, wire);
            future::or(reading, write_messages(server, line, wire)).await
        }
        Some(target) => talk_http(server, line, wire, &RefCell::new(target.connect())).await,
    }
}

async fn talk_http(
    server: &Weak<Server>,
    line: &Line,
    wire: &Wire,
    http: &RefCell<http2::Client>,
) -> io::Result<()> {
    let reading = read_http(server, line, wire, http);
    future::or(reading, write_http(server, line, wire, http)).await
}

async fn write_messages(server: &Weak<Server>, line: &Line, wire: &Wire) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if let Some(server) = server.upgrade() {
            let mut pool = server.streams.pool.borrow_mut();
            while bytes.len() < WRITE
                && let Some((id, message)) = pool.next_write(line.id)
            {
                let start = bytes.len() + 2;
                frame::append(message, &mut bytes);
                wire::set_id(&mut bytes[start..], id);
            }
        }
        if bytes.is_empty() {
            line.to_write.wait().await;
        } else {
            wire.write_all(&bytes).await?;
        }
    }
}

async fn read_messages(server: &Weak<Server>, line: &Line, wire: &Wire) -> io::Result<()> {
    let mut frames = Frames::new(usize::from(u16::MAX));
    let mut reads = 0;
    loop {
        let count = wire.read(frames.room()).await?;
        if count == 0 {
            return Ok(());
        }
        frames.came(count);
        let Some(server) = server.upgrade() else {
            return Ok(());
        };
        let mut result = Ok(());
        loop {
            match frames.next() {
                Ok(Some(message)) => match wire::id(message) {
                    Some(id) if message.len() >= wire::HEADER => {
                        server.streams.answer(&server, line.id, id, message);
                    }
                    _ => {
                        result = Err(io::ErrorKind::InvalidData.into());
                        break;
                    }
                },
                Ok(None) => break,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        server.carry_out();
        drop(server);
        result?;
        take_turns(&mut reads).await;
    }
}

/// A server that always has more must not keep the thread.
async fn take_turns(reads: &mut u32) {
    *reads = reads.wrapping_add(1);
    if reads.is_multiple_of(TURN) {
        future::yield_now().await;
    }
}

async fn write_http(
    server: &Weak<Server>,
    line: &Line,
    wire: &Wire,
    http: &RefCell<http2::Client>,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if let Some(server) = server.upgrade() {
            let mut http = http.borrow_mut();
            for id in line.take_cancelled() {
                http.cancel(id);
            }
            let mut pool = server.streams.pool.borrow_mut();
            while let Some((id, message)) = pool.next_write(line.id) {
                http.request(id, message);
            }
            http.take_output(&mut bytes);
        }
        if bytes.is_empty() {
            line.to_write.wait().await;
        } else {
            wire.write_all(&bytes).await?;
        }
    }
}

async fn read_http(
    server: &Weak<Server>,
    line: &Line,
    wire: &Wire,
    http: &RefCell<http2::Client>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ];
    let mut reads = 0;
    loop {
        let count = wire.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let Some(server) = server.upgrade() else {
            return Ok(());
        };
        let received = http.borrow_mut().receive(&buffer[..count]);
        take_events(&server, line, http);
        server.carry_out();
        drop(server);
        received.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // There may be an acknowledgement, or room for more.
        line.to_write.notify();
        take_turns(&mut reads).await;
    }
}

fn take_events(server: &std::rc::Rc<Server>, line: &Line, http: &RefCell<http2::Client>) {
    let (streams, now) = (&server.streams, Instant::now());
    loop {
        let event = http.borrow_mut().next_event();
        match event {
            None => break,
            Some(Event::Answer(id, mut body)) if body.len() >= wire::HEADER => {
                streams.answer(server, line.id, id, &mut body);
            }
            Some(Event::Answer(id, _)) => streams.pool.borrow_mut().failed(now, line.id, id),
            Some(Event::Refused(id)) => streams.pool.borrow_mut().refused(now, line.id, id),
            Some(Event::Failed(id, failure)) => {
                log::warn!(event = "dns.http", upstream = &*line.name, reason:% = failure; "");
                streams.pool.borrow_mut().failed(now, line.id, id);
            }
        }
    }
    let mut pool = streams.pool.borrow_mut();
    if http.borrow().is_over() {
        pool.retire(now, line.id);
    }
    pool.set_limit(now, line.id, http.borrow().max_streams());
}
