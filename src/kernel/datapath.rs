//! The datapath's life: start, events, stop. I/O.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::abi::{self, Count, Counter};
use super::attach::{self, Hook};
use super::claim::Claim;
use super::devices::{self, Device, Head, Network};
use super::netlink::{Client, Monitor};
use super::object::{MAX_OWN, Object, PROGRAM_ETHER, PROGRAM_IP};
use super::state::Journal;
use super::{addresses, links, sysctl};
use crate::config::Attach;
use crate::error::{Error, IoContext, Result};
use crate::rules::image::{Image, kind};
use crate::rules::names::NameUpdate;
use crate::rules::{Action, Family, Proto, Verdict};

/// Where sysctls are.
const SYSCTLS: &str = "/proc/sys";

/// What a datapath needs to know beside the rules.
#[derive(Debug, Clone)]
pub struct DatapathConfig {
    /// Interfaces of the configuration: a rule's `interface` is an index into it.
    pub interfaces: Vec<String>,
    /// Sections of `/etc/config/network`; empty where there is no such file.
    pub networks: Vec<Network>,
    /// How to attach.
    pub attach: Attach,
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

/// Loopback ports of our transparent listeners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ports(pub(super) [u16; 8]);

impl Ports {
    /// Sets the port of a listener; `dns`: it is the resolver's. A datapath without one lets
    /// such packets pass.
    #[must_use]
    pub fn with(mut self, proto: Proto, family: Family, dns: bool, port: u16) -> Self {
        self.0[kind(proto, family) + if dns { abi::PORT_DNS } else { 0 }] = port;
        self
    }

    /// Takes over the ports of a family.
    fn add(&mut self, other: &Self, family: Family) {
        for proto in [Proto::Tcp, Proto::Udp] {
            for at in [kind(proto, family), kind(proto, family) + abi::PORT_DNS] {
                self.0[at] = other.0[at];
            }
        }
    }

    fn has(&self, family: Family) -> bool {
        [Proto::Tcp, Proto::Udp].into_iter().any(|proto| {
            let at = kind(proto, family);
            self.0[at] != 0 || self.0[at + abi::PORT_DNS] != 0
        })
    }
}

/// A flow, as the kernel's cache knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The client.
    pub src: SocketAddr,
    /// Where it wants to go.
    pub dst: SocketAddr,
    /// Transport.
    pub proto: Proto,
}

/// What the kernel decided about a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowEntry {
    /// The rule; none: the default, or no rule was asked.
    pub rule: Option<u16>,
    /// The verdict.
    pub verdict: Verdict,
}

/// A device with our program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedDevice {
    /// Name.
    pub name: String,
    /// Index of the interface in the configuration.
    pub interface: u16,
    /// How the program hangs there.
    pub hook: HookKind,
}

/// How a program hangs on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// A TCX link.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}

impl std::fmt::Display for HookKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// What the program saw since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters(Vec<Counter>);

impl Counters {
    /// What a rule decided.
    pub fn rule(&self, rule: u16) -> Counter {
        self.0.get(usize::from(rule)).copied().unwrap_or_default()
    }

    /// What no rule decided, by fate.
    pub fn fate(&self, fate: Count) -> Counter {
        self.0.get(fate as usize).copied().unwrap_or_default()
    }
}

/// The program on the LAN devices. Dropping it undoes everything as [`Self::stop`] does, but
/// says nothing.
#[derive(Debug)]
pub struct Datapath {
    // Before `object`: a link must not outlive its program in our books.
    attached: Vec<Attached>,
    object: Object,
    config: DatapathConfig,
    client: Client,
    monitor: Monitor,
    journal: Journal,
    own: BTreeSet<IpAddr>,
    stopped: bool,
    // Last: free only when everything is undone.
    _claim: Claim,
}

#[derive(Debug)]
struct Attached {
    device: Device,
    interface: u16,
    hook: Hook,
}

impl Attached {
    fn public(&self) -> AttachedDevice {
        AttachedDevice {
            name: self.device.name.clone(),
            interface: self.interface,
            hook: match self.hook {
                Hook::Tcx(_) => HookKind::Tcx,
                Hook::Clsact => HookKind::Clsact,
            },
        }
    }
}

