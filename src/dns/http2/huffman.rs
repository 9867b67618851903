//! Huffman code of HTTP/2 headers (RFC 7541, appendix B). Pure.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols,
//! and longer ones follow shorter ones. So the lengths say it all.

/// Bits of the code of each byte, and of the end of the string.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LONGEST: usize = 30;

/// Codes of one length.
#[derive(Clone, Copy)]
struct Row {
    /// The first code.
    first: u32,
    /// Where its symbol is in [`SYMBOLS`].
    start: u16,
    count: u16,
}

/// By length in bits.
const ROWS: [Row; LONGEST + 1] = rows();

/// Symbols in the order of their codes.
const SYMBOLS: [u16; LENGTHS.len()] = symbols();

const fn symbols() -> [u16; LENGTHS.len()] {
    let mut symbols = [0; LENGTHS.len()];
    let (mut filled, mut length) = (0, 1);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                symbols[filled] = symbol as u16;
                filled += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    symbols
}

const fn rows() -> [Row; LONGEST + 1] {
    let mut rows = [Row {
        first: 0,
        start: 0,
        count: 0,
    }; LONGEST + 1];
    let (mut code, mut start, mut length) = (0, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        let (mut count, mut symbol) = (0, 0);
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                count += 1;
            }
            symbol += 1;
        }
        rows[length] = Row {
            first: code,
            start,
            count,
        };
        code += count as u32;
        start += count;
        length += 1;
    }
    rows
}

/// Decodes a string. None when it is not one: a code that does not exist, the end of the
/// string inside, or a rest that is not the beginning of that end.
pub fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() * 8 / 5);
    let (mut code, mut length) = (0, 0);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1)))
    {
        code = code << 1 | bit;
        length += 1;
        let row = ROWS.get(length)?;
        if let Some(at) = code.checked_sub(row.first)
            && at < u32::from(row.count)
        {
            let symbol = SYMBOLS[usize::from(row.start) + at as usize];
            out.push(u8::try_from(symbol).ok()?);
            (code, length) = (0, 0);
        }
    }
    // Seven ones or fewer fill the last byte.
    (length < 8 && code == (1 << length) - 1).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541, appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_rfc() {
        let hex = |text: &str| -> Vec<u8> {
            let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
            let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16);
            digits.chunks(2).map(|two| pair(two).unwrap()).collect()
        };
        for (code, text) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("25a8 49e9 5bb8 e8b4 bf", "custom-value"),
            ("6402", "302"),
            ("640e ff", "307"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
                 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ] {
            assert_eq!(decode(&hex(code)).unwrap(), text.as_bytes());
        }
        assert_eq!(decode(&[]).unwrap(), b"");
    }

    #[test]
    fn what_is_no_string_is_refused() {
        // The end of the string itself, a byte of padding, and padding with a zero.
        for wrong in [&[0xff, 0xff, 0xff, 0xff][..], &[0x1f, 0xff], &[0x1e]] {
            assert_eq!(decode(wrong), None, "{wrong:x?}");
        }
        assert_eq!(decode(&[0x1f]).unwrap(), b"a");
    }

    #[test]
    fn every_code_is_used() {
        // The sum of 2^-length over a full code is 1.
        let sum: u64 = LENGTHS.iter().map(|length| 1 << (32 - length)).sum();
        assert_eq!(sum, 1 << 32);
    }
}
