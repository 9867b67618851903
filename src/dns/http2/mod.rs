//! DNS over HTTPS on one connection (RFC 8484 over RFC 9113), the client's side. Pure: bytes
//! in, bytes and answers out.
//!
//! Every query is a POST on a stream of its own. What a server can make us hold is bounded: a
//! body by the longest DNS message, all bodies together by the connection's window, headers
//! by [`MAX_HEADERS`], what is to be written by [`MAX_OUT`].

mod frame;
mod hpack;
mod huffman;
mod receive;

use std::collections::{HashMap, VecDeque};
use std::io;

use frame::{Header, code, flag, kind, setting};

/// Sent first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most queries at a time, however many the server allows.
pub const MAX_STREAMS: u32 = 100;

/// Most queries at a time before the server has said how many it allows. Any server allows so
/// many, and its word comes with the handshake or a round trip later.
pub const FIRST_STREAMS: u32 = 10;

/// Longest DNS message, so longest body.
const MAX_BODY: usize = 65_535;

/// Longest headers of an answer, coded.
const MAX_HEADERS: usize = 16_384;

/// What may wait to be written when more is read: a server that makes us answer and takes
/// nothing is left alone.
const MAX_OUT: usize = 256 * 1024;

/// Bytes of bodies that may be under way on the connection.
const WINDOW: u32 = 512 * 1024;

/// Of these, on one stream: a body and as much padding.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Streams count up by two to this; then a new connection is needed.
const LAST_STREAM: u32 = 0x7fff_ffff;

/// Why a connection is of no use any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Headers that nobody can read.
    #[error("HTTP/2: headers make no sense")]
    Headers,
    /// A frame that is too long or too short.
    #[error("HTTP/2: a frame has a wrong length")]
    Length,
    /// A frame that must not come here.
    #[error("HTTP/2: the server breaks the protocol")]
    Protocol,
    /// More bytes than allowed.
    #[error("HTTP/2: the server sends more than it may")]
    Window,
    /// We are made to write without end.
    #[error("HTTP/2: the server takes nothing")]
    Flood,
}

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another status than 200; 0: none.
    #[error("status {0}")]
    Status(u16),
    /// A body that is no DNS message.
    #[error("the content type is not {}", hpack::MEDIA_TYPE)]
    Type,
    /// A body longer than any DNS message.
    #[error("longer than a DNS message")]
    Long,
    /// The server ended the stream, with this code.
    #[error("stream reset, code {0}")]
    Reset(u32),
}

/// What came of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The answer's body, of at most 65,535 bytes.
    Answer(u16, Vec<u8>),
    /// No answer.
    Failed(u16, Failure),
    /// The server did nothing with it: it can be sent again.
    Refused(u16),
}

/// Whom to ask, and for what.
#[derive(Debug)]
pub struct Target {
    authority: Box<str>,
    path: Box<str>,
}

impl Target {
    /// `authority` is `name` or `name:port`, `path` begins with a slash. An error in a build
    /// without HTTPS only.
    pub fn new(authority: &str, path: &str) -> io::Result<Self> {
        Ok(Self {
            authority: authority.into(),
            path: path.into(),
        })
    }

    /// A fresh connection.
    pub fn connect(&self) -> Client {
        Client::new(&self.authority, &self.path)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    authority: Box<str>,
    path: Box<str>,
    out: Vec<u8>,
    /// A frame that is not all there.
    input: Vec<u8>,
    streams: HashMap<u32, Stream>,
    next: u32,
    decoder: hpack::Decoder,
    /// Headers that go on in the next frame.
    headers: Option<Headers>,
    events: VecDeque<Event>,
    /// The server's settings came, which are the first it sends.
    greeted: bool,
    /// The server wants no further query.
    over: bool,
    max_streams: u32,
    /// What new streams may send, bytes.
    stream_window: i64,
    /// What all may send.
    window: i64,
    /// What the server may send.
    receivable: i64,
    /// What it could send again, but was not told yet.
    credit: u32,
}

#[derive(Debug)]
struct Stream {
    tag: u16,
    unsent: Vec<u8>,
    window: i64,
    head: Option<hpack::Head>,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Headers {
    stream: u32,
    ends: bool,
    block: Vec<u8>,
}

impl Client {
    /// A fresh connection. `authority` is `name` or `name:port`, `path` begins with a slash.
    pub fn new(authority: &str, path: &str) -> Self {
        let mut out = PREFACE.to_vec();
        frame::append_settings(
            &[
                (setting::ENABLE_PUSH, 0),
                (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            ],
            &mut out,
        );
        let mut new = Self {
            authority: authority.into(),
            path: path.into(),
            out,
            input: Vec::new(),
            streams: HashMap::new(),
            next: 1,
            decoder: hpack::Decoder::new(),
            headers: None,
            events: VecDeque::new(),
            greeted: false,
            over: false,
            max_streams: FIRST_STREAMS,
            stream_window: frame::WINDOW.into(),
            window: frame::WINDOW.into(),
            receivable: WINDOW.into(),
            credit: 0,
        };
        new.update_window(WINDOW - frame::WINDOW);
        new
    }

    /// Queries that can be sent now.
    pub fn capacity(&self) -> usize {
        if self.over || self.next > LAST_STREAM {
            return 0;
        }
        (self.max_streams as usize).saturating_sub(self.streams.len())
    }

    /// Queries that may be on their way at a time.
    pub fn max_streams(&self) -> usize {
        self.max_streams as usize
    }

    /// Whether the server wants no further query on this connection, ever.
    pub fn is_over(&self) -> bool {
        self.over || self.next > LAST_STREAM
    }

    /// Sends a query, if there is capacity; `tag` names it in events.
    pub fn request(&mut self, tag: u16, message: &[u8]) {
        if self.capacity() == 0 {
            self.events.push_back(Event::Refused(tag));
            return;
        }
        let id = self.next;
        self.next += 2;
        let mut block = Vec::new();
        hpack::request(&self.authority, &self.path, message.len(), &mut block);
        frame::append(kind::HEADERS, flag::END_HEADERS, id, &block, &mut self.out);
        let stream = Stream {
            tag,
            unsent: message.to_vec(),
            window: self.stream_window,
            head: None,
            body: Vec::new(),
        };
        self.streams.insert(id, stream);
        self.push(id);
    }

    /// Nobody waits for this answer any more.
    pub fn cancel(&mut self, tag: u16) {
        let found = self.streams.iter().find(|(_, stream)| stream.tag == tag);
        if let Some((&id, _)) = found {
            self.reset(id);
        }
    }

    /// What came of queries, in order.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Moves what is to be written into `out`.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.out);
    }

