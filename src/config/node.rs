//! `config node`: a proxy server, as a link or as options of its own.

use std::net::SocketAddr;

use super::link::SOCKS_PORT;
use super::low::Low;
use super::options::node as o;
use super::problem::{Problems, Wrong};
use super::types::{Outbound, OutboundKind, Secret};

/// Builds a node; None when something was told.
pub(super) fn build(low: &Low, problems: &mut Problems) -> Option<Outbound> {
    let mut add = |place, option: &str, what: &str, write: &str| {
        problems.add(place, &low.label, option, Wrong::new(what, write));
    };
    let typed = [
        low.has(&o::TYPE),
        low.has(&o::SERVER),
        low.has(&o::PORT),
        low.has(&o::USERNAME),
        low.has(&o::PASSWORD),
    ];
    let is_typed = typed.contains(&true);
    let kind = match (low.has(&o::URL), is_typed) {
        (true, true) => {
            add(
                low.place(&o::URL),
                "url",
                "the node is described twice, by a link and by options of its own",
                "keep either url, or type, server, port, username and password",
            );
            return None;
        }
        (false, false) => {
            add(
                low.section.place,
                "url",
                "it is missing",
                "write option url with socks5://ADDRESS:PORT, or option type and option server",
            );
            return None;
        }
        (true, false) => {
            let link = low.get(&o::URL)?;
            OutboundKind::Socks5 {
                addr: link.addr,
                login: link.login,
            }
        }
        (false, true) => {
            for (given, option, write) in [
                (low.has(&o::TYPE), "type", "write option type 'socks5'"),
                (
                    low.has(&o::SERVER),
                    "server",
                    "write option server with the server's address",
                ),
            ] {
                if !given {
                    add(low.section.place, option, "it is missing", write);
                }
            }
            if low.has(&o::PASSWORD) && !low.has(&o::USERNAME) {
                let place = low.place(&o::PASSWORD);
                add(
                    place,
                    "username",
                    "there is a password without a user name",
                    "write both",
                );
                return None;
            }
            typed_node(low)?
        }
    };
    Some(Outbound {
        name: low.section.name.clone()?,
        kind,
    })
}

/// None: something is missing or unreadable, and was told already.
fn typed_node(low: &Low) -> Option<OutboundKind> {
    low.get(&o::TYPE)?;
    let port = if low.has(&o::PORT) {
        low.get(&o::PORT)?
    } else {
        SOCKS_PORT
    };
    let password = if low.has(&o::PASSWORD) {
        low.get(&o::PASSWORD)?
    } else {
        String::new()
    };
    let login = match low.has(&o::USERNAME) {
        true => Some((low.get(&o::USERNAME)?, Secret::new(password))),
        false => None,
    };
    Some(OutboundKind::Socks5 {
        addr: SocketAddr::new(low.get(&o::SERVER)?, port),
        login,
    })
}
