//! Programs on the ingress of devices: TCX where the kernel has it, else a clsact filter at a
//! fixed place, so that one of a dead instance is replaced and never doubled. I/O: rtnetlink
//! and the `bpf` system call.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use super::netlink::{Client, Request, u32_at};
use super::{fail, syscall};
use crate::config::Attach;
use crate::error::{Error, IoContext, Result};

/// Priority of our filter.
const PRIORITY: u32 = 2023;

/// Handle of our filter within the priority.
const HANDLE: u32 = 0xdae;

// include/uapi/linux/pkt_sched.h and rtnetlink.h
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;

// include/uapi/linux/pkt_cls.h
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;

/// What the kernel says of a filter, qdisc or device that is not there.
const ABSENT: [i32; 3] = [libc::ENOENT, libc::EINVAL, libc::ENODEV];

/// How a program hangs on a device.
#[derive(Debug)]
pub enum Hook {
    /// A TCX link: gone as soon as nobody holds it.
    Tcx(OwnedFd),
    /// A filter of the clsact qdisc: stays until removed.
    Clsact,
}

/// Hangs `program` on the ingress of a device. `journal` is called when the qdisc was made
/// and before anything uses it.
pub fn attach(
    client: &mut Client,
    program: BorrowedFd<'_>,
    (device, ifindex): (&str, u32),
    how: Attach,
    journal: &mut dyn FnMut() -> Result<()>,
) -> Result<Hook> {
    let tcx = match how {
        Attach::Clsact => None,
        Attach::Auto | Attach::Tcx => Some(syscall::link_create(program, ifindex)),
    };
    match tcx {
        Some(Ok(link)) => {
            // Of an instance that had no TCX.
            detach_clsact(client, device, ifindex)?;
            return Ok(Hook::Tcx(link));
        }
        Some(Err(error)) if how == Attach::Tcx => {
            return Err(fail(&format!("tcx on {device}"), &error));
        }
        Some(Err(error)) => {
            log::debug!(event = "bpf.no_tcx", device, reason:% = error; "");
        }
        None => {}
    }
    let made_qdisc = add_qdisc(client, device, ifindex)?;
    if made_qdisc {
        journal()?;
    }
    match set_filter(client, program, ifindex) {
        Ok(()) => Ok(Hook::Clsact),
        Err(error) => {
            if made_qdisc {
                // The reason of the failure says more than that of the clean-up would.
                let _ = remove_qdisc(client, device, ifindex);
            }
            Err(refused(device, error, "cls_bpf", "kmod-sched-bpf"))
        }
    }
}

/// Puts another program in the place of ours, in one step: every packet meets one of the two.
/// False: the device is gone, or what hung there.
pub fn replace(
    client: &mut Client,
    program: BorrowedFd<'_>,
    (device, ifindex): (&str, u32),
    hook: &Hook,
) -> Result<bool> {
    let (what, replaced) = match hook {
        Hook::Tcx(link) => ("tcx", syscall::link_update(link.as_fd(), program)),
        Hook::Clsact => ("clsact", set_filter(client, program, ifindex)),
    };
    match replaced {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(false),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(fail(&format!("{what} on {device}"), &error)),
    }
}

/// Sets our filter, in the place of one that is there.
fn set_filter(client: &mut Client, program: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    let filter = Request::new(
        libc::RTM_NEWTFILTER,
        libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
        &tcmsg(ifindex, HANDLE, INGRESS, filter_info()),
    )
    .attr(TCA_KIND, c"bpf".to_bytes_with_nul())
    .nested(
        TCA_OPTIONS,
        &[
            (TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes()),
            (TCA_BPF_NAME, c"dae".to_bytes_with_nul()),
            (TCA_BPF_FLAGS, &TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes()),
        ],
    );
    client.ask(filter)
}

/// Removes our filter, of whichever instance, if there is one.
pub fn detach_clsact(client: &mut Client, device: &str, ifindex: u32) -> Result<()> {
    let filter = Request::new(
        libc::RTM_DELTFILTER,
        0,
        &tcmsg(ifindex, HANDLE, INGRESS, filter_info()),
    )
    .attr(TCA_KIND, c"bpf".to_bytes_with_nul());
    client
        .ask_unless(filter, &ABSENT)
        .context(|| format!("remove the filter of {device}"))
}

