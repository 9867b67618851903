//! A router with our daemon in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::bpf::{self, netns::Network};

/// A router with a folder for files; removed on drop.
pub struct Home {
    pub network: Network,
    pub folder: PathBuf,
}

impl Home {
    pub fn new() -> Self {
        let folder = bpf::run_dir();
        fs::create_dir_all(&folder).unwrap();
        Self {
            network: Network::new(),
            folder,
        }
    }

    /// `dae run` in the router with the run folder of that name.
    pub fn spawn(&self, config: &str, run_dir: &str) -> Child {
        self.command(config, run_dir).spawn().unwrap()
    }

    /// What [`Self::spawn`] runs.
    pub fn command(&self, config: &str, run_dir: &str) -> Command {
        let path = self.write(config, run_dir);
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.network.router.name])
            .args([env!("CARGO_BIN_EXE_dae"), "run", "-c"])
            .arg(path)
            .arg("-r")
            .arg(self.folder.join(run_dir))
            .arg("--state-dir")
            .arg(self.folder.join("state"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Writes the configuration of the daemon with that run folder.
    pub fn write(&self, config: &str, run_dir: &str) -> PathBuf {
        let path = self.folder.join(format!("{run_dir}.uci"));
        fs::write(&path, config).unwrap();
        path
    }

    /// `dae WORDS` about the daemon with that run folder.
    pub fn dae(&self, words: &[&str], run_dir: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_dae"))
            .args(words)
            .arg("-r")
            .arg(self.folder.join(run_dir))
            .output()
            .unwrap()
    }

    pub fn status(&self, run_dir: &str) -> Option<serde_json::Value> {
        let asked = self.dae(&["status", "--json"], run_dir);
        serde_json::from_slice(&asked.stdout).ok()
    }

    /// As [`Self::spawn`], and waits until it answers.
    pub fn start(&self, config: &str, run_dir: &str) -> Child {
        self.answers(self.spawn(config, run_dir), run_dir)
    }

    /// Waits until it answers.
    pub fn answers(&self, mut child: Child, run_dir: &str) -> Child {
        let end = Instant::now() + Duration::from_secs(10);
        while self.status(run_dir).is_none() {
            assert!(child.try_wait().unwrap().is_none(), "{}", words(child));
            assert!(Instant::now() < end, "does not answer");
            sleep(Duration::from_millis(20));
        }
        child
    }

    /// Everything of ours that can be seen in the router.
    pub fn trace(&self) -> Vec<String> {
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

/// TERM, and what came of it.
pub fn stop(child: Child) -> Output {
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    child.wait_with_output().unwrap()
}

/// Everything it said, as far as that matters: the rest first.
pub fn said(output: &Output) -> String {
    let streams = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&streams).into_owned()
}

/// What a process said that ends by itself, and soon.
pub fn words(mut child: Child) -> String {
    let end = Instant::now() + Duration::from_secs(5);
    while child.try_wait().unwrap().is_none() && Instant::now() < end {
        sleep(Duration::from_millis(20));
    }
    // Does nothing to one that has ended.
    child.kill().unwrap();
    said(&child.wait_with_output().unwrap())
}
