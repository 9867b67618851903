//! Links: `udp://192.0.2.1:53` of an upstream, `socks5://user:pass@192.0.2.1:1080` of a node.
//!
//! A link may carry a password, and one with a slip of the pen carries it where nobody expects
//! it. So problems show the scheme, and a port behind a valid address; nothing else.

use std::net::{IpAddr, SocketAddr};

use super::problem::{Wrong, nearest};
use super::spec::Spec;
use super::types::{Secret, Transport};
use super::values::{not_an_address, usable};

/// Schemes of upstreams that later versions may have.
const LATER_UPSTREAM: [&str; 8] = ["tls", "https", "quic", "h3", "dot", "doh", "doq", "sdns"];

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
pub(super) struct NodeLink {
    pub(super) addr: SocketAddr,
    pub(super) login: Option<(String, Secret)>,
}

/// Port of SOCKS5 (RFC 1928).
pub(super) const SOCKS_PORT: u16 = 1080;

const UPSTREAM_FORM: &str = "write udp://, tcp:// or tcp+udp:// and an address, \
                             like tcp+udp://192.0.2.1:53";
const NODE_FORM: &str = "write socks5://ADDRESS:PORT or socks5://USER:PASSWORD@ADDRESS:PORT";

/// `udp://ADDRESS[:PORT]`, `tcp://` or `tcp+udp://`.
pub(super) fn upstream(_: &Spec, text: &str) -> Result<(Transport, SocketAddr), Wrong> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(match text.parse::<IpAddr>() {
            Ok(address) => Wrong::new(
                "the address has no scheme in front",
                format!("write 'tcp+udp://{}'", SocketAddr::new(address, 53)),
            ),
            Err(_) => Wrong::new("this is not the link of an upstream", UPSTREAM_FORM),
        });
    };
    let transport = match scheme.to_ascii_lowercase().as_str() {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tcp+udp" | "udp+tcp" => Transport::TcpUdp,
        other => {
            let known = ["udp", "tcp", "tcp+udp"];
            return Err(bad_scheme(other, &LATER_UPSTREAM, &known, UPSTREAM_FORM));
        }
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return Err(Wrong::new(
            "the link of an upstream has a login",
            UPSTREAM_FORM,
        ));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(Wrong::new(
            "the link of an upstream has a path",
            UPSTREAM_FORM,
        ));
    }
    Ok((transport, host_port(authority, 53)?))
}

