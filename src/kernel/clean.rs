//! Undoing what an instance has done, whichever it was. I/O: rtnetlink, `/proc/sys`, the journal.

use std::path::Path;

use super::claim::Claim;
use super::datapath::SYSCTLS;
use super::netlink::Client;
use super::state::{DeviceState, Journal};
use super::{attach, links, sysctl};
use crate::error::{Error, IoContext, Result};

/// Undoes what a dead instance left, for a process that makes no datapath of its own. Nothing
/// happens while another instance has one in this network namespace. What a kill switch has
/// closed stays closed unless `opens`.
pub fn clean_dead(run_dir: &Path, opens: bool) -> Vec<Error> {
    let Ok(_claim) = Claim::take() else {
        return Vec::new();
    };
    let opened = Client::open().context(|| "open a netlink socket");
    match opened.and_then(|client| Ok((client, Journal::open(run_dir)?))) {
        Ok((_, journal)) if journal.state.closed && !opens => {
            log::warn!(event = "kernel.closed"; "the kill switch stays as it was left");
            Vec::new()
        }
        Ok((mut client, mut journal)) => clean(&mut client, &mut journal),
        Err(error) => vec![error],
    }
}

/// Undoes what the journal and our fixed numbers tell of, of whichever instance. Goes on
/// after an error.
pub(super) fn clean(client: &mut Client, journal: &mut Journal) -> Vec<Error> {
    let mut errors = Vec::new();
    // What cannot be undone stays known, here and in the file, to be tried again.
    journal.state.devices.retain(|device| {
        let undone = undo_device(client, device);
        let failed = undone.is_err();
        errors.extend(undone.err());
        failed
    });
    journal.state.closed = false;
    errors.extend(links::remove(client).err());
    errors.extend(sysctl::restore(Path::new(SYSCTLS), journal).err());
    let told = match errors.is_empty() {
        true => journal.remove(),
        false => journal.save(),
    };
    errors.extend(told.err());
    errors
}

pub(super) fn undo_device(client: &mut Client, device: &DeviceState) -> Result<()> {
    let detached = attach::detach_clsact(client, &device.name, device.index);
    if !device.made_qdisc {
        return detached;
    }
    detached.and(attach::remove_qdisc(client, &device.name, device.index))
}
