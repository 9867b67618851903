//! Letters of names, eight at a time: every query passes here, and compilers that look at size
//! take a byte after the other.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// As `make_ascii_lowercase`.
pub(super) fn make_lower(bytes: &mut [u8]) {
    let (eights, rest) = bytes.as_chunks_mut::<8>();
    for eight in eights {
        *eight = lower(u64::from_ne_bytes(*eight)).to_ne_bytes();
    }
    let (fours, rest) = rest.as_chunks_mut::<4>();
    for four in fours {
        // The upper half is no letters.
        let word = lower(u32::from_ne_bytes(*four).into()) as u32;
        *four = word.to_ne_bytes();
    }
    rest.make_ascii_lowercase();
}

/// Eight bytes in one number, in any order. No sum carries from a byte to the next, as the
/// highest bits are kept out; the highest bit of a byte then says what the byte is.
fn lower(word: u64) -> u64 {
    const FROM_A: u64 = ONES * (0x80 - b'A' as u64);
    const BEYOND_Z: u64 = ONES * (0x7f - b'Z' as u64);
    let low = word & !HIGH;
    let from_a = low + FROM_A;
    let beyond_z = low + BEYOND_Z;
    let upper = (from_a ^ beyond_z) & !word & HIGH;
    word | upper >> 2
}

/// How many dots are in a text of visible ASCII without a backslash; None for any other text.
pub(super) fn count_dots(text: &[u8]) -> Option<u32> {
    let (eights, rest) = text.as_chunks::<8>();
    let mut last = [b'-'; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut dots = 0;
    for eight in eights.iter().chain([&last]) {
        dots += dots_in(u64::from_ne_bytes(*eight))?;
    }
    Some(dots)
}

/// See [`count_dots`] and [`lower`].
fn dots_in(word: u64) -> Option<u32> {
    const FROM_FIRST: u64 = ONES * (0x80 - b'!' as u64);
    const BEYOND_LAST: u64 = ONES * (0x7f - b'~' as u64);
    const BACKSLASH: u64 = ONES * b'\\' as u64;
    const DOT: u64 = ONES * b'.' as u64;
    let low = word & !HIGH;
    let other = |byte: u64| (low ^ byte) + !HIGH;
    let plain = !word & (low + FROM_FIRST) & !(low + BEYOND_LAST) & other(BACKSLASH);
    let dots = (!other(DOT) & HIGH) >> 7;
    // The sum of all bytes comes to stand in the highest.
    (plain & HIGH == HIGH).then_some((dots.wrapping_mul(ONES) >> 56) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dots_are_counted_in_plain_text_only() {
        for length in 1..20 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut text = vec![b'.'; length];
                    text[at] = byte;
                    let plain = matches!(byte, b'!'..=b'~') && byte != b'\\';
                    let others = length as u32 - 1;
                    let wanted = plain.then(|| others + u32::from(byte == b'.'));
                    assert_eq!(count_dots(&text), wanted, "{byte} at {at} of {length}");
                }
            }
        }
        assert_eq!(count_dots(b""), Some(0));
    }

    #[test]
    fn every_byte_at_every_place() {
        for length in 1..20 {
            for at in 0..length {
                for byte in 0..=255 {
                    for others in [0, b'@', b'Z', 0xff] {
                        let mut bytes = vec![others; length];
                        bytes[at] = byte;
                        let expected = bytes.to_ascii_lowercase();
                        make_lower(&mut bytes);
                        assert_eq!(bytes, expected, "{byte} at {at} of {length}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let expected = bytes.to_ascii_lowercase();
            make_lower(&mut bytes);
            prop_assert_eq!(bytes, expected);
        }
    }
}
