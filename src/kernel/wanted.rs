//! Which devices should have a program, and which one. I/O: rtnetlink, and only in [`programs`].

use super::DatapathConfig;
use super::devices::{self, Device, Head};
use super::netlink::Client;
use super::object::{PROGRAM_ETHER, PROGRAM_IP};
use crate::error::{Error, IoContext as _, Result};

/// Devices that the configuration means and that exist, each once, with its interface.
pub(super) fn wanted(existing: &[Device], config: &DatapathConfig) -> Vec<(Device, u16)> {
    let mut wanted: Vec<(Device, u16)> = Vec::new();
    for (interface, name) in (0..).zip(&config.interfaces) {
        for name in devices::names(name, existing, &config.networks) {
            match existing.iter().find(|device| device.name == name) {
                None => log::debug!(event = "kernel.device_missing", device:% = name; ""),
                Some(device) if wanted.iter().any(|(it, _)| it.index == device.index) => {}
                Some(device) => wanted.push((device.clone(), interface)),
            }
        }
    }
    wanted
}

/// The programs that an object will be asked for on the devices that there are just now, whichever
/// has them; that for Ethernet where there is none yet. For whoever has them verified before.
///
/// # Errors
/// When the devices cannot be listed.
pub fn programs(config: &DatapathConfig) -> Result<Vec<&'static str>> {
    let mut client = Client::open().context(|| "open a netlink socket")?;
    let existing = devices::list(&mut client).context(|| "list devices")?;
    let wanted = wanted(&existing, config);
    let mut programs: Vec<_> = wanted
        .iter()
        .filter_map(|(it, _)| program(it).ok())
        .collect();
    programs.sort_unstable();
    programs.dedup();
    if wanted.is_empty() {
        programs.push(PROGRAM_ETHER);
    }
    Ok(programs)
}

/// The program for a device.
pub(super) fn program(device: &Device) -> Result<&'static str> {
    match device.head() {
        Some(Head::Ether) => Ok(PROGRAM_ETHER),
        Some(Head::Ip) => Ok(PROGRAM_IP),
        None => Err(Error::Bpf {
            what: format!("attach to {}", device.name),
            reason: format!(
                "its packets begin with neither Ethernet nor IP (hardware type {})",
                device.kind
            ),
        }),
    }
}
