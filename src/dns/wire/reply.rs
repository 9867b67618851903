//! Answers to clients: a copy of stored bytes with a few fields patched.

use super::answer::real_ttl;
use super::edns::{Ede, Edns, OPT_LEN, append_ede, append_opt};
use super::query::{Query, Question};
use super::{HEADER, MAX_UDP, PLAIN_UDP, flag, long, name_len, put_word, rcode, word};

/// TTL of every record of an answer that has outlived its own, seconds (RFC 8767, 4).
const STALE_TTL: u32 = 30;

/// How old an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aging {
    /// It has just come, for those who wait for it.
    New,
    /// It came so many seconds ago.
    Aged(u32),
    /// Its time is over, and there is no better one.
    Stale,
}

/// An upstream's message without its OPT record, the question in lower case, followed by the
/// offset of every TTL: one allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    bytes: Box<[u8]>,
    /// Length of the message.
    wire: u16,
}

impl Stored {
    /// Keeps `message[..end]`. The caller has walked it: `counts` are the records in it by
    /// section, `ttls` the offsets of their TTLs, and `question` is its question.
    pub(super) fn new(
        message: &[u8],
        end: usize,
        counts: [u16; 3],
        ttls: &[u16],
        question: &Question,
    ) -> Self {
        let question = question.as_bytes();
        let mut bytes = Vec::with_capacity(end + 2 * ttls.len());
        bytes.extend(&message[..end]);
        bytes[HEADER..HEADER + question.len()].copy_from_slice(question);
        for (section, count) in counts.into_iter().enumerate() {
            put_word(&mut bytes, 6 + 2 * section, count);
        }
        for &ttl in ttls {
            let at = usize::from(ttl);
            let real = real_ttl(long(&bytes, at).unwrap_or(0));
            bytes[at..at + 4].copy_from_slice(&real.to_be_bytes());
        }
        bytes.extend(ttls.iter().flat_map(|ttl| ttl.to_ne_bytes()));
        Self {
            bytes: bytes.into(),
            wire: end as u16,
        }
    }

    /// An answer of our own, NOERROR: records of the type asked for with this TTL (seconds) and
    /// `data`, as many as fit into a message.
    pub fn of(question: &Question, ttl: u32, data: &[Vec<u8>]) -> Self {
        let mut message = vec![0; HEADER];
        put_word(&mut message, 2, flag::QR | flag::RA);
        message[5] = 1;
        message.extend(question.as_bytes());
        let mut ttls = Vec::with_capacity(data.len());
        for data in data {
            if message.len() + 12 + data.len() > usize::from(u16::MAX) {
                break;
            }
            let pointer = 0xc000 | HEADER as u16;
            for word in [pointer, question.qtype(), question.qclass()] {
                message.extend(word.to_be_bytes());
            }
            ttls.push(message.len() as u16);
            message.extend(ttl.to_be_bytes());
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(data);
        }
        let counts = [ttls.len() as u16, 0, 0];
        Self::new(&message, message.len(), counts, &ttls, question)
    }

    /// The message.
    pub fn wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.wire)]
    }

    /// The question, in lower case.
    pub fn question(&self) -> Question<&[u8]> {
        // It was copied in when this was made, so its name ends inside.
        let rest = &self.wire()[HEADER..];
        let length = name_len(rest).map_or(0, |name| name + 4);
        Question::from_wire(&rest[..length])
    }

    /// Response code.
    pub fn rcode(&self) -> u8 {
        (word(&self.bytes, 2).unwrap_or(0) & flag::RCODE) as u8
    }

    /// Gives all records of the answer section this TTL, seconds.
    pub(super) fn set_answer_ttl(&mut self, ttl: u32) {
        let count = word(&self.bytes, 6).unwrap_or(0);
        let places: Vec<usize> = self.ttls().take(count.into()).collect();
        for at in places {
            self.bytes[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
    }

    /// Bytes of memory behind it.
    pub fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Offsets of the TTLs, ascending.
    fn ttls(&self) -> impl Iterator<Item = usize> {
        let (pairs, _) = self.bytes[usize::from(self.wire)..].as_chunks::<2>();
        pairs
            .iter()
            .map(|pair| usize::from(u16::from_ne_bytes(*pair)))
    }

    /// How much fits into `room` bytes, cut at the end of a record: bytes and records.
    fn fit(&self, question: usize, room: usize) -> (usize, u16) {
        let wire = self.wire();
        let mut fits = (HEADER + question, 0);
        for ttl in self.ttls() {
            let end = ttl + 6 + usize::from(word(wire, ttl + 4).unwrap_or(0));
            if end > room {
                break;
            }
            fits = (end, fits.1 + 1);
        }
        fits
    }
}

/// Whom an answer goes to, as far as its bytes depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// ID of the query.
    pub id: u16,
    /// Flags of the query.
    pub flags: u16,
    /// Question in the client's own spelling.
    pub question: &'a [u8],
    /// EDNS of the query.
    pub edns: Option<Edns>,
    /// The query came by TCP.
    pub tcp: bool,
}

