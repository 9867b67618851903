//! The datapath in real network namespaces: attach, replace, detach. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bpf;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use bpf::netns::{Namespace, Network};
use dae::config::Attach;
use dae::kernel::{self, Datapath, HookKind, PROGRAM_ETHER, PROGRAM_IP};
use serde_json::{Value, json};

const HOOKS: [(Attach, HookKind); 2] = [
    (Attach::Auto, HookKind::Tcx),
    (Attach::Clsact, HookKind::Clsact),
];

fn hooks(datapath: &Datapath) -> Vec<(String, HookKind)> {
    datapath
        .devices()
        .map(|device| (device.name, device.hook))
        .collect()
}

/// Filters on lan0 that are ours.
fn filters(router: &Namespace) -> usize {
    let filters = router.tc("filter show dev lan0 ingress");
    filters
        .lines()
        .filter(|line| line.contains("handle 0xdae"))
        .count()
}

#[test]
fn stop_leaves_nothing_and_dropping_neither() {
    for (how, hook) in HOOKS {
        let network = Network::new();
        let router = &network.router;
        router.enter(|| {
            let before = router.trace_of_us();
            for stops in [true, false] {
                let config = bpf::config(how, &["lan0"]);
                let datapath = Datapath::start(&bpf::image(&[]), config.clone()).unwrap();
                assert_eq!(hooks(&datapath), [("lan0".into(), hook)]);
                let during = router.trace_of_us();
                assert!(
                    during[0].contains("203:\tfrom all fwmark 0x40000000/0x40000000 lookup 2023")
                );
                assert!(
                    during[1].contains("203:\tfrom all fwmark 0x40000000/0x40000000 lookup 2023")
                );
                assert!(during[2].contains("local default dev lo"), "{}", during[2]);
                assert!(during[3].contains("local default dev lo"), "{}", during[3]);
                assert!(config.run_dir.join("state.json").exists());
                if stops {
                    let errors = datapath.stop();
                    assert!(errors.is_empty(), "{errors:?}");
                } else {
                    drop(datapath);
                }
                assert_eq!(router.settled_trace(&before), before);
                assert!(!config.run_dir.join("state.json").exists());
                std::fs::remove_dir(&config.run_dir).unwrap();
            }
        });
    }
}

/// A process with a datapath on lan0 that only kill -9 ends. Its run folder is the second.
fn doomed(router: &Namespace, how: &str, run_dir: &std::path::Path) -> Child {
    let mut child = Command::new("ip")
        .args(["netns", "exec", &router.name])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "holds_a_datapath_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("DAE_TEST_ATTACH", how)
        .env("DAE_TEST_RUN_DIR", run_dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines
            .map_while(Result::ok)
            .any(|line| line.contains("attached"))
    );
    child
}

#[test]
#[ignore = "run by other tests, which kill it"]
fn holds_a_datapath_until_killed() {
    let how = match std::env::var("DAE_TEST_ATTACH").as_deref() {
        Ok("clsact") => Attach::Clsact,
        _ => Attach::Auto,
    };
    let mut config = bpf::config(how, &["lan0"]);
    config.run_dir = std::env::var_os("DAE_TEST_RUN_DIR").unwrap().into();
    let _datapath = Datapath::start(&bpf::image(&[]), config).unwrap();
    println!("attached");
    loop {
        std::thread::park();
    }
}

#[test]
fn what_a_killed_instance_left_is_replaced_and_never_doubled() {
    for (how, hook) in HOOKS {
        let network = Network::new();
        let router = &network.router;
        router.enter(|| {
            let before = router.trace_of_us();
            let mut config = bpf::config(how, &["lan0"]);
            config.run_dir = bpf::run_dir();
            let mut dead = doomed(router, "clsact", &config.run_dir);
            // `ip netns exec` becomes the program it runs.
            dead.kill().unwrap();
            dead.wait().unwrap();
            assert_eq!(filters(router), 1, "a clsact filter outlives its process");

            let datapath = Datapath::start(&bpf::image(&[]), config.clone()).unwrap();
            assert_eq!(hooks(&datapath), [("lan0".into(), hook)]);
            assert_eq!(filters(router), usize::from(hook == HookKind::Clsact));
            let rules = router.ip("rule");
            assert_eq!(
                rules
                    .lines()
                    .filter(|line| line.starts_with("203:"))
                    .count(),
                1
            );
            assert!(datapath.stop().is_empty());
            assert_eq!(router.settled_trace(&before), before);
            std::fs::remove_dir(&config.run_dir).unwrap();
        });
    }
}

