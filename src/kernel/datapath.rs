//! The datapath's life: start, events, a pause, stop. I/O.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use super::claim::Claim;
use super::clean::clean;
use super::config::DatapathConfig;
use super::counters::Counters;
use super::flows::{FlowEntry, FlowKey};
use super::hooks::{AttachedDevice, Hooks, Refused, Tools};
use super::netlink::{Client, Monitor};
use super::object::{MAX_OWN, Object};
use super::ports::Ports;
use super::state::Journal;
use super::{addresses, links};
use crate::error::{Error, IoContext, Result};
use crate::rules::Family;
use crate::rules::image::Image;
use crate::rules::names::NameUpdate;

/// Where sysctls are.
pub(super) const SYSCTLS: &str = "/proc/sys";

/// The program on the LAN devices. Dropping it undoes everything as [`Self::stop`] does, but
/// says nothing.
#[derive(Debug)]
pub struct Datapath {
    pub(super) hooks: Hooks,
    /// None while suspended.
    pub(super) object: Option<Object>,
    pub(super) config: DatapathConfig,
    pub(super) client: Client,
    monitor: Monitor,
    pub(super) journal: Journal,
    pub(super) own: BTreeSet<IpAddr>,
    /// What objects have counted that are gone.
    pub(super) counted: Counters,
    /// A dead instance has closed the LAN, and that stays until this one has it.
    pub(super) takes_over: bool,
    stopped: bool,
    // Last: free only when everything is undone.
    _claim: Claim,
}

impl Datapath {
    /// [`Self::open`] and [`Self::resume`]: loads the program, fills its maps, makes the route
    /// and attaches to every device that exists. A device that does not exist yet is attached
    /// to when it appears.
    pub fn start(image: &Image, config: DatapathConfig) -> Result<Self> {
        let mut datapath = Self::open(config)?;
        datapath.prepare()?;
        let object = Object::load(image, datapath.config())?;
        datapath.resume(object, &[])?;
        Ok(datapath)
    }

    /// Cleans what a dead instance left; for the rest it is as one that is suspended. An error
    /// when another instance has a datapath in this network namespace.
    pub fn open(config: DatapathConfig) -> Result<Self> {
        let claim = Claim::take()?;
        let client = Client::open().context(|| "open a netlink socket")?;
        // Before the first list, so that nothing that changes meanwhile is missed.
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let monitor = Monitor::open(groups).context(|| "listen to netlink")?;
        let journal = Journal::open(&config.run_dir)?;
        // From here on, dropping it undoes what was done.
        let mut datapath = Self {
            hooks: Hooks::default(),
            object: None,
            config,
            client,
            monitor,
            journal,
            own: BTreeSet::new(),
            counted: Counters::default(),
            takes_over: false,
            stopped: false,
            _claim: claim,
        };
        datapath.takes_over = datapath.config.kill_switch && datapath.journal.state.closed;
        if !datapath.takes_over {
            for error in clean(&mut datapath.client, &mut datapath.journal) {
                log::warn!(event = "kernel.clean", reason:% = error; "");
            }
        }
        Ok(datapath)
    }

    /// What it goes by.
    pub fn config(&self) -> &DatapathConfig {
        &self.config
    }

    pub(super) fn tell_missing(&self) {
        for name in self.missing() {
            log::warn!(event = "kernel.no_device", device = name; "it is attached to when it appears");
        }
    }

