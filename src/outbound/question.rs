//! What a check says and hears: a page by HTTP/1.1 (RFC 9112), a name by DNS (RFC 1035). Pure.

/// Bytes of an answer that are looked at: as long as a status line has to be.
pub const STATUS_LINE: usize = 12;

/// Bytes of a DNS message's header.
const DNS_HEADER: usize = 12;

/// A request for a page, after which the server may close.
pub fn page(host: &str, path: &str) -> Vec<u8> {
    let head = "Connection: close\r\nAccept: */*\r\n";
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{head}\r\n").into_bytes()
}

/// Whether this begins a response of HTTP, whatever its status (RFC 9112 section 4).
pub fn is_status_line(bytes: &[u8; STATUS_LINE]) -> bool {
    let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
    bytes.starts_with(b"HTTP/1.") && digits(7..8) && bytes[8] == b' ' && digits(9..12)
}

/// A query for the name servers of the root, which every resolver knows: of type NS, with
/// recursion desired, not extended.
pub fn query(id: u16) -> [u8; DNS_HEADER + 5] {
    let [high, low] = id.to_be_bytes();
    [high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
}

/// Whether this answers [`query`], well or not: a server that refuses was reached.
pub fn is_answer(message: &[u8], id: u16) -> bool {
    let is_response = |flags: &u8| flags & 0x80 != 0;
    message.len() >= DNS_HEADER
        && message.starts_with(&id.to_be_bytes())
        && message.get(2).is_some_and(is_response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_status_is_an_answer() {
        for good in [b"HTTP/1.1 204", b"HTTP/1.0 404", b"HTTP/1.1 502"] {
            assert!(is_status_line(good));
        }
        for bad in [
            b"HTTP/2.0 200",
            b"HTTP/1.1x204",
            b"SSH-2.0-Open",
            b"HTTP/1.1 2x4",
        ] {
            assert!(!is_status_line(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_page_is_asked_for_as_the_rfc_wants_it() {
        assert_eq!(
            page("a.example:81", "/generate_204"),
            b"GET /generate_204 HTTP/1.1\r\nHost: a.example:81\r\nConnection: close\r\n\
              Accept: */*\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_has_our_id_and_is_a_response() {
        let query = query(0x1234);
        assert!(!is_answer(&query, 0x1234));
        let mut answer = query;
        answer[2] |= 0x80;
        answer[3] = 5;
        assert!(is_answer(&answer, 0x1234));
        assert!(is_answer(&answer[..12], 0x1234));
        assert!(!is_answer(&answer[..11], 0x1234));
        assert!(!is_answer(&answer, 0x1235));
        assert!(!is_answer(b"", 0));
    }
}
