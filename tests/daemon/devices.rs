//! Devices of the LAN that come, go and refuse the program.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::bpf::netns::Namespace;
use crate::gate::Gate;
use crate::home::{Home, said, stop};
use crate::kernels::until;
use crate::{DNS, LAN, LOCAL, MAIN};

/// A device `odd0` that refuses us: somebody's filter of another protocol is at our priority.
fn add_odd(router: &Namespace) {
    router.ip("link add odd0 type veth peer name odd1");
    router.ip("link set odd0 up");
    router.tc("qdisc add dev odd0 clsact");
    router.tc(FOREIGN);
}

const FOREIGN: &str = "filter add dev odd0 ingress prio 2023 protocol ip bpf bytecode 1,6_0_0_0,";
const CURE: &str = "filter del dev odd0 ingress prio 2023";

/// `odd0` before `lan0`, and further options.
fn both(main: &str) -> String {
    LAN.replacen("\tlist", "\tlist interface 'odd0'\n\tlist", 1) + main
}

#[test]
fn a_restart_of_the_network_does_not_take_the_lan_away() {
    for switch in ["", "\toption kill_switch '1'\n"] {
        let home = Home::new();
        let router = &home.network.router;
        let dae = home.start(&format!("{MAIN}{LAN}{switch}{LOCAL}"), "run");
        let status = || home.status("run").unwrap();
        // As `ifdown -a` and `ifup -a` do: for a moment there is neither lo nor a LAN.
        router.ip("link del lan0");
        router.ip("link set lo down");
        until("the LAN is gone", || {
            status()["devices"][0]["hook"] != "clsact"
        });
        sleep(Duration::from_millis(300));
        assert_eq!(status()["datapath_error"], Value::Null);
        assert_eq!(status()["suspended"], false);
        router.ip("link set lo up");
        router.ip("link add lan0 type veth peer name lan9");
        until("the LAN is there", || {
            status()["devices"][0]["hook"] == "clsact"
        });
        let log = said(&stop(dae));
        assert!(!log.contains("state=down"), "{log}");
    }
}

#[test]
fn a_device_that_goes_while_we_are_about_it_refuses_nothing() {
    // include/uapi/linux/bpf.h
    const BPF_LINK_CREATE: u32 = 28;
    let home = Home::new();
    let router = &home.network.router;
    let late = LAN.replace("lan0", "late0").replace("clsact", "tcx");
    let (dae, gate) = Gate::spawn(home.command(&format!("{MAIN}{late}{LOCAL}"), "run"), false);
    let dae = home.answers(dae, "run");
    gate.shut_for(BPF_LINK_CREATE);
    router.ip("link add late0 type veth peer name late1");
    until("it is about it", || gate.has_somebody());
    router.ip("link del late0");
    gate.open(false);
    let status = || home.status("run").unwrap();
    assert_eq!(status()["datapath_error"], Value::Null);
    assert_eq!(status()["suspended"], false);
    assert_eq!(status()["refused"], Value::Null);
    router.ip("link add late0 type veth peer name late1");
    until("it is attached", || status()["devices"][0]["hook"] == "tcx");
    drop(gate);
    let log = said(&stop(dae));
    assert!(!log.contains("state=down"), "{log}");
}

#[test]
fn a_switch_is_taken_over_though_one_device_refuses() {
    let home = Home::new();
    let router = &home.network.router;
    router.ip("link add odd0 type veth peer name odd1");
    router.ip("link set odd0 up");
    let before = home.trace();
    let text = format!("{MAIN}{}{LOCAL}", both("\toption kill_switch '1'\n"));
    let mut first = home.start(&text, "run");
    first.kill().unwrap();
    first.wait().unwrap();
    // Meanwhile somebody has taken our place on one of them.
    router.tc(CURE);
    router.tc(FOREIGN);
    let dae = home.start(&text, "run");
    let status = home.status("run").unwrap();
    assert_eq!(status["datapath_error"], Value::Null);
    assert_eq!(status["suspended"], false);
    assert_eq!(status["devices"][0]["device"], "lan0");
    assert_eq!(status["refused"][0]["device"], "odd0");
    // Ours to undo at the end, if that can be.
    let journal = std::fs::read_to_string(home.folder.join("run/state.json")).unwrap();
    assert!(journal.contains("odd0"), "{journal}");
    // It is not meant any more.
    home.write(
        &format!("{MAIN}{LAN}\toption kill_switch '1'\n{LOCAL}"),
        "run",
    );
    assert!(home.dae(&["reload"], "run").status.success());
    let journal = std::fs::read_to_string(home.folder.join("run/state.json")).unwrap();
    assert!(
        !journal.contains("odd0") && journal.contains("lan0"),
        "{journal}"
    );
    router.tc(CURE);
    assert!(stop(dae).status.success());
    assert_eq!(home.trace(), before);
}

