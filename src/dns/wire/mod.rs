//! DNS messages as bytes (RFC 1035, EDNS by RFC 6891). Pure.
//!
//! Nothing here builds a tree of records. A client's query is checked once ([`Query`]), an
//! upstream's message is walked once ([`walk`]) and kept as bytes with the places of its TTLs
//! ([`Stored`]); an answer is a copy of them with a few fields patched ([`Asker`]).

mod answer;
mod edns;
mod letters;
mod query;
mod reply;
mod service;

pub use answer::{Addresses, Answer, Unfit, walk};
pub use edns::{Ede, Edns, PAD_TO};
pub use query::{Query, Question, Refusal, upstream_query};
pub use reply::{Aging, Asker, Stored, error_without_question};

/// Length of the header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;

/// Longest name on the wire, with its final zero (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 255;

/// Size of a UDP answer to a client without EDNS (RFC 1035, 2.3.4).
pub const PLAIN_UDP: usize = 512;

/// UDP size that we offer upstreams and clients: it fits every path without fragments.
pub const EDNS_UDP: u16 = 1232;

/// Largest UDP answer sent, whatever size the client offers: buffers have to end somewhere.
pub const MAX_UDP: usize = 4096;

/// Bits of the header's second word.
pub mod flag {
    /// A response.
    pub const QR: u16 = 0x8000;
    /// Kind of query, 0 is QUERY.
    pub const OPCODE: u16 = 0x7800;
    /// Authoritative.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authenticated data (RFC 4035).
    pub const AD: u16 = 0x0020;
    /// Checking disabled (RFC 4035).
    pub const CD: u16 = 0x0010;
    /// Response code.
    pub const RCODE: u16 = 0x000f;
}

/// Response codes.
pub mod rcode {
    /// No error.
    pub const NOERROR: u8 = 0;
    /// The server could not read the query.
    pub const FORMERR: u8 = 1;
    /// The server failed.
    pub const SERVFAIL: u8 = 2;
    /// No such name.
    pub const NXDOMAIN: u8 = 3;
    /// A kind of query that the server does not know.
    pub const NOTIMP: u8 = 4;
    /// The server does not want to.
    pub const REFUSED: u8 = 5;
    /// EDNS version not known; its upper bits travel in the OPT record (RFC 6891, 6.1.3).
    pub const BADVERS: u8 = 16;
}

/// Name of a response code, or its number.
pub fn rcode_name(code: u8) -> std::borrow::Cow<'static, str> {
    match code {
        rcode::NOERROR => "NOERROR".into(),
        rcode::FORMERR => "FORMERR".into(),
        rcode::SERVFAIL => "SERVFAIL".into(),
        rcode::NXDOMAIN => "NXDOMAIN".into(),
        rcode::NOTIMP => "NOTIMP".into(),
        rcode::REFUSED => "REFUSED".into(),
        rcode::BADVERS => "BADVERS".into(),
        code => code.to_string().into(),
    }
}

/// Record types that we look at.
pub mod rtype {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// EDNS (RFC 6891).
    pub const OPT: u16 = 41;
    /// How to reach a service (RFC 9460).
    pub const SVCB: u16 = 64;
    /// How to reach a web site (RFC 9460).
    pub const HTTPS: u16 = 65;
    /// Incremental zone transfer.
    pub const IXFR: u16 = 251;
    /// Zone transfer.
    pub const AXFR: u16 = 252;
    /// Any type.
    pub const ANY: u16 = 255;
}

/// Class of the Internet.
pub const CLASS_IN: u16 = 1;

/// Two bytes at `at`; None past the end.
fn word(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// Four bytes at `at`; None past the end.
fn long(message: &[u8], at: usize) -> Option<u32> {
    let bytes = message.get(at..at + 4)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Overwrites two bytes at `at`, which the caller knows to be inside.
fn put_word(message: &mut [u8], at: usize, value: u16) {
    message[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// The ID of a message; None when it is shorter than that.
pub fn id(message: &[u8]) -> Option<u16> {
    word(message, 0)
}

/// Overwrites the ID of a message of two bytes or more.
pub fn set_id(message: &mut [u8], id: u16) {
    put_word(message, 0, id);
}

/// Length of the name at the start of `bytes` with its final zero, without compression.
fn name_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => break,
            length @ 1..64 => at += 1 + length,
            _ => return None,
        }
    }
    Some(at + 1).filter(|length| *length <= MAX_NAME)
}

/// The position behind the name at `start`. A pointer ends a name here and must point to
/// before the name (RFC 1035, 4.1.4: "a prior occurrence"), so what it points to stays when a
/// message is cut at a record's end. What it points to is followed, and loops cannot be, as
/// every jump goes further back.
fn skip_name(message: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut floor, mut length) = (start, start, 0);
    let mut end = None;
    loop {
        let first = usize::from(*message.get(at)?);
        match first >> 6 {
            0 if first == 0 => return Some(end.unwrap_or(at + 1)),
            0 => {
                at += 1 + first;
                length += 1 + first;
                if length >= MAX_NAME {
                    return None;
                }
            }
            3 => {
                let target = usize::from(word(message, at)? & 0x3fff);
                end = end.or(Some(at + 2));
                if target >= floor || target < HEADER {
                    return None;
                }
                (at, floor) = (target, target);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_skipped_and_loops_refused() {
        let mut message = vec![0; HEADER];
        message.extend(b"\x01a\x00"); // 12
        message.extend(b"\x01b\xc0\x0c"); // 15
        message.extend(b"\xc0\x0f"); // 19
        message.extend(b"\xc0\x15"); // 21: to itself
        message.extend(b"\xc0\x30"); // 23: forward
        message.extend(b"\xc0\x00"); // 25: into the header
        message.extend(b"\x41a\x00"); // 27: a label type that does not exist
        message.extend(b"\x05ab"); // 30: past the end
        assert_eq!(skip_name(&message, 12), Some(15));
        assert_eq!(skip_name(&message, 15), Some(19));
        assert_eq!(skip_name(&message, 19), Some(21));
        for bad in [21, 23, 25, 27, 30, 100] {
            assert_eq!(skip_name(&message, bad), None, "at {bad}");
        }
    }

    #[test]
    fn names_may_have_255_bytes() {
        let mut message = vec![0; HEADER];
        for _ in 0..4 {
            message.push(62);
            message.extend([b'a'; 62]);
        }
        let tail = message.len();
        message.extend(b"\x01a\x00");
        assert_eq!(skip_name(&message, HEADER), Some(HEADER + MAX_NAME));
        message.truncate(tail);
        message.extend(b"\x02aa\x00");
        assert_eq!(skip_name(&message, HEADER), None);
    }
}
