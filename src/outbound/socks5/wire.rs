//! The bytes of SOCKS5 (RFC 1928) with user name and password (RFC 1929). Pure.
//!
//! Answers have fixed-size parts; each function takes one part, so that the reader knows how
//! many bytes to ask for and never reads into the payload behind.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const NOTHING_ACCEPTABLE: u8 = 0xff;
const IPV4: u8 = 1;
const IPV6: u8 = 4;

/// What a server, or a datagram, did wrong or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first byte of an answer is not 5.
    #[error("answers with version {0}, not 5")]
    Version(u8),
    /// None of our methods is good enough: a login is missing, or not wanted at all.
    #[error("accepts none of our login methods; does it want a user name and password?")]
    NoMethod,
    /// It chose a method that we did not offer.
    #[error("chose login method {0}, which was not offered")]
    Method(u8),
    /// The login sub-negotiation's version is not 1.
    #[error("answers the login with version {0}, not 1")]
    LoginVersion(u8),
    /// User name or password is wrong.
    #[error("refused the user name or password (status {0})")]
    Login(u8),
    /// It will not carry this flow.
    #[error("{}", refusal(*.0))]
    Refused(u8),
    /// An address is neither IPv4 nor IPv6.
    #[error("gives an address of type {0}, not IPv4 or IPv6")]
    AddressType(u8),
    /// A datagram ends inside its header.
    #[error("datagram of {0} bytes ends inside its header")]
    Short(usize),
    /// A datagram is a fragment, which RFC 1928 lets us drop.
    #[error("datagram is fragment {0}")]
    Fragment(u8),
}

/// RFC 1928 section 6.
fn refusal(code: u8) -> String {
    let words = match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => return format!("refused with unknown code {code}"),
    };
    format!("refused: {words}")
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A TCP connection to the address.
    Connect = 1,
    /// A UDP association.
    UdpAssociate = 3,
}

/// The client's first words: the login methods it knows.
pub fn greeting(with_login: bool) -> &'static [u8] {
    if with_login {
        &[VERSION, 2, NO_LOGIN, LOGIN]
    } else {
        &[VERSION, 1, NO_LOGIN]
    }
}

/// The server's choice; true when a login must follow.
pub fn parse_method(answer: [u8; 2], with_login: bool) -> Result<bool, Error> {
    match answer {
        [VERSION, NO_LOGIN] => Ok(false),
        [VERSION, LOGIN] if with_login => Ok(true),
        [VERSION, NOTHING_ACCEPTABLE] => Err(Error::NoMethod),
        [VERSION, method] => Err(Error::Method(method)),
        [version, _] => Err(Error::Version(version)),
    }
}

/// User name and password. Both have 1 to 255 bytes in a valid configuration; what is longer
/// is cut, and then refused by the server.
pub fn login(user: &str, password: &str) -> Vec<u8> {
    let mut message = vec![LOGIN_VERSION];
    for part in [user.as_bytes(), password.as_bytes()] {
        let part = &part[..part.len().min(255)];
        message.push(part.len() as u8);
        message.extend_from_slice(part);
    }
    message
}

/// Whether the login was right.
pub fn parse_login(answer: [u8; 2]) -> Result<(), Error> {
    match answer {
        [LOGIN_VERSION, 0] => Ok(()),
        [LOGIN_VERSION, status] => Err(Error::Login(status)),
        [version, _] => Err(Error::LoginVersion(version)),
    }
}

/// A request or a datagram's header: at most 22 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    bytes: [u8; 22],
    length: usize,
}

impl Header {
    fn new(first: [u8; 3], addr: SocketAddr) -> Self {
        let mut bytes = [0; 22];
        bytes[..3].copy_from_slice(&first);
        let end = match addr.ip() {
            IpAddr::V4(v4) => {
                bytes[3] = IPV4;
                bytes[4..8].copy_from_slice(&v4.octets());
                8
            }
            IpAddr::V6(v6) => {
                bytes[3] = IPV6;
                bytes[4..20].copy_from_slice(&v6.octets());
                20
            }
        };
        bytes[end..end + 2].copy_from_slice(&addr.port().to_be_bytes());
        Self {
            bytes,
            length: end + 2,
        }
    }

    /// What goes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// A request. For [`Command::UdpAssociate`] the address is all zeros when it is not known
/// from where datagrams will come.
pub fn request(command: Command, addr: SocketAddr) -> Header {
    Header::new([VERSION, command as u8, 0], addr)
}

/// The kind of address that follows the first four bytes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// 4 bytes and a port.
    V4,
    /// 16 bytes and a port.
    V6,
}

/// The first four bytes of a reply: whether the server will, and what follows.
pub fn parse_reply(head: [u8; 4]) -> Result<AddressKind, Error> {
    match head {
        [VERSION, 0, _, IPV4] => Ok(AddressKind::V4),
        [VERSION, 0, _, IPV6] => Ok(AddressKind::V6),
        [VERSION, 0, _, kind] => Err(Error::AddressType(kind)),
        [VERSION, code, _, _] => Err(Error::Refused(code)),
        [version, ..] => Err(Error::Version(version)),
    }
}

