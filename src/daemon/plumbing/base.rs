//! `*` What the datapath is told beside the settings. I/O.

use std::path::PathBuf;

use crate::config::Config;
use crate::daemon::networks;
use crate::kernel::{DatapathConfig, Ports};

/// What the datapath's configuration is made from, beside the settings.
#[derive(Clone)]
pub struct Base {
    pub(super) ports: Ports,
    pub(super) run_dir: PathBuf,
}

impl Base {
    /// What the datapath needs to know of a configuration, and of the router's networks as they
    /// are now.
    pub fn datapath(&self, config: &Config) -> DatapathConfig {
        DatapathConfig {
            interfaces: config.main.interfaces.clone(),
            networks: networks::read(),
            attach: config.main.attach,
            kill_switch: config.main.kill_switch,
            max_flows: config.main.max_flows,
            max_names: config.main.max_names,
            dns: config.dns.enabled,
            ports: self.ports,
            run_dir: self.run_dir.clone(),
        }
    }
}
