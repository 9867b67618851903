//! `udp://192.0.2.1:53`, `https://dns.example/dns-query` of an upstream.

use std::net::{IpAddr, SocketAddr};

use super::{PORT_FORM, bad_scheme, link_port, split_port};
use crate::config::problem::{Wrong, required};
use crate::config::spec::Spec;
use crate::config::types::Transport;
use crate::config::values::{host, usable};
use crate::features;

/// Schemes of upstreams that later versions may have, or that other programs have.
const LATER: [&str; 8] = ["quic", "h3", "dot", "doh", "doq", "sdns", "http", "http3"];

/// Schemes that there are.
const KNOWN: [&str; 5] = ["udp", "tcp", "tcp+udp", "tls", "https"];

pub(super) const FORM: &str = "write udp://, tcp://, tcp+udp://, tls:// or https:// and an \
                               address or a name, like tcp+udp://192.0.2.1:53";

/// Path of a URL that has none; the one in the examples of RFC 8484, which servers took over.
const DEFAULT_PATH: &str = "/dns-query";

/// Longest path, bytes: it goes out with every query.
const MAX_PATH: usize = 512;

/// What an upstream's link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct UpstreamLink {
    pub(in crate::config) transport: Transport,
    pub(in crate::config) host: UpstreamHost,
    pub(in crate::config) port: u16,
    /// Starts with a slash for https, else empty.
    pub(in crate::config) path: String,
}

/// The host of the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum UpstreamHost {
    Addr(IpAddr),
    /// Lower case, no final dot.
    Name(Box<str>),
}

/// `udp://HOST[:PORT]`, `tcp://`, `tcp+udp://`, `tls://` or `https://HOST[:PORT][/PATH]`.
pub(in crate::config) fn upstream(_: &Spec, text: &str) -> Result<UpstreamLink, Wrong> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => Wrong::new(
                "the address has no scheme in front",
                format!("write 'tcp+udp://{}'", SocketAddr::new(address, 53)),
            ),
            Err(_) => Wrong::new("this is not the link of an upstream", FORM),
        });
    };
    let (transport, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "udp" => (Transport::Udp, 53),
        "tcp" => (Transport::Tcp, 53),
        "tcp+udp" | "udp+tcp" => (Transport::TcpUdp, 53),
        "tls" => (Transport::Tls, 853),
        "https" => (Transport::Https, 443),
        other => return Err(bad_scheme(other, &LATER, &KNOWN, FORM)),
    };
    built_in(transport)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(Wrong::new("the link of an upstream has a login", FORM));
    }
    let path = match (transport, tail) {
        (Transport::Https, "") => DEFAULT_PATH.into(),
        (Transport::Https, tail) => path(tail)?,
        (_, "" | "/") => String::new(),
        _ => {
            let what = "the link has a path, which only https:// can have";
            return Err(Wrong::new(what, "remove it, or write https://"));
        }
    };
    let (host_text, port) = split_port(authority, default_port)?;
    let host = match host_text.parse::<IpAddr>() {
        Ok(address) => UpstreamHost::Addr(usable(address)?),
        Err(_) if authority.starts_with('[') && !host_text.contains('%') => {
            return Err(Wrong::new("the address in brackets is not one", PORT_FORM));
        }
        Err(_) => UpstreamHost::Name(host(host_text)?),
    };
    // Behind a name digits could be a login's second half, of which the rest was forgotten.
    let shown = matches!(host, UpstreamHost::Addr(_));
    let port = port.map_or(Ok(default_port), |digits| link_port(digits, shown))?;
    Ok(UpstreamLink {
        transport,
        host,
        port,
        path,
    })
}

/// Whether this program can speak it.
fn built_in(transport: Transport) -> Result<(), Wrong> {
    match transport {
        Transport::Udp | Transport::Tcp | Transport::TcpUdp => Ok(()),
        Transport::Tls => required(features::TLS, "write tcp+udp://"),
        Transport::Https if features::TLS.built_in => required(features::HTTPS, "write tls://"),
        Transport::Https => required(features::HTTPS, "write tcp+udp://"),
    }
}

/// What stands behind the authority. It goes into a request as it is (RFC 9110, 7.1: path and
/// query, never a fragment).
pub(super) fn path(tail: &str) -> Result<String, Wrong> {
    if tail.contains(['{', '}']) {
        return Err(Wrong::new(
            "the path of the link is a template",
            "write it without braces and what is in them: /dns-query",
        ));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/?".contains(&byte);
    if !tail.starts_with('/') || !tail.bytes().all(fits) {
        return Err(Wrong::new(
            "the path of the link has a character that cannot stand there",
            "write it percent-encoded, and nothing behind a '#'",
        ));
    }
    if tail.len() > MAX_PATH {
        return Err(Wrong::new(
            "the path of the link is too long",
            format!("write at most {MAX_PATH} characters"),
        ));
    }
    Ok(tail.to_owned())
}
