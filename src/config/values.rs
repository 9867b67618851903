//! Readers of single values, for the table in [`super::options`].

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use log::LevelFilter;

use crate::rules::domain::{DomainError, DomainPattern};
use crate::rules::net::{Net, NetError};
use crate::rules::port::{PortError, PortRange};
use crate::rules::{Family, Mac, Proto};

use super::problem::{Wrong, nearest, show};
use super::spec::{Form, Spec};
use super::types::Attach;

/// Bits of the packet mark that the daemon itself uses (bpf/dae.h tells the kernel the same):
/// 0x40000000 delivers a packet to us, 0x20000000 tells our own sockets.
pub const OWN_MARKS: u32 = 0x6000_0000;

/// Longest name of a section, rule or interface.
const MAX_NAME: usize = 64;

/// A value that is not what the option's form says.
fn not_in_form(spec: &Spec, text: &str) -> Wrong {
    let shown = show(text);
    let what = match spec.form {
        Form::Switch => format!("{shown} is neither yes nor no"),
        Form::Number(..) if unsigned(text).is_some() => format!("{shown} is out of bounds"),
        Form::Number(..) => format!("{shown} is not a number"),
        Form::Word(_) | Form::Text(_) => format!("{shown} does not fit"),
    };
    Wrong::new(what, format!("write {}", spec.form))
}

/// Booleans as `/lib/functions.sh` of OpenWrt reads them.
pub(super) fn switch(spec: &Spec, text: &str) -> Result<bool, Wrong> {
    match text.trim() {
        "1" | "on" | "true" | "yes" | "enabled" => Ok(true),
        "0" | "off" | "false" | "no" | "disabled" => Ok(false),
        other => Err(not_in_form(spec, other)),
    }
}

pub(super) fn number(spec: &Spec, text: &str) -> Result<u32, Wrong> {
    let text = text.trim();
    let wrong = || not_in_form(spec, text);
    let number = unsigned(text).ok_or_else(wrong)?;
    match spec.form {
        Form::Number(min, max) if !(min..=max).contains(&number) => Err(wrong()),
        _ => Ok(number),
    }
}

pub(super) fn port(spec: &Spec, text: &str) -> Result<u16, Wrong> {
    let number = number(spec, text)?;
    u16::try_from(number).map_err(|_| not_in_form(spec, text))
}

/// Decimal digits, or hexadecimal ones behind `0x`; the library's parser would take a sign.
fn unsigned(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// The position of the word among those of the form.
fn word(spec: &Spec, text: &str) -> Result<usize, Wrong> {
    let Form::Word(words) = spec.form else {
        return Ok(0);
    };
    let text = text.trim();
    if let Some(index) = words
        .iter()
        .position(|word| word.eq_ignore_ascii_case(text))
    {
        return Ok(index);
    }
    let mut wrong = not_in_form(spec, text);
    if let Some(near) = nearest(text, words.iter().copied()) {
        wrong.write = format!("write '{near}' if that is what you mean");
    }
    Err(wrong)
}

pub(super) fn log_level(spec: &Spec, text: &str) -> Result<LevelFilter, Wrong> {
    Ok(match word(spec, text)? {
        0 => LevelFilter::Error,
        1 => LevelFilter::Warn,
        2 => LevelFilter::Info,
        _ => LevelFilter::Debug,
    })
}

pub(super) fn attach(spec: &Spec, text: &str) -> Result<Attach, Wrong> {
    Ok(match word(spec, text)? {
        0 => Attach::Auto,
        1 => Attach::Tcx,
        _ => Attach::Clsact,
    })
}

/// Types of nodes; there is one today.
pub(super) fn node_type(spec: &Spec, text: &str) -> Result<(), Wrong> {
    word(spec, text).map(drop).map_err(|mut wrong| {
        wrong.what = format!("{} is no type of node of this version", show(text));
        wrong
    })
}

/// A name that refers to a section; which ones exist is not known here.
pub(super) fn reference(spec: &Spec, text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(fits) {
        return Err(not_in_form(spec, text));
    }
    Ok(text.to_owned())
}

/// A network's or a device's name.
pub(super) fn interface(spec: &Spec, text: &str) -> Result<String, Wrong> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '!' | '\'' | '"' | '*');
    if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(fits) {
        return Err(not_in_form(spec, text));
    }
    Ok(text.to_owned())
}

