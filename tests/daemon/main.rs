//! The whole process in a network namespace: starts, ends, and what it says. Needs root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../bpf/mod.rs"]
mod bpf;
mod changes;
mod devices;
mod doctor;
mod flows;
mod gate;
mod groups;
mod home;
mod kernels;
mod kill_switch;
mod life;
mod metrics;
mod node;
mod pause;
mod reload;
mod resolver;
mod scene;

use std::thread::sleep;
use std::time::{Duration, Instant};

use home::{Home, stop, words};

const MAIN: &str = "config dae 'main'\n\toption enabled '1'\n";
const LAN: &str = "\tlist interface 'lan0'\n\toption attach 'clsact'\n";
const DNS: &str = "config dns 'dns'\n\toption enabled '1'\n\toption upstream 'up'\n\
    config upstream 'up'\n\toption url 'udp://203.0.113.2'\n";
const LOCAL: &str = "config dns 'dns'\n\toption enabled '1'\n\tlist listen '127.0.0.1:5354'\n\
    \toption upstream 'up'\nconfig upstream 'up'\n\toption url 'udp://203.0.113.2'\n";

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
fn what_is_wrong_is_said_on_another_stream_than_the_rest() {
    let home = Home::new();
    let config = format!("{MAIN}{LAN}\tlist interface 'lna0'\n\toption log_level 'debug'\n{DNS}");
    let output = stop(home.start(&config, "run"));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (calm, wrong) = (text(&output.stdout), text(&output.stderr));
    assert!(
        calm.contains("event=start") && calm.contains("level=debug"),
        "{calm}"
    );
    assert!(wrong.contains("event=kernel.no_device"), "{wrong}");
    let fits = |line: &str, levels: [&str; 2]| levels.iter().any(|it| line.starts_with(it));
    assert!(
        calm.lines()
            .all(|it| fits(it, ["level=info", "level=debug"])),
        "{calm}"
    );
    assert!(
        wrong
            .lines()
            .all(|it| fits(it, ["level=warn", "level=error"])),
        "{wrong}"
    );
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
