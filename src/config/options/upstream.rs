//! `config upstream 'NAME'`.

use std::net::IpAddr;

use super::*;
use crate::config::link::UpstreamLink;
use crate::config::types::Roots;

pub static URL: Opt<UpstreamLink> = Opt::new(
    "url",
    Text(
        "udp://, tcp://, tcp+udp://, tls:// or https:// and an address or a name, like \
         tcp+udp://192.0.2.1:53 or https://dns.example/dns-query",
    ),
    link::upstream,
    "Where the server is and how to ask it. tcp+udp asks over UDP first, and over TCP when that \
     fails or the answer is cut short. Unless written, the port is 53, 853 for tls and 443 for \
     https, and the path of https is /dns-query. The addresses of a name come from list addr, \
     or else from the bootstrap of section dns.",
)
.required();
pub static ADDR: Opt<IpAddr> = Opt::new(
    "addr",
    Text("an address"),
    values::server_address,
    "Addresses of the name in the url: nobody is asked for them then.",
)
.list(MAX_ADDRS);
pub static OUTBOUND: Opt<String> = Opt::new(
    "outbound",
    Text("direct or the name of a node or group"),
    values::reference,
    "Through what the server is reached.",
)
.default("direct");
pub static TLS_NAME: Opt<Box<str>> = Opt::new(
    "tls_name",
    Text("a name or an address"),
    values::tls_name,
    "What the certificate must have, if that is not the name or address in the url. With tls and \
     https.",
);
pub static PIN: Opt<[u8; 32]> = Opt::new(
    "pin",
    Text("sha256/ and the SHA-256 of the server's public key in base64"),
    values::pin,
    "Public keys of the server, one of which it must have. The certificate must be good as well, \
     unless neither the url nor option tls_name has a name. With tls and https.",
)
.list(MAX_PINS);
pub static CA: Opt<Roots> = Opt::new(
    "ca",
    Text("bundled, system or the path of a PEM file"),
    values::roots,
    "Who may vouch for the certificate: the authorities that come with dae, those of the router \
     (package ca-certificates), or those in a file. With tls and https.",
)
.default("bundled");

pub(super) static OPTIONS: &[&dyn AnyOpt] = &[&URL, &ADDR, &OUTBOUND, &TLS_NAME, &PIN, &CA];
