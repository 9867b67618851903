//! What a client asks, and what we ask an upstream.

use smallvec::SmallVec;

use super::edns::{Edns, OPT_LEN, PAD_TO, append_opt, pad};
use super::letters::{count_dots, make_lower};
use super::{
    CLASS_IN, HEADER, MAX_NAME, flag, long, name_len, put_word, rcode, rtype, skip_name, word,
};

/// Bytes of a question that lie in place: longer ones, a few per cent of all, are allocated.
const IN_PLACE: usize = 40;

/// Name, type and class in wire form, the name in lower case.
#[derive(PartialEq, Eq, Hash)]
pub struct Question<B = SmallVec<[u8; IN_PLACE]>>(B);

impl<B: AsRef<[u8]>> Question<B> {
    /// Name, type and class as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// The name as on the wire.
    pub fn name(&self) -> &[u8] {
        let bytes = self.as_bytes();
        &bytes[..bytes.len() - 4]
    }

    /// Type asked for.
    pub fn qtype(&self) -> u16 {
        let bytes = self.as_bytes();
        word(bytes, bytes.len() - 4).unwrap_or(0)
    }

    /// Class asked for.
    pub fn qclass(&self) -> u16 {
        let bytes = self.as_bytes();
        word(bytes, bytes.len() - 2).unwrap_or(0)
    }

    /// The name in text: lower case, no final dot, empty for the root. Bytes that cannot stand
    /// in a name of a configuration are written `\ddd` (RFC 1035, 5.1).
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_text(&mut text);
        text
    }

    /// The same in place of what `text` has.
    pub fn write_text(&self, text: &mut String) {
        let mut bytes = std::mem::take(text).into_bytes();
        bytes.clear();
        let name = self.name();
        // Without the first length and the final zero it is as long as in text.
        bytes.extend_from_slice(name.get(1..name.len().max(2) - 1).unwrap_or(&[]));
        let mut at = usize::from(name.first().copied().unwrap_or(0));
        let mut dots = 0;
        while let Some(dot) = bytes.get_mut(at) {
            at += 1 + usize::from(std::mem::replace(dot, b'.'));
            dots += 1;
        }
        if count_dots(&bytes) != Some(dots) {
            bytes = self.escaped();
        }
        // What is plain is ASCII, and so is what stands for the rest.
        *text = String::from_utf8(bytes).unwrap_or_default();
    }

    #[cold]
    fn escaped(&self) -> Vec<u8> {
        let mut rest = self.name();
        let mut text = Vec::new();
        while let Some((&length, tail)) = rest.split_first() {
            let (label, tail) = tail.split_at(usize::from(length).min(tail.len()));
            if !label.is_empty() && !text.is_empty() {
                text.push(b'.');
            }
            for &byte in label {
                if matches!(byte, b'!'..=b'~') && byte != b'.' && byte != b'\\' {
                    text.push(byte);
                } else {
                    text.extend(format!("\\{byte:03}").into_bytes());
                }
            }
            rest = tail;
        }
        text
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> Question {
        Question(SmallVec::from_slice(self.as_bytes()))
    }

    /// The same name and class with another type.
    pub fn with_qtype(&self, qtype: u16) -> Question {
        let mut bytes = SmallVec::from_slice(self.as_bytes());
        let at = bytes.len() - 4;
        put_word(&mut bytes, at, qtype);
        Question(bytes)
    }
}

impl<'a> Question<&'a [u8]> {
    /// Of bytes that are known to be a question in lower case.
    pub(super) fn from_wire(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl Clone for Question {
    fn clone(&self) -> Self {
        self.to_owned()
    }
}

impl<B: AsRef<[u8]>> std::fmt::Debug for Question<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.text(), self.qclass(), self.qtype())
    }
}

/// A query that can be answered.
pub struct Query<'a> {
    /// ID.
    pub id: u16,
    /// Second word of the header, see [`flag`].
    pub flags: u16,
    /// The question in lower case.
    pub question: Question<&'a [u8]>,
    /// The question as the client wrote it.
    pub asked: &'a [u8],
    /// EDNS, when the client speaks it.
    pub edns: Option<Edns>,
}

/// A message that is no query we can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Not even a header, or a response: an answer could start a loop.
    Silent,
    /// Answer with this code and no question ([`super::error_without_question`]).
    Code(u8),
}