/// An IPv4 address and port, as they follow a reply's head.
pub fn parse_v4(bytes: [u8; 6]) -> SocketAddr {
    let [a, b, c, d, high, low] = bytes;
    (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into()
}

/// An IPv6 address and port, as they follow a reply's head.
pub fn parse_v6(bytes: [u8; 18]) -> SocketAddr {
    let [ip @ .., high, low] = bytes;
    (Ipv6Addr::from(ip), u16::from_be_bytes([high, low])).into()
}

/// The header in front of a datagram for `destination` (RFC 1928 section 7).
pub fn datagram_header(destination: SocketAddr) -> Header {
    Header::new([0, 0, 0], destination)
}

/// A datagram from the server: the remote that sent it, and its payload. A remote given by
/// name is an error: nobody could say from which address to answer.
pub fn parse_datagram(datagram: &[u8]) -> Result<(SocketAddr, &[u8]), Error> {
    let short = || Error::Short(datagram.len());
    let ([_, _, fragment, kind], rest) = datagram.split_first_chunk().ok_or_else(short)?;
    if *fragment != 0 {
        return Err(Error::Fragment(*fragment));
    }
    match *kind {
        IPV4 => {
            let (addr, payload) = rest.split_first_chunk().ok_or_else(short)?;
            Ok((parse_v4(*addr), payload))
        }
        IPV6 => {
            let (addr, payload) = rest.split_first_chunk().ok_or_else(short)?;
            Ok((parse_v6(*addr), payload))
        }
        kind => Err(Error::AddressType(kind)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
            any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
        ]
    }

    #[test]
    fn requests_are_those_of_the_rfc() {
        let v4 = request(Command::Connect, ([192, 0, 2, 1], 443).into());
        assert_eq!(v4.as_bytes(), [5, 1, 0, 1, 192, 0, 2, 1, 0x01, 0xbb]);
        let v6 = request(
            Command::UdpAssociate,
            ([0u16, 0, 0, 0, 0, 0, 0, 1], 53).into(),
        );
        let mut expected = [0; 22];
        expected[..4].copy_from_slice(&[5, 3, 0, 4]);
        expected[19] = 1;
        expected[21] = 53;
        assert_eq!(v6.as_bytes(), expected);
        assert_eq!(greeting(false), [5, 1, 0]);
        assert_eq!(greeting(true), [5, 2, 0, 2]);
        assert_eq!(login("me", "x"), [1, 2, b'm', b'e', 1, b'x']);
        assert_eq!(login(&"u".repeat(300), "").len(), 1 + 1 + 255 + 1);
    }

    #[test]
    fn answers_that_break_the_rfc_are_told_apart() {
        assert_eq!(parse_method([5, 0], false), Ok(false));
        assert_eq!(parse_method([5, 0], true), Ok(false));
        assert_eq!(parse_method([5, 2], true), Ok(true));
        assert_eq!(parse_method([5, 2], false), Err(Error::Method(2)));
        assert_eq!(parse_method([5, 0xff], true), Err(Error::NoMethod));
        assert_eq!(parse_method([4, 0], true), Err(Error::Version(4)));
        assert_eq!(parse_login([1, 0]), Ok(()));
        assert_eq!(parse_login([1, 7]), Err(Error::Login(7)));
        assert_eq!(parse_login([5, 0]), Err(Error::LoginVersion(5)));
        assert_eq!(parse_reply([5, 0, 0, 1]), Ok(AddressKind::V4));
        assert_eq!(parse_reply([5, 0, 9, 4]), Ok(AddressKind::V6));
        assert_eq!(parse_reply([5, 0, 0, 3]), Err(Error::AddressType(3)));
        assert_eq!(parse_reply([5, 5, 0, 0]), Err(Error::Refused(5)));
        assert_eq!(
            parse_reply([b'H', b'T', b'T', b'P']),
            Err(Error::Version(b'H'))
        );
        assert_eq!(Error::Refused(5).to_string(), "refused: connection refused");
        assert_eq!(parse_datagram(&[0, 0, 1, 1]), Err(Error::Fragment(1)));
        assert_eq!(
            parse_datagram(&[0, 0, 0, 3, 1, b'x', 0, 53]),
            Err(Error::AddressType(3))
        );
    }

    proptest! {
        #[test]
        fn a_datagram_is_what_was_sent(addr in addr(), payload: Vec<u8>) {
            let datagram = [datagram_header(addr).as_bytes(), &payload].concat();
            prop_assert_eq!(parse_datagram(&datagram), Ok((addr, &payload[..])));
        }

        #[test]
        fn a_cut_header_is_short(addr in addr(), cut in 0usize..22) {
            let header = datagram_header(addr);
            let cut = cut.min(header.as_bytes().len() - 1);
            prop_assert_eq!(parse_datagram(&header.as_bytes()[..cut]), Err(Error::Short(cut)));
        }

        #[test]
        fn any_bytes_are_parsed_without_panic(bytes: Vec<u8>) {
            let _ = parse_datagram(&bytes);
        }
    }
}