#[test]
fn a_reload_to_a_lan_that_refuses_us_is_told_as_a_start() {
    let home = Home::new();
    let router = &home.network.router;
    add_odd(router);
    let before = home.trace();
    let dae = home.start(&format!("{MAIN}{LAN}{LOCAL}"), "run");
    let odd = LAN.replace("lan0", "odd0");
    home.write(&format!("{MAIN}{odd}{LOCAL}"), "run");
    let reloaded = home.dae(&["reload"], "run");
    assert_eq!(reloaded.status.code(), Some(1), "{reloaded:?}");
    let told = String::from_utf8_lossy(&reloaded.stderr);
    assert_eq!(told.matches("on odd0: ").count(), 1, "{told}");
    assert!(told.contains("the LAN is as without dae"), "{told}");
    let status = || home.status("run").unwrap();
    assert_eq!(status()["suspended"], true);
    assert_ne!(status()["datapath_error"], Value::Null);
    assert_eq!(home.trace(), before);
    router.tc(CURE);
    until("it is tried again", || {
        status()["devices"][0]["hook"] == "clsact"
    });
    assert_eq!(status()["datapath_error"], Value::Null);
    assert!(stop(dae).status.success());
}

#[test]
fn a_device_that_refuses_us_at_the_start_does_not_keep_us_from_the_others() {
    let home = Home::new();
    let router = &home.network.router;
    add_odd(router);
    let odd = LAN.replacen("\tlist", "\tlist interface 'odd0'\n\tlist", 1);
    let dae = home.start(&format!("{MAIN}{odd}{DNS}"), "run");
    let status = home.status("run").unwrap();
    assert_eq!(status["datapath_error"], Value::Null);
    assert_eq!(status["devices"][0]["device"], "lan0");
    assert_eq!(status["devices"][1]["interface"], "odd0");
    // Also a reload that changes nothing says so, and tries it again.
    let reloaded = home.dae(&["reload"], "run");
    assert_eq!(reloaded.status.code(), Some(1), "{reloaded:?}");
    let told = String::from_utf8_lossy(&reloaded.stderr);
    assert!(told.contains("on odd0: "), "{told}");
    assert!(told.ends_with("reloaded, but for this\n"), "{told}");
    let refused = home.status("run").unwrap()["refused"].clone();
    assert_eq!(refused[0]["device"], "odd0");
    assert!(told.starts_with(refused[0]["reason"].as_str().unwrap()));
    assert!(home.dae(&["suspend"], "run").status.success());
    let resumed = home.dae(&["resume"], "run");
    assert_eq!(resumed.status.code(), Some(1), "{resumed:?}");
    let told = String::from_utf8_lossy(&resumed.stderr);
    assert!(
        told.contains("on odd0: ") && told.ends_with("resumed, but for this\n"),
        "{told}"
    );
    router.tc(CURE);
    assert!(home.dae(&["reload"], "run").status.success());
    let status = home.status("run").unwrap();
    assert_eq!(status["refused"], Value::Null);
    let hooks: Vec<_> = (0..2).map(|at| &status["devices"][at]["hook"]).collect();
    assert_eq!(hooks, ["clsact", "clsact"]);
    let log = said(&stop(dae));
    assert!(
        log.contains("event=kernel.devices") && log.contains("odd0"),
        "{log}"
    );
}

#[test]
fn a_lan_that_comes_late_and_refuses_us_is_told_as_at_the_start() {
    let home = Home::new();
    let router = &home.network.router;
    let before = home.trace();
    let late = LAN.replace("lan0", "late0");
    let command = home.command(&format!("{MAIN}{late}{LOCAL}"), "run");
    let (dae, gate) = Gate::spawn(command, false);
    let dae = home.answers(dae, "run");
    let status = || home.status("run").unwrap();
    assert_eq!(status()["datapath_error"], Value::Null);
    gate.open(true);
    router.ip("link add late0 type veth peer name late1");
    until("it is told", || status()["datapath_error"] != Value::Null);
    assert_eq!(status()["suspended"], true);
    assert_eq!(home.trace(), before);
    gate.open(false);
    until("it is tried again", || {
        status()["devices"][0]["hook"] == "clsact"
    });
    assert_eq!(status()["datapath_error"], Value::Null);
    drop(gate);
    let log = said(&stop(dae));
    let down = |it: &str| it.starts_with("level=error event=datapath state=down");
    assert_eq!(log.lines().filter(|it| down(it)).count(), 1, "{log}");
    assert_eq!(home.trace(), before);
}

#[test]
fn without_interfaces_there_is_nothing_to_let_go_of_or_to_go_on_with() {
    let home = Home::new();
    let dae = home.start(&format!("{MAIN}{LOCAL}"), "run");
    for order in ["suspend", "resume"] {
        let output = home.dae(&[order], "run");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(told.starts_with("there are no interfaces to "), "{told}");
    }
    assert!(stop(dae).status.success());
}