/// Leaves the journal of a dead instance that had lan0, old0 and odd0. The filter of odd0 cannot be
/// removed: its qdisc shares a block with others, which the kernel wants addressed by its number.
fn stuck(router: &Namespace, run_dir: &std::path::Path) {
    let mut dead = doomed(router, "clsact", run_dir);
    dead.kill().unwrap();
    dead.wait().unwrap();
    let journal = run_dir.join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&journal).unwrap()).unwrap();
    for name in ["old0", "odd0"] {
        router.ip(&format!("link add {name} type veth peer name {name}-far"));
        let index = nix::net::if_::if_nametoindex(name).unwrap();
        let device = json!({"name": name, "index": index, "made_qdisc": name == "old0"});
        state["devices"].as_array_mut().unwrap().push(device);
    }
    router.tc("qdisc add dev old0 clsact");
    let shared = "qdisc add dev odd0 ingress_block 22 clsact".split(' ');
    let words: Vec<_> = ["-n", &router.name].into_iter().chain(shared).collect();
    bpf::netns::run("tc", &words);
    state["closed"] = true.into();
    std::fs::write(journal, state.to_string()).unwrap();
}

/// Devices in the journal, and whether it says that a kill switch is closed.
fn journal(run_dir: &std::path::Path) -> (Vec<String>, bool) {
    let text = std::fs::read(run_dir.join("state.json")).unwrap();
    let state: Value = serde_json::from_slice(&text).unwrap();
    let devices = state["devices"].as_array().unwrap().iter();
    let names = devices.map(|it| it["name"].as_str().unwrap().to_owned());
    (names.collect(), state["closed"] == true)
}

#[test]
fn what_cannot_be_undone_stays_known_until_it_can() {
    let network = Network::new();
    let router = &network.router;
    router.enter(|| {
        let run_dir = bpf::run_dir();
        let before = router.trace_of_us();
        stuck(router, &run_dir);
        for _ in 0..2 {
            let errors = kernel::clean_dead(&run_dir, true);
            let words: Vec<_> = errors.iter().map(ToString::to_string).collect();
            assert!(words.len() == 1 && words[0].contains("odd0"), "{words:?}");
            assert_eq!(journal(&run_dir), (vec!["odd0".into()], false));
            assert_eq!(router.trace_of_us(), before, "all else is undone");
            assert_eq!(router.tc("qdisc show dev old0 clsact"), "");
        }
        router.tc("qdisc del dev odd0 clsact");
        assert!(kernel::clean_dead(&run_dir, true).is_empty());
        std::fs::remove_dir(&run_dir).unwrap();
    });
}

#[test]
fn a_kill_switch_is_taken_over_though_something_of_the_dead_cannot_be_undone() {
    let network = Network::new();
    let router = &network.router;
    router.enter(|| {
        let mut config = bpf::config(Attach::Auto, &["lan0"]);
        config.kill_switch = true;
        let run_dir = config.run_dir.clone();
        stuck(router, &run_dir);
        let datapath = Datapath::start(&bpf::image(&[]), config).unwrap();
        assert_eq!(hooks(&datapath), [("lan0".into(), HookKind::Clsact)]);
        assert_eq!(filters(router), 1);
        let left = vec!["lan0".to_owned(), "odd0".into()];
        assert_eq!(journal(&run_dir), (left, true));
        assert_eq!(router.tc("qdisc show dev old0 clsact"), "");
        // Tried again at the end, when it works.
        router.tc("qdisc del dev odd0 clsact");
        assert!(datapath.stop().is_empty());
        std::fs::remove_dir(&run_dir).unwrap();
    });
}

#[test]
fn a_filter_whose_journal_is_lost_is_replaced_too() {
    let network = Network::new();
    let router = &network.router;
    router.enter(|| {
        let lost = bpf::run_dir();
        let mut dead = doomed(router, "clsact", &lost);
        dead.kill().unwrap();
        dead.wait().unwrap();
        for (how, hook) in HOOKS {
            let datapath = Datapath::start(&bpf::image(&[]), bpf::config(how, &["lan0"])).unwrap();
            assert_eq!(filters(router), usize::from(hook == HookKind::Clsact));
            assert!(datapath.stop().is_empty());
            assert_eq!(filters(router), 0);
        }
        std::fs::remove_dir_all(lost).unwrap();
    });
}

