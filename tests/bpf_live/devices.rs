//! Devices and hooks that change under a running datapath.

use std::net::UdpSocket;

use dae::config::Attach;
use dae::kernel::abi::Count;
use dae::kernel::{Datapath, DatapathConfig, HookKind, Object};
use dae::rules::{Kept, Rule, Selector};

use crate::bpf;
use crate::bpf::netns::{Namespace, Network};
use crate::bpf::peers::{self, Listeners};
use crate::scene::{HOOKS, SERVER4, addr, config, proxied, replace};

/// Programs of lan0 and lan1, as the tools tell them apart.
fn programs(router: &Namespace) -> String {
    ["lan0", "lan1"]
        .map(|device| router.tc(&format!("filter show dev {device} ingress")))
        .concat()
}

#[test]
fn a_device_that_was_taken_from_us_does_not_keep_us_from_the_others() {
    let Network { router, .. } = &Network::new();
    router.enter(|| {
        router.ip("link add lan1 type veth peer name lan1x");
        let mut config = bpf::config(Attach::Clsact, &["lan0", "lan1"]);
        let image = bpf::image(&[proxied(80)]);
        let mut datapath = Datapath::start(&image, config.clone()).unwrap();
        // Somebody else's filter is at our place now, of a protocol that ours is not.
        router.tc("filter del dev lan1 ingress");
        router.tc("filter add dev lan1 ingress prio 2023 protocol ip bpf bytecode 1,6_0_0_0,");
        let before = programs(router);
        config.max_flows = 512;
        let object = Object::load(&image, &config).unwrap();
        let kept = Kept::everything(1);
        let replaced = datapath.replace(Some(object), &image, config, &[], &kept);
        replaced.unwrap();
        // Nothing of ours is left to be replaced there: tried again as a new device, and refused.
        let devices: Vec<_> = datapath.devices().map(|it| it.name).collect();
        assert_eq!(devices, ["lan0"]);
        let theirs = before.lines().rfind(|line| line.contains("bytecode"));
        assert_eq!(programs(router).lines().last(), theirs);
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn interfaces_come_and_go_without_harm_to_others() {
    for (attach, hook) in HOOKS {
        let Network { router, .. } = &Network::new();
        router.enter(|| {
            for name in ["lan1", "lan2"] {
                router.ip(&format!("link add {name} type veth peer name {name}x"));
            }
            let before = router.trace_of_us();
            let lan1 = router.tc("qdisc show dev lan1");
            let config = bpf::config(attach, &["lan0", "lan1"]);
            let image = bpf::image(&[]);
            let mut datapath = Datapath::start(&image, config.clone()).unwrap();
            let places = |datapath: &Datapath| {
                let devices = datapath
                    .devices()
                    .map(|it| (it.name, it.interface, it.hook));
                devices.collect::<Vec<_>>()
            };
            let changed = DatapathConfig {
                interfaces: vec!["lan2".into(), "lan0".into()],
                ..config.clone()
            };
            assert!(!config.needs_another_object(&changed));
            datapath.reconfigure(changed);
            let wanted = [("lan0".into(), 1, hook), ("lan2".into(), 0, hook)];
            assert_eq!(places(&datapath), wanted);
            assert_eq!(router.tc("qdisc show dev lan1"), lan1);
            // One more, in another object.
            let more = DatapathConfig {
                interfaces: vec!["lan0".into(), "lan1".into(), "lan2".into()],
                ..config.clone()
            };
            assert!(config.needs_another_object(&more));
            replace(&mut datapath, &[], &more, &Kept::everything(0));
            let mut names = places(&datapath);
            names.sort_by_key(|it| it.1);
            let names: Vec<_> = names.iter().map(|it| it.0.as_str()).collect();
            assert_eq!(names, ["lan0", "lan1", "lan2"]);
            assert!(datapath.stop().is_empty());
            assert_eq!(router.settled_trace(&before), before);
            assert_eq!(router.tc("qdisc show dev lan1"), lan1);
        });
    }
}

#[test]
fn a_device_is_known_by_the_place_of_its_interface() {
    let Network { client, router, .. } = &Network::new();
    router.enter(|| {
        router.ip("link add lan1 type veth peer name lan1x");
        let listeners = Listeners::open();
        let first = config(Attach::Auto, &listeners);
        let with = |names: [&str; 2]| DatapathConfig {
            interfaces: names.map(str::to_owned).into(),
            ..first.clone()
        };
        let second = Rule {
            interface: Selector {
                include: vec![1],
                exclude: Vec::new(),
            },
            ..proxied(443)
        };
        let rules = [second];
        let config = with(["lan0", "lan1"]);
        let mut datapath = Datapath::start(&bpf::image(&rules), config).unwrap();
        // A new flow each time; whether the rule has it.
        let is_ours = |datapath: &Datapath| {
            let seen = || {
                let counters = datapath.counters().unwrap();
                let others = counters.fate(Count::Default).packets;
                (counters.rule(0).packets, others)
            };
            let before = seen();
            client.enter(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.send_to(b"who", addr(SERVER4, 443)).unwrap();
            });
            peers::until(|| (seen() != before).then_some(())).expect("decided");
            seen().0 > before.0
        };
        assert!(!is_ours(&datapath), "it is the first");
        let swapped = with(["lan1", "lan0"]);
        datapath.reconfigure(swapped.clone());
        assert!(is_ours(&datapath), "it is the second");
        replace(&mut datapath, &rules, &swapped, &Kept::everything(1));
        assert!(is_ours(&datapath), "as before");
        assert!(datapath.stop().is_empty());
    });
}

#[test]
fn the_hook_changes_without_a_gap_and_leaves_nothing() {
    let Network { router, .. } = &Network::new();
    router.enter(|| {
        let before = router.trace_of_us();
        let config = |attach| bpf::config(attach, &["lan0"]);
        let first = config(Attach::Tcx);
        let mut datapath = Datapath::start(&bpf::image(&[]), first.clone()).unwrap();
        let hook = |datapath: &Datapath| datapath.devices().next().unwrap().hook;
        let with = |attach| DatapathConfig {
            attach,
            ..first.clone()
        };
        datapath.reconfigure(with(Attach::Clsact));
        assert_eq!(hook(&datapath), HookKind::Clsact);
        let now = router.trace_of_us();
        assert!(
            now[5].contains("0xdae") && now[6].starts_with("0 tcx"),
            "{now:?}"
        );
        datapath.reconfigure(with(Attach::Tcx));
        assert_eq!(hook(&datapath), HookKind::Tcx);
        let now = router.trace_of_us();
        assert!(
            !now[4].contains("clsact") && now[6].starts_with("1 tcx"),
            "{now:?}"
        );
        datapath.reconfigure(with(Attach::Auto));
        assert_eq!(hook(&datapath), HookKind::Tcx);
        assert!(datapath.stop().is_empty());
        assert_eq!(router.settled_trace(&before), before);
    });
}
