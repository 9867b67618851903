//! Headers of HTTP/2 (RFC 7541), as much of them as DNS needs. Pure.
//!
//! We keep a table of the standard size. To allow none (SETTINGS_HEADER_TABLE_SIZE 0) would
//! be simpler, but dnsdist's HTTP library takes no notice of it. We add nothing to the
//! server's table.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::Error;
use super::huffman;

/// What we say the media type is, both ways (RFC 8484, section 6).
pub const MEDIA_TYPE: &str = "application/dns-message";

/// Entries of the fixed table.
const FIXED: usize = 61;
/// The one with the status 200; up to 14 are other ones.
const STATUS_200: usize = 8;
const STATUS_LAST: usize = 14;
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
const CONTENT_TYPE: usize = 31;

/// Bytes of the names in the fixed table.
#[rustfmt::skip]
const LENGTHS: [u8; FIXED] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27,
    3, 5, 13, 13, 19, 16, 16, 14, 16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17,
    13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3,
    16,
];

/// Size of the other table, bytes as section 4.1 counts them.
const TABLE: usize = 4096;

/// A header that takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Status,
    ContentType,
    Other,
}

/// What an answer's headers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Status; 0 when there is none, as in trailers.
    pub status: u16,
    /// Whether the body is a DNS message.
    pub is_dns: bool,
}

/// Headers of a request with a body of `length` bytes; `authority` is `name` or `name:port`.
pub fn request(authority: &str, path: &str, length: usize, out: &mut Vec<u8>) {
    // POST and https have entries of their own.
    out.extend([0x83, 0x87]);
    literal(1, authority, out);
    literal(4, path, out);
    literal(19, MEDIA_TYPE, out);
    literal(CONTENT_TYPE, MEDIA_TYPE, out);
    literal(28, &length.to_string(), out);
}

/// A header with a name of the fixed table, not to be put into the other.
fn literal(name: usize, value: &str, out: &mut Vec<u8>) {
    integer(0, 4, name, out);
    integer(0, 7, value.len(), out);
    out.extend_from_slice(value.as_bytes());
}

/// A number whose first bits share a byte with `first` (section 5.1).
fn integer(first: u8, bits: u32, mut value: usize, out: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    value -= most;
    while value >= 128 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

/// What of a header is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Status(u16),
    /// The type of the body; whether it is DNS.
    Type(bool),
    Other,
}

impl Header {
    fn new(name: Name, value: &[u8]) -> Result<Self, Error> {
        Ok(match name {
            Name::Other => Self::Other,
            Name::Status => {
                let digits = str::from_utf8(value).map_err(|_| Error::Headers)?;
                Self::Status(digits.parse().map_err(|_| Error::Headers)?)
            }
            Name::ContentType => {
                let media = value.split(|byte| *byte == b';').next();
                let media = media.unwrap_or_default().trim_ascii();
                Self::Type(media.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes()))
            }
        })
    }

    fn name(self) -> Name {
        match self {
            Self::Status(_) => Name::Status,
            Self::Type(_) => Name::ContentType,
            Self::Other => Name::Other,
        }
    }

    fn note(self, head: &mut Head) {
        match self {
            Self::Status(status) => head.status = status,
            Self::Type(is_dns) => head.is_dns = is_dns,
            Self::Other => {}
        }
    }
}

/// The server's table, as far as it matters: what of the headers, and how much room they take.
#[derive(Debug)]
pub struct Decoder {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

#[derive(Debug)]
struct Entry {
    header: Header,
    name_length: usize,
    size: usize,
}

impl Decoder {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: TABLE,
        }
    }

    /// Reads the headers of an answer. An error when they do not make sense: the connection is
    /// of no use any more, as both sides' tables may differ.
    pub fn answer(&mut self, block: &[u8]) -> Result<Head, Error> {
        let mut reader = Reader(block);
        let mut head = Head::default();
        while let Some(&first) = reader.0.first() {
            match first {
                // All of it is in a table.
                0x80.. => {
                    let at = reader.integer(7)?;
                    self.known(at)?.0.note(&mut head);
                }
                // To be added to the table.
                0x40.. => {
                    let entry = self.field(&mut reader, 6)?;
                    entry.header.note(&mut head);
                    self.add(entry);
                }
                // A new size of the table, no larger than we allow.
                0x20.. => {
                    self.most = reader.integer(5)?;
                    if self.most > TABLE {
                        return Err(Error::Headers);
                    }
                    self.shrink();
                }
                _ => self.field(&mut reader, 4)?.header.note(&mut head),
            }
        }
        Ok(head)
    }

    /// A header of the tables, and the length of its name.
    fn known(&self, at: usize) -> Result<(Header, usize), Error> {
        if let Some(later) = at.checked_sub(FIXED + 1) {
            let entry = self.entries.get(later).ok_or(Error::Headers)?;
            return Ok((entry.header, entry.name_length));
        }
        let length = at.checked_sub(1).and_then(|at| LENGTHS.get(at));
        let length = usize::from(*length.ok_or(Error::Headers)?);
        let header = match at {
            STATUS_200..=STATUS_LAST => Header::Status(STATUSES[at - STATUS_200]),
            CONTENT_TYPE => Header::Type(false),
            _ => Header::Other,
        };
        Ok((header, length))
    }

    /// A header whose value, and perhaps name, is spelt out.
    fn field(&self, reader: &mut Reader<'_>, bits: u32) -> Result<Entry, Error> {
        let (name, name_length) = match reader.integer(bits)? {
            0 => {
                let name = reader.string()?;
                let kind = match &*name {
                    b":status" => Name::Status,
                    b"content-type" => Name::ContentType,
                    _ => Name::Other,
                };
                (kind, name.len())
            }
            at => {
                let (header, length) = self.known(at)?;
                (header.name(), length)
            }
        };
        let value = reader.string()?;
        Ok(Entry {
            header: Header::new(name, &value)?,
            name_length,
            size: name_length + value.len() + 32,
        })
    }

    fn add(&mut self, entry: Entry) {
        self.size += entry.size;
        self.entries.push_front(entry);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.size > self.most
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size;
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (&first, rest) = self.0.split_first().ok_or(Error::Headers)?;
        self.0 = rest;
        Ok(first)
    }

    fn integer(&mut self, bits: u32) -> Result<usize, Error> {
        let most = (1 << bits) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        // Nothing in a block is longer than three times seven bits.
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value += usize::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(Error::Headers)
    }

    fn string(&mut self) -> Result<Cow<'a, [u8]>, Error> {
        let coded = self.0.first().is_some_and(|first| first & 128 != 0);
        let length = self.integer(7)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Error::Headers)?;
        self.0 = rest;
        if coded {
            return huffman::decode(string)
                .map(Into::into)
                .ok_or(Error::Headers);
        }
        Ok(string.into())
    }
}

#[cfg(test)]
mod tests;
