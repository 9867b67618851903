//! Bytes of a server that speaks HTTP/2, or does not: every query ends at most once, an answer
//! is no longer than a DNS message, what we write are whole frames within the server's windows,
//! and what we hold is bounded.

#![no_main]

use std::collections::BTreeSet;

use dae::dns::http2::{Client, Event, MAX_STREAMS};
use libfuzzer_sys::fuzz_target;

/// Longest output that waits, with what one more call may add to it.
const MAX_OUT: usize = 512 * 1024;

const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// The input, used up byte by byte; zeros follow.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn some(&mut self) -> &[u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        self.0.split_off(..count).unwrap_or(&[])
    }
}

struct Server {
    client: Client,
    /// Queries under way.
    tags: BTreeSet<u16>,
    next: u16,
    /// What the client wrote and was not looked at yet.
    written: Vec<u8>,
    greeted: bool,
    /// Bytes of bodies that it wrote, and may write.
    sent: u64,
    allowed: u64,
    /// Bytes came that are no frames of ours: nobody knows what they allowed.
    wild: bool,
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let mut server = Server {
        client: Client::new("dns.example", "/dns-query"),
        tags: BTreeSet::new(),
        next: 0,
        written: Vec::new(),
        greeted: false,
        sent: 0,
        allowed: 65_535,
        wild: false,
    };
    while !bytes.0.is_empty() {
        if server.step(&mut bytes).is_none() {
            return;
        }
        server.check();
    }
});

impl Server {
    /// None: the connection is of no use any more.
    fn step(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        match bytes.byte() {
            0..64 => {
                let message = vec![7; 12 + usize::from(bytes.byte()) * 16];
                self.client.request(self.next, &message);
                self.tags.insert(self.next);
                self.next = self.next.wrapping_add(1);
                Some(())
            }
            64..72 => {
                let at = usize::from(bytes.byte());
                let tag = self.tags.iter().nth(at).copied()?;
                self.client.cancel(tag);
                self.tags.remove(&tag);
                Some(())
            }
            72..76 => {
                self.wild = true;
                self.client.receive(bytes.some()).ok()
            }
            76..80 => self.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, bytes.byte(), bytes.byte()]),
            80..84 => self.frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, bytes.byte()]),
            84..100 => {
                let stream = bytes.byte();
                let more = u32::from(bytes.byte()) * 256;
                self.frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
            }
            // An answer's headers, with the media type in plain letters.
            100..140 => {
                let (flags, stream) = (bytes.byte() & 5, bytes.byte());
                let block = b"\x88\x0f\x10\x17application/dns-message";
                self.frame(1, flags, stream, block)
            }
            kind => {
                let (flags, stream) = (bytes.byte(), bytes.byte());
                let payload = bytes.some().to_vec();
                let payload = if kind & 16 == 0 {
                    payload
                } else {
                    payload.repeat(60)
                };
                self.frame(kind % 11, flags, stream, &payload)
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Option<()> {
        if let (WINDOW_UPDATE, 0, &[a, b, c, d]) = (kind, stream, payload) {
            self.allowed += u64::from(u32::from_be_bytes([a & 0x7f, b, c, d]));
        }
        let length = payload.len() as u32;
        let mut frame = length.to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, stream]);
        frame.extend(payload);
        // In two pieces, cut anywhere.
        let (first, second) = frame.split_at(usize::from(flags) % frame.len());
        self.client.receive(first).ok()?;
        self.client.receive(second).ok()
    }

    fn check(&mut self) {
        while let Some(event) = self.client.next_event() {
            let tag = match event {
                Event::Answer(tag, body) => {
                    assert!(body.len() <= 65_535);
                    tag
                }
                Event::Failed(tag, _) | Event::Refused(tag) => tag,
            };
            assert!(
                self.tags.remove(&tag),
                "an end for a query that is none, or a second one"
            );
        }
        assert!(self.client.capacity() <= MAX_STREAMS as usize);
        assert!(self.tags.len() <= MAX_STREAMS as usize);
        let before = self.written.len();
        self.client.take_output(&mut self.written);
        assert!(self.written.len() - before <= MAX_OUT);
        self.read();
    }

    /// What the client wrote: a preface, and frames that a server has to take.
    fn read(&mut self) {
        let mut written = &self.written[..];
        if !self.greeted {
            written = written
                .strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                .expect("the preface");
            self.greeted = true;
        }
        while let Some((header, rest)) = written.split_first_chunk::<9>() {
            let &[a, b, c, kind, _, d, ..] = header;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            assert!(length <= 16_384 && d < 0x80, "no server takes this");
            assert!(
                matches!(kind, 0 | 1 | 3 | 4 | 6 | 8),
                "a client does not send this"
            );
            written = rest.get(length..).expect("frames are written whole");
            if kind == 0 {
                self.sent += length as u64;
            }
        }
        assert!(written.is_empty(), "frames are written whole");
        assert!(
            self.wild || self.sent <= self.allowed,
            "more than the server takes"
        );
        self.written.clear();
    }
}
