//! The BPF object: loaded, its maps sized and filled. I/O: the `bpf` system call.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use super::abi::{self, Addr, Counter, FlowKeyValue, FlowValue, Settings};
use super::fill::Tries;
use super::syscall::{self, patiently};
use super::{DatapathConfig, fail, fill, rights};
use crate::error::Result;
use crate::rules::Bits;
use crate::rules::image::Image;
use crate::rules::names::NameUpdate;

/// The compiled object, see build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dae.o"));

/// Program for devices with an Ethernet header.
pub const PROGRAM_ETHER: &str = "dae_eth";

/// Program for devices whose packets begin with the IP header.
pub const PROGRAM_IP: &str = "dae_ip";

/// Bound of the router's own addresses.
pub const MAX_OWN: u32 = 4096;

/// Bound of the devices that rules can tell apart.
const MAX_DEVICES: u32 = 256;

/// A loaded object. Dropping it unloads programs and maps, and detaches TCX links.
#[derive(Debug)]
pub struct Object {
    ebpf: Ebpf,
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
        let ebpf = EbpfLoader::new()
            .btf(None)
            .verifier_log_level(VerifierLogLevel::DISABLE)
            .map_max_entries("src4", at_least_one(tries.src.len()))
            .map_max_entries("src6", at_least_one(image.src.v6.len()))
            .map_max_entries("dst4", at_least_one(tries.dst.len()))
            .map_max_entries("dst6", at_least_one(image.dst.v6.len()))
            .map_max_entries("macs", at_least_one(image.macs.len()))
            .map_max_entries("hosts", config.max_names.saturating_add(MAX_OWN))
            .map_max_entries("interfaces", MAX_DEVICES)
            .map_max_entries("flows", config.max_flows.max(1))
            .load(OBJECT)
            .map_err(|error| rights::explain(&error))?;
        let mut object = Self {
            ebpf,
            settings: fill::settings(image, config),
            interfaces: image.interfaces.clone(),
            max_flows: config.max_flows.max(1),
        };
        fill::fill(&mut object, image, &tries)?;
        object.set_settings()?;
        Ok(object)
    }

    /// The program for a device, verified on first use.
    pub fn program(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(name).ok_or_else(|| missing(name))?;
        let program: &mut SchedClassifier =
            program.try_into().map_err(|error| fail(name, &error))?;
        if program.fd().is_err() {
            program.load().map_err(|error| fail(name, &error))?;
        }
        Ok(program)
    }

    /// The descriptor of a program, for whoever hangs it somewhere.
    pub(super) fn program_fd(&mut self, name: &str) -> Result<BorrowedFd<'_>> {
        let program = self.program(name)?;
        let fd = program.fd().map_err(|error| fail(name, &error))?;
        Ok(fd.as_fd())
    }

    /// Goes on with the listeners and the time of another object.
    pub(super) fn inherit(&mut self, old: &Self) -> Result<()> {
        self.settings.epoch = old.settings.epoch;
        self.settings.port = old.settings.port;
        self.set_settings()
    }

    /// Tells the rules which interface of the configuration a device is.
    pub fn set_interface(&mut self, ifindex: u32, interface: Option<u16>) -> Result<()> {
        let index = interface.and_then(|at| self.interfaces.get(usize::from(at)).copied());
        let mut map = self.hash::<u32, u32>("interfaces")?;
        match index {
            Some(index) => patiently(|| map.insert(ifindex, u32::from(index), 0)),
            None => absent_is_fine(map.remove(&ifindex)),
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
        let mut hosts = std::collections::BTreeMap::new();
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
        let mut map = self.hash::<Addr, u32>("hosts")?;
        let before = match map.get(&key, 0) {
            Ok(value) => value,
            Err(MapError::KeyNotFound) => NOTHING,
            Err(error) => return Err(fail("hosts", &error)),
        };
        match change(before) {
            NOTHING => absent_is_fine(map.remove(&key)),
            after => patiently(|| map.insert(key, after, 0)),
        }
        .map_err(|error| fail("hosts", &error))
    }

    /// Sets a vector, before anything names it.
    pub fn set_vector(&mut self, index: u16, bits: Bits) -> Result<()> {
        let mut vectors = self.array("vectors")?;
        set(&mut vectors, index.into(), vector(bits)).map_err(|error| fail("vectors", &error))
    }

    /// The flow cache's entry.
    pub fn flow(&self, key: &abi::FlowKeyValue) -> Option<abi::FlowValue> {
        let map = self.ebpf.map("flows")?;
        let map: HashMap<&MapData, abi::FlowKeyValue, abi::FlowValue> = map.try_into().ok()?;
        map.get(key, 0).ok()
    }

    /// Puts entries of the flow cache into that of another object, as `each` wants them.
    pub(super) fn copy_flows(
        &self,
        to: &mut Self,
        mut each: impl FnMut(&FlowKeyValue, &FlowValue) -> Option<FlowValue>,
    ) -> Result<()> {
        let from = self.sized::<FlowKeyValue, FlowValue>("flows")?;
        let into = to.sized::<FlowKeyValue, FlowValue>("flows")?;
        let most = self.max_flows as usize;
        let copied = syscall::elements(from, most, |keys, values| {
            let pairs = keys.iter().zip(values);
            let kept = pairs.filter_map(|(key, value)| Some((*key, each(key, value)?)));
            let (keys, values): (Vec<_>, Vec<_>) = kept.unzip();
            syscall::update(into, &keys, &values)
        });
        copied.map_err(|error| fail("flows", &error))
    }

    /// Forgets a flow.
    pub fn remove_flow(&mut self, key: &abi::FlowKeyValue) -> Result<()> {
        absent_is_fine(self.hash::<_, abi::FlowValue>("flows")?.remove(key))
            .map_err(|error| fail("flows", &error))
    }

    /// All counters, summed over CPUs, by index.
    pub fn counters(&self) -> Result<Vec<Counter>> {
        let map = self
            .ebpf
            .map("counters")
            .ok_or_else(|| missing("counters"))?;
        let map: PerCpuArray<&MapData, Counter> =
            map.try_into().map_err(|error| fail("counters", &error))?;
        map.iter()
            .map(|cpus| {
                let cpus = cpus.map_err(|error| fail("counters", &error))?;
                Ok(cpus.iter().fold(Counter::default(), |sum, cpu| Counter {
                    packets: sum.packets + cpu.packets,
                    bytes: sum.bytes + cpu.bytes,
                }))
            })
            .collect()
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
        let settings = self.settings;
        set(&mut self.array("settings")?, 0, settings).map_err(|error| fail("settings", &error))
    }

    /// Sets the first elements of an array, many per system call.
    pub(super) fn set_all<V: aya::Pod>(&mut self, name: &str, values: &[V]) -> Result<()> {
        let keys: Vec<u32> = (0..).take(values.len()).collect();
        self.set_many(name, &keys, values)
    }

    pub(super) fn set_many<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
        keys: &[K],
        values: &[V],
    ) -> Result<()> {
        let map = self.sized::<K, V>(name)?;
        syscall::update(map, keys, values).map_err(|error| fail(name, &error))
    }

    /// A map whose keys and values have the sizes of K and V.
    fn sized<K: aya::Pod, V: aya::Pod>(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let (Some(Map::Array(map)) | Some(Map::HashMap(map)) | Some(Map::LruHashMap(map))) =
            self.ebpf.map(name)
        else {
            return Err(missing(name));
        };
        let info = map.info().map_err(|error| fail(name, &error))?;
        if (info.key_size() as usize, info.value_size() as usize)
            != (size_of::<K>(), size_of::<V>())
        {
            return Err(missing(name));
        }
        Ok(map.fd().as_fd())
    }

    fn array<V: aya::Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        let map = self.ebpf.map_mut(name).ok_or_else(|| missing(name))?;
        map.try_into().map_err(|error: MapError| fail(name, &error))
    }

    pub(super) fn hash<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.ebpf.map_mut(name).ok_or_else(|| missing(name))?;
        map.try_into().map_err(|error: MapError| fail(name, &error))
    }

    pub(super) fn trie<K: aya::Pod>(
        &mut self,
        name: &str,
    ) -> Result<LpmTrie<&mut MapData, K, u32>> {
        let map = self.ebpf.map_mut(name).ok_or_else(|| missing(name))?;
        map.try_into().map_err(|error: MapError| fail(name, &error))
    }
}

fn set<V: aya::Pod>(
    array: &mut Array<&mut MapData, V>,
    index: u32,
    value: V,
) -> Result<(), MapError> {
    array.set(index, value, 0)
}

fn absent_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
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
