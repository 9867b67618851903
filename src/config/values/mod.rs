//! Readers of single values, for the table in [`super::options`].

use std::str::FromStr;

use log::LevelFilter;

use crate::rules::{Family, Proto};

use super::problem::{Wrong, nearest, show};
use super::spec::{Form, Spec};
use super::types::Attach;

mod address;
mod dns;
mod group;
#[cfg_attr(not(feature = "regex"), path = "pattern_absent.rs")]
mod pattern;
mod tls;

pub(super) use address::{
    address, any_address, mac, metrics, net, not_an_address, ports, server_address, socket, usable,
};
pub use dns::qtype_name;
pub(super) use dns::{
    Action, action, domain, host, host_name, https_records, local_domain, policy, prefer, qtype,
};
pub(super) use group::{
    Filter, Offset, PolicyWord, dns_server, filter, group_policy, milliseconds, offset, seconds,
    tag,
};
pub(super) use tls::{pin, roots, tls_name};

/// Bits of the packet mark that the daemon itself uses (bpf/dae.h tells the kernel the same):
/// 0x40000000 delivers a packet to us, 0x20000000 tells our own sockets.
pub const OWN_MARKS: u32 = 0x6000_0000;

/// Longest name of a section, rule or interface.
const MAX_NAME: usize = 64;

/// Longest path.
const MAX_PATH: usize = 255;

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

/// A file, wherever the daemon was started.
pub(super) fn path(spec: &Spec, text: &str) -> Result<String, Wrong> {
    let text = text.trim();
    let fits = text.starts_with('/') && !text.chars().any(char::is_control);
    if !fits || text.len() > MAX_PATH {
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
