//! What `dae doctor` has seen of a router, as data. Pure.

use serde_json::Value;

use crate::kernel::{HookKind, Seen};

/// What was seen. What could not be found out is None, or says why.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Path of the configuration.
    pub file: String,
    /// What of it matters here; else its first problem and how many there are.
    pub config: Result<Settings, (String, usize)>,
    /// Whether a link of the init script starts it at boot; None where there is no init script.
    pub at_boot: Option<bool>,
    /// Whether a daemon answers.
    pub daemon: Daemon,
    /// What came of loading the program, for want of a daemon that has it.
    pub trial: Option<Tried>,
    /// `/proc/sys/net/core/bpf_jit_enable`; None without a compiler.
    pub jit: Option<String>,
    /// What installs packages here: `apk add`, say.
    pub install: &'static str,
    /// Modules that the older way to hang a program needs and that are nowhere.
    pub modules_missing: Vec<String>,
    /// What of ours is in the kernel.
    pub seen: Result<Seen, String>,
    /// Names of the devices that each interface of the configuration means.
    pub devices: Vec<(String, Vec<String>)>,
    /// Whether the kernel forwards IPv4.
    pub forwards: Option<bool>,
    /// Whether IPv6 is there, and not switched off.
    pub ipv6: bool,
    /// The firewall's input chain; None where there is no fw4.
    pub input_chain: Option<String>,
    /// The local listeners, and what became of a question to each.
    pub listeners: Vec<(String, Heard)>,
    /// Rows of the DNS upstreams as they were before each was asked something; null where that
    /// could not be.
    pub before: Value,
    /// Seconds since 1970.
    pub time: u64,
    /// Free kB of memory.
    pub memory: Option<u64>,
    /// Folders and their free kB.
    pub space: Vec<(String, u64)>,
    /// Services here that catch the same packets.
    pub rivals: Vec<&'static str>,
}

/// Milliseconds and the response code of an answer, or why there was none.
pub type Heard = Result<(u64, u8), String>;

/// Of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `option enabled`.
    pub enabled: bool,
    /// `option enabled` of section dns.
    pub dns: bool,
}

/// Whether a daemon answers.
#[derive(Debug, Clone, Default)]
pub enum Daemon {
    /// There is no socket of one.
    #[default]
    Absent,
    /// There is a socket, and nobody behind it.
    Dead,
    /// We may not ask.
    Forbidden,
    /// There was no answer: why.
    Silent(String),
    /// Its status document, after the upstreams were asked.
    Alive(Box<Value>),
}

/// What came of loading the program.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Milliseconds, or why not.
    pub loaded: Result<u64, String>,
    /// How it hung on a device, or why not; None: that could not be tried.
    pub hung: Option<Result<HookKind, String>>,
}
