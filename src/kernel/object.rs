//! The BPF object: loaded, its maps sized and filled. I/O: the `bpf` system call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use super::abi::{self, Addr, Counter, FlowKeyValue, FlowValue, Pod, Settings};
use super::fill::Tries;
use super::map::{Map, possible_cpus};
use super::{DatapathConfig, code, fail, fill, rights, syscall};
use crate::error::Result;
use crate::rules::Bits;
use crate::rules::image::Image;
use crate::rules::names::NameUpdate;

/// Program for devices with an Ethernet header.
pub const PROGRAM_ETHER: &str = "dae_eth";

/// Program for devices whose packets begin with the IP header.
pub const PROGRAM_IP: &str = "dae_ip";

/// Bound of the router's own addresses.
pub const MAX_OWN: u32 = 4096;

/// CPUs that the kernel may ever see, each of which has its counters.
const POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// Bound of the devices that rules can tell apart.
const MAX_DEVICES: u32 = 256;

/// A loaded object. Dropping it unloads programs and maps, and detaches TCX links.
#[derive(Debug)]
pub struct Object {
    /// As in [`code::MAPS`].
    maps: Vec<OwnedFd>,
    /// As in [`code::PROGRAMS`], those that somebody wanted.
    programs: [Option<OwnedFd>; 2],
    settings: Settings,
    interfaces: Vec<u16>,
    max_flows: u32,
}

impl Object {
    /// Creates the maps and fills them from `image`; the flow cache, the learnt names and the
    /// router's own addresses are for others to fill. May be done by any thread.
    pub fn load(image: &Image, config: &DatapathConfig) -> Result<Self> {
        rights::allow_locked_memory();
        rights::probe()?;
        let tries = Tries::new(image);
        let at_least_one = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let entries = |map: &code::MapSpec| match map.name {
            "src4" => at_least_one(tries.src.len()),
            "src6" => at_least_one(image.src.v6.len()),
            "dst4" => at_least_one(tries.dst.len()),
            "dst6" => at_least_one(image.dst.v6.len()),
            "macs" => at_least_one(image.macs.len()),
            "hosts" => config.max_names.saturating_add(MAX_OWN),
            "interfaces" => MAX_DEVICES,
            "flows" => config.max_flows.max(1),
            _ => map.entries,
        };
        let create = |map| {
            syscall::map_create(map, entries(map))
                .map_err(|error| rights::explain(map.name, &error))
        };
        let mut object = Self {
            maps: code::MAPS.iter().map(create).collect::<Result<_>>()?,
            programs: code::PROGRAMS.map(|_| None),
            settings: fill::settings(image, config),
            interfaces: image.interfaces.clone(),
            max_flows: config.max_flows.max(1),
        };
        fill::fill(&mut object, image, &tries)?;
        object.set_settings()?;
        Ok(object)
    }

