//! Words of `config group`, and tags of nodes.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::pattern::Pattern;
use super::{MAX_NAME, not_in_form, number, reference, usable, word};
use crate::config::problem::{Wrong, show};
use crate::config::spec::Spec;

/// Port of DNS (RFC 1035).
const DNS_PORT: u16 = 53;

/// Most milliseconds of an offset, either way.
const MAX_OFFSET: u32 = 10_000;

/// What a filter accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum Filter {
    /// The node of this name.
    Name(Box<str>),
    /// Names that contain this; ASCII lower case.
    Keyword(Box<str>),
    /// Nodes with this tag.
    Tag(Box<str>),
    /// Names in which this is found.
    Pattern(Pattern),
}

/// `NAME`, `name:NAME`, `keyword:TEXT`, `regex:PATTERN` or `tag:TEXT`.
pub(in crate::config) fn filter(spec: &Spec, text: &str) -> Result<Filter, Wrong> {
    let (kind, rest) = text.split_once(':').unwrap_or(("name", text));
    match kind {
        "name" => {
            let name = reference(spec, rest).map_err(|_| not_in_form(spec, text))?;
            Ok(Filter::Name(name.into()))
        }
        "regex" if fits(rest) => Pattern::new(rest).map(Filter::Pattern),
        "keyword" if fits(rest) => Ok(Filter::Keyword(rest.to_ascii_lowercase().into())),
        "tag" => tag(spec, rest)
            .map(Filter::Tag)
            .map_err(|_| not_in_form(spec, text)),
        _ => Err(not_in_form(spec, text)),
    }
}

/// A tag of a node.
pub(in crate::config) fn tag(spec: &Spec, text: &str) -> Result<Box<str>, Wrong> {
    match fits(text) && !text.starts_with('!') {
        true => Ok(text.into()),
        false => Err(not_in_form(spec, text)),
    }
}

fn fits(text: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace();
    !text.is_empty() && text.len() <= MAX_NAME && !text.contains(odd)
}

/// Word of `option policy` of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum PolicyWord {
    MinMovingAvg,
    MinAvg10,
    Min,
    Random,
    Fixed,
}

pub(in crate::config) fn group_policy(spec: &Spec, text: &str) -> Result<PolicyWord, Wrong> {
    Ok(match word(spec, text)? {
        0 => PolicyWord::MinMovingAvg,
        1 => PolicyWord::MinAvg10,
        2 => PolicyWord::Min,
        3 => PolicyWord::Random,
        _ => PolicyWord::Fixed,
    })
}

pub(in crate::config) fn milliseconds(spec: &Spec, text: &str) -> Result<Duration, Wrong> {
    number(spec, text).map(|ms| Duration::from_millis(ms.into()))
}

pub(in crate::config) fn seconds(spec: &Spec, text: &str) -> Result<Duration, Wrong> {
    number(spec, text).map(|s| Duration::from_secs(s.into()))
}

/// What is added to the times of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct Offset {
    pub(in crate::config) member: String,
    pub(in crate::config) ms: i32,
}

/// `MEMBER:MS`, with `-` or `+` in front of the number or without.
pub(in crate::config) fn offset(spec: &Spec, text: &str) -> Result<Offset, Wrong> {
    let wrong = || not_in_form(spec, text);
    let (member, ms) = text.split_once(':').ok_or_else(wrong)?;
    let member = reference(spec, member).map_err(|_| wrong())?;
    let digits = ms.strip_prefix(['-', '+']).unwrap_or(ms);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let ms: i32 = ms.parse().ok().filter(|_| is_number).ok_or_else(wrong)?;
    if ms.unsigned_abs() > MAX_OFFSET {
        return Err(wrong());
    }
    Ok(Offset { member, ms })
}

/// A DNS server; the port may be missing.
pub(in crate::config) fn dns_server(spec: &Spec, text: &str) -> Result<SocketAddr, Wrong> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let socket = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, DNS_PORT),
        Err(_) => text.parse().map_err(|_| not_in_form(spec, text))?,
    };
    if socket.port() == 0 {
        let what = format!("{} has port 0", show(text));
        return Err(Wrong::new(what, "write a number from 1 to 65535"));
    }
    Ok(SocketAddr::new(usable(socket.ip())?, socket.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::group as o;

    #[test]
    fn filters_are_read() {
        let read = |text| filter(&o::FILTER.spec, text).ok();
        for (text, meant) in [
            ("home", Filter::Name("home".into())),
            ("name:home", Filter::Name("home".into())),
            ("keyword:Tok", Filter::Keyword("tok".into())),
            ("keyword:a:b", Filter::Keyword("a:b".into())),
            ("tag:Cheap-1", Filter::Tag("Cheap-1".into())),
            ("tag:日本", Filter::Tag("日本".into())),
        ] {
            assert_eq!(read(text), Some(meant), "{text}");
        }
        let long = format!("keyword:{}", "x".repeat(MAX_NAME + 1));
        for text in [
            "", "name:", "keyword:", "tag:", "a b", "tag:!x", "suffix:x", "a-b", &long,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    #[cfg(feature = "regex")]
    fn patterns_are_what_follows_the_word() {
        let pattern = Pattern::new("^a:[0-9]+$").map(Filter::Pattern);
        assert_eq!(filter(&o::FILTER.spec, "regex:^a:[0-9]+$"), pattern);
    }

    #[test]
    fn offsets_are_read() {
        let read = |text| offset(&o::OFFSET.spec, text).ok();
        for (text, ms) in [
            ("a:30", 30),
            ("a:-30", -30),
            ("a:+30", 30),
            ("a:-10000", -10_000),
        ] {
            let member = "a".to_owned();
            assert_eq!(read(text), Some(Offset { member, ms }), "{text}");
        }
        for text in [
            "a",
            "a:",
            "a:-",
            "a:10001",
            "a:1ms",
            ":3",
            "a:--3",
            "a:+-3",
            "a:9999999999",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn dns_servers_are_read() {
        let read = |text| dns_server(&o::CHECK_DNS.spec, text).ok();
        for (text, socket) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:54", "[2001:db8::53]:54"),
        ] {
            assert_eq!(read(text), socket.parse().ok(), "{text}");
        }
        for text in ["", "dns.example", "192.0.2.53:0", "224.0.0.1", "0.0.0.0"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