impl<'a> Asker<'a> {
    /// Who sent `query`.
    pub fn of(query: &Query<'a>, tcp: bool) -> Self {
        let Query {
            id,
            flags,
            asked,
            edns,
            ..
        } = *query;
        Self {
            id,
            flags,
            question: asked,
            edns,
            tcp,
        }
    }

    /// Largest answer in bytes.
    pub fn limit(&self) -> usize {
        match self.edns {
            _ if self.tcp => usize::from(u16::MAX),
            None => PLAIN_UDP,
            Some(edns) => usize::from(edns.udp).clamp(PLAIN_UDP, MAX_UDP),
        }
    }

    /// Appends the answer to `out`. It answers the same question; too long, it is cut at the end
    /// of a record, and TC says so unless only additional records fell away (RFC 2181, 9). `ede`
    /// is for clients with EDNS, where it fits.
    pub fn answer(&self, stored: &Stored, aging: Aging, ede: Option<Ede>, out: &mut Vec<u8>) {
        let wire = stored.wire();
        let start = out.len();
        let room = self.limit() - if self.edns.is_some() { OPT_LEN } else { 0 };
        let from_upstream = word(wire, 2).unwrap_or(0);
        let mut flags = flag::QR | flag::RA | (self.flags & (flag::RD | flag::CD));
        flags |= from_upstream & (flag::TC | flag::RCODE);
        if aging == Aging::New {
            flags |= from_upstream & flag::AA;
        }
        // Only for those who understand it (RFC 6840, 5.8).
        if self.flags & flag::AD != 0 || self.edns.is_some_and(|edns| edns.dnssec_ok) {
            flags |= from_upstream & flag::AD;
        }
        if wire.len() <= room {
            out.extend_from_slice(wire);
        } else {
            let (end, records) = stored.fit(self.question.len(), room);
            out.extend_from_slice(&wire[..end]);
            if cut_counts(&mut out[start..], records) {
                flags |= flag::TC;
            }
        }
        let message = &mut out[start..];
        put_word(message, 0, self.id);
        put_word(message, 2, flags);
        message[HEADER..HEADER + self.question.len()].copy_from_slice(self.question);
        match aging {
            Aging::New | Aging::Aged(0) => {}
            Aging::Aged(age) => change_ttls(message, stored, |ttl| ttl.saturating_sub(age)),
            Aging::Stale => change_ttls(message, stored, |_| STALE_TTL),
        }
        self.append_opt(0, ede, start, out);
    }

    /// Appends an answer without records to `out`: NOERROR or an error. `ede` is for clients
    /// with EDNS.
    pub fn error(&self, code: u8, ede: Option<Ede>, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; HEADER]);
        out.extend(self.question);
        let message = &mut out[start..];
        put_word(message, 0, self.id);
        let kept = self.flags & (flag::RD | flag::CD);
        put_word(
            message,
            2,
            flag::QR | flag::RA | kept | u16::from(code & 0xf),
        );
        message[5] = 1;
        self.append_opt(code >> 4, ede, start, out);
    }

    /// A client that speaks EDNS gets our OPT record, another gets none (RFC 6891, 6.1.1).
    fn append_opt(&self, extended: u8, ede: Option<Ede>, start: usize, out: &mut Vec<u8>) {
        let Some(edns) = self.edns else { return };
        append_opt(extended, edns.dnssec_ok, out);
        let message = &mut out[start..];
        let count = word(message, 10).unwrap_or(0);
        put_word(message, 10, count.saturating_add(1));
        if let Some(ede) = ede {
            let room = self.limit().saturating_sub(out.len() - start);
            append_ede(ede, room, out);
        }
    }
}

/// Lowers the counts of the sections to `left` records; true when an answer or authority
/// record is missing.
fn cut_counts(message: &mut [u8], mut left: u16) -> bool {
    let mut missing = false;
    for section in 0..3 {
        let at = 6 + 2 * section;
        let count = word(message, at).unwrap_or(0);
        let kept = count.min(left);
        missing |= kept < count && section < 2;
        left -= kept;
        put_word(message, at, kept);
    }
    missing
}

/// Replaces the TTLs of the records that are in the message.
fn change_ttls(message: &mut [u8], stored: &Stored, new: impl Fn(u32) -> u32) {
    for at in stored.ttls() {
        let Some(bytes) = message.get_mut(at..at + 4) else {
            return;
        };
        let ttl = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        bytes.copy_from_slice(&new(ttl).to_be_bytes());
    }
}

/// Appends the answer to a message whose question could not be read: its header.
pub fn error_without_question(message: &[u8], code: u8, out: &mut Vec<u8>) {
    debug_assert_ne!(code, rcode::NOERROR);
    let Some(id) = super::id(message) else { return };
    let flags = word(message, 2).unwrap_or(0) & (flag::OPCODE | flag::RD);
    let flags = flag::QR | flag::RA | flags | u16::from(code);
    out.extend(id.to_be_bytes());
    out.extend(flags.to_be_bytes());
    out.extend([0; 8]);
}