/// What trace, status and logs call a rule.
pub(super) fn title(spec: &Spec, text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    if text.is_empty() || text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(not_in_form(spec, text));
    }
    Ok(text.to_owned())
}

/// Part of a login (RFC 1929): at most 255 bytes, verbatim.
pub(super) fn login(spec: &Spec, text: &str) -> Result<String, Wrong> {
    if text.len() > 255 {
        let what = format!("the {} has {} bytes", spec.name, text.len());
        return Err(Wrong::new(
            what,
            "write at most 255 bytes, which is all that SOCKS5 carries",
        ));
    }
    Ok(text.to_owned())
}

/// An address that one can speak to.
pub(super) fn address(spec: &Spec, text: &str) -> Result<IpAddr, Wrong> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    let Ok(address) = bare.parse::<IpAddr>() else {
        let what = not_an_address(text).map(str::to_owned);
        let what = what.unwrap_or_else(|| format!("{} is not an address", show(text)));
        return Err(Wrong::new(what, format!("write {}", spec.form)));
    };
    usable(address)
}

/// An address and a port, `127.0.0.1:5354` or `[::1]:5354`.
pub(super) fn socket(spec: &Spec, text: &str) -> Result<SocketAddr, Wrong> {
    let Ok(socket) = text.trim().parse::<SocketAddr>() else {
        return Err(not_in_form(spec, text));
    };
    if socket.port() == 0 {
        return Err(Wrong::new(
            "port 0 is not a port",
            "write a number from 1 to 65535",
        ));
    }
    if is_groupcast(socket.ip()) {
        return Err(Wrong::new(
            format!(
                "{} is an address of a group, nobody can listen there",
                socket.ip()
            ),
            "write an address of this router",
        ));
    }
    Ok(SocketAddr::new(socket.ip().to_canonical(), socket.port()))
}

/// Refuses addresses to which no connection can go, and writes IPv4-mapped ones as IPv4.
pub(super) fn usable(address: IpAddr) -> Result<IpAddr, Wrong> {
    let address = address.to_canonical();
    if address.is_unspecified() || is_groupcast(address) {
        return Err(Wrong::new(
            format!("{address} is not the address of one server"),
            "write the server's own address",
        ));
    }
    Ok(address)
}

fn is_groupcast(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

/// Why a text that is no address may have been meant as one.
pub(super) fn not_an_address(text: &str) -> Option<&'static str> {
    if text.contains('%') {
        return Some("addresses with a zone (%) are not supported");
    }
    let name = text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    name.then_some("host names are not supported by this version")
}

pub(super) fn net(_: &Spec, text: &str) -> Result<Net, Wrong> {
    Net::from_str(text).map_err(|error| match error {
        NetError::Mapped => Wrong::new(
            format!(
                "{} is an IPv4-mapped address, which no packet carries",
                show(text)
            ),
            "write it as IPv4",
        ),
        NetError::TooLong { max } => Wrong::new(
            format!("the prefix of {} is too long", show(text)),
            format!("write at most /{max}"),
        ),
        error => Wrong::new(
            format!("{} is not an address or prefix", show(text)),
            error.to_string(),
        ),
    })
}

pub(super) fn ports(_: &Spec, text: &str) -> Result<PortRange, Wrong> {
    PortRange::from_str(text).map_err(|error| match error {
        PortError::Reversed { first, last } => Wrong::new(
            format!("the range {first}-{last} ends before it begins"),
            format!("write {last}-{first}"),
        ),
        error => Wrong::new(
            format!("{} is not a port or range", show(text)),
            error.to_string(),
        ),
    })
}

pub(super) fn mac(_: &Spec, text: &str) -> Result<Mac, Wrong> {
    Mac::from_str(text).map_err(|error| {
        Wrong::new(
            format!("{} is not an Ethernet address", show(text)),
            error.to_string(),
        )
    })
}

