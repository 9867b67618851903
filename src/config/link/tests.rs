//! Links that are read, and those that are refused without telling a secret.

use proptest::prelude::*;

use super::upstream::FORM;
use super::*;
use crate::config::options;
use crate::config::types::{Secret, Transport};

fn read_node(text: &str) -> Result<NodeLink, Wrong> {
    node(&options::node::URL.spec, text)
}

fn read_upstream(text: &str) -> Result<UpstreamLink, Wrong> {
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
#[cfg_attr(not(feature = "https"), ignore = "reads https://")]
fn upstreams_are_read() {
    let addr = |text: &str| UpstreamHost::Addr(text.parse().unwrap());
    let name = |text: &str| UpstreamHost::Name(text.into());
    let (v4, v6) = (addr("192.0.2.1"), addr("2001:db8::1"));
    for (text, transport, host, port, path) in [
        ("udp://192.0.2.1", Transport::Udp, v4.clone(), 53, ""),
        (
            "tcp://[2001:db8::1]:5300",
            Transport::Tcp,
            v6.clone(),
            5300,
            "",
        ),
        (
            "tcp+udp://192.0.2.1:53/",
            Transport::TcpUdp,
            v4.clone(),
            53,
            "",
        ),
        (
            "UDP+TCP://Dns.Example.",
            Transport::TcpUdp,
            name("dns.example"),
            53,
            "",
        ),
        ("tls://[2001:db8::1]", Transport::Tls, v6.clone(), 853, ""),
        (
            "tls://dns.example:8853/",
            Transport::Tls,
            name("dns.example"),
            8853,
            "",
        ),
        (
            "udp://[::ffff:192.0.2.1]",
            Transport::Udp,
            v4.clone(),
            53,
            "",
        ),
        (
            "https://dns.example",
            Transport::Https,
            name("dns.example"),
            443,
            "/dns-query",
        ),
        ("https://192.0.2.1:8443/", Transport::Https, v4, 8443, "/"),
        (
            "https://[2001:db8::1]/a%20b/c?token=x&y=@:",
            Transport::Https,
            v6,
            443,
            "/a%20b/c?token=x&y=@:",
        ),
    ] {
        let expected = UpstreamLink {
            transport,
            host,
            port,
            path: path.into(),
        };
        assert_eq!(read_upstream(text), Ok(expected), "{text}");
    }
}

#[test]
#[cfg_attr(not(feature = "https"), ignore = "reads https://")]
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
            "quic://1.1.1.1",
            "quic:// is not supported by this version",
            FORM,
        ),
        (
            "ucp://1.1.1.1",
            "the link has an unknown scheme",
            "write udp://",
        ),
        (
            "udp://1.1.1.1/dns",
            "the link has a path, which only https:// can have",
            "remove it, or write https://",
        ),
        (
            "udp://a@1.1.1.1",
            "the link of an upstream has a login",
            FORM,
        ),
        (
            "https://dns.example/dns-query{?dns}",
            "the path of the link is a template",
            "write it without braces and what is in them: /dns-query",
        ),
        (
            "https://dns.example/a#b",
            "the path of the link has a character that cannot stand there",
            "write it percent-encoded, and nothing behind a '#'",
        ),
        (
            "https://dns.example?dns",
            "the path of the link has a character that cannot stand there",
            "write it percent-encoded, and nothing behind a '#'",
        ),
        (
            "udp://192.0.2.300",
            "the address is not one",
            "write an address (IPv6 in brackets) or a name like dns.example",
        ),
        (
            "udp://dns..example",
            "the host is neither an address nor a name",
            "write an address (IPv6 in brackets) or a name like dns.example",
        ),
        (
            "tls://[dns.example]",
            "the address in brackets is not one",
            PORT_FORM,
        ),
        (
            "tls://dns.example:99999",
            "the port is too large",
            "write a number from 1 to 65535",
        ),
        (
            "tls://192.0.2.1:99999",
            "port 99999 is not a port",
            "write a number from 1 to 65535",
        ),
    ] {
        assert_eq!(read_upstream(text), Err(Wrong::new(what, write)), "{text}");
    }
}

proptest! {
    #[test]
    fn no_word_of_a_link_is_told(
        head in "(socks5|udp|tls|https|ss|x|)(://)?",
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
            format!("{head}dns.example/{secret}{tail}"),
            format!("{head}192.0.2.1:{tail}/{secret}"),
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
