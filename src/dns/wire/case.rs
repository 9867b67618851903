//! Lower case, eight letters at a time: every query passes here, and compilers that look at
//! size take a byte after the other.

const HIGH: u64 = 0x8080_8080_8080_8080;

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
    let all = |byte: u8| u64::from_ne_bytes([byte; 8]);
    let low = word & !HIGH;
    let from_a = low + all(0x80 - b'A');
    let beyond_z = low + all(0x7f - b'Z');
    let upper = (from_a ^ beyond_z) & !word & HIGH;
    word | upper >> 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