#[test]
fn a_qdisc_that_somebody_else_made_or_uses_stays() {
    let network = Network::new();
    let router = &network.router;
    // Classic BPF: return 0.
    let theirs = "filter add dev lan0 egress prio 7 protocol all bpf bytecode 1,6_0_0_0,";
    router.enter(|| {
        router.tc("qdisc add dev lan0 clsact");
        let datapath =
            Datapath::start(&bpf::image(&[]), bpf::config(Attach::Clsact, &["lan0"])).unwrap();
        assert!(datapath.stop().is_empty());
        assert!(
            router.tc("qdisc show dev lan0").contains("clsact"),
            "not ours to remove"
        );
        router.tc("qdisc del dev lan0 clsact");

        let datapath =
            Datapath::start(&bpf::image(&[]), bpf::config(Attach::Clsact, &["lan0"])).unwrap();
        router.tc(theirs);
        assert!(datapath.stop().is_empty());
        assert!(router.tc("filter show dev lan0 egress").contains("pref 7"));
        assert_eq!(filters(router), 0);
    });
}

#[test]
fn devices_that_come_and_go_are_followed() {
    let router = Namespace::new("devices");
    router.enter(|| {
        let mut config = bpf::config(Attach::Auto, &["lan", "wg0"]);
        config.networks = vec![dae::kernel::devices::Network {
            name: "lan".into(),
            devices: vec!["lan0".into()],
            ..Default::default()
        }];
        let mut datapath = Datapath::start(&bpf::image(&[]), config).unwrap();
        assert_eq!(hooks(&datapath), []);
        router.ip("link add lan0 type veth peer name lan1");
        datapath.on_readable().unwrap();
        assert_eq!(hooks(&datapath), [("lan0".into(), HookKind::Tcx)]);
        router.ip("tuntap add dev wg0 mode tun");
        datapath.on_readable().unwrap();
        let names: Vec<_> = datapath
            .devices()
            .map(|it| (it.name, it.interface))
            .collect();
        assert_eq!(names, [("lan0".into(), 0), ("wg0".into(), 1)]);
        router.ip("link del lan0");
        datapath.on_readable().unwrap();
        assert_eq!(hooks(&datapath), [("wg0".into(), HookKind::Tcx)]);
        router.ip("link add lan0 type veth peer name lan1");
        datapath.on_readable().unwrap();
        assert_eq!(
            hooks(&datapath).len(),
            2,
            "a device of the same name is another device"
        );
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn programs_are_known_before_they_are_hung() {
    let router = Namespace::new("programs");
    router.enter(|| {
        let programs = || {
            let config = bpf::config(Attach::Auto, &["lan0", "lan1", "wg0"]);
            kernel::programs(&config).unwrap()
        };
        assert_eq!(programs(), [PROGRAM_ETHER], "most LANs are");
        router.ip("tuntap add dev wg0 mode tun");
        assert_eq!(programs(), [PROGRAM_IP]);
        router.ip("link add lan0 type veth peer name lan1");
        assert_eq!(programs(), [PROGRAM_ETHER, PROGRAM_IP], "each once");
    });
}

#[test]
fn a_device_that_refuses_us_does_not_keep_us_from_the_others() {
    let router = Namespace::new("refused");
    router.enter(|| {
        let config = bpf::config(Attach::Clsact, &["odd0", "lan0"]);
        let journal = config.run_dir.join("state.json");
        let mut datapath = Datapath::start(&bpf::image(&[]), config).unwrap();
        router.ip("link add odd0 type veth peer name odd1");
        router.tc("qdisc add dev odd0 clsact");
        // Somebody's filter of another protocol at our priority.
        router.tc("filter add dev odd0 ingress prio 2023 protocol ip bpf bytecode 1,6_0_0_0,");
        router.ip("link add lan0 type veth peer name lan1");
        assert!(datapath.on_readable().is_err());
        assert_eq!(hooks(&datapath), [("lan0".into(), HookKind::Clsact)]);
        for how in ["up", "down", "up"] {
            router.ip(&format!("link set lan1 {how}"));
            assert!(datapath.on_readable().is_err(), "tried again");
        }
        let entries = std::fs::read_to_string(journal).unwrap();
        assert_eq!(entries.matches("index").count(), 2, "{entries}");
        assert!(datapath.stop().is_empty());
        assert!(
            router
                .tc("filter show dev odd0 ingress")
                .contains("pref 2023")
        );
    });
}
