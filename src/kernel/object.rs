//! The BPF object: loaded, its maps sized and filled. I/O: the `bpf` system call.

use std::io;
use std::net::IpAddr;

use aya::maps::lpm_trie::Key;
use aya::maps::{Array, HashMap, LpmTrie, MapData, MapError, PerCpuArray};
use aya::programs::SchedClassifier;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};

use super::abi::{self, Addr, Counter, Settings};
use super::{DatapathConfig, fail};
use crate::error::Result;
use crate::net::{DELIVER_MARK, OWN_MARK};
use crate::rules::image::{AddressTable, Image, PortTable};
use crate::rules::{Action, Bits, Verdict};

/// The compiled object, see build.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/dae.o"));

/// Program for devices with an Ethernet header.
pub const PROGRAM_ETHER: &str = "dae_eth";

/// Program for devices whose packets begin with the IP header.
pub const PROGRAM_IP: &str = "dae_ip";

/// Bound of the router's own addresses.
pub const MAX_LOCAL: u32 = 4096;

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
        let at_least_one = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let ebpf = EbpfLoader::new()
            .btf(None)
            .verifier_log_level(VerifierLogLevel::DISABLE)
            .map_max_entries("src4", at_least_one(image.src.v4.len()))
            .map_max_entries("src6", at_least_one(image.src.v6.len()))
            .map_max_entries("dst4", at_least_one(image.dst.v4.len()))
            .map_max_entries("dst6", at_least_one(image.dst.v6.len()))
            .map_max_entries("macs", at_least_one(image.macs.len()))
            .map_max_entries("names", config.max_names.max(1))
            .map_max_entries("local", MAX_LOCAL)
            .map_max_entries("interfaces", MAX_DEVICES)
            .map_max_entries("flows", config.max_flows.max(1))
            .load(OBJECT)
            .map_err(|error| explain(&error))?;
        let mut object = Self {
            ebpf,
            settings: settings(image, config),
            interfaces: image.interfaces.clone(),
        };
        object.fill(image)?;
        object.set_settings()?;
        Ok(object)
    }

    fn fill(&mut self, image: &Image) -> Result<()> {
        let mut vectors = self.array::<abi::Vector>("vectors")?;
        for (index, bits) in (0..).zip(&image.vectors) {
            set(&mut vectors, index, vector(*bits)).map_err(|error| fail("vectors", &error))?;
        }
        let mut verdicts = self.array::<abi::VerdictValue>("verdicts")?;
        let all = (0..)
            .zip(&image.verdicts)
            .chain([(abi::RULES, &image.default)]);
        for (rule, verdict) in all {
            set(&mut verdicts, rule, verdict_value(verdict))
                .map_err(|error| fail("verdicts", &error))?;
        }
        self.fill_ports("src_ports", &image.src_ports)?;
        self.fill_ports("dst_ports", &image.dst_ports)?;
        self.fill_addresses("src4", "src6", &image.src)?;
        self.fill_addresses("dst4", "dst6", &image.dst)?;
        let mut macs = self.hash::<abi::MacKey, u32>("macs")?;
        for (mac, index) in &image.macs {
            let key = abi::MacKey {
                addr: mac.0,
                pad: [0; 2],
            };
            macs.insert(key, u32::from(*index), 0)
                .map_err(|error| fail("macs", &error))?;
        }
        Ok(())
    }

    fn fill_ports(&mut self, name: &str, table: &PortTable) -> Result<()> {
        let mut map = self.array::<abi::Ports>(name)?;
        let mut vectors = table.iter();
        for index in 0..65_536 / 4 {
            let mut ports = abi::Ports::default();
            for vector in &mut ports.vector {
                *vector = vectors.next().unwrap_or_default();
            }
            // A new array is zero.
            if ports != abi::Ports::default() {
                set(&mut map, index, ports).map_err(|error| fail(name, &error))?;
            }
        }
        Ok(())
    }

    fn fill_addresses(&mut self, v4: &str, v6: &str, table: &AddressTable) -> Result<()> {
        let mut trie = self.trie::<abi::Net4>(v4)?;
        for (addr, len, index) in table.nets4() {
            trie.insert(&Key::new(len.into(), addr.octets()), u32::from(index), 0)
                .map_err(|error| fail(v4, &error))?;
        }
        let mut trie = self.trie::<abi::Net6>(v6)?;
        for (addr, len, index) in table.nets6() {
            trie.insert(&Key::new(len.into(), addr.octets()), u32::from(index), 0)
                .map_err(|error| fail(v6, &error))?;
        }
        Ok(())
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
    pub fn set_local(&mut self, addr: IpAddr, present: bool) -> Result<()> {
        let mut map = self.hash::<Addr, u32>("local")?;
        if present {
            map.insert(Addr::from(addr), 0, 0)
        } else {
            absent_is_fine(map.remove(&addr.into()))
        }
        .map_err(|error| fail("local", &error))
    }

    /// Sets the names' vector of an address; `None`: it has no names.
    pub fn set_name(&mut self, addr: IpAddr, index: Option<u16>) -> Result<()> {
        let mut map = self.hash::<Addr, u32>("names")?;
        match index {
            Some(index) => map.insert(Addr::from(addr), u32::from(index), 0),
            None => absent_is_fine(map.remove(&addr.into())),
        }
        .map_err(|error| fail("names", &error))
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

    fn array<V: aya::Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, V>> {
        let map = self.ebpf.map_mut(name).ok_or_else(|| missing(name))?;
        map.try_into().map_err(|error: MapError| fail(name, &error))
    }

    fn hash<K: aya::Pod, V: aya::Pod>(
        &mut self,
        name: &str,
    ) -> Result<HashMap<&mut MapData, K, V>> {
        let map = self.ebpf.map_mut(name).ok_or_else(|| missing(name))?;
        map.try_into().map_err(|error: MapError| fail(name, &error))
    }

    fn trie<K: aya::Pod>(&mut self, name: &str) -> Result<LpmTrie<&mut MapData, K, u32>> {
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

fn vector(bits: Bits) -> abi::Vector {
    abi::Vector { word: bits.0 }
}

fn verdict_value(verdict: &Verdict) -> abi::VerdictValue {
    abi::VerdictValue {
        mark: verdict.mark,
        outbound: verdict.outbound,
        action: match verdict.action {
            Action::Direct => abi::DIRECT,
            Action::Block => abi::BLOCK,
            Action::Proxy => abi::PROXY,
        },
        pad: 0,
    }
}

fn settings(image: &Image, config: &DatapathConfig) -> Settings {
    let mut miss = [0; 8];
    miss[abi::MISS_SRC] = image.src.miss;
    miss[abi::MISS_DST] = image.dst.miss;
    miss[abi::MISS_NAME] = image.name_miss;
    miss[abi::MISS_MAC] = image.mac_miss;
    miss[abi::MISS_INTERFACE] = image.interface_miss;
    Settings {
        epoch: 0,
        deliver_mark: DELIVER_MARK,
        own_mark: OWN_MARK,
        dns: config.dns.into(),
        port: config.ports.0,
        miss,
        kind: image.kinds,
        dscp: image.dscp,
    }
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
