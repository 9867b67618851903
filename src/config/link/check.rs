//! `http://192.0.2.1/generate_204`: what checks of nodes ask for.

use std::net::IpAddr;

use super::{PORT_FORM, UpstreamHost, bad_scheme, link_port, split_port, upstream};
use crate::config::problem::Wrong;
use crate::config::spec::Spec;
use crate::config::values::{host, usable};

/// What a check's link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) struct CheckLink {
    pub(in crate::config) host: UpstreamHost,
    pub(in crate::config) port: u16,
    /// Starts with a slash.
    pub(in crate::config) path: String,
}

const FORM: &str = "write http:// and an address or a name, like http://192.0.2.1/generate_204";

/// `http://HOST[:PORT][/PATH]`.
pub(in crate::config) fn check(_: &Spec, text: &str) -> Result<CheckLink, Wrong> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(Wrong::new("this is not the link of a page", FORM));
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" {
        return Err(bad_scheme(&scheme, &["https"], &["http"], FORM));
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(Wrong::new("the link of a page has a login", FORM));
    }
    let path = match tail {
        "" => "/".to_owned(),
        tail => upstream::path(tail)?,
    };
    let (host_text, port) = split_port(authority, 80)?;
    let host = match host_text.parse::<IpAddr>() {
        Ok(address) => UpstreamHost::Addr(usable(address)?),
        Err(_) if authority.starts_with('[') && !host_text.contains('%') => {
            return Err(Wrong::new("the address in brackets is not one", PORT_FORM));
        }
        Err(_) => UpstreamHost::Name(host(host_text)?),
    };
    let shown = matches!(host, UpstreamHost::Addr(_));
    let port = port.map_or(Ok(80), |digits| link_port(digits, shown))?;
    Ok(CheckLink { host, port, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::options::group::CHECK_URL;

    fn read(text: &str) -> Result<CheckLink, Wrong> {
        check(&CHECK_URL.spec, text)
    }

    #[test]
    fn links_of_checks_are_read() {
        let name = |name: &str| UpstreamHost::Name(name.into());
        for (text, host, port, path) in [
            ("http://Check.example", name("check.example"), 80, "/"),
            (
                "HTTP://check.example:8080/a?b",
                name("check.example"),
                8080,
                "/a?b",
            ),
            (
                "http://192.0.2.1/",
                UpstreamHost::Addr([192, 0, 2, 1].into()),
                80,
                "/",
            ),
        ] {
            let path = path.to_owned();
            assert_eq!(read(text), Ok(CheckLink { host, port, path }), "{text}");
        }
    }

    #[test]
    fn what_is_no_link_of_a_check_is_refused() {
        for (text, what) in [
            ("check.example", "this is not the link of a page"),
            (
                "https://check.example",
                "https:// is not supported by this version",
            ),
            ("htp://check.example", "the link has an unknown scheme"),
            (
                "http://alice:hunter2@check.example",
                "the link of a page has a login",
            ),
            ("http://", "the link has no address"),
            ("http://[::g]", "the address in brackets is not one"),
            ("http://check.example:0", "the port is 0"),
            (
                "http://check.example/#a",
                "the path of the link has a character that cannot stand there",
            ),
            (
                "http://check.example?a",
                "the path of the link has a character that cannot stand there",
            ),
        ] {
            assert_eq!(read(text).unwrap_err().what, what, "{text}");
        }
    }
}
