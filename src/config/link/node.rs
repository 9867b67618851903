//! `socks5://user:pass@192.0.2.1:1080` of a node.

use std::net::SocketAddr;

use super::{bad_scheme, host_port};
use crate::config::problem::Wrong;
use crate::config::spec::Spec;
use crate::config::types::Secret;

/// Schemes of nodes that later versions may have, or that other programs have.
const LATER_NODE: [&str; 20] = [
    "ss",
    "ssr",
    "shadowsocks",
    "vmess",
    "vless",
    "trojan",
    "http",
    "https",
    "socks4",
    "socks4a",
    "hysteria",
    "hysteria2",
    "hy2",
    "tuic",
    "juicity",
    "anytls",
    "naive+https",
    "wireguard",
    "ssh",
    "snell",
];

/// What a node's link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct NodeLink {
    pub(in crate::config) addr: SocketAddr,
    pub(in crate::config) login: Option<(String, Secret)>,
}

/// Port of SOCKS5 (RFC 1928).
pub(in crate::config) const SOCKS_PORT: u16 = 1080;

const NODE_FORM: &str = "write socks5://ADDRESS:PORT or socks5://USER:PASSWORD@ADDRESS:PORT";

/// `socks5://[USER[:PASSWORD]@]ADDRESS[:PORT][#LABEL]`; the label is ignored, the section has a
/// name.
pub(in crate::config) fn node(_: &Spec, text: &str) -> Result<NodeLink, Wrong> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Wrong::new("this is not the link of a node", NODE_FORM));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "socks5" {
        return Err(bad_scheme(&scheme, &LATER_NODE, &["socks5"], NODE_FORM));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if tail.contains('@') {
        return Err(Wrong::new(
            "the login has a '/', '?' or '#' that ends the address part",
            "write these in a login as %2F, %3F and %23",
        ));
    }
    let label = tail.strip_prefix('/').unwrap_or(tail);
    if !label.is_empty() && !label.starts_with('#') {
        return Err(Wrong::new("the link has a path or parameters", NODE_FORM));
    }
    let (login, host) = match authority.rsplit_once('@') {
        Some((login, host)) => (Some(userinfo(login)?), host),
        None => (None, authority),
    };
    Ok(NodeLink {
        addr: host_port(host, SOCKS_PORT)?,
        login,
    })
}

/// `USER[:PASSWORD]`, percent-encoded (RFC 3986, 3.2.1).
fn userinfo(text: &str) -> Result<(String, Secret), Wrong> {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    if password.contains([':', '@']) || user.contains('@') {
        return Err(Wrong::new(
            "the login has a ':' or '@' too many",
            "write these in a user name or password as %3A and %40",
        ));
    }
    let user = decode(user)?;
    if user.is_empty() {
        return Err(Wrong::new("the login has no user name", NODE_FORM));
    }
    let password = decode(password)?;
    if user.len().max(password.len()) > 255 {
        return Err(Wrong::new(
            "the user name or password is too long",
            "write at most 255 bytes each, which is all that SOCKS5 carries",
        ));
    }
    Ok((user, Secret::new(password)))
}

/// Percent-decoding (RFC 3986, 2.1).
fn decode(text: &str) -> Result<String, Wrong> {
    let wrong = || {
        Wrong::new(
            "the login has a '%' that begins no byte of UTF-8 text",
            "write a '%' itself as %25, other bytes as % and two hexadecimal digits",
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong());
        };
        // Fits: two hexadecimal digits.
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}
