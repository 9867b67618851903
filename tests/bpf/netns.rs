//! Network namespaces for tests. A thread enters one; other threads, and so other tests, stay
//! where they are.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

/// A network namespace with a name of its own, removed on drop.
pub struct Namespace {
    /// Its name, for `ip netns exec`.
    pub name: String,
}

/// A client (10.9.0.2, fd00:9::2) and a server (203.0.113.2, 2001:db8::2) with a router
/// between them (lan0, 10.9.0.1 and fd00:9::1).
pub struct Network {
    pub client: Namespace,
    pub router: Namespace,
    pub server: Namespace,
}

impl Network {
    pub fn new() -> Self {
        let network = Self {
            client: Namespace::new("client"),
            router: Namespace::new("router"),
            server: Namespace::new("server"),
        };
        let Self {
            client,
            router,
            server,
        } = &network;
        join(
            router,
            "lan0",
            ["10.9.0.1/24", "fd00:9::1/64"],
            client,
            ["10.9.0.2/24", "fd00:9::2/64"],
        );
        join(
            router,
            "wan0",
            ["203.0.113.1/24", "2001:db8::1/64"],
            server,
            ["203.0.113.2/24", "2001:db8::2/64"],
        );
        client.ip("route add default via 10.9.0.1");
        client.ip("-6 route add default via fd00:9::1");
        server.ip("route add default via 203.0.113.1");
        server.ip("-6 route add default via 2001:db8::1");
        router.set("net.ipv4.ip_forward=1");
        router.set("net.ipv6.conf.all.forwarding=1");
        network
    }
}

fn join(router: &Namespace, device: &str, ours: [&str; 2], other: &Namespace, theirs: [&str; 2]) {
    router.ip(&format!(
        "link add {device} type veth peer name eth0 netns {}",
        other.name
    ));
    router.ip(&format!("addr add {} dev {device}", ours[0]));
    router.ip(&format!("addr add {} dev {device} nodad", ours[1]));
    other.ip(&format!("addr add {} dev eth0", theirs[0]));
    other.ip(&format!("addr add {} dev eth0 nodad", theirs[1]));
    router.ip(&format!("link set {device} up"));
    other.ip("link set eth0 up");
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
        // Link-local addresses are usable at once.
        namespace.set("net.ipv6.conf.all.accept_dad=0");
        namespace.set("net.ipv6.conf.default.accept_dad=0");
        namespace
    }

    /// Sets a sysctl inside.
    pub fn set(&self, setting: &str) {
        run(
            "ip",
            &["netns", "exec", &self.name, "sysctl", "-qw", setting],
        );
    }

    /// `ip WORDS` inside.
    pub fn ip(&self, words: &str) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(words.split(' '));
        run("ip", &all)
    }

    /// `tc WORDS` inside; `_` stands for a space within a word.
    pub fn tc(&self, words: &str) -> String {
        let words: Vec<_> = words
            .split(' ')
            .map(|word| word.replace('_', " "))
            .collect();
        let mut all = vec!["-n", &self.name];
        all.extend(words.iter().map(String::as_str));
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

    /// [`Self::trace_of_us`], as soon as it is `wanted`, and after a second at the latest. A TCX
    /// link goes with its last descriptor, and a command that another test of this process is
    /// just starting has all of ours until it runs.
    pub fn settled_trace(&self, wanted: &[String]) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(1);
        loop {
            let trace = self.trace_of_us();
            if trace == wanted || Instant::now() > end {
                return trace;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The number of TCX programs of lan0. To be called inside.
fn tcx_programs() -> String {
    const BPF_PROG_QUERY: libc::c_int = 16;
    const BPF_TCX_INGRESS: u32 = 46;
    /// `union bpf_attr` of BPF_PROG_QUERY, as far as it is used.
    #[repr(C)]
    struct Query {
        ifindex: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        ids: u64,
        count: u32,
        pad: u32,
    }
    let mut query = Query {
        ifindex: nix::net::if_::if_nametoindex("lan0").unwrap(),
        attach_type: BPF_TCX_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        ids: 0,
        count: 0,
        pad: 0,
    };
    // SAFETY: the kernel writes into `query` only, which gives it no other memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut query,
            size_of::<Query>(),
        )
    };
    match result {
        0 => format!("{} tcx", query.count),
        _ => format!("no tcx: {}", std::io::Error::last_os_error()),
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