pub(super) fn domain(_: &Spec, text: &str) -> Result<DomainPattern, Wrong> {
    const FORMS: &str = "write a name like example.com, or suffix:, full: or keyword: and a name";
    DomainPattern::from_str(text).map_err(|error| match error {
        DomainError::Unsupported(_) => Wrong::new(
            format!(
                "{} has a kind of pattern that this version does not support",
                show(text)
            ),
            FORMS,
        ),
        DomainError::Character('*') => Wrong::new(
            format!("{} has a star", show(text)),
            "write the name behind the star: it means everything below it, too",
        ),
        DomainError::Character(_) => Wrong::new(
            format!("{} has a character that cannot stand in a name", show(text)),
            "use letters, digits, hyphens and dots; write other alphabets as xn--...",
        ),
        error => Wrong::new(format!("{}: {error}", show(text)), FORMS),
    })
}

/// A domain alone: the name and everything below it.
pub(super) fn local_domain(spec: &Spec, text: &str) -> Result<Box<str>, Wrong> {
    match domain(spec, text)? {
        DomainPattern::Suffix(name) => Ok(name),
        _ => Err(not_in_form(spec, text)),
    }
}

/// One word may stand for all: `any` as in `/etc/config/firewall`.
pub(super) fn protos(spec: &Spec, text: &str) -> Result<Vec<Proto>, Wrong> {
    match text {
        "any" | "all" | "tcpudp" => Ok(vec![Proto::Tcp, Proto::Udp]),
        _ => Ok(vec![
            Proto::from_str(text).map_err(|_| not_in_form(spec, text))?,
        ]),
    }
}

pub(super) fn families(spec: &Spec, text: &str) -> Result<Vec<Family>, Wrong> {
    match text {
        "any" => Ok(vec![Family::V4, Family::V6]),
        _ => Ok(vec![
            Family::from_str(text).map_err(|_| not_in_form(spec, text))?,
        ]),
    }
}

/// A number, or a class: CS0 to CS7 (RFC 2474), AF11 to AF43 (RFC 2597), EF (RFC 3246).
pub(super) fn dscp(spec: &Spec, text: &str) -> Result<u8, Wrong> {
    let wrong = || not_in_form(spec, text);
    let class = text.to_ascii_uppercase();
    match class.as_bytes() {
        b"BE" => Ok(0),
        b"EF" => Ok(46),
        [b'C', b'S', digit @ b'0'..=b'7'] => Ok((digit - b'0') * 8),
        [b'A', b'F', class @ b'1'..=b'4', drop @ b'1'..=b'3'] => {
            Ok((class - b'0') * 8 + (drop - b'0') * 2)
        }
        _ => {
            let number = unsigned(text)
                .filter(|number| *number <= 63)
                .ok_or_else(wrong)?;
            u8::try_from(number).map_err(|_| wrong())
        }
    }
}

/// A packet mark that does not touch our own bits.
pub(super) fn mark(spec: &Spec, text: &str) -> Result<u32, Wrong> {
    let text = text.trim();
    if text.contains('/') {
        return Err(Wrong::new(
            "a mark with a mask is not supported by this version",
            "write the mark alone, like 0x10",
        ));
    }
    let mark = number(spec, text)?;
    if mark & OWN_MARKS != 0 {
        return Err(Wrong::new(
            format!("mark {mark:#x} has bits that dae uses itself ({OWN_MARKS:#x})"),
            "write a mark without these bits, like 0x10",
        ));
    }
    Ok(mark)
}

/// Query types by name, from the registry of RFC 6895.
const QTYPES: [(&str, u16); 20] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("DS", 43),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("TLSA", 52),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];

/// A query type by name, by number, or as `TYPE65` (RFC 3597).
pub(super) fn qtype(spec: &Spec, text: &str) -> Result<u16, Wrong> {
    let name = text.to_ascii_uppercase();
    if let Some((_, number)) = QTYPES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let digits = name.strip_prefix("TYPE").unwrap_or(&name);
    let number = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok());
    number.flatten().ok_or_else(|| not_in_form(spec, text))
}
