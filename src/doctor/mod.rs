//! `dae doctor`: looks at everything that has to be right, and says what to do. I/O: the kernel,
//! the daemon, files and a DNS question; nothing is changed, and nothing is left.
//!
//! [`facts`] is what was seen; [`judge`] says what is to be said of dae itself, [`refusal`] of
//! what the kernel would not do, [`outward`] of all else; [`page`] prints it.

pub mod facts;
pub mod judge;
#[cfg(test)]
mod judge_tests;
mod outward;
pub mod page;
mod refusal;
#[cfg(test)]
mod refusal_tests;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cli::Cli;
use crate::control::socket;
use crate::daemon::load::{self, Loaded};
use crate::daemon::networks;
use crate::error::Error;
use crate::kernel::{self, DatapathConfig, Ports, devices};
use facts::{Daemon, Facts, Settings, Tried};
use outward::{RIVALS, all_answered};
use page::Finding;

/// The daemon's upstreams have so long to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// They are looked at so often meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A local listener has so long.
const LISTENER: Duration = Duration::from_secs(3);

/// Looks, and judges.
pub fn examine(cli: &Cli) -> Vec<Finding> {
    judge::judge(&gather(cli))
}

fn gather(cli: &Cli) -> Facts {
    let loaded = load::quietly(&cli.config);
    let (daemon, before) = daemon(&cli.run_dir);
    let config = loaded.as_ref().ok().map(|loaded| &loaded.config);
    let has_datapath = matches!(&daemon, Daemon::Alive(status) if status["devices"].is_array());
    let seen = kernel::look(&cli.run_dir).map_err(|error| error.to_string());
    let networks = networks::read();
    let existing = seen
        .as_ref()
        .map(|it| it.devices.as_slice())
        .unwrap_or_default();
    let interfaces = config
        .map(|it| it.main.interfaces.as_slice())
        .unwrap_or_default();
    let devices = interfaces.iter().map(|name| {
        let means = devices::names(name, existing, &networks);
        (name.clone(), means)
    });
    let devices = devices.collect();
    let alive = matches!(daemon, Daemon::Alive(_));
    let listen = config
        .filter(|it| alive && it.dns.enabled)
        .map(|it| it.dns.listen.as_slice());
    let listeners = listen.unwrap_or_default().iter();
    let mut facts = Facts {
        file: cli.config.display().to_string(),
        config: loaded.as_ref().map(settings).map_err(Clone::clone),
        at_boot: service("dae")
            .exists()
            .then(|| Path::new("/etc/rc.d/S21dae").exists()),
        daemon,
        trial: None,
        jit: word("/proc/sys/net/core/bpf_jit_enable"),
        install: installer(),
        modules_missing: ["sch_ingress", "cls_bpf"]
            .into_iter()
            .filter(|name| !is_module_there(name))
            .map(Into::into)
            .collect(),
        seen,
        devices,
        forwards: word("/proc/sys/net/ipv4/ip_forward").map(|it| it != "0"),
        ipv6: word("/proc/sys/net/ipv6/conf/all/disable_ipv6").is_some_and(|it| it == "0"),
        input_chain: kernel::input_chain(),
        listeners: listeners
            .map(|addr| {
                (
                    addr.to_string(),
                    ask(*addr).map_err(|error| plainly(&error)),
                )
            })
            .collect(),
        before,
        time: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
        memory: free_memory(),
        space: [&cli.run_dir, &cli.state_dir]
            .into_iter()
            .filter_map(|folder| free_space(folder))
            .collect(),
        rivals: RIVALS
            .into_iter()
            .filter(|name| service(name).exists())
            .collect(),
    };
    if let Ok(loaded) = &loaded
        && !has_datapath
        && !loaded.config.main.interfaces.is_empty()
    {
        facts.trial = Some(try_out(loaded, &cli.run_dir));
    }
    facts
}

fn settings(loaded: &Loaded) -> Settings {
    let config = &loaded.config;
    Settings {
        enabled: config.main.enabled,
        dns: config.dns.enabled,
    }
}

