//! The BPF object: loaded, its maps sized and filled. I/O: the `bpf` system call.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use super::abi::{self, Addr, Counter, Settings};
use super::fill::Tries;
use super::{DatapathConfig, fail, fill};
use crate::error::Result;
use crate::rules::Bits;
use crate::rules::image::Image;

/// The compiled object, see build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dae.o"));

/// Program for devices with an Ethernet header.
pub const PROGRAM_ETHER: &str = "dae_eth";

/// Program for devices whose packets begin with the IP header.
pub const PROGRAM_IP: &str = "dae_ip";

/// Bound of the router's own addresses.
pub const MAX_OWN: u32 = 4096;

/// Elements set by one system call.
const BATCH: usize = 4096;

/// Bound of the devices that rules can tell apart.
const MAX_DEVICES: u32 = 256;

/// A loaded object. Dropping it unloads programs and maps, and detaches TCX links.
#[derive(Debug)]
pub struct Object {
    ebpf: Ebpf,
    settings: Settings,
    interfaces: Vec<u16>,
}

impl Object {
    /// Creates the maps and fills them from `image`.
    pub fn load(image: &Image, config: &DatapathConfig) -> Result<Self> {
        allow_locked_memory();
        probe()?;
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
            .map_err(|error| explain(&error))?;
        let mut object = Self {
            ebpf,
            settings: fill::settings(image, config),
            interfaces: image.interfaces.clone(),
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

    /// Tells the rules which interface of the configuration a device is.
    pub fn set_interface(&mut self, ifindex: u32, interface: Option<u16>) -> Result<()> {
        let index = interface.and_then(|at| self.interfaces.get(usize::from(at)).copied());
        let mut map = self.hash::<u32, u32>("interfaces")?;
        match index {
            Some(index) => map.insert(ifindex, u32::from(index), 0),
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
            after => map.insert(key, after, 0),
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
        let Some(Map::Array(map)) = self.ebpf.map(name) else {
            return Err(missing(name));
        };
        if map.info().map_err(|error| fail(name, &error))?.value_size() as usize != size_of::<V>() {
            return Err(missing(name));
        }
        let fd = map.fd().as_fd();
        let mut first = 0;
        for values in values.chunks(BATCH) {
            let keys: Vec<u32> = (first..).take(values.len()).collect();
            update_batch(fd, &keys, values).map_err(|error| fail(name, &error))?;
            first += values.len() as u32;
        }
        Ok(())
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

/// BPF_MAP_UPDATE_BATCH (kernel 5.6), which aya does not have.
fn update_batch<V: aya::Pod>(map: BorrowedFd<'_>, keys: &[u32], values: &[V]) -> io::Result<()> {
    const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
    /// The `batch` part of `union bpf_attr`, include/uapi/linux/bpf.h.
    #[repr(C)]
    struct Attributes {
        in_batch: u64,
        out_batch: u64,
        keys: u64,
        values: u64,
        count: u32,
        map: RawFd,
        element_flags: u64,
        flags: u64,
    }
    let attributes = Attributes {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len().min(values.len()) as u32,
        map: map.as_raw_fd(),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys of four bytes and values of the map's value size,
    // which the caller has compared with that of V, from slices that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_UPDATE_BATCH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
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

/// Kernels before 5.11 count maps as locked memory, of which a process may have 64 kB.
fn allow_locked_memory() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the kernel reads `limit`, which lives for the call. A refusal shows when the
    // maps are created, with its reason.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

const NOT_ALLOWED: &str = "not allowed; run as root, or with CAP_BPF and CAP_NET_ADMIN";

/// Newer kernels refuse only when the first map is created.
fn explain(error: &(dyn std::error::Error + 'static)) -> crate::Error {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::PermissionDenied
        {
            return crate::Error::Bpf {
                what: "load".into(),
                reason: NOT_ALLOWED.into(),
            };
        }
        cause = error.source();
    }
    fail("load", error)
}

/// Says plainly what a kernel without BPF, or a user without rights, will not do.
fn probe() -> Result<()> {
    const NO_SUCH_COMMAND: libc::c_int = -1;
    // SAFETY: the kernel refuses the command before it would read the attributes; none given.
    unsafe { libc::syscall(libc::SYS_bpf, NO_SUCH_COMMAND, 0usize, 0usize) };
    let reason = match io::Error::last_os_error().raw_os_error() {
        Some(libc::ENOSYS) => "the kernel was built without BPF_SYSCALL; use one that has it",
        Some(libc::EPERM) => NOT_ALLOWED,
        _ => return Ok(()),
    };
    Err(crate::Error::Bpf {
        what: "load".into(),
        reason: reason.into(),
    })
}
