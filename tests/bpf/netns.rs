//! Network namespaces for tests. A thread enters one; other threads, and so other tests, stay
//! where they are.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use aya::programs::{SchedClassifier, TcAttachType};
use nix::sched::{CloneFlags, setns};

/// A network namespace with a name of its own, removed on drop.
pub struct Namespace {
    /// Its name, for `ip netns exec`.
    pub name: String,
}

impl Namespace {
    /// An empty one, lo up.
    pub fn new(what: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dae-bpf-{what}-{}-{next}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// One with the device lan0 (10.9.0.1/24, fd00:9::1/64), whose peer lan1 is there too.
    pub fn with_veth(what: &str) -> Self {
        let namespace = Self::new(what);
        namespace.ip("link add lan0 type veth peer name lan1");
        namespace.ip("addr add 10.9.0.1/24 dev lan0");
        namespace.ip("addr add fd00:9::1/64 dev lan0 nodad");
        namespace.ip("link set lan0 up");
        namespace.ip("link set lan1 up");
        namespace
    }

    /// `ip WORDS` inside.
    pub fn ip(&self, words: &str) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(words.split(' '));
        run("ip", &all)
    }

    /// `tc WORDS` inside.
    pub fn tc(&self, words: &str) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(words.split(' '));
        run("tc", &all)
    }

    /// Runs `work` in a thread of its own inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Everything that we might leave behind, as the tools print it. To be called inside.
    pub fn trace_of_us(&self) -> Vec<String> {
        vec![
            self.ip("rule"),
            self.ip("-6 rule"),
            // An unknown table is an error on some versions: all of them, then.
            self.ip("route show table all")
                .lines()
                .filter(|it| it.contains("2023"))
                .collect(),
            self.ip("-6 route show table all")
                .lines()
                .filter(|it| it.contains("2023"))
                .collect(),
            self.tc("qdisc show dev lan0"),
            self.tc("filter show dev lan0 ingress"),
            tcx_programs(),
        ]
    }
}

/// The number of TCX programs of lan0. To be called inside.
fn tcx_programs() -> String {
    match SchedClassifier::query_tcx("lan0", TcAttachType::Ingress) {
        Ok((_, programs)) => format!("{} tcx", programs.len()),
        Err(error) => format!("no tcx: {error}"),
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run("ip", &["netns", "del", &self.name]);
    }
}

/// Runs a command that must succeed, and returns what it printed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
