//! The whole process in a network namespace: starts, ends, and what it says. Needs root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../bpf/mod.rs"]
mod bpf;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use bpf::netns::Network;

const MAIN: &str = "config dae 'main'\n\toption enabled '1'\n";
const LAN: &str = "\tlist interface 'lan0'\n\toption attach 'clsact'\n";
const DNS: &str = "config dns 'dns'\n\toption enabled '1'\n\toption upstream 'up'\n\
    config upstream 'up'\n\toption url 'udp://203.0.113.2'\n";
const LOCAL: &str = "config dns 'dns'\n\toption enabled '1'\n\tlist listen '127.0.0.1:5354'\n\
    \toption upstream 'up'\nconfig upstream 'up'\n\toption url 'udp://203.0.113.2'\n";

/// A router with a folder for files; removed on drop.
struct Home {
    network: Network,
    folder: PathBuf,
}

impl Home {
    fn new() -> Self {
        let folder = bpf::run_dir();
        fs::create_dir_all(&folder).unwrap();
        Self {
            network: Network::new(),
            folder,
        }
    }

    /// `dae run` in the router with the run folder of that name.
    fn spawn(&self, config: &str, run_dir: &str) -> Child {
        let path = self.folder.join(format!("{run_dir}.uci"));
        fs::write(&path, config).unwrap();
        Command::new("ip")
            .args(["netns", "exec", &self.network.router.name])
            .args([env!("CARGO_BIN_EXE_dae"), "run", "-c"])
            .arg(path)
            .arg("-r")
            .arg(self.folder.join(run_dir))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn status(&self, run_dir: &str) -> Option<serde_json::Value> {
        let asked = Command::new(env!("CARGO_BIN_EXE_dae"))
            .args(["status", "--json", "-r"])
            .arg(self.folder.join(run_dir))
            .output()
            .unwrap();
        serde_json::from_slice(&asked.stdout).ok()
    }

    /// As [`Self::spawn`], and waits until it answers.
    fn start(&self, config: &str, run_dir: &str) -> Child {
        let mut child = self.spawn(config, run_dir);
        let end = Instant::now() + Duration::from_secs(10);
        while self.status(run_dir).is_none() {
            assert!(child.try_wait().unwrap().is_none(), "{}", words(child));
            assert!(Instant::now() < end, "does not answer");
            sleep(Duration::from_millis(20));
        }
        child
    }

    /// Everything of ours that can be seen in the router.
    fn trace(&self) -> Vec<String> {
        let router = &self.network.router;
        router.enter(|| router.trace_of_us())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let router = &self.network.router.name;
        for pid in bpf::netns::run("ip", &["netns", "pids", router]).lines() {
            let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// TERM, and everything it said.
fn stop(child: Child) -> Output {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    child.wait_with_output().unwrap()
}

/// What a process said that ends by itself, and soon.
fn words(mut child: Child) -> String {
    let end = Instant::now() + Duration::from_secs(5);
    while child.try_wait().unwrap().is_none() && Instant::now() < end {
        sleep(Duration::from_millis(20));
    }
    // Does nothing to one that has ended.
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_problem_of_a_configuration_is_logged() {
    let home = Home::new();
    let said = words(home.spawn(
        &format!("{MAIN}{LAN}\toption frob '1'\n\toption brof '1'\n"),
        "run",
    ));
    assert!(said.contains("frob") && said.contains("brof"), "{said}");
}

#[test]
fn a_router_with_ipv6_switched_off_is_served_and_gets_ipv6_when_it_is_switched_on() {
    let home = Home::new();
    let router = &home.network.router;
    router.set("net.ipv6.conf.all.disable_ipv6=1");
    let before = home.trace();
    let dae = home.start(&format!("{MAIN}{LAN}{DNS}"), "run");
    assert!(router.ip("rule").contains("203:"));
    assert!(!router.ip("-6 rule").contains("203:"));
    router.set("net.ipv6.conf.all.disable_ipv6=0");
    let end = Instant::now() + Duration::from_secs(5);
    while !router.ip("-6 route show table all").contains("table 2023") {
        assert!(Instant::now() < end, "IPv6 came and was not seen");
        sleep(Duration::from_millis(20));
    }
    router.set("net.ipv6.conf.all.disable_ipv6=1");
    let output = stop(dae);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(home.trace(), before);
}

#[test]
fn a_second_instance_is_refused_and_harms_nothing() {
    let home = Home::new();
    let before = home.trace();
    let first = home.start(&format!("{MAIN}{LAN}{DNS}"), "first");
    let during = home.trace();
    let said = words(home.spawn(&format!("{MAIN}{LAN}"), "second"));
    assert!(said.contains("another dae"), "{said}");
    assert_eq!(home.trace(), during);
    assert!(!home.folder.join("second").exists());
    // One without interfaces has nothing to share with it.
    let local = home.start(&format!("{MAIN}{LOCAL}"), "local");
    assert!(stop(local).status.success());
    assert_eq!(home.trace(), during);
    assert!(stop(first).status.success());
    assert_eq!(home.trace(), before);
}

#[test]
fn whatever_starts_next_cleans_what_a_killed_instance_left() {
    let broken = format!("{MAIN}{LAN}\toption frob '1'\n");
    let disabled = format!("{MAIN}{LAN}{DNS}").replace("'1'\n\tlist", "'0'\n\tlist");
    let local = format!("{MAIN}{LOCAL}");
    for next in [broken, disabled, local] {
        let home = Home::new();
        let before = home.trace();
        let mut dead = home.start(&format!("{MAIN}{LAN}{DNS}"), "run");
        dead.kill().unwrap();
        dead.wait().unwrap();
        assert_ne!(home.trace(), before);
        let next_child = home.spawn(&next, "run");
        let end = Instant::now() + Duration::from_secs(5);
        while home.trace() != before {
            assert!(Instant::now() < end, "left behind after: {next}");
            sleep(Duration::from_millis(50));
        }
        if next.contains("listen") {
            stop(next_child);
        } else {
            words(next_child);
        }
        assert!(!home.folder.join("run").exists(), "{next}");
    }
}

#[test]
fn a_disabled_configuration_touches_nothing() {
    let home = Home::new();
    let before = home.trace();
    let child = home.spawn(
        &format!("{MAIN}{LAN}{DNS}").replace("'1'\n\tlist", "'0'\n\tlist"),
        "run",
    );
    let said = words(child);
    assert!(said.contains("event=disabled"), "{said}");
    assert_eq!(home.trace(), before);
}

#[test]
fn an_interface_that_is_not_there_is_said_and_shown() {
    let home = Home::new();
    let config = format!("{MAIN}{LAN}\tlist interface 'lna0'\n{DNS}");
    let dae = home.start(&config, "run");
    let devices = home.status("run").unwrap()["devices"].clone();
    assert_eq!(devices[0]["device"], "lan0");
    assert_eq!(devices[1]["interface"], "lna0");
    assert_eq!(devices[1]["device"], serde_json::Value::Null);
    let output = stop(dae);
    let said = String::from_utf8_lossy(&output.stderr);
    let warned = said
        .lines()
        .any(|it| it.starts_with("level=warn") && it.contains("lna0"));
    assert!(warned, "{said}");
}
