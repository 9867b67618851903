//! The datapath's life: start, events, other rules, a pause, stop. I/O.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use foldhash::{HashSet, fast::FixedState};

use super::claim::Claim;
use super::counters::Counters;
use super::devices::Network;
use super::flows::{self, FlowEntry, FlowKey};
use super::hooks::{AttachedDevice, Hooks, Tools};
use super::netlink::{Client, Monitor};
use super::object::{MAX_OWN, Object};
use super::ports::Ports;
use super::state::{DeviceState, Journal};
use super::{addresses, attach, links, sysctl};
use crate::config::Attach;
use crate::error::{Error, IoContext, Result};
use crate::rules::image::Image;
use crate::rules::names::NameUpdate;
use crate::rules::{Family, Kept};

/// Where sysctls are.
const SYSCTLS: &str = "/proc/sys";

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

/// The program on the LAN devices. Dropping it undoes everything as [`Self::stop`] does, but
/// says nothing.
#[derive(Debug)]
pub struct Datapath {
    hooks: Hooks,
    /// None while suspended.
    object: Option<Object>,
    config: DatapathConfig,
    client: Client,
    monitor: Monitor,
    journal: Journal,
    own: BTreeSet<IpAddr>,
    /// What objects have counted that are gone.
    counted: Counters,
    /// A dead instance has closed the LAN, and that stays until this one has it.
    takes_over: bool,
    stopped: bool,
    // Last: free only when everything is undone.
    _claim: Claim,
}

impl Datapath {
    /// Cleans what a dead instance left, loads the program, fills its maps, makes the route
    /// and attaches to every device that exists. A device that does not exist yet is attached
    /// to when it appears. An error when another instance has a datapath in this network
    /// namespace.
    pub fn start(image: &Image, config: DatapathConfig) -> Result<Self> {
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
        datapath.resume(image, &[])?;
        datapath.tell_missing();
        Ok(datapath)
    }

    /// Takes the program off all devices and undoes everything else, until [`Self::resume`];
    /// what could not be undone comes back. The counters stay.
    pub fn suspend(&mut self) -> Vec<Error> {
        self.counted = self.counters().unwrap_or_else(|_| self.counted.clone());
        self.hooks.forget();
        self.object = None;
        self.own.clear();
        clean(&mut self.client, &mut self.journal)
    }

    /// Whether it is suspended.
    pub fn is_suspended(&self) -> bool {
        self.object.is_none()
    }

    /// Goes on after [`Self::suspend`]: loads the program with `image` and `names`, which are
    /// all that is known, and attaches it. After an error it is still suspended.
    pub fn resume(&mut self, image: &Image, names: &[NameUpdate]) -> Result<()> {
        if !self.is_suspended() {
            return Ok(());
        }
        let resumed = self.load(image, names);
        if resumed.is_err() {
            self.hooks.forget();
            self.object = None;
            if !self.takes_over {
                clean(&mut self.client, &mut self.journal);
            }
        }
        resumed
    }

    fn load(&mut self, image: &Image, names: &[NameUpdate]) -> Result<()> {
        sysctl::enable_jit(Path::new(SYSCTLS), &mut self.journal)?;
        self.journal.state.closed = self.config.kill_switch;
        self.own = self.addresses()?;
        let object = self.object.insert(Object::load(image, &self.config)?);
        object.set_hosts(&self.own, names)?;
        self.refresh_routes()?;
        self.refresh_devices()?;
        if std::mem::replace(&mut self.takes_over, false) {
            self.drop_inherited()?;
        }
        Ok(())
    }

    /// Lets go of devices that only a dead instance had.
    fn drop_inherited(&mut self) -> Result<()> {
        let devices = &mut self.journal.state.devices;
        let inherited: Vec<_> = devices
            .extract_if(.., |device| !self.hooks.holds(device.index))
            .collect();
        for device in inherited {
            undo_device(&mut self.client, &device)?;
        }
        self.journal.save()
    }

    /// What it goes by.
    pub fn config(&self) -> &DatapathConfig {
        &self.config
    }