    /// Bytes came from the server. After an error the connection is of no use.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(header) = Header::parse(&input[used..]) {
            if header.length > frame::LONGEST {
                return Err(Error::Length);
            }
            let start = used + frame::HEADER;
            let Some(payload) = input.get(start..start + header.length) else {
                break;
            };
            used = start + header.length;
            self.take_frame(&header, payload)?;
        }
        input.drain(..used);
        self.input = input;
        if self.out.len() > MAX_OUT {
            return Err(Error::Flood);
        }
        Ok(())
    }

    /// Writes as much of the bodies as the server takes, oldest first.
    fn push_all(&mut self) {
        let streams = self.streams.iter();
        let mut waiting: Vec<u32> = streams
            .filter(|(_, stream)| !stream.unsent.is_empty())
            .map(|(id, _)| *id)
            .collect();
        waiting.sort_unstable();
        waiting.into_iter().for_each(|id| self.push(id));
    }

    fn push(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        while !stream.unsent.is_empty() {
            let allowed = stream.window.min(self.window).max(0) as usize;
            let count = stream.unsent.len().min(allowed).min(frame::LONGEST);
            if count == 0 {
                return;
            }
            let last = count == stream.unsent.len();
            let flags = if last { flag::END_STREAM } else { 0 };
            frame::append(
                kind::DATA,
                flags,
                id,
                &stream.unsent[..count],
                &mut self.out,
            );
            stream.unsent.drain(..count);
            stream.window -= count as i64;
            self.window -= count as i64;
        }
    }

    /// The server has said all it has to say on a stream.
    fn finish(&mut self, id: u32) {
        let unsent = self.streams.get(&id).map(|stream| stream.unsent.len());
        if unsent.is_some_and(|unsent| unsent > 0) {
            // It answered without having read the question.
            self.fail(id, Failure::Reset(0));
            return;
        }
        if let Some(mut stream) = self.remove(id) {
            let body = std::mem::take(&mut stream.body);
            self.events.push_back(Event::Answer(stream.tag, body));
        }
    }

    fn fail(&mut self, id: u32, failure: Failure) {
        if let Some(tag) = self.reset(id) {
            self.events.push_back(Event::Failed(tag, failure));
        }
    }

    /// Ends a stream of our own accord.
    fn reset(&mut self, id: u32) -> Option<u16> {
        let stream = self.remove(id)?;
        let reason = code::CANCEL.to_be_bytes();
        frame::append(kind::RST_STREAM, 0, id, &reason, &mut self.out);
        Some(stream.tag)
    }

    fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.give_back(stream.body.len());
        Some(stream)
    }

    /// So many bytes are not held any more. The server learns it when half of the window is
    /// used up.
    fn give_back(&mut self, bytes: usize) {
        self.credit += bytes as u32;
        if self.credit >= WINDOW / 2 {
            let credit = std::mem::take(&mut self.credit);
            self.receivable += i64::from(credit);
            self.update_window(credit);
        }
    }

    fn update_window(&mut self, more: u32) {
        frame::append(
            kind::WINDOW_UPDATE,
            0,
            0,
            &more.to_be_bytes(),
            &mut self.out,
        );
    }
}

#[cfg(test)]
mod tests;
