//! Links: `udp://192.0.2.1:53` of an upstream, `socks5://user:pass@192.0.2.1:1080` of a node,
//! `http://192.0.2.1/` of a check.
//!
//! A link may carry a password, and one with a slip of the pen carries it where nobody expects
//! it. So problems show the scheme, and a port behind a valid address; nothing else.

use std::net::{IpAddr, SocketAddr};

use super::problem::{Wrong, nearest};
use super::values::{not_an_address, usable};

mod check;
mod node;
#[cfg(test)]
mod tests;
mod upstream;

pub(super) use check::{CheckLink, check};
pub(super) use node::{NodeLink, SOCKS_PORT, node};
pub(super) use upstream::{UpstreamHost, UpstreamLink, upstream};

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

/// `192.0.2.1:53`, `[2001:db8::1]:53`, the port being optional.
fn host_port(text: &str, default: u16) -> Result<SocketAddr, Wrong> {
    let (host, port) = split_port(text, default)?;
    let Ok(address) = host.parse::<IpAddr>() else {
        let what = not_an_address(host).unwrap_or("the address is not one");
        return Err(Wrong::new(
            what,
            "write an address: IPv4, or IPv6 in brackets",
        ));
    };
    let address = usable(address)?;
    let port = port.map_or(Ok(default), |digits| link_port(digits, true))?;
    Ok(SocketAddr::new(address, port))
}

/// The host, without brackets and never empty, and what may be a port. `default` is for what is
/// told.
fn split_port(text: &str, default: u16) -> Result<(&str, Option<&str>), Wrong> {
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
    Ok((host, port))
}

const PORT_FORM: &str = "write ADDRESS:PORT, with IPv6 in brackets: [2001:db8::1]:PORT";

/// `shown`: the digits may be told, because they surely are no password.
fn link_port(digits: &str, shown: bool) -> Result<u16, Wrong> {
    const WRITE: &str = "write a number from 1 to 65535";
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::new("the port is not a number", WRITE));
    }
    match digits.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ if shown && digits.len() <= 6 => {
            Err(Wrong::new(format!("port {digits} is not a port"), WRITE))
        }
        Ok(_) => Err(Wrong::new("the port is 0", WRITE)),
        Err(_) => Err(Wrong::new("the port is too large", WRITE)),
    }
}
