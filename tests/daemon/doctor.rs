//! `dae doctor` about routers that are well and routers that are not.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::Value;

use crate::home::{Home, stop};
use crate::resolver::Upstream;
use crate::{DNS, LAN, LOCAL, MAIN};

/// What it said of checks that are not well, as `state check: words`; nothing must have changed.
fn wrong(home: &Home) -> Vec<String> {
    let before = home.trace();
    let router = &home.network.router;
    let config = home.folder.join("run.uci");
    let state = home.folder.join("state");
    let words = ["doctor", "--json", "-c", config.to_str().unwrap()];
    let words = [&words[..], &["--state-dir", state.to_str().unwrap()]].concat();
    let examined = router.enter(|| home.dae(&words, "run"));
    let findings: Vec<Value> = serde_json::from_slice(&examined.stdout).unwrap();
    assert!(findings.len() >= 6, "{findings:?}");
    let wrong = findings.iter().filter(|it| it["state"] != "ok");
    let wrong = wrong.map(|it| {
        let word = |key: &str| it[key].as_str().unwrap().to_owned();
        format!("{} {}: {}", word("state"), word("check"), word("words"))
    });
    let wrong: Vec<_> = wrong.collect();
    let problems = wrong.iter().filter(|it| it.starts_with("problem")).count();
    assert_eq!(
        examined.status.code(),
        Some(i32::from(problems > 0)),
        "{wrong:?}"
    );
    assert_eq!(home.trace(), before);
    wrong
}

fn router() -> Home {
    let home = Home::new();
    home.network.router.ip("route add default via 203.0.113.2");
    home
}

#[test]
fn a_router_that_is_well_and_one_whose_daemon_was_killed() {
    let home = router();
    let server = &home.network.server;
    let listen = DNS.replace(
        "\toption upstream",
        "\tlist listen '127.0.0.1:5354'\n\toption upstream",
    );
    let upstream = Upstream::start(server, Ipv4Addr::new(203, 0, 113, 2), Duration::ZERO);
    let mut dae = home.start(&format!("{MAIN}{LAN}{listen}"), "run");
    assert_eq!(wrong(&home), [""; 0]);
    assert_eq!(
        upstream.count(""),
        2,
        "each asked once, by the listener and by itself"
    );
    // As a service that thinks the qdisc its own.
    home.network.router.tc("qdisc del dev lan0 clsact");
    assert_eq!(
        wrong(&home),
        ["problem devices: somebody has taken our filter from lan0 (qos, sqm?)"]
    );
    dae.kill().unwrap();
    dae.wait().unwrap();
    assert_eq!(
        wrong(&home),
        [
            "problem daemon: was killed, or has crashed",
            "problem routing: rules, routes or filters of a dead daemon are left behind",
        ]
    );
    let router = &home.network.router;
    let cleaned = router.enter(|| home.dae(&["clean"], "run"));
    assert!(cleaned.status.success());
    assert_eq!(
        wrong(&home),
        ["problem daemon: does not run"],
        "and the kernel takes the program"
    );
}

#[test]
fn an_upstream_that_is_silent_a_device_that_is_missing_and_a_pause() {
    let home = router();
    let dae = home.start(&format!("{MAIN}{LAN}\tlist interface 'lna0'\n{DNS}"), "run");
    let said = wrong(&home);
    assert_eq!(
        said[0],
        "problem devices: interface 'lna0': there is no device lna0"
    );
    assert!(
        said[1].starts_with("problem upstream: 'up' (udp)"),
        "{said:?}"
    );
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(home.dae(&["suspend"], "run").status.success());
    assert!(wrong(&home).contains(&"problem daemon: suspended: the LAN is as without dae".into()));
    assert!(stop(dae).status.success());
}

#[test]
fn a_configuration_with_problems_and_one_that_is_switched_off() {
    let home = router();
    home.write(&format!("{MAIN}{LAN}\toption frob '1'\n{DNS}"), "run");
    let said = wrong(&home);
    assert!(said[0].contains("frob"), "{said:?}");
    home.write(
        &format!("{MAIN}{LOCAL}").replace("enabled '1'", "enabled '0'"),
        "run",
    );
    assert_eq!(
        wrong(&home),
        ["problem config: option enabled is 0: dae does nothing"]
    );
}

#[test]
fn a_router_whose_only_default_route_is_of_another_table() {
    let home = Home::new();
    let router = &home.network.router;
    let config = format!("{MAIN}{LOCAL}").replace("enabled '1'", "enabled '0'");
    home.write(&config, "run");
    let disabled = "problem config: option enabled is 0: dae does nothing";
    let missing = "problem internet: there is no default route";
    assert_eq!(wrong(&home), [disabled, missing]);
    // Of no use to anybody.
    router.ip("route add unreachable default");
    router.ip("-6 route add unreachable default table 100");
    assert_eq!(wrong(&home), [disabled, missing]);
    router.ip("route add default via 203.0.113.2 table 100");
    assert_eq!(wrong(&home), [disabled]);
}

#[test]
fn a_kernel_that_refuses_is_told_of_while_the_daemon_lives() {
    let home = router();
    let _upstream = Upstream::start(
        &home.network.server,
        Ipv4Addr::new(203, 0, 113, 2),
        Duration::ZERO,
    );
    home.network.router.ip("link set lo down");
    let dae = home.start(&format!("{MAIN}{LAN}{DNS}"), "run");
    let said = wrong(&home);
    assert!(
        said[0].starts_with("problem kernel: refuses the program, so dae has not"),
        "{said:?}"
    );
    assert!(said[0].contains("is lo up?") && said.len() == 1, "{said:?}");
    assert!(stop(dae).status.success());
}

#[test]
fn a_kill_switch_that_a_reload_wanted_in_vain() {
    let home = router();
    let router = &home.network.router;
    let _upstream = Upstream::start(
        &home.network.server,
        Ipv4Addr::new(203, 0, 113, 2),
        Duration::ZERO,
    );
    let lan = LAN.replace("clsact", "auto");
    let dae = home.start(&format!("{MAIN}{lan}{DNS}"), "run");
    assert_eq!(wrong(&home), [""; 0]);
    // Somebody else's filter where ours would be.
    router.tc("qdisc replace dev lan0 clsact");
    router.tc("filter add dev lan0 ingress protocol ip prio 2023 bpf bytecode 1,6_0_0_0,");
    let closed = format!("{MAIN}{lan}\toption kill_switch '1'\n{DNS}");
    home.write(&closed, "run");
    assert!(!home.dae(&["reload"], "run").status.success());
    let refused = "problem reload: the last reload could not do all: bpf clsact on lan0: ";
    let said = wrong(&home);
    assert!(said.len() == 1 && said[0].starts_with(refused), "{said:?}");
    router.tc("filter del dev lan0 ingress prio 2023");
    assert!(home.dae(&["reload"], "run").status.success());
    assert_eq!(wrong(&home), [""; 0]);
    assert!(stop(dae).status.success());
}