/// What the daemon says after all upstreams were asked, and the rows of these before that.
fn daemon(run_dir: &Path) -> (Daemon, Value) {
    let upstreams = |status: &Value| status["dns"]["upstreams"].clone();
    let before = match socket::ask(run_dir, "status") {
        Ok(status) => upstreams(&status),
        Err(Error::Io { source, .. }) => {
            let daemon = match source.kind() {
                io::ErrorKind::NotFound => Daemon::Absent,
                io::ErrorKind::ConnectionRefused => Daemon::Dead,
                io::ErrorKind::PermissionDenied => Daemon::Forbidden,
                _ => Daemon::Silent(format!("does not answer: {}", plainly(&source))),
            };
            return (daemon, Value::Null);
        }
        Err(error) => return (Daemon::Silent(error.to_string()), Value::Null),
    };
    let asked = socket::ask(run_dir, "probe").is_ok_and(|it| it["ok"] == true);
    let before = if asked { before } else { Value::Null };
    let end = Instant::now() + PATIENCE;
    loop {
        let status = match socket::ask(run_dir, "status") {
            Ok(status) => status,
            Err(error) => return (Daemon::Silent(error.to_string()), before),
        };
        if all_answered(&upstreams(&status), &before) || Instant::now() >= end {
            return (Daemon::Alive(Box::new(status)), before);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// The last thing that is done: it ends in another network namespace.
fn try_out(loaded: &Loaded, run_dir: &Path) -> Tried {
    let main = &loaded.config.main;
    let config = DatapathConfig {
        interfaces: main.interfaces.clone(),
        networks: Vec::new(),
        attach: main.attach,
        kill_switch: main.kill_switch,
        max_flows: main.max_flows,
        max_names: main.max_names,
        dns: loaded.config.dns.enabled,
        ports: Ports::default(),
        run_dir: run_dir.into(),
    };
    let trial = kernel::try_out(&loaded.image, &config);
    let words = |error: Error| error.to_string();
    Tried {
        loaded: trial
            .loaded
            .map(|took| took.as_millis() as u64)
            .map_err(words),
        hung: trial.hung.map(|hung| hung.map_err(words)),
    }
}

/// Asks a listener of ours for what every upstream knows; milliseconds and the response code.
fn ask(mut server: SocketAddr) -> io::Result<(u64, u8)> {
    // SOA of the root: RFC 1035, 4.1.
    const QUERY: [u8; 17] = [0xda, 0xe0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1];
    let (any, loopback): (IpAddr, IpAddr) = match server.is_ipv4() {
        true => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::LOCALHOST.into()),
        false => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::LOCALHOST.into()),
    };
    if server.ip().is_unspecified() {
        server.set_ip(loopback);
    }
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(LISTENER))?;
    let began = Instant::now();
    socket.send(&QUERY)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    match answer.get(..length) {
        Some([0xda, 0xe0, _, code, ..]) => Ok((began.elapsed().as_millis() as u64, code & 15)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// A socket that has waited in vain speaks of a resource that is unavailable.
fn plainly(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it is silent".to_owned(),
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::InvalidData => "what comes back makes no sense".to_owned(),
        _ => error.to_string(),
    }
}

/// OpenWrt has apk from 25.12 on, and opkg before.
fn installer() -> &'static str {
    let has_apk = ["/usr/bin/apk", "/sbin/apk"]
        .iter()
        .any(|it| Path::new(it).exists());
    match has_apk {
        true => "apk update; apk add",
        false => "opkg update; opkg install",
    }
}

fn word(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// In use, built in, or to be had (OpenWrt has all files in one folder).
fn is_module_there(name: &str) -> bool {
    let release = word("/proc/sys/kernel/osrelease").unwrap_or_default();
    let folder = format!("/lib/modules/{release}");
    let built_in = word(&format!("{folder}/modules.builtin")).unwrap_or_default();
    Path::new("/sys/module").join(name).exists()
        || Path::new(&folder).join(format!("{name}.ko")).exists()
        || built_in.contains(&format!("/{name}.ko"))
}

fn free_memory() -> Option<u64> {
    let text = word("/proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Free kB of a folder, or of the nearest one above it that there is.
fn free_space(folder: &Path) -> Option<(String, u64)> {
    let there = folder.ancestors().find(|it| it.exists())?;
    let all = nix::sys::statvfs::statvfs(there).ok()?;
    #[allow(
        clippy::useless_conversion,
        reason = "a 32-bit machine has other types"
    )]
    let bytes = u64::from(all.blocks_available()).saturating_mul(u64::from(all.fragment_size()));
    Some((there.display().to_string(), bytes / 1024))
}

/// The init script of a service.
fn service(name: &str) -> PathBuf {
    Path::new("/etc/init.d").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_sockets_are_told_as_what_they_mean() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let silent = nobody.local_addr().unwrap();
        nobody
            .set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let late = nobody.recv(&mut [0]).unwrap_err();
        assert_eq!(plainly(&late), "it is silent");
        drop(nobody);
        let refused = ask(silent).unwrap_err();
        assert_eq!(plainly(&refused), "nobody listens there");
    }
}
