//! A small home network: a client, a router, an internet behind it.
//!
//! ```text
//! client c0 10.77.0.2 --- r0 10.77.0.1 router r1 10.78.0.1 --- i0 10.78.0.2 internet
//!           fd77::2           fd77::1            fd78::1          fd78::2
//! ```
//! Whatever the client sends is delivered to the router's own sockets, as the BPF program
//! would have it. The internet owns 203.0.113.0/24 and 2001:db8::/32.

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread::{self, JoinHandle};

/// A network namespace that lives as long as this, its threads and its processes.
pub struct Namespace {
    file: File,
}

impl Namespace {
    pub fn new() -> Self {
        thread::spawn(|| {
            // SAFETY: no memory is involved; only this thread changes its namespace.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "needs root");
            let file = File::open("/proc/thread-self/ns/net").unwrap();
            let namespace = Self { file };
            namespace.shell("ip link set lo up");
            namespace
        })
        .join()
        .unwrap()
    }

    /// Runs `work` in a thread of this namespace. Sockets made there stay there.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let file = self.file.try_clone().unwrap();
        thread::spawn(move || {
            // SAFETY: as in `new`.
            let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0);
            work()
        })
    }

    /// The same, waiting for the result.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self.spawn(work).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Another handle of the same namespace.
    pub fn clone_handle(&self) -> Self {
        let file = self.file.try_clone().unwrap();
        Self { file }
    }

    /// Runs shell commands, one a line, which must all succeed.
    pub fn shell(&self, commands: &str) {
        let script = format!("set -e\n{commands}");
        self.run(move || {
            let status = Command::new("sh").args(["-c", &script]).status().unwrap();
            assert!(status.success(), "{script}");
        });
    }

    /// A path by which `ip link` finds this namespace.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

pub struct Home {
    pub client: Namespace,
    pub router: Namespace,
    pub internet: Namespace,
}

pub const CLIENT4: &str = "10.77.0.2";
pub const CLIENT6: &str = "fd77::2";

impl Home {
    pub fn new() -> Self {
        let home = Self {
            client: Namespace::new(),
            router: Namespace::new(),
            internet: Namespace::new(),
        };
        home.router.shell(&format!(
            "ip link add r0 type veth peer name c0 netns {}
             ip link add r1 type veth peer name i0 netns {}
             ip addr add 10.77.0.1/24 dev r0
             ip addr add fd77::1/64 dev r0 nodad
             ip addr add 10.78.0.1/24 dev r1
             ip addr add fd78::1/64 dev r1 nodad
             ip link set r0 addrgenmode none up
             ip link set r1 addrgenmode none up
             ip addr add fe80::1/64 dev r0 nodad
             ip route add default via 10.78.0.2
             ip -6 route add default via fd78::2
             ip rule add iif r0 lookup 100
             ip -6 rule add iif r0 lookup 100
             ip route add local default dev lo table 100
             ip -6 route add local default dev lo table 100",
            home.client.path(),
            home.internet.path(),
        ));
        home.client.shell(
            "ip addr add 10.77.0.2/24 dev c0
             ip addr add fd77::2/64 dev c0 nodad
             ip link set c0 addrgenmode none up
             ip addr add fe80::2/64 dev c0 nodad
             ip route add default via 10.77.0.1
             ip -6 route add default via fd77::1",
        );
        home.internet.shell(
            "ip addr add 10.78.0.2/24 dev i0
             ip addr add fd78::2/64 dev i0 nodad
             ip link set i0 addrgenmode none up
             ip route add local 203.0.113.0/24 dev lo
             ip -6 route add local 2001:db8::/32 dev lo
             ip addr add 2001:db8::10/128 dev lo nodad
             ip route add default via 10.78.0.1
             ip -6 route add default via fd78::1",
        );
        home
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