impl<'a> Query<'a> {
    /// Reads a client's message. Bytes behind the last record are ignored. `lower` is a place
    /// for the question in lower case, overwritten: this runs for every query.
    pub fn parse(message: &'a [u8], lower: &'a mut Vec<u8>) -> Result<Self, Refusal> {
        let header: &[u8; HEADER] = message.first_chunk().ok_or(Refusal::Silent)?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        if flags & flag::QR != 0 {
            return Err(Refusal::Silent);
        }
        if flags & flag::OPCODE != 0 {
            return Err(Refusal::Code(rcode::NOTIMP));
        }
        // One question, no answer, no authority.
        if header[4..10] != [0, 1, 0, 0, 0, 0] {
            return Err(Refusal::Code(rcode::FORMERR));
        }
        let formerr = Refusal::Code(rcode::FORMERR);
        let question = question(message, lower).ok_or(formerr)?;
        let end = HEADER + question.as_bytes().len();
        if matches!(question.qtype(), rtype::AXFR | rtype::IXFR | rtype::OPT) {
            return Err(Refusal::Code(rcode::NOTIMP));
        }
        let additional = u16::from_be_bytes([header[10], header[11]]);
        let edns = match additional {
            0 => None,
            _ => additional_edns(message, end, additional).ok_or(formerr)?,
        };
        let id = u16::from_be_bytes([header[0], header[1]]);
        Ok(Self {
            id,
            flags,
            question,
            asked: &message[HEADER..end],
            edns,
        })
    }

    /// Whether DNSSEC records are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

/// Checks the question of a message and copies it in lower case. Compression makes no sense in
/// the first name of a message and is refused.
fn question<'a>(message: &[u8], lower: &'a mut Vec<u8>) -> Option<Question<&'a [u8]>> {
    let name = name_len(message.get(HEADER..)?)?;
    let asked = message.get(HEADER..HEADER + name + 4)?;
    lower.clear();
    lower.extend_from_slice(asked);
    // Length bytes are below 64 and so are no letters.
    make_lower(&mut lower[..name]);
    Some(Question(lower))
}

/// The OPT record among `count` additional records at `at`: `Some(None)` when there is none,
/// None when a record is broken or there are two (RFC 6891, 6.1.1).
fn additional_edns(message: &[u8], mut at: usize, count: u16) -> Option<Option<Edns>> {
    let mut found = None;
    for _ in 0..count {
        let root = *message.get(at)? == 0;
        at = skip_name(message, at)?;
        let kind = word(message, at)?;
        let data = usize::from(word(message, at + 8)?);
        let end = at + 10 + data;
        if end > message.len() {
            return None;
        }
        if kind == rtype::OPT {
            if found.is_some() || !root {
                return None;
            }
            let ttl = long(message, at + 4)?;
            found = Some(Edns {
                udp: word(message, at + 2)?,
                version: (ttl >> 16) as u8,
                dnssec_ok: ttl & 0x8000 != 0,
                options: data != 0,
            });
        }
        at = end;
    }
    Some(found)
}

/// Makes an empty `message` the one for an upstream, with ID 0: RD and CD as given in `flags`, AD set to learn
/// whether the answer was validated (RFC 6840, 5.7), and our own OPT record unless the upstream
/// does not understand it (`edns`). `pad` is for encrypted transports: the length then tells
/// little about the name (RFC 8467); without an OPT record there is no place for padding.
pub fn upstream_query(
    flags: u16,
    question: &Question,
    edns: bool,
    dnssec: bool,
    padded: bool,
    mut message: Vec<u8>,
) -> Vec<u8> {
    let question = question.as_bytes();
    let bare = HEADER + question.len() + OPT_LEN;
    message.reserve(if padded { bare + 4 + PAD_TO } else { bare });
    message.extend_from_slice(&[0; HEADER]);
    put_word(&mut message, 2, flags & (flag::RD | flag::CD) | flag::AD);
    message[5] = 1;
    message.extend_from_slice(question);
    if edns {
        message[11] = 1;
        append_opt(0, dnssec, &mut message);
        if padded {
            pad(&mut message);
        }
    }
    message
}

