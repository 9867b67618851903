//! What a datapath goes by, beside the rules. Pure.

use std::path::PathBuf;

use super::devices::Network;
use super::ports::Ports;
use crate::config::Attach;

/// What a datapath needs to know beside the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatapathConfig {
    /// Interfaces of the configuration: a rule's `interface` is an index into it.
    pub interfaces: Vec<String>,
    /// Sections of `/etc/config/network`; empty where there is no such file.
    pub networks: Vec<Network>,
    /// How to attach.
    pub attach: Attach,
    /// What should be ours and nobody takes is dropped, also when this process is dead.
    pub kill_switch: bool,
    /// Bound of the flow cache.
    pub max_flows: u32,
    /// Bound of the learnt names.
    pub max_names: u32,
    /// Whether port 53 is ours.
    pub dns: bool,
    /// Our listeners.
    pub ports: Ports,
    /// Folder of the journal.
    pub run_dir: PathBuf,
}

impl DatapathConfig {
    /// How to attach, all considered: of a dead process the kernel keeps clsact filters only.
    pub(super) fn hook(&self) -> Attach {
        match (self.kill_switch, self.attach) {
            (true, Attach::Auto) => Attach::Clsact,
            (_, attach) => attach,
        }
    }

    /// Whether an object made for one of the two will not do for the other, though the rules are
    /// the same: then [`Datapath::replace`] is needed, else [`Datapath::reconfigure`].
    pub fn needs_another_object(&self, other: &Self) -> bool {
        let facts = |it: &Self| (it.interfaces.len(), it.max_flows, it.max_names, it.dns);
        facts(self) != facts(other)
    }
}
