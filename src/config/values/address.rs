//! Addresses, prefixes, ports.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::rules::Mac;
use crate::rules::net::{Net, NetError};
use crate::rules::port::{PortError, PortRange};

use super::not_in_form;
use crate::config::problem::{Wrong, required, show};
use crate::config::spec::Spec;
use crate::features;

/// An address that one can speak to.
pub(in crate::config) fn address(spec: &Spec, text: &str) -> Result<IpAddr, Wrong> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(text);
    let Ok(address) = bare.parse::<IpAddr>() else {
        let what = not_an_address(text).map(str::to_owned);
        let what = what.unwrap_or_else(|| format!("{} is not an address", show(text)));
        return Err(Wrong::new(what, format!("write {}", spec.form)));
    };
    usable(address)
}

/// An address and a port, `127.0.0.1:5354` or `[::1]:5354`.
pub(in crate::config) fn socket(spec: &Spec, text: &str) -> Result<SocketAddr, Wrong> {
    let Ok(socket) = text.trim().parse::<SocketAddr>() else {
        return Err(not_in_form(spec, text));
    };
    if socket.port() == 0 {
        return Err(Wrong::new(
            "port 0 is not a port",
            "write a number from 1 to 65535",
        ));
    }
    if is_groupcast(socket.ip()) {
        return Err(Wrong::new(
            format!(
                "{} is an address of a group, nobody can listen there",
                socket.ip()
            ),
            "write an address of this router",
        ));
    }
    Ok(SocketAddr::new(socket.ip().to_canonical(), socket.port()))
}

/// An address and port on the loopback device.
pub(in crate::config) fn metrics(spec: &Spec, text: &str) -> Result<SocketAddr, Wrong> {
    required(features::METRICS, "remove the option")?;
    let socket = socket(spec, text)?;
    if !socket.ip().is_loopback() {
        return Err(Wrong::new(
            format!("{} can be reached by others than the router", socket.ip()),
            format!("write 127.0.0.1:{}", socket.port()),
        ));
    }
    Ok(socket)
}

/// An address of a server; that of a name is meant, so there is no word about names.
pub(in crate::config) fn server_address(spec: &Spec, text: &str) -> Result<IpAddr, Wrong> {
    usable(plain_address(spec, text)?)
}

/// Any address of one host, and the unspecified one: as an answer it leads nowhere.
pub(in crate::config) fn any_address(spec: &Spec, text: &str) -> Result<IpAddr, Wrong> {
    let address = plain_address(spec, text)?;
    if is_groupcast(address) {
        return Err(Wrong::new(
            format!("{address} is not the address of one host"),
            "write the host's own address",
        ));
    }
    Ok(address)
}

fn plain_address(spec: &Spec, text: &str) -> Result<IpAddr, Wrong> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(Wrong::new(
            format!("{} is not an address", show(text)),
            format!("write {}", spec.form),
        ));
    };
    Ok(address.to_canonical())
}

/// Refuses addresses to which no connection can go, and writes IPv4-mapped ones as IPv4.
pub(in crate::config) fn usable(address: IpAddr) -> Result<IpAddr, Wrong> {
    let address = address.to_canonical();
    if address.is_unspecified() || is_groupcast(address) {
        return Err(Wrong::new(
            format!("{address} is not the address of one server"),
            "write the server's own address",
        ));
    }
    Ok(address)
}

fn is_groupcast(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

/// Why a text that is no address may have been meant as one.
pub(in crate::config) fn not_an_address(text: &str) -> Option<&'static str> {
    if text.contains('%') {
        return Some("addresses with a zone (%) are not supported");
    }
    let name = text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    name.then_some("host names are not supported by this version")
}

pub(in crate::config) fn net(_: &Spec, text: &str) -> Result<Net, Wrong> {
    Net::from_str(text).map_err(|error| match error {
        NetError::Mapped => Wrong::new(
            format!(
                "{} is an IPv4-mapped address, which no packet carries",
                show(text)
            ),
            "write it as IPv4",
        ),
        NetError::TooLong { max } => Wrong::new(
            format!("the prefix of {} is too long", show(text)),
            format!("write at most /{max}"),
        ),
        error => Wrong::new(
            format!("{} is not an address or prefix", show(text)),
            error.to_string(),
        ),
    })
}

pub(in crate::config) fn ports(_: &Spec, text: &str) -> Result<PortRange, Wrong> {
    PortRange::from_str(text).map_err(|error| match error {
        PortError::Reversed { first, last } => Wrong::new(
            format!("the range {first}-{last} ends before it begins"),
            format!("write {last}-{first}"),
        ),
        error => Wrong::new(
            format!("{} is not a port or range", show(text)),
            error.to_string(),
        ),
    })
}

pub(in crate::config) fn mac(_: &Spec, text: &str) -> Result<Mac, Wrong> {
    Mac::from_str(text).map_err(|error| {
        Wrong::new(
            format!("{} is not an Ethernet address", show(text)),
            error.to_string(),
        )
    })
}