    /// Goes on with other rules, in one step per device: `object` was made for them and for
    /// `config` by [`Object::load`] (none is needed while suspended), `names` are all that is
    /// known of names under them, and `kept` is what they have in common with the old ones.
    /// Connections under way go on. After an error nothing has changed; but see
    /// [`Self::reconfigure`].
    pub fn replace(
        &mut self,
        object: Option<Object>,
        image: &Image,
        config: DatapathConfig,
        names: &[NameUpdate],
        kept: &Kept,
    ) -> Result<()> {
        let (Some(old), Some(mut object)) = (&mut self.object, object) else {
            self.config = config;
            self.counted = self.counted.under(kept);
            return Ok(());
        };
        object.set_hosts(&self.own, names)?;
        object.inherit(old)?;
        let mut carried = HashSet::default();
        carry(old, &mut object, kept, image, &mut carried)?;
        let mut tools = Tools {
            client: &mut self.client,
            journal: &mut self.journal,
            config: &config,
        };
        self.hooks.replace(&mut tools, old, &mut object)?;
        // Those that began while we were about it; the old program sees no more of them.
        if let Err(error) = carry(old, &mut object, kept, image, &mut carried) {
            log::warn!(event = "kernel.flows", reason:% = error; "");
        }
        let counted = old.counters();
        self.object = Some(object);
        match counted {
            Ok(counted) => self.counted = self.counted.plus(&counted),
            Err(error) => log::warn!(event = "kernel.counters", reason:% = error; ""),
        }
        self.counted = self.counted.under(kept);
        self.reconfigure(config);
        Ok(())
    }

    /// Goes on with another configuration, whose changes need no other object: attaches to
    /// interfaces that are new, lets go of those that are no longer meant. A device that
    /// refuses us is told in the log, and tried again when anything changes.
    pub fn reconfigure(&mut self, config: DatapathConfig) {
        let rehang = self.config.hook() != config.hook();
        let same_interfaces = self.config.interfaces == config.interfaces;
        self.config = config;
        if self.is_suspended() {
            return;
        }
        let closed = self.config.kill_switch;
        let switched = match &mut self.object {
            Some(object) if self.journal.state.closed != closed => {
                self.journal.state.closed = closed;
                object.set_closed(closed).and(self.journal.save())
            }
            _ => Ok(()),
        };
        let hung = match &mut self.object {
            Some(object) if rehang => {
                let mut tools = Tools {
                    client: &mut self.client,
                    journal: &mut self.journal,
                    config: &self.config,
                };
                self.hooks.rehang(&mut tools, object)
            }
            _ => Ok(()),
        };
        if let Err(error) = switched.and(hung).and(self.refresh_devices()) {
            log::error!(event = "kernel.devices", reason:% = error; "");
        }
        if !same_interfaces {
            self.tell_missing();
        }
    }

    fn tell_missing(&self) {
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
    pub fn on_readable(&mut self) -> Result<()> {
        if !self.monitor.drain().context(|| "listen to netlink")? || self.is_suspended() {
            return Ok(());
        }
        let addresses = self.refresh_addresses();
        let routes = self.refresh_routes();
        addresses.and(routes).and(self.refresh_devices())
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
    fn addresses(&mut self) -> Result<BTreeSet<IpAddr>> {
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
    fn refresh_routes(&mut self) -> Result<()> {
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

    fn refresh_devices(&mut self) -> Result<()> {
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

/// Lets flows of the old object go on in the new one, but for those in `done`, where those that
/// do are entered.
fn carry(
    old: &Object,
    new: &mut Object,
    kept: &Kept,
    image: &Image,
    done: &mut HashSet<u64>,
) -> Result<()> {
    let hasher = FixedState::default();
    old.copy_flows(new, |key, value| {
        let carried = flows::carried(key, value, kept, image)?;
        // Two flows of one number: the second is decided anew, as one that was forgotten.
        done.insert(hasher.hash_one(key)).then_some(carried)
    })
}

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
fn clean(client: &mut Client, journal: &mut Journal) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut note = |result: Result<()>| errors.extend(result.err());
    for device in std::mem::take(&mut journal.state.devices) {
        note(undo_device(client, &device));
    }
    journal.state.closed = false;
    note(links::remove(client));
    note(sysctl::restore(Path::new(SYSCTLS), journal));
    // What could not be undone stays written down, for the next start to try again.
    if errors.is_empty() {
        errors.extend(journal.remove().err());
    }
    errors
}

fn undo_device(client: &mut Client, device: &DeviceState) -> Result<()> {
    let detached = attach::detach_clsact(client, &device.name, device.index);
    if !device.made_qdisc {
        return detached;
    }
    detached.and(attach::remove_qdisc(client, &device.name, device.index))
}
