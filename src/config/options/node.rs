//! `config node 'NAME'`.

use std::net::IpAddr;

use super::*;
use crate::config::link::NodeLink;

pub static URL: Opt<NodeLink> = Opt::new(
    "url",
    Text("socks5://ADDRESS:PORT or socks5://USER:PASSWORD@ADDRESS:PORT"),
    link::node,
    "The server as a link. Write special characters of a login percent-encoded, for example \
     @ as %40, and put quotes around the link.",
)
.secret();
pub static TYPE: Opt<()> = Opt::new(
    "type",
    Word(&["socks5"]),
    values::node_type,
    "The protocol, in place of option url.",
);
pub static SERVER: Opt<IpAddr> = Opt::new(
    "server",
    Text("an address"),
    values::address,
    "The server's address, with option type.",
);
pub static PORT: Opt<u16> = Opt::new(
    "port",
    Number(1, 65_535),
    values::port,
    "The server's port, with option type; 1080 unless written.",
);
pub static USERNAME: Opt<String> = Opt::new(
    "username",
    Text("at most 255 bytes"),
    values::login,
    "The user name, if the server wants a login, with option type.",
)
.secret();
pub static PASSWORD: Opt<String> = Opt::new(
    "password",
    Text("at most 255 bytes"),
    values::login,
    "The password, as it is, with option type.",
)
.secret();

pub static TAG: Opt<Box<str>> = Opt::new(
    "tag",
    Text("a word of at most 64 bytes"),
    values::tag,
    "Words by which filters of groups find the node.",
)
.list(MAX_TAGS);

pub(super) static OPTIONS: &[&dyn AnyOpt] =
    &[&URL, &TYPE, &SERVER, &PORT, &USERNAME, &PASSWORD, &TAG];
