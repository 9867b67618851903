//! What a client's datagram is part of, as far as the idle time of its session depends on it.
//! Pure.
//!
//! Only the form of the bytes is looked at. QUIC is known by the version in its long headers,
//! which every connection begins with: the first byte alone would take one random datagram in
//! sixteen for it. What is not recognised is plain UDP.

/// Kinds, by how many there are.
pub const KINDS: usize = 3;

/// What a datagram is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A DNS query: one question, soon answered.
    Dns,
    /// Anything else.
    Plain,
    /// A QUIC connection.
    Quic,
}

/// Types of packets with a long header (RFC 9000 section 17.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LongPacket {
    /// The first of a connection.
    Initial,
    /// Data of a client that was there before.
    ZeroRtt,
    /// The rest of the handshake.
    Handshake,
    /// A server wants the client's address confirmed.
    Retry,
    /// A server does not know the version.
    VersionNegotiation,
}

/// RFC 9000.
const QUIC_V1: u32 = 1;
/// RFC 9369.
const QUIC_V2: u32 = 0x6b33_43cf;
/// Of a packet that is of no version (RFC 8999 section 6).
const NEGOTIATION: u32 = 0;

/// Longest connection ID of the versions that are known (RFC 9000 section 17.2).
const MAX_ID: usize = 20;

const DNS_PORT: u16 = 53;
const DNS_HEADER: usize = 12;
/// A name with its final zero (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;
const MAX_LABEL: u8 = 63;

impl Kind {
    /// All of them, in the order of [`Kind::index`].
    pub const ALL: [Self; KINDS] = [Self::Dns, Self::Plain, Self::Quic];

    /// Of a client's datagram to `port`.
    pub fn of(port: u16, payload: &[u8]) -> Self {
        if port == DNS_PORT || is_dns_query(payload) {
            Self::Dns
        } else if long_packet(payload).is_some() {
            Self::Quic
        } else {
            Self::Plain
        }
    }

    /// Below [`KINDS`].
    pub fn index(self) -> usize {
        match self {
            Self::Dns => 0,
            Self::Plain => 1,
            Self::Quic => 2,
        }
    }

    /// As lists of flows have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Plain => "plain",
            Self::Quic => "quic",
        }
    }
}

/// The type of a QUIC packet with a long header; None for everything else, also for versions
/// that are not known.
pub fn long_packet(payload: &[u8]) -> Option<LongPacket> {
    let (&[first, a, b, c, d], rest) = payload.split_first_chunk()?;
    if first & 0x80 == 0 {
        return None;
    }
    let after_ids = skip_id(skip_id(rest)?)?;
    let types = match u32::from_be_bytes([a, b, c, d]) {
        QUIC_V1 => [
            LongPacket::Initial,
            LongPacket::ZeroRtt,
            LongPacket::Handshake,
            LongPacket::Retry,
        ],
        // Section 3.2: each type has the bits of the one before it.
        QUIC_V2 => [
            LongPacket::Retry,
            LongPacket::Initial,
            LongPacket::ZeroRtt,
            LongPacket::Handshake,
        ],
        NEGOTIATION => {
            let versions = !after_ids.is_empty() && after_ids.len().is_multiple_of(4);
            return versions.then_some(LongPacket::VersionNegotiation);
        }
        _ => return None,
    };
    types.get(usize::from(first >> 4 & 3)).copied()
}

/// Behind a connection ID and its length.
fn skip_id(bytes: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = bytes.split_first()?;
    let length = usize::from(length);
    (length <= MAX_ID).then(|| rest.get(length..))?
}