/// `socks5://[USER[:PASSWORD]@]ADDRESS[:PORT][#LABEL]`; the label is ignored, the section has a
/// name.
pub(super) fn node(_: &Spec, text: &str) -> Result<NodeLink, Wrong> {
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

fn bad_scheme(scheme: &str, later: &[&str], known: &[&str], form: &str) -> Wrong {
    if later.contains(&scheme) {
        return Wrong::new(
            format!("{scheme}:// is not supported by this version"),
            form,
        );
    }
    match nearest(scheme, known.iter().copied()) {
        Some(near) => Wrong::new("the link has an unknown scheme", format!("write {near}://")),
        None => Wrong::new("the link has an unknown scheme", form),
    }
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

/// `192.0.2.1:53`, `[2001:db8::1]:53`, the port being optional.
fn host_port(text: &str, default: u16) -> Result<SocketAddr, Wrong> {
    let (host, port) = match text
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'))
    {
        Some((host, "")) => (host, None),
        Some((host, rest)) => match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => {
                return Err(Wrong::new(
                    "there is something between ']' and ':'",
                    PORT_FORM,
                ));
            }
        },
        None if text.matches(':').count() > 1 => {
            return Err(match text.parse::<IpAddr>() {
                Ok(address) => Wrong::new(
                    "an IPv6 address in a link needs brackets",
                    format!("write [{address}]:{default}"),
                ),
                Err(_) => Wrong::new("the address is not one", PORT_FORM),
            });
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    if host.is_empty() {
        return Err(Wrong::new("the link has no address", PORT_FORM));
    }
    let Ok(address) = host.parse::<IpAddr>() else {
        let what = not_an_address(host).unwrap_or("the address is not one");
        return Err(Wrong::new(
            what,
            "write an address: IPv4, or IPv6 in brackets",
        ));
    };
    let address = usable(address)?;
    let port = match port {
        None => default,
        Some(digits) => link_port(digits)?,
    };
    Ok(SocketAddr::new(address, port))
}

const PORT_FORM: &str = "write ADDRESS:PORT, with IPv6 in brackets: [2001:db8::1]:PORT";

fn link_port(digits: &str) -> Result<u16, Wrong> {
    const WRITE: &str = "write a number from 1 to 65535";
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new("the port is not a number", WRITE));
    }
    match digits.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ if digits.len() <= 6 => Err(Wrong::new(format!("port {digits} is not a port"), WRITE)),
        _ => Err(Wrong::new("the port is too large", WRITE)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::options;
    use super::*;

    fn read_node(text: &str) -> Result<NodeLink, Wrong> {
        node(&options::node::URL.spec, text)
    }

    fn read_upstream(text: &str) -> Result<(Transport, SocketAddr), Wrong> {
        upstream(&options::upstream::URL.spec, text)
    }

    #[test]
    fn nodes_are_read() {
        let link = read_node("socks5://us%40er:p%3A%2f%25s@203.0.113.9:1080#home").unwrap();
        assert_eq!(link.addr, "203.0.113.9:1080".parse().unwrap());
        assert_eq!(
            link.login,
            Some(("us@er".into(), Secret::new("p:/%s".into())))
        );
        let link = read_node("SOCKS5://[2001:db8::1]/").unwrap();
        assert_eq!(
            (link.addr, link.login),
            ("[2001:db8::1]:1080".parse().unwrap(), None)
        );
        let link = read_node("socks5://user@[::ffff:192.0.2.1]:9").unwrap();
        assert_eq!(link.addr, "192.0.2.1:9".parse().unwrap());
        assert_eq!(
            link.login,
            Some(("user".into(), Secret::new(String::new())))
        );
    }

    #[test]
    fn upstreams_are_read() {
        for (text, transport, addr) in [
            ("udp://192.0.2.1", Transport::Udp, "192.0.2.1:53"),
            (
                "tcp://[2001:db8::1]:5300",
                Transport::Tcp,
                "[2001:db8::1]:5300",
            ),
            ("tcp+udp://192.0.2.1:53/", Transport::TcpUdp, "192.0.2.1:53"),
        ] {
            assert_eq!(
                read_upstream(text),
                Ok((transport, addr.parse().unwrap())),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_link_is_refused_with_a_hint() {
        for (text, what) in [
            ("socks5://1.2.3.4:99999", "port 99999 is not a port"),
            ("socks5://1.2.3.4:0", "port 0 is not a port"),
            ("socks5://1.2.3.4:1234567", "the port is too large"),
            ("socks5://1.2.3.4:+1", "the port is not a number"),
            ("socks5://1.2.3.4:", "the port is not a number"),
            ("socks5://", "the link has no address"),
            (
                "socks5://proxy.example:1080",
                "host names are not supported by this version",
            ),
            (
                "socks5://2001:db8::1",
                "an IPv6 address in a link needs brackets",
            ),
            (
                "socks5://[::1]1080",
                "there is something between ']' and ':'",
            ),
            (
                "socks5://u:p:q@1.2.3.4",
                "the login has a ':' or '@' too many",
            ),
            (
                "socks5://u:p/q@1.2.3.4",
                "the login has a '/', '?' or '#' that ends the address part",
            ),
            (
                "socks5://u:%zz@1.2.3.4",
                "the login has a '%' that begins no byte of UTF-8 text",
            ),
            (
                "socks5://u:%ff@1.2.3.4",
                "the login has a '%' that begins no byte of UTF-8 text",
            ),
            ("socks5://:p@1.2.3.4", "the login has no user name"),
            ("socks5://1.2.3.4?a=b", "the link has a path or parameters"),
            (
                "socks5://0.0.0.0:1",
                "0.0.0.0 is not the address of one server",
            ),
            (
                "socks5://[fe80::1%eth0]:1",
                "addresses with a zone (%) are not supported",
            ),
            ("ss://c2VjcmV0", "ss:// is not supported by this version"),
            ("socks5h://1.2.3.4", "the link has an unknown scheme"),
            ("1.2.3.4:1080", "this is not the link of a node"),
        ] {
            assert_eq!(read_node(text).unwrap_err().what, what, "{text}");
        }
        for (text, what, write) in [
            (
                "1.1.1.1",
                "the address has no scheme in front",
                "write 'tcp+udp://1.1.1.1:53'",
            ),
            (
                "::1",
                "the address has no scheme in front",
                "write 'tcp+udp://[::1]:53'",
            ),
            (
                "tls://1.1.1.1",
                "tls:// is not supported by this version",
                UPSTREAM_FORM,
            ),
            (
                "ucp://1.1.1.1",
                "the link has an unknown scheme",
                "write udp://",
            ),
            (
                "udp://1.1.1.1/dns",
                "the link of an upstream has a path",
                UPSTREAM_FORM,
            ),
            (
                "udp://a@1.1.1.1",
                "the link of an upstream has a login",
                UPSTREAM_FORM,
            ),
        ] {
            assert_eq!(read_upstream(text), Err(Wrong::new(what, write)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_word_of_a_link_is_told(
            head in "(socks5|udp|ss|x|)(://)?",
            user in "[a-z]{0,4}",
            secret in "[G-Z]{8}[!-~]{0,8}",
            tail in "[:@/?#%\\[\\]]{0,3}[0-9.:]{0,6}",
        ) {
            for text in [
                format!("{head}{user}:{secret}@{tail}"),
                format!("{head}{user}{secret}{tail}"),
                format!("{head}{secret}:{user}@{tail}"),
                format!("{head}{user}:{secret}"),
                format!("{secret}{head}{tail}"),
            ] {
                for wrong in [read_node(&text).err(), read_upstream(&text).err()] {
                    let told = wrong.map_or(String::new(), |wrong| wrong.what + &wrong.write);
                    let part = secret.get(..8).unwrap();
                    prop_assert!(!told.to_ascii_uppercase().contains(part), "{told}");
                }
            }
        }

        #[test]
        fn logins_survive_percent_encoding(user in "\\PC{1,40}", password in "\\PC{0,40}") {
            prop_assume!(user.len().max(password.len()) <= 255);
            let encode = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            let link = format!("socks5://{}:{}@192.0.2.1:1", encode(&user), encode(&password));
            prop_assert_eq!(read_node(&link).unwrap().login, Some((user, Secret::new(password))));
        }
    }
}
