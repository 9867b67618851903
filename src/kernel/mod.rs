//! The one doorway to the kernel: the BPF program on the LAN devices, the policy route that
//! delivers what it hands to us, and everything that must be undone afterwards. I/O.
//!
//! [`object`] loads the program ([`code`]; [`rights`] has what the kernel wants first, [`syscall`]
//! how it is told), [`fill`] fills its maps ([`map`]; [`abi`] is their layout), [`hooks`] hangs it on devices
//! ([`devices`] finds them, [`wanted`] says which program is for them, [`attach`] is one hook), [`links`] makes the route, [`addresses`] tells
//! it which packets are for the router itself. [`datapath`] is the life of all that, [`pause`] the part of it without a program. [`claim`] keeps
//! a second instance out, [`state`] is the journal of what a dead process leaves behind, [`clean`]
//! undoes it, [`look`] changes nothing. Other rules come as another object in [`swap`]; [`flows`] and [`counters`] say what
//! of the old one goes on. Whatever happens here, a packet passes when the daemon is gone, unless
//! a kill switch was asked for: the program looks for our sockets every time it would do more than
//! let one pass.

pub mod abi;
mod addresses;
mod attach;
mod claim;
mod clean;
mod code;
mod config;
mod counters;
mod datapath;
pub mod devices;
mod fill;
mod flows;
mod hooks;
mod links;
mod look;
mod map;
mod netlink;
mod nft;
mod nodes;
mod object;
mod pause;
mod ports;
mod rights;
mod state;
mod swap;
mod syscall;
mod sysctl;
mod wanted;

pub use clean::clean_dead;
pub use config::DatapathConfig;
pub use counters::Counters;
pub use datapath::Datapath;
pub use flows::{FlowEntry, FlowKey};
pub use hooks::{AttachedDevice, HookKind, Refused};
pub use links::RULES;
pub use look::{Routing, Seen, Trial, look, try_out};
pub use netlink::RouteMonitor;
pub use nft::input_chain;
pub use object::{Object, PROGRAM_ETHER, PROGRAM_IP};
pub use ports::Ports;
pub use wanted::programs;

use crate::error::Error;

/// An error of the loader with all its reasons in one line.
fn fail(what: &str, error: &dyn std::error::Error) -> Error {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !reason.contains(&cause_words) {
            reason = format!("{reason}: {cause_words}");
        }
        source = cause.source();
    }
    Error::Bpf {
        what: what.into(),
        reason,
    }
}
