//! Kernels that will not have our program: DNS and the daemon go on, and everybody is told why.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gate::Gate;
use crate::home::{Home, said, stop};
use crate::resolver::{Upstream, lookup};
use crate::{DNS, LAN, LOCAL, MAIN};

const UPSTREAM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Makes the system call `bpf` fail in this process and all that come of it: every one, or those
/// with this command alone.
fn refuse_bpf(errno: i32, command: Option<u32>) -> std::io::Result<()> {
    // struct seccomp_data: the number of the call is at 0, its first argument at 16.
    let load = |offset| libc::sock_filter {
        code: 0x20,
        jt: 0,
        jf: 0,
        k: offset,
    };
    let unless = |value, skip| libc::sock_filter {
        code: 0x15,
        jt: 0,
        jf: skip,
        k: value,
    };
    let end = |value| libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: value,
    };
    let refused = end(libc::SECCOMP_RET_ERRNO | errno as u32);
    let nr = libc::SYS_bpf as u32;
    let mut filter = match command {
        None => vec![load(0), unless(nr, 1), refused],
        Some(command) => vec![
            load(0),
            unless(nr, 3),
            load(16),
            unless(command, 1),
            refused,
        ],
    };
    filter.push(end(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter, which lives until then.
    match unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_kernel_that_refuses_bpf_leaves_dns_and_says_why() {
    const LINK_CREATE: u32 = 28;
    let local = LOCAL.replace("203.0.113.2", &UPSTREAM.to_string());
    for (errno, command, attach, words) in [
        (
            libc::ENOSYS,
            None,
            "auto",
            "the kernel was built without BPF_SYSCALL",
        ),
        (libc::EPERM, None, "auto", "not allowed; run as root"),
        (
            libc::EINVAL,
            Some(LINK_CREATE),
            "tcx",
            "tcx on lan0: Invalid argument",
        ),
    ] {
        let home = Home::new();
        let router = &home.network.router;
        let _upstream = Upstream::start(&home.network.server, UPSTREAM, Duration::ZERO);
        let before = home.trace();
        let lan = LAN.replace("clsact", attach);
        let mut command_line = home.command(&format!("{MAIN}{lan}{local}"), "run");
        // SAFETY: two system calls, between fork and exec.
        unsafe { command_line.pre_exec(move || refuse_bpf(errno, command)) };
        let dae = home.answers(command_line.spawn().unwrap(), "run");

        let status = home.status("run").unwrap();
        let reason = status["datapath_error"].as_str().unwrap();
        assert!(reason.contains(words), "{reason}");
        assert_eq!(status["suspended"], true);
        let page = home.dae(&["status"], "run");
        assert!(String::from_utf8_lossy(&page.stdout).contains(words));
        let server = "127.0.0.1:5354".parse().unwrap();
        assert_eq!(lookup(router, server, "a.example"), Some(UPSTREAM));
        assert_eq!(home.trace(), before, "the LAN is as without us");
        // By hand it is tried at once, and refused with the same words.
        let resumed = home.dae(&["resume"], "run");
        assert_eq!(resumed.status.code(), Some(1));
        let told = String::from_utf8_lossy(&resumed.stderr);
        assert!(
            told.contains(words) && told.contains("tried again"),
            "{told}"
        );
        assert!(!told.contains("still suspended"), "{told}");
        // A reload goes on with what there is.
        let more = format!(
            "{MAIN}{lan}{local}config dns_host\n\tlist name 'b.example'\n\tlist ip '192.0.2.9'\n"
        );
        home.write(&more, "run");
        // And says what is not in force, also when nothing has changed.
        for _ in 0..2 {
            let reloaded = home.dae(&["reload"], "run");
            assert_eq!(reloaded.status.code(), Some(1), "{reloaded:?}");
            let told = String::from_utf8_lossy(&reloaded.stderr);
            let (first, last) = told.trim().split_once('\n').unwrap();
            assert!(first.contains(words), "{told}");
            assert!(first.contains("the LAN is as without dae"), "{told}");
            assert_eq!(last, "reloaded, but for this");
        }
        let last = home.status("run").unwrap()["reload"]["last"].clone();
        assert!(last["amiss"][0].as_str().unwrap().contains(words), "{last}");
        assert_eq!(
            lookup(router, server, "b.example"),
            Some(Ipv4Addr::new(192, 0, 2, 9))
        );

        let output = stop(dae);
        assert!(output.status.success(), "{output:?}");
        let log = said(&output);
        let is_told = |it: &&str| it.starts_with("level=error event=datapath");
        let told: Vec<_> = log.lines().filter(is_told).collect();
        assert!(told.len() == 1 && told[0].contains(words), "{log}");
        assert_eq!(home.trace(), before);
    }
}

#[test]
fn queries_go_on_while_the_kernel_is_asked_again() {
    let home = Home::new();
    let router = &home.network.router;
    let _upstream = Upstream::start(&home.network.server, UPSTREAM, Duration::ZERO);
    let before = home.trace();
    let command = home.command(&format!("{MAIN}{LAN}{LOCAL}"), "run");
    let (dae, gate) = Gate::spawn(command, true);
    let dae = home.answers(dae, "run");
    let reason = || home.status("run").unwrap()["datapath_error"].clone();
    assert!(
        reason().as_str().unwrap().contains("memory"),
        "{}",
        reason()
    );
    let server = "127.0.0.1:5354".parse().unwrap();
    let goes_on = |what: &str| {
        let begin = Instant::now();
        for number in 0..20 {
            let name = format!("{what}{number}.example");
            assert_eq!(lookup(router, server, &name), Some(UPSTREAM), "{name}");
            assert_ne!(reason(), Value::Null);
        }
        assert!(begin.elapsed() < Duration::from_secs(3), "{what} is slow");
    };
    // By itself, after five seconds.
    gate.shut();
    until("it is tried again", || gate.has_somebody());
    goes_on("retry");
    gate.open(true);
    until("it is refused again", || !gate.has_somebody());
    // By hand, with an order that waits behind it.
    gate.shut();
    std::thread::scope(|scope| {
        let resume = scope.spawn(|| home.dae(&["resume"], "run"));
        until("the kernel is asked", || gate.has_somebody());
        let suspend = scope.spawn(|| home.dae(&["suspend"], "run"));
        goes_on("resume");
        assert!(!resume.is_finished() && !suspend.is_finished());
        gate.open(false);
        assert!(resume.join().unwrap().status.success());
        assert!(suspend.join().unwrap().status.success());
    });
    assert_eq!(home.trace(), before);
    assert!(home.dae(&["resume"], "run").status.success());
    let devices = home.status("run").unwrap()["devices"].clone();
    assert_eq!(devices[0]["hook"], "clsact", "and it works");
    // An end in the middle of a load waits for nobody, and leaves nothing.
    assert!(home.dae(&["suspend"], "run").status.success());
    gate.shut();
    std::thread::scope(|scope| {
        let resume = scope.spawn(|| home.dae(&["resume"], "run"));
        until("the kernel is asked", || gate.has_somebody());
        let pid = nix::unistd::Pid::from_raw(dae.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        until("it ends", || home.status("run").is_none());
        gate.open(false);
        assert!(!resume.join().unwrap().status.success());
    });
    drop(gate);
    assert!(stop(dae).status.success());
    assert_eq!(home.trace(), before);
}

#[test]
fn a_kill_switch_that_is_taken_over_in_vain_opens_when_its_owner_says_so() {
    let switch = format!("{MAIN}{LAN}\toption kill_switch '1'\n{LOCAL}");
    for opens in ["reload", "suspend", "stop"] {
        let home = Home::new();
        let before = home.trace();
        let mut first = home.start(&switch, "run");
        first.kill().unwrap();
        first.wait().unwrap();
        let closed = home.trace();
        assert_ne!(closed, before);
        // The next one finds no memory for its maps.
        let mut again = home.command(&switch, "run");
        // SAFETY: two system calls, between fork and exec.
        unsafe { again.pre_exec(|| refuse_bpf(libc::ENOMEM, None)) };
        let dae = home.answers(again.spawn().unwrap(), "run");
        assert_eq!(home.status("run").unwrap()["suspended"], true);
        assert_eq!(home.trace(), closed, "it stays closed");
        if opens == "stop" {
            assert!(stop(dae).status.success());
            assert_eq!(home.trace(), before);
            continue;
        }
        let resumed = home.dae(&["resume"], "run");
        let told = String::from_utf8_lossy(&resumed.stderr);
        assert!(told.contains("stays as the kill switch"), "{told}");
        if opens == "reload" {
            home.write(&format!("{MAIN}{LAN}{LOCAL}"), "run");
        }
        let said = home.dae(&[opens], "run");
        // The settings are in force, and the program is refused all the same.
        assert_eq!(said.status.success(), opens != "reload", "{said:?}");
        assert_eq!(home.trace(), before, "{opens} opens it");
        assert!(stop(dae).status.success());
        assert_eq!(home.trace(), before);
    }
}

#[test]
fn what_the_datapath_waits_for_may_come_later() {
    let home = Home::new();
    let router = &home.network.router;
    router.ip("link set lo down");
    let before = home.trace();
    let dae = home.start(&format!("{MAIN}{LAN}{DNS}"), "run");
    let reason = || home.status("run").unwrap()["datapath_error"].clone();
    assert!(reason().as_str().unwrap().contains("is lo up?"));
    assert_eq!(home.trace(), before);
    router.ip("link set lo up");
    until("it is tried again", || reason() == Value::Null);
    let status = home.status("run").unwrap();
    assert_eq!(status["devices"][0]["hook"], "clsact");
    assert_eq!(status["suspended"], false);
    // Suspended by hand it is let alone, whatever happens.
    assert!(home.dae(&["suspend"], "run").status.success());
    assert_eq!(reason(), Value::Null);
    let log = said(&stop(dae));
    assert!(log.contains("event=datapath state=up"), "{log}");
    router.ip("link set lo down");
    assert_eq!(home.trace(), before);
}