impl Datapath {
    /// Cleans what a dead instance left, loads the program, fills its maps, makes the route
    /// and attaches to every device that exists. A device that does not exist yet is attached
    /// to when it appears. An error when another instance has a datapath in this network
    /// namespace.
    pub fn start(image: &Image, config: DatapathConfig) -> Result<Self> {
        let claim = Claim::take()?;
        let mut client = Client::open().context(|| "open a netlink socket")?;
        // Before the first list, so that nothing that changes meanwhile is missed.
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        let monitor = Monitor::open(groups).context(|| "listen to netlink")?;
        let mut journal = Journal::open(&config.run_dir)?;
        for error in clean(&mut client, &mut journal) {
            log::warn!(event = "kernel.clean", reason:% = error; "");
        }
        sysctl::enable_jit(Path::new(SYSCTLS), &mut journal)?;
        let object = match Object::load(image, &config) {
            Ok(object) => object,
            Err(error) => {
                clean(&mut client, &mut journal);
                return Err(error);
            }
        };
        // From here on, dropping it undoes what was done.
        let mut datapath = Self {
            attached: Vec::new(),
            object,
            config,
            client,
            monitor,
            journal,
            own: BTreeSet::new(),
            stopped: false,
            _claim: claim,
        };
        datapath.refresh_addresses()?;
        datapath.refresh_routes()?;
        datapath.refresh_devices()?;
        for name in datapath.missing() {
            log::warn!(event = "kernel.no_device", device = name; "it is attached to when it appears");
        }
        Ok(datapath)
    }