/// Makes the clsact qdisc; false when it, or an ingress qdisc, was there.
fn add_qdisc(client: &mut Client, device: &str, ifindex: u32) -> Result<bool> {
    let qdisc = Request::new(
        libc::RTM_NEWQDISC,
        libc::NLM_F_CREATE | libc::NLM_F_EXCL,
        &tcmsg(ifindex, CLSACT_HANDLE, CLSACT, 0),
    )
    .attr(TCA_KIND, c"clsact".to_bytes_with_nul());
    match client.ask(qdisc) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(refused(device, error, "sch_ingress", "kmod-sched-core")),
    }
}

/// Removes the clsact qdisc unless somebody's filter uses it.
pub fn remove_qdisc(client: &mut Client, device: &str, ifindex: u32) -> Result<()> {
    if filters(client, ifindex).context(|| format!("filters of {device}"))? > 0 {
        return Ok(());
    }
    let qdisc = Request::new(
        libc::RTM_DELQDISC,
        0,
        &tcmsg(ifindex, CLSACT_HANDLE, CLSACT, 0),
    );
    client
        .ask_unless(qdisc, &ABSENT)
        .context(|| format!("remove the clsact qdisc of {device}"))
}

/// Number of filters on ingress and egress of the clsact qdisc.
fn filters(client: &mut Client, ifindex: u32) -> io::Result<usize> {
    let mut count = 0;
    for parent in [INGRESS, EGRESS] {
        let request = Request::new(libc::RTM_GETTFILTER, 0, &tcmsg(ifindex, 0, parent, 0));
        let listed = client.dump(request, |message| {
            let of_device = message.split::<20>().is_some_and(|(body, _)| {
                u32_at(body, 4) == Some(ifindex) && u32_at(body, 12) == Some(parent)
            });
            count += usize::from(message.kind == libc::RTM_NEWTFILTER && of_device);
        });
        match listed {
            Err(error) if is_absent(&error) => {}
            other => other?,
        }
    }
    Ok(count)
}

/// Whether our filter, of whichever instance, hangs on the ingress of a device.
pub fn has_filter(client: &mut Client, ifindex: u32) -> io::Result<bool> {
    let mut found = false;
    let request = Request::new(libc::RTM_GETTFILTER, 0, &tcmsg(ifindex, 0, INGRESS, 0));
    let listed = client.dump(request, |message| {
        let ours = message.split::<20>().is_some_and(|(body, _)| {
            let at = |offset| u32_at(body, offset);
            let priority = at(16).map(|info| info >> 16);
            (at(4), at(8), priority) == (Some(ifindex), Some(HANDLE), Some(PRIORITY))
        });
        found |= ours;
    });
    match listed {
        // Of a device that has just gone, and of a kernel without filters.
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
        other => other.map(|()| found),
    }
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|it| ABSENT.contains(&it))
}

/// `struct tcmsg`.
fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut body = [0; 20];
    for (at, field) in [(4, ifindex), (8, handle), (12, parent), (16, info)] {
        body[at..at + 4].copy_from_slice(&field.to_ne_bytes());
    }
    body
}

/// Priority and protocol (ETH_P_ALL in network order) of our filter.
fn filter_info() -> u32 {
    PRIORITY << 16 | u32::from((libc::ETH_P_ALL as u16).to_be())
}

fn refused(device: &str, error: io::Error, module: &str, package: &str) -> Error {
    let reason = match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP) => {
            format!("{error}; the kernel lacks {module}, on OpenWrt install {package}")
        }
        _ => error.to_string(),
    };
    Error::Bpf {
        what: format!("clsact on {device}"),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_missing_is_told_with_its_package() {
        let words = |code| {
            let error = io::Error::from_raw_os_error(code);
            refused("br-lan", error, "cls_bpf", "kmod-sched-bpf").to_string()
        };
        let missing = words(libc::ENOENT);
        assert!(missing.starts_with("bpf clsact on br-lan: "), "{missing}");
        let cure = "the kernel lacks cls_bpf, on OpenWrt install kmod-sched-bpf";
        assert!(missing.ends_with(cure), "{missing}");
        assert!(words(libc::EOPNOTSUPP).ends_with(cure));
        assert!(!words(libc::EINVAL).contains("lacks"));
    }
}
