//! Names, and words of the DNS sections.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr;

use crate::rules::Family;
use crate::rules::domain::{DomainError, DomainPattern};

use super::{not_in_form, word};
use crate::config::problem::{Wrong, show};
use crate::config::spec::Spec;
use crate::config::types::{HttpsRecords, Policy};

pub(in crate::config) fn domain(_: &Spec, text: &str) -> Result<DomainPattern, Wrong> {
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
pub(in crate::config) fn local_domain(spec: &Spec, text: &str) -> Result<Box<str>, Wrong> {
    match domain(spec, text)? {
        DomainPattern::Suffix(name) => Ok(name),
        _ => Err(not_in_form(spec, text)),
    }
}

/// A name by itself, as a URL has it. What is told never has a word of it.
pub(in crate::config) fn host(text: &str) -> Result<Box<str>, Wrong> {
    const WRITE: &str = "write an address (IPv6 in brackets) or a name like dns.example";
    if text.contains('%') {
        return Err(Wrong::new(
            "addresses with a zone (%) are not supported",
            WRITE,
        ));
    }
    let Ok(DomainPattern::Full(name)) = DomainPattern::from_str(&format!("full:{text}")) else {
        return Err(Wrong::new(
            "the host is neither an address nor a name",
            WRITE,
        ));
    };
    // No top-level domain is a number (RFC 1123, 2.1): this was meant as an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new("the address is not one", WRITE));
    }
    Ok(name)
}

/// A name by itself.
pub(in crate::config) fn host_name(spec: &Spec, text: &str) -> Result<Box<str>, Wrong> {
    let text = text.trim();
    if text.parse::<IpAddr>().is_ok() {
        return Err(not_in_form(spec, text));
    }
    match domain(spec, &format!("full:{text}")) {
        Ok(pattern) if !text.contains(':') => Ok(pattern.name().into()),
        _ => Err(not_in_form(spec, text)),
    }
}

pub(in crate::config) fn policy(spec: &Spec, text: &str) -> Result<Policy, Wrong> {
    Ok(match word(spec, text)? {
        0 => Policy::Failover,
        1 => Policy::Fastest,
        _ => Policy::Race,
    })
}

pub(in crate::config) fn https_records(spec: &Spec, text: &str) -> Result<HttpsRecords, Wrong> {
    Ok(match word(spec, text)? {
        0 => HttpsRecords::Pass,
        _ => HttpsRecords::Block,
    })
}

pub(in crate::config) fn prefer(spec: &Spec, text: &str) -> Result<Family, Wrong> {
    Ok(match word(spec, text)? {
        0 => Family::V4,
        _ => Family::V6,
    })
}

/// Word of an answer rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum Action {
    Accept,
    Reject,
    Ask,
}

pub(in crate::config) fn action(spec: &Spec, text: &str) -> Result<Action, Wrong> {
    Ok(match word(spec, text)? {
        0 => Action::Accept,
        1 => Action::Reject,
        _ => Action::Ask,
    })
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

/// A query type as [`qtype`] reads it: its name, else `TYPE` and the number.
pub fn qtype_name(qtype: u16) -> Cow<'static, str> {
    let known = QTYPES.iter().find(|(_, number)| *number == qtype);
    known.map_or_else(|| format!("TYPE{qtype}").into(), |(name, _)| (*name).into())
}

/// A query type by name, by number, or as `TYPE65` (RFC 3597).
pub(in crate::config) fn qtype(spec: &Spec, text: &str) -> Result<u16, Wrong> {
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
