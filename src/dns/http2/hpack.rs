//! Headers of HTTP/2 (RFC 7541), as much of them as DNS needs. Pure.
//!
//! We tell the server that we keep no table (SETTINGS_HEADER_TABLE_SIZE 0), so an answer
//! refers to the fixed table only; and we add nothing to the server's.

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

/// Reads the headers of an answer. An error when they do not make sense: the connection is of
/// no use any more, as both sides' tables may differ.
pub fn answer(block: &[u8]) -> Result<Head, Error> {
    let mut reader = Reader(block);
    let mut head = Head::default();
    while let Some(&first) = reader.0.first() {
        match first {
            // All of it is in a table.
            0x80.. => match reader.integer(7)? {
                at @ STATUS_200..=STATUS_LAST => head.status = STATUSES[at - STATUS_200],
                0 => return Err(Error::Headers),
                1..=FIXED => {}
                // dnsdist 1.7 (h2o) keeps its table though we have told it not to. What it means
                // cannot be known, so it may be the type; the body has to answer the question.
                _ => head.is_dns = true,
            },
            // To be added to a table that holds nothing.
            0x40.. => reader.field(6, &mut head)?,
            // A new size of the table; we allow no other than none.
            0x20.. => {
                if reader.integer(5)? != 0 {
                    return Err(Error::Headers);
                }
            }
            _ => reader.field(4, &mut head)?,
        }
    }
    Ok(head)
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

    /// A string, and whether it is coded.
    fn string(&mut self) -> Result<(&'a [u8], bool), Error> {
        let coded = self.0.first().is_some_and(|first| first & 128 != 0);
        let length = self.integer(7)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Error::Headers)?;
        self.0 = rest;
        Ok((string, coded))
    }

    /// A header whose value, and perhaps name, is spelt out.
    fn field(&mut self, bits: u32, head: &mut Head) -> Result<(), Error> {
        let name = match self.integer(bits)? {
            0 => match &*plain(self.string()?)? {
                b":status" => Name::Status,
                b"content-type" => Name::ContentType,
                _ => Name::Other,
            },
            STATUS_200..=STATUS_LAST => Name::Status,
            CONTENT_TYPE => Name::ContentType,
            1..=FIXED => Name::Other,
            _ => return Err(Error::Headers),
        };
        let value = self.string()?;
        match name {
            Name::Other => {}
            Name::Status => {
                let value = plain(value)?;
                let digits = str::from_utf8(&value).map_err(|_| Error::Headers)?;
                head.status = digits.parse().map_err(|_| Error::Headers)?;
            }
            Name::ContentType => {
                let value = plain(value)?;
                let media = value.split(|byte| *byte == b';').next();
                let media = media.unwrap_or_default().trim_ascii();
                head.is_dns = media.eq_ignore_ascii_case(MEDIA_TYPE.as_bytes());
            }
        }
        Ok(())
    }
}

fn plain((string, coded): (&[u8], bool)) -> Result<std::borrow::Cow<'_, [u8]>, Error> {
    if coded {
        return huffman::decode(string)
            .map(Into::into)
            .ok_or(Error::Headers);
    }
    Ok(string.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(status: u16) -> Head {
        Head {
            status,
            is_dns: true,
        }
    }

    /// As servers write them: status and type in every form there is.
    #[test]
    fn answers_are_read_in_every_form() {
        let mut plain = vec![0x88, 0x0f, 0x10, 23];
        plain.extend(MEDIA_TYPE.bytes());
        assert_eq!(answer(&plain), Ok(dns(200)));

        // A new size of 0 first, the status by an indexed name, the type by a name spelt out
        // and with a parameter, and a header that does not matter.
        let mut other = vec![0x20, 0x48, 3];
        other.extend(b"503");
        other.extend([0x10, 12]);
        other.extend(b"content-type");
        other.push(40);
        other.extend(b"Application/DNS-message ; charset=utf-16");
        other.extend([0x40, 1, b'x', 1, b'y']);
        assert_eq!(answer(&other), Ok(dns(503)));

        // The status in Huffman's code, as in the RFC's example C.6.1.
        assert_eq!(
            answer(&[0x48, 0x82, 0x64, 0x02]).map(|head| head.status),
            Ok(302)
        );
        assert_eq!(answer(&[0x8d]).map(|head| head.status), Ok(404));
        assert_eq!(answer(&[]), Ok(Head::default()));
    }

    #[test]
    fn another_type_is_no_dns() {
        let mut html = vec![0x88, 0x5f, 9];
        html.extend(b"text/html");
        assert_eq!(answer(&html).map(|head| head.is_dns), Ok(false));
    }

    /// The second response of h2o 2.2, whose server, date, type and cache-control stand in a
    /// table that we do not keep.
    #[test]
    fn what_stands_in_the_other_table_may_be_the_type() {
        let second = [0x88, 0xc1, 0xc0, 0xbf, 0xbe, 0x0f, 0x0d, 0x02, b'6', b'2'];
        assert_eq!(answer(&second), Ok(dns(200)));
        assert_eq!(answer(&[0xbe]).map(|head| head.status), Ok(0));
    }

    #[test]
    fn nonsense_is_an_error() {
        for wrong in [
            // Entry 0; a size; a string that is cut; a number without end; a status of
            // letters; a name that is behind the table.
            &[0x80][..],
            &[0x3f, 0xe1, 0x1f],
            &[0x48, 3, b'2', b'0'],
            &[0x48, 0x7f, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x48, 2, b'o', b'k'],
            &[0x7e, 1, b'x'],
            &[0x00],
        ] {
            assert_eq!(answer(wrong), Err(Error::Headers), "{wrong:x?}");
        }
    }

    #[test]
    fn a_request_says_what_it_has_to() {
        let mut out = Vec::new();
        request("dns.example", "/dns-query", 128, &mut out);
        let mut expected = vec![0x83, 0x87, 0x01, 11];
        expected.extend(b"dns.example");
        expected.extend([0x04, 10]);
        expected.extend(b"/dns-query");
        expected.extend([0x0f, 4, 23]);
        expected.extend(b"application/dns-message");
        expected.extend([0x0f, 16, 23]);
        expected.extend(b"application/dns-message");
        expected.extend([0x0f, 13, 3]);
        expected.extend(b"128");
        assert_eq!(out, expected);
        // A path longer than a byte's number.
        let mut out = Vec::new();
        literal(4, &"x".repeat(300), &mut out);
        assert_eq!(out[..3], [0x04, 0x7f, 0xad]);
        assert_eq!(out[3], 0x01);
    }
}
