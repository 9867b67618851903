//! How a server proves who it is.

use std::net::IpAddr;

use super::{host, not_in_form};
use crate::config::problem::{Wrong, show};
use crate::config::spec::Spec;
use crate::config::types::Roots;

/// Longest path of a file, bytes (PATH_MAX of Linux is 4096, with the final zero).
const MAX_PATH: usize = 4095;

/// A name, or an address in its shortest form.
pub(in crate::config) fn tls_name(spec: &Spec, text: &str) -> Result<Box<str>, Wrong> {
    let text = text.trim();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string().into());
    }
    host(text).map_err(|_| not_in_form(spec, text))
}

/// `bundled`, `system`, or an absolute path.
pub(in crate::config) fn roots(spec: &Spec, text: &str) -> Result<Roots, Wrong> {
    match text.trim() {
        "bundled" => Ok(Roots::Bundled),
        "system" => Ok(Roots::System),
        path if path.starts_with('/')
            && path.len() <= MAX_PATH
            && !path.contains(char::is_control) =>
        {
            Ok(Roots::File(path.into()))
        }
        path if path.contains('/') => Err(Wrong::new(
            format!("{} is not the whole path of a file", show(path)),
            "write it from the root on, like /etc/ssl/dns.pem",
        )),
        other => Err(not_in_form(spec, other)),
    }
}

/// `sha256/` and the base64 of 32 bytes, as `pin-sha256` of RFC 7469 has it.
pub(in crate::config) fn pin(spec: &Spec, text: &str) -> Result<[u8; 32], Wrong> {
    let Some(digest) = text.strip_prefix("sha256/") else {
        return Err(not_in_form(spec, text));
    };
    let wrong = || {
        let what = format!("{} is not the base64 of 32 bytes", show(digest));
        Wrong::new(what, "write sha256/ and 44 characters, the last of them =")
    };
    let bytes = base64(digest).ok_or_else(wrong)?;
    bytes.try_into().map_err(|_| wrong())
}

/// Decodes base64 (RFC 4648, 4); None when it is not, or when bits are set that mean nothing.
/// The padding may be missing, since it says nothing that the length does not say.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = match text.len() % 4 {
        0 => text
            .strip_suffix("==")
            .or_else(|| text.strip_suffix('='))
            .unwrap_or(text),
        _ => text,
    };
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    let (mut bits, mut held) = (0u32, 0);
    for byte in digits.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            // Fits: the byte is masked.
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    // Six bits left over are a digit too many, others are zero.
    let rest = bits & ((1 << held) - 1);
    (held < 6 && rest == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::options::upstream as o;

    fn read(text: &str) -> Result<[u8; 32], Wrong> {
        pin(&o::PIN.spec, text)
    }

    /// Base64 by another way: bits as text.
    fn encode(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        while !bits.len().is_multiple_of(6) {
            bits.push('0');
        }
        let digit = |at: usize| usize::from_str_radix(&bits[at..at + 6], 2).unwrap();
        let digits = (0..bits.len()).step_by(6).map(|at| DIGITS[digit(at)]);
        String::from_utf8(digits.collect()).unwrap()
    }

    #[test]
    fn pins_are_read() {
        // The empty string's SHA-256, as `openssl dgst -sha256 -binary | base64` writes it.
        let empty = read("sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").unwrap();
        let hex: String = empty.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            read("sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"),
            Ok(empty)
        );
    }

    #[test]
    fn what_is_no_pin_is_refused() {
        for text in [
            "",
            "sha256/",
            "sha256/AAAA",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha1/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==",
            "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA=",
            // Another digit for the same bytes: bits that mean nothing are set.
            "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
            "sha256/47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
            "sha256/=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_and_addresses_of_certificates_are_read() {
        let read = |text| tls_name(&o::TLS_NAME.spec, text).ok();
        for (text, name) in [
            ("DNS.Example.", Some("dns.example")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("2001:DB8:0::1", Some("2001:db8::1")),
            ("*.example", None),
            ("192.0.2.300", None),
            ("dns.example:853", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn roots_are_read() {
        let read = |text| roots(&o::CA.spec, text).ok();
        assert_eq!(read("bundled"), Some(Roots::Bundled));
        assert_eq!(read("system"), Some(Roots::System));
        assert_eq!(
            read("/etc/my ca.pem"),
            Some(Roots::File("/etc/my ca.pem".into()))
        );
        for text in ["", "ca.pem", "ssl/ca.pem", "/a\u{1}b", "System"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!("/{}", "x".repeat(MAX_PATH))), None);
    }

    proptest! {
        #[test]
        fn base64_is_decoded(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let text = encode(&bytes);
            prop_assert_eq!(base64(&text), Some(bytes));
            let padded = text.clone() + &"=".repeat((4 - text.len() % 4) % 4);
            prop_assert_eq!(base64(&padded), base64(&text));
        }
    }
}