    /// Wait for this to be readable, then call [`Self::on_readable`].
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }

    /// Devices or addresses have changed: attaches to devices that appeared, learns the
    /// router's own addresses, sees to the routes. Does all it can, and returns the first error.
    /// When it is suspended then, devices have refused the program, and none has it.
    pub fn on_readable(&mut self) -> Result<()> {
        if !self.monitor.drain().context(|| "listen to netlink")? || self.is_suspended() {
            return Ok(());
        }
        let addresses = self.refresh_addresses();
        // While lo is down, as in a restart of the network, there is no route for us.
        let routes = self.refresh_routes();
        let devices = self.refresh_devices();
        for error in self.suspend_if_refused() {
            log::warn!(event = "kernel.clean", reason:% = error; "");
        }
        devices.and(addresses).and(routes)
    }

    /// An object that hangs nowhere is of no use where every device refuses it.
    pub(super) fn suspend_if_refused(&mut self) -> Vec<Error> {
        match self.hooks.refused().is_empty() || self.hooks.devices().next().is_some() {
            true => Vec::new(),
            false => self.suspend(),
        }
    }

    /// What the kernel decided about a flow, if it still knows.
    pub fn flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        Some(self.object.as_ref()?.flow(&key.into())?.into())
    }

    /// Carries changes of the learnt names into the kernel, in their order. Goes on after an
    /// error, and returns the first: that name is not known then, and nothing else is harmed.
    pub fn apply(&mut self, updates: &[NameUpdate]) -> Result<()> {
        let Some(object) = &mut self.object else {
            return Ok(());
        };
        let mut first = Ok(());
        for update in updates {
            let applied = match *update {
                NameUpdate::Vector { index, vector } => object.set_vector(index, vector),
                NameUpdate::Set { addr, vector } => object.set_name(addr, Some(vector)),
                NameUpdate::Remove { addr } => object.set_name(addr, None),
            };
            first = first.and(applied);
        }
        first
    }

    /// Packets and bytes since the start, whichever rules there were.
    pub fn counters(&self) -> Result<Counters> {
        match &self.object {
            None => Ok(self.counted.clone()),
            Some(object) => Ok(self.counted.plus(&object.counters()?)),
        }
    }

    /// To be called every 60 s: a UDP flow unused for two such periods is decided anew.
    pub fn advance_epoch(&mut self) -> Result<()> {
        self.object.as_mut().map_or(Ok(()), Object::advance_epoch)
    }

    /// Devices with our program.
    pub fn devices(&self) -> impl Iterator<Item = AttachedDevice> + '_ {
        self.hooks.devices()
    }

    /// Devices that are there, should have our program, and refuse it.
    pub fn refused(&self) -> &[Refused] {
        self.hooks.refused()
    }

    /// Programs in use: [`Object::program`] verifies them when it is first asked.
    pub fn programs(&self) -> Vec<&'static str> {
        let mut programs: Vec<_> = self.hooks.programs().collect();
        programs.dedup();
        programs
    }

    /// Interfaces of the configuration that have no device with our program.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let interfaces = (0..).zip(&self.config.interfaces);
        interfaces
            .filter(|(index, _)| !self.hooks.covers(*index))
            .map(|(_, name)| name.as_str())
    }

    /// Detaches and undoes everything; what could not be undone comes back.
    pub fn stop(mut self) -> Vec<Error> {
        self.takes_over = false;
        self.undo()
    }

    fn undo(&mut self) -> Vec<Error> {
        if std::mem::replace(&mut self.stopped, true) {
            return Vec::new();
        }
        // TCX links go with their owner; the journal knows of everything else.
        self.hooks.forget();
        if self.takes_over {
            return Vec::new();
        }
        clean(&mut self.client, &mut self.journal)
    }

    /// The router's own addresses, as many as we have room for.
    pub(super) fn addresses(&mut self) -> Result<BTreeSet<IpAddr>> {
        let own = addresses::own(&mut self.client).context(|| "list addresses")?;
        if own.len() > MAX_OWN as usize {
            log::warn!(event = "kernel.addresses_full", count = own.len(), bound = MAX_OWN; "");
            return Ok(own.into_iter().take(MAX_OWN as usize).collect());
        }
        Ok(own)
    }

    fn refresh_addresses(&mut self) -> Result<()> {
        let own = self.addresses()?;
        let Some(object) = &mut self.object else {
            return Ok(());
        };
        for gone in self.own.difference(&own) {
            object.set_own(*gone, false)?;
        }
        for new in own.difference(&self.own) {
            object.set_own(*new, true)?;
        }
        self.own = own;
        Ok(())
    }

    /// IPv6 may be switched off, and on, at any time. Without a route our listeners could not
    /// be reached, so the program is not told of them and the packets pass.
    pub(super) fn refresh_routes(&mut self) -> Result<()> {
        let mut reachable = Ports::default();
        let mut first = Ok(());
        for family in [Family::V4, Family::V6] {
            if !self.config.ports.has(family) {
                continue;
            }
            match links::ensure(&mut self.client, family) {
                Ok(true) => reachable.add(&self.config.ports, family),
                Ok(false) => {}
                Err(error) => first = first.and(Err(error)),
            }
        }
        match &mut self.object {
            Some(object) => first.and(object.set_ports(reachable.0)),
            None => first,
        }
    }

    pub(super) fn refresh_devices(&mut self) -> Result<()> {
        let Some(object) = &mut self.object else {
            return Ok(());
        };
        let mut tools = Tools {
            client: &mut self.client,
            journal: &mut self.journal,
            config: &self.config,
        };
        self.hooks.follow(&mut tools, object)
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        self.undo();
    }
}