impl Question {
    /// From a name in text of letters, digits, hyphens and underscores; None when it has no
    /// place on the wire.
    pub fn of(name: &str, qtype: u16) -> Option<Self> {
        let mut bytes = SmallVec::with_capacity(name.len() + 6);
        for label in name.split('.').filter(|label| !label.is_empty()) {
            bytes.push(
                u8::try_from(label.len())
                    .ok()
                    .filter(|length| *length < 64)?,
            );
            bytes.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        bytes.push(0);
        if bytes.len() > MAX_NAME {
            return None;
        }
        bytes.extend(qtype.to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        Some(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::EDNS_UDP;
    use super::*;

    fn message(name: &str, qtype: u16, edns: bool) -> Vec<u8> {
        let question = Question::of(name, qtype).unwrap();
        let mut message = upstream_query(flag::RD, &question, edns, false, false, Vec::new());
        put_word(&mut message, 0, 7);
        message
    }

    fn refusal(message: &[u8]) -> Option<Refusal> {
        Query::parse(message, &mut Vec::new()).err()
    }

    #[test]
    fn a_query_is_read() {
        let mut bytes = message("www.example.com", rtype::A, true);
        bytes[13] = b'W';
        let dnssec_ok = bytes.len() - 4;
        bytes[dnssec_ok] = 0x80;
        let mut lower = Vec::new();
        let query = Query::parse(&bytes, &mut lower).unwrap();
        assert_eq!((query.id, query.flags & flag::RD), (7, flag::RD));
        assert_eq!(query.question.text(), "www.example.com");
        assert_eq!((query.question.qtype(), query.question.qclass()), (1, 1));
        assert!(query.asked.starts_with(b"\x03Www"));
        let edns = Edns {
            udp: EDNS_UDP,
            version: 0,
            dnssec_ok: true,
            options: false,
        };
        assert_eq!(query.edns, Some(edns));
        let root = message("", rtype::A, false);
        assert!(Query::parse(&root, &mut lower).is_ok_and(|q| q.question.text() == ""));
    }

    #[test]
    fn what_is_no_query_is_told_apart() {
        let good = message("example.com", rtype::A, true);
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            refusal(&bytes)
        };
        assert_eq!(refusal(&good[..11]), Some(Refusal::Silent));
        assert_eq!(with(2, 0x80), Some(Refusal::Silent), "a response");
        assert_eq!(
            with(2, 0x28),
            Some(Refusal::Code(rcode::NOTIMP)),
            "an update"
        );
        for (at, value) in [(5, 0), (5, 2), (7, 1), (9, 1), (11, 2)] {
            assert_eq!(
                with(at, value),
                Some(Refusal::Code(rcode::FORMERR)),
                "counts {at}"
            );
        }
        assert_eq!(
            with(12, 0xc0),
            Some(Refusal::Code(rcode::FORMERR)),
            "a pointer"
        );
        for cut in HEADER..good.len() {
            assert_eq!(
                refusal(&good[..cut]),
                Some(Refusal::Code(1)),
                "cut at {cut}"
            );
        }
        let transfer = message("example.com", rtype::AXFR, false);
        assert_eq!(refusal(&transfer), Some(Refusal::Code(rcode::NOTIMP)));
        let mut twice = good.clone();
        append_opt(0, false, &mut twice);
        twice[11] = 2;
        assert_eq!(refusal(&twice), Some(Refusal::Code(rcode::FORMERR)));
    }

    #[test]
    fn long_names_are_refused() {
        let label = |length: usize| {
            let mut bytes = vec![length as u8];
            bytes.extend(vec![b'a'; length]);
            bytes
        };
        let mut bytes = message("", rtype::A, false);
        let tail = bytes.split_off(HEADER);
        for _ in 0..4 {
            bytes.extend(label(62));
        }
        for (last, fits) in [(1, true), (2, false)] {
            let mut bytes = bytes.clone();
            bytes.extend(label(last));
            bytes.extend(&tail);
            assert_eq!(refusal(&bytes).is_none(), fits, "last label {last}");
        }
    }

    #[test]
    fn odd_bytes_are_written_as_numbers() {
        let question = Question(&b"\x04a.\\\xff\x01b\x00\x00\x01\x00\x01"[..]);
        assert_eq!(question.text(), r"a\046\092\255.b");
    }
}