    /// Wait for this to be readable, then call [`Self::on_readable`].
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }

    /// Devices or addresses have changed: attaches to devices that appeared, learns the
    /// router's own addresses, sees to the routes. Does all it can, and returns the first error.
    pub fn on_readable(&mut self) -> Result<()> {
        if !self.monitor.drain().context(|| "listen to netlink")? {
            return Ok(());
        }
        let addresses = self.refresh_addresses();
        let routes = self.refresh_routes();
        addresses.and(routes).and(self.refresh_devices())
    }

    /// What the kernel decided about a flow, if it still knows.
    pub fn flow(&self, key: &FlowKey) -> Option<FlowEntry> {
        let value = self.object.flow(&flow_key(key))?;
        Some(FlowEntry {
            rule: (u32::from(value.counter) < abi::RULES).then_some(value.counter),
            verdict: Verdict {
                action: match value.action {
                    abi::BLOCK => Action::Block,
                    abi::PROXY => Action::Proxy,
                    _ => Action::Direct,
                },
                outbound: value.outbound,
                mark: value.mark,
            },
        })
    }

    /// Carries changes of the learnt names into the kernel, in their order. Goes on after an
    /// error, and returns the first: that name is not known then, and nothing else is harmed.
    pub fn apply(&mut self, updates: &[NameUpdate]) -> Result<()> {
        let mut first = Ok(());
        for update in updates {
            let applied = match *update {
                NameUpdate::Vector { index, vector } => self.object.set_vector(index, vector),
                NameUpdate::Set { addr, vector } => self.object.set_name(addr, Some(vector)),
                NameUpdate::Remove { addr } => self.object.set_name(addr, None),
            };
            first = first.and(applied);
        }
        first
    }

    /// Packets and bytes so far.
    pub fn counters(&self) -> Result<Counters> {
        Ok(Counters(self.object.counters()?))
    }

    /// To be called every 60 s: a UDP flow unused for two such periods is decided anew.
    pub fn advance_epoch(&mut self) -> Result<()> {
        self.object.advance_epoch()
    }

    /// Devices with our program.
    pub fn devices(&self) -> impl Iterator<Item = AttachedDevice> + '_ {
        self.attached.iter().map(Attached::public)
    }

    /// Interfaces of the configuration that have no device with our program.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let interfaces = (0..).zip(&self.config.interfaces);
        interfaces
            .filter(|(index, _)| self.attached.iter().all(|it| it.interface != *index))
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
        self.attached.clear();
        clean(&mut self.client, &mut self.journal)
    }

    fn refresh_addresses(&mut self) -> Result<()> {
        let mut own = addresses::own(&mut self.client).context(|| "list addresses")?;
        if own.len() > MAX_OWN as usize {
            log::warn!(event = "kernel.addresses_full", count = own.len(), bound = MAX_OWN; "");
            own = own.into_iter().take(MAX_OWN as usize).collect();
        }
        for gone in self.own.difference(&own) {
            self.object.set_own(*gone, false)?;
        }
        for new in own.difference(&self.own) {
            self.object.set_own(*new, true)?;
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
        first.and(self.object.set_ports(reachable.0))
    }

    fn refresh_devices(&mut self) -> Result<()> {
        let existing = devices::list(&mut self.client).context(|| "list devices")?;
        let lives = |attached: &Attached| {
            let index = attached.device.index;
            existing.iter().any(|device| device.index == index)
        };
        for gone in self.attached.extract_if(.., |attached| !lives(attached)) {
            let device = &gone.device;
            log::info!(event = "kernel.device_gone", device:% = device.name; "");
            self.object.set_interface(device.index, None)?;
            self.journal
                .state
                .devices
                .retain(|it| it.index != device.index);
        }
        let mut first = Ok(());
        let interfaces = self.config.interfaces.clone();
        for (interface, name) in (0..).zip(&interfaces) {
            for name in devices::names(name, &existing, &self.config.networks) {
                let Some(device) = existing.iter().find(|device| device.name == name) else {
                    log::debug!(event = "kernel.device_missing", device:% = name; "");
                    continue;
                };
                if self
                    .attached
                    .iter()
                    .all(|it| it.device.index != device.index)
                {
                    // One device that refuses us must not keep us from the others.
                    first = first.and(self.attach(device.clone(), interface));
                }
            }
        }
        first
    }

    fn attach(&mut self, device: Device, interface: u16) -> Result<()> {
        let program = match device.head() {
            Some(Head::Ether) => PROGRAM_ETHER,
            Some(Head::Ip) => PROGRAM_IP,
            None => {
                return Err(Error::Bpf {
                    what: format!("attach to {}", device.name),
                    reason: format!(
                        "its packets begin with neither Ethernet nor IP (hardware type {})",
                        device.kind
                    ),
                });
            }
        };
        self.object.set_interface(device.index, Some(interface))?;
        let program = self.object.program(program)?;
        let journal = &mut self.journal;
        journal.state.device(&device.name, device.index);
        journal.save()?;
        let hook = attach::attach(
            &mut self.client,
            program,
            (&device.name, device.index),
            self.config.attach,
            || {
                journal.state.device(&device.name, device.index).made_qdisc = true;
                journal.save()
            },
        )?;
        let attached = Attached {
            device,
            interface,
            hook,
        };
        let AttachedDevice { name, hook, .. } = attached.public();
        log::info!(event = "kernel.attached", device:% = name, hook:% = hook; "");
        self.attached.push(attached);
        Ok(())
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        self.undo();
    }
}

/// Undoes what a dead instance left, for a process that makes no datapath of its own. Nothing
/// happens while another instance has one in this network namespace.
pub fn clean_dead(run_dir: &Path) -> Vec<Error> {
    let Ok(_claim) = Claim::take() else {
        return Vec::new();
    };
    let opened = Client::open().context(|| "open a netlink socket");
    match opened.and_then(|client| Ok((client, Journal::open(run_dir)?))) {
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
        note(attach::detach_clsact(client, &device.name, device.index));
        if device.made_qdisc {
            note(attach::remove_qdisc(client, &device.name, device.index));
        }
    }
    note(links::remove(client));
    note(sysctl::restore(Path::new(SYSCTLS), journal));
    // What could not be undone stays written down, for the next start to try again.
    if errors.is_empty() {
        errors.extend(journal.remove().err());
    }
    errors
}

fn flow_key(key: &FlowKey) -> abi::FlowKeyValue {
    abi::FlowKeyValue {
        src: key.src.ip().into(),
        dst: key.dst.ip().into(),
        src_port: key.src.port().to_be_bytes(),
        dst_port: key.dst.port().to_be_bytes(),
        proto: match key.proto {
            Proto::Tcp => libc::IPPROTO_TCP as u8,
            Proto::Udp => libc::IPPROTO_UDP as u8,
        },
        pad: [0; 3],
    }
}
