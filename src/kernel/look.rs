//! What of ours is in the kernel, for whoever looks for a fault; nothing is changed. I/O:
//! rtnetlink, and a network namespace that ends with the call.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::attach::{self, Hook};
use super::devices::{self, Device};
use super::hooks::HookKind;
use super::netlink::Client;
use super::object::{Object, PROGRAM_ETHER};
use super::state::Journal;
use super::{DatapathConfig, links};
use crate::error::{IoContext as _, Result};
use crate::rules::Family;
use crate::rules::image::Image;

/// What is in the network namespace.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// All devices.
    pub devices: Vec<Device>,
    /// Names of devices with our clsact filter, whoever has hung it there.
    pub filters: Vec<String>,
    /// Names of devices whose filters could not be listed, and why.
    pub unlisted: Vec<(String, String)>,
    /// Of IPv4 and of IPv6.
    pub routing: [Routing; 2],
    /// A kill switch is closed, says the journal.
    pub closed: bool,
}

/// Rules and routes of an IP version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Routing {
    /// Policy rules with our priorities and our mark; [`links::RULES`] while a datapath lives.
    pub rules: usize,
    /// Routes of our table; one while a datapath lives.
    pub routes: usize,
    /// Default routes of the main table.
    pub defaults: usize,
    /// Those of other tables, but for our own: of policy routing, of VRFs.
    pub others: usize,
}

/// Looks at it.
pub fn look(run_dir: &Path) -> Result<Seen> {
    let mut client = Client::open().context(|| "open a netlink socket")?;
    let client = &mut client;
    let devices = devices::list(client).context(|| "list devices")?;
    let (mut filters, mut unlisted) = (Vec::new(), Vec::new());
    for device in &devices {
        match attach::has_filter(client, device.index) {
            Ok(true) => filters.push(device.name.clone()),
            Ok(false) => {}
            Err(error) => unlisted.push((device.name.clone(), error.to_string())),
        }
    }
    let mut routing = [Routing::default(); 2];
    for (family, routing) in [Family::V4, Family::V6].into_iter().zip(&mut routing) {
        *routing = links::count(client, family).context(|| "list rules and routes")?;
    }
    let closed = run_dir.exists() && Journal::open(run_dir)?.state.closed;
    Ok(Seen {
        devices,
        filters,
        unlisted,
        routing,
        closed,
    })
}

/// What came of a trial.
#[derive(Debug)]
pub struct Trial {
    /// How long the load took, or why the kernel refused.
    pub loaded: Result<Duration>,
    /// How the program hung on a device, or why the kernel refused; None where that could not
    /// be tried.
    pub hung: Option<Result<HookKind>>,
}

/// Has the kernel verify the program with these rules, and hangs it on `lo` of a network
/// namespace of its own: a real LAN is not touched, and nothing is left of it. The calling
/// thread is in that namespace from then on: let it end.
pub fn try_out(image: &Image, config: &DatapathConfig) -> Trial {
    let began = Instant::now();
    let mut object = match Object::load(image, config) {
        Ok(object) => object,
        Err(error) => {
            return Trial {
                loaded: Err(error),
                hung: None,
            };
        }
    };
    let loaded = object.program(PROGRAM_ETHER).map(|_| began.elapsed());
    let hung = loaded.is_ok() && enter_a_new_namespace().is_ok();
    Trial {
        loaded,
        hung: hung.then(|| hang(&mut object, config)),
    }
}

fn hang(object: &mut Object, config: &DatapathConfig) -> Result<HookKind> {
    let mut client = Client::open().context(|| "open a netlink socket")?;
    let program = object.program(PROGRAM_ETHER)?;
    let device = ("a device", links::LOOPBACK);
    let hook = attach::attach(&mut client, program, device, config.hook(), &mut || Ok(()))?;
    Ok(match hook {
        Hook::Tcx(_) => HookKind::Tcx,
        Hook::Clsact => HookKind::Clsact,
    })
}

fn enter_a_new_namespace() -> io::Result<()> {
    // SAFETY: the call takes no memory, and changes the calling thread alone.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