/// Whether these bytes are a query of one question (RFC 1035 section 4) with EDNS or without:
/// no flag of an answer, class IN, and a name that ends where it should.
fn is_dns_query(payload: &[u8]) -> bool {
    let Some((header, mut rest)) = payload.split_first_chunk::<DNS_HEADER>() else {
        return false;
    };
    // Of the flags RD, AD and CD may be set.
    let flags = u16::from_be_bytes([header[2], header[3]]) & !0x0130 == 0;
    if !flags || header[4..11] != [0, 1, 0, 0, 0, 0, 0] || header[11] > 1 {
        return false;
    }
    let before = rest.len();
    loop {
        match rest.split_first() {
            Some((0, after)) => {
                let class = after.get(2..4);
                return before - after.len() <= MAX_NAME && class == Some(&[0, 1]);
            }
            Some((&length, after)) if length <= MAX_LABEL => match after.get(length.into()..) {
                Some(after) => rest = after,
                None => return false,
            },
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
        let pairs = digits.chunks_exact(2);
        pairs
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect()
    }

    #[test]
    fn long_headers_of_the_rfcs_are_known() {
        for (header, packet) in [
            // RFC 9001 appendices A.2 to A.4.
            (
                "c3 00000001 08 8394c8f03e515708 00 00 449e 00000002",
                Some(LongPacket::Initial),
            ),
            (
                "c1 00000001 00 08 f067a5502a4262b5 00 4075 0001",
                Some(LongPacket::Initial),
            ),
            (
                "ff 00000001 00 08 f067a5502a4262b5 746f6b656e",
                Some(LongPacket::Retry),
            ),
            // RFC 9369 appendices A.2 to A.4.
            (
                "d3 6b3343cf 08 8394c8f03e515708 00 00 449e 00000002",
                Some(LongPacket::Initial),
            ),
            (
                "d1 6b3343cf 00 08 f067a5502a4262b5 00 4075 0001",
                Some(LongPacket::Initial),
            ),
            (
                "cf 6b3343cf 00 08 f067a5502a4262b5 746f6b656e",
                Some(LongPacket::Retry),
            ),
            ("e0 00000001 01 aa 01 bb", Some(LongPacket::Handshake)),
            ("e0 6b3343cf 01 aa 01 bb", Some(LongPacket::ZeroRtt)),
            (
                "80 00000000 01 aa 01 bb 00000001",
                Some(LongPacket::VersionNegotiation),
            ),
            // No version offered, or half of one.
            ("80 00000000 01 aa 01 bb", None),
            ("80 00000000 01 aa 01 bb 0000", None),
            // Short header, other versions, drafts, connection IDs that are too long or cut.
            ("43 00000001 08 8394c8f03e515708 00 00", None),
            ("c3 00000002 08 8394c8f03e515708 00 00", None),
            ("c3 ff00001d 08 8394c8f03e515708 00 00", None),
            (
                "c3 00000001 15 000102030405060708090a0b0c0d0e0f1011121314 00",
                None,
            ),
            ("c3 00000001 08 8394c8f03e515708 05 00", None),
            ("c3 00000001 08 8394", None),
            ("c3 0000", None),
            ("", None),
        ] {
            assert_eq!(long_packet(&bytes(header)), packet, "{header}");
        }
    }

    /// "a.example", A, IN.
    const QUERY: &str = "1234 0100 0001 0000 0000 0000 0161 076578616d706c65 00 0001 0001";

    #[test]
    fn queries_are_known_by_their_form_and_by_their_port() {
        let query = bytes(QUERY);
        assert_eq!(Kind::of(5353, &query), Kind::Dns);
        assert_eq!(Kind::of(53, b"nonsense"), Kind::Dns);
        let with_edns = bytes(&format!(
            "{} 00 0029 04d0 00000000 0000",
            QUERY.replacen("0000 0161", "0001 0161", 1)
        ));
        assert_eq!(Kind::of(5353, &with_edns), Kind::Dns);
        // One byte another: an answer, an opcode, two questions, an answer record, a label that
        // is too long or a pointer, another class.
        for (at, byte) in [
            (2, 0x81),
            (2, 0x29),
            (5, 2),
            (7, 1),
            (11, 2),
            (12, 64),
            (12, 0xc0),
            (26, 3),
        ] {
            let mut other = query.clone();
            other[at] = byte;
            assert_eq!(Kind::of(5353, &other), Kind::Plain, "byte {at}");
        }
        for length in 0..query.len() {
            assert_eq!(
                Kind::of(5353, &query[..length]),
                Kind::Plain,
                "{length} bytes"
            );
        }
        let long = [&query[..12], &[1, b'x'].repeat(127), &[0, 0, 1, 0, 1]].concat();
        assert_eq!(Kind::of(5353, &long), Kind::Dns);
        let longer = [&query[..12], &[1, b'x'].repeat(128), &[0, 0, 1, 0, 1]].concat();
        assert_eq!(Kind::of(5353, &longer), Kind::Plain);
    }

    #[test]
    fn random_datagrams_are_plain() {
        // Half of all have a long header, three versions of 2^32 are known: of so many not even
        // one in a thousand runs would find one. The first byte alone would find thousands.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut datagram = [0; 64];
        for _ in 0..200_000 {
            for chunk in datagram.chunks_exact_mut(8) {
                chunk.copy_from_slice(&random().to_be_bytes());
            }
            let length = random() as usize % datagram.len();
            assert_eq!(Kind::of(4000, &datagram[..length]), Kind::Plain);
        }
    }

    proptest! {
        #[test]
        fn a_version_that_is_not_known_is_never_quic(version: u32, mut rest: Vec<u8>) {
            prop_assume!(![QUIC_V1, QUIC_V2, NEGOTIATION].contains(&version));
            let mut datagram = vec![0xc0];
            datagram.extend(version.to_be_bytes());
            datagram.append(&mut rest);
            prop_assert_eq!(long_packet(&datagram), None);
        }
    }

    #[test]
    fn indices_are_positions() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
        }
    }
}