    /// The program for a device, for whoever hangs it somewhere; verified on first use.
    pub fn program(&mut self, name: &str) -> Result<BorrowedFd<'_>> {
        let mut programs = code::PROGRAMS.iter().zip(&mut self.programs);
        let program = programs.find(|((known, _), _)| *known == name);
        let ((name, code), loaded) = program.ok_or_else(|| missing(name))?;
        let fd: &OwnedFd = match loaded {
            Some(fd) => fd,
            None => {
                let maps: Vec<_> = self.maps.iter().map(|map| map.as_raw_fd()).collect();
                let code = code::link(code, &maps).ok_or_else(|| missing(name))?;
                let fd = syscall::program_load(name, &code, code::LICENSE);
                loaded.insert(fd.map_err(|error| fail(name, &error))?)
            }
        };
        Ok(fd.as_fd())
    }

    /// Goes on with the listeners, the time and the kill switch of another object: whoever
    /// switches does so afterwards, if a hook can hold it.
    pub(super) fn inherit(&mut self, old: &Self) -> Result<()> {
        self.settings.closed = old.settings.closed;
        self.settings.epoch = old.settings.epoch;
        self.settings.port = old.settings.port;
        self.set_settings()
    }

    /// Tells the rules which interface of the configuration a device is.
    pub fn set_interface(&mut self, ifindex: u32, interface: Option<u16>) -> Result<()> {
        let index = interface.and_then(|at| self.interfaces.get(usize::from(at)).copied());
        let map = self.map::<u32, u32>("interfaces")?;
        match index {
            Some(index) => map.set(&ifindex, &u32::from(index)),
            None => map.remove(&ifindex),
        }
        .map_err(|error| fail("interfaces", &error))
    }

    /// Adds or removes one of the router's own addresses.
    pub fn set_own(&mut self, addr: IpAddr, own: bool) -> Result<()> {
        let flag = if own { abi::HOST_OWN } else { 0 };
        self.update_host(addr, |host| host & u32::from(u16::MAX) | flag)
    }

    /// Sets the names' vector of an address; `None`: it has no names.
    pub fn set_name(&mut self, addr: IpAddr, index: Option<u16>) -> Result<()> {
        let names = u32::from(index.unwrap_or(abi::HOST_NAMELESS));
        self.update_host(addr, |host| host & abi::HOST_OWN | names)
    }

    /// Tells a new object of all names and own addresses at once: `updates` write vectors and
    /// set entries.
    pub(super) fn set_hosts(
        &mut self,
        own: &BTreeSet<IpAddr>,
        updates: &[NameUpdate],
    ) -> Result<()> {
        let mut hosts = BTreeMap::new();
        for addr in own {
            let nameless = abi::HOST_OWN | u32::from(abi::HOST_NAMELESS);
            hosts.insert(Addr::from(*addr), nameless);
        }
        for update in updates {
            match *update {
                NameUpdate::Vector { index, vector } => self.set_vector(index, vector)?,
                NameUpdate::Set { addr, vector } => {
                    let own = u32::from(own.contains(&addr)) * abi::HOST_OWN;
                    hosts.insert(addr.into(), own | u32::from(vector));
                }
                NameUpdate::Remove { addr } => self.set_name(addr, None)?,
            }
        }
        let (keys, values): (Vec<Addr>, Vec<u32>) = hosts.into_iter().unzip();
        self.set_many("hosts", &keys, &values)
    }

    /// Changes what is known of an address; when that is nothing, it needs no entry.
    fn update_host(&mut self, addr: IpAddr, change: impl FnOnce(u32) -> u32) -> Result<()> {
        const NOTHING: u32 = abi::HOST_NAMELESS as u32;
        let key = Addr::from(addr);
        let map = self.map::<Addr, u32>("hosts")?;
        let before = map.get(&key).map_err(|error| fail("hosts", &error))?;
        match change(before.unwrap_or(NOTHING)) {
            NOTHING => map.remove(&key),
            after => map.set(&key, &after),
        }
        .map_err(|error| fail("hosts", &error))
    }

    /// Sets a vector, before anything names it.
    pub fn set_vector(&mut self, index: u16, bits: Bits) -> Result<()> {
        let vectors = self.map::<u32, _>("vectors")?;
        let set = vectors.set(&index.into(), &vector(bits));
        set.map_err(|error| fail("vectors", &error))
    }

    /// The flow cache's entry.
    pub fn flow(&self, key: &abi::FlowKeyValue) -> Option<abi::FlowValue> {
        self.map("flows").ok()?.get(key).ok()?
    }

    /// Puts entries of the flow cache into that of another object, as `each` wants them.
    pub(super) fn copy_flows(
        &self,
        to: &mut Self,
        mut each: impl FnMut(&FlowKeyValue, &FlowValue) -> Option<FlowValue>,
    ) -> Result<()> {
        let from = self.map::<FlowKeyValue, FlowValue>("flows")?;
        let into = to.map::<FlowKeyValue, FlowValue>("flows")?;
        let most = self.max_flows as usize;
        let copied = from.elements(most, |keys, values| {
            let pairs = keys.iter().zip(values);
            let kept = pairs.filter_map(|(key, value)| Some((*key, each(key, value)?)));
            let (keys, values): (Vec<_>, Vec<_>) = kept.unzip();
            into.set_many(&keys, &values)
        });
        copied.map_err(|error| fail("flows", &error))
    }

    /// Forgets a flow.
    pub fn remove_flow(&mut self, key: &abi::FlowKeyValue) -> Result<()> {
        let flows = self.map::<_, FlowValue>("flows")?;
        flows.remove(key).map_err(|error| fail("flows", &error))
    }

    /// All counters, summed over CPUs, by index.
    pub fn counters(&self) -> Result<Vec<Counter>> {
        let cpus = std::fs::read_to_string(POSSIBLE_CPUS)
            .and_then(|text| possible_cpus(&text).ok_or_else(|| io::ErrorKind::InvalidData.into()));
        let cpus = cpus.map_err(|error| fail(POSSIBLE_CPUS, &error))?;
        let map = self.map::<u32, Counter>("counters")?;
        let sum = |index| {
            let cpus = map.each_cpu(&index, cpus);
            let cpus = cpus.map_err(|error| fail("counters", &error))?;
            Ok(cpus.iter().fold(Counter::default(), |sum, cpu| Counter {
                packets: sum.packets + cpu.packets,
                bytes: sum.bytes + cpu.bytes,
            }))
        };
        (0..abi::COUNTERS).map(sum).collect()
    }

    /// Tells the ports of our listeners; 0: none, such packets pass.
    pub fn set_ports(&mut self, ports: [u16; 8]) -> Result<()> {
        if self.settings.port == ports {
            return Ok(());
        }
        self.settings.port = ports;
        self.set_settings()
    }

    /// Turns the kill switch on or off.
    pub fn set_closed(&mut self, closed: bool) -> Result<()> {
        self.settings.closed = closed.into();
        self.set_settings()
    }

    /// Makes UDP flows unused for two advances be decided anew.
    pub fn advance_epoch(&mut self) -> Result<()> {
        self.settings.epoch = self.settings.epoch.wrapping_add(1);
        self.set_settings()
    }

    fn set_settings(&mut self) -> Result<()> {
        let map = self.map::<u32, Settings>("settings")?;
        map.set(&0, &self.settings)
            .map_err(|error| fail("settings", &error))
    }

    /// Sets the first elements of an array, many per system call.
    pub(super) fn set_all<V: Pod>(&mut self, name: &str, values: &[V]) -> Result<()> {
        let keys: Vec<u32> = (0..).take(values.len()).collect();
        self.set_many(name, &keys, values)
    }

    pub(super) fn set_many<K: Pod, V: Pod>(
        &mut self,
        name: &str,
        keys: &[K],
        values: &[V],
    ) -> Result<()> {
        let map = self.map::<K, V>(name)?;
        map.set_many(keys, values)
            .map_err(|error| fail(name, &error))
    }

    pub(super) fn map<K: Pod, V: Pod>(&self, name: &str) -> Result<Map<'_, K, V>> {
        let mut maps = code::MAPS.iter().zip(&self.maps);
        let found = maps.find(|(spec, _)| spec.name == name);
        let map = found.and_then(|(spec, fd)| Map::new(spec, fd.as_fd()));
        map.ok_or_else(|| missing(name))
    }
}

fn missing(name: &str) -> crate::Error {
    crate::Error::Bpf {
        what: name.into(),
        reason: "not in the object".into(),
    }
}

pub(super) fn vector(bits: Bits) -> abi::Vector {
    abi::Vector { word: bits.0 }
}
