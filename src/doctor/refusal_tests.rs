//! Refusals of the kernel and of reloads, and what is said of them.

use serde_json::{Value, json};

use super::facts::{Facts, Tried};
use super::judge_tests::{healthy, leads, said, seen, stopped, wrong};
use crate::kernel::devices::Device;

#[test]
fn each_refusal_has_its_cure() {
    for (reason, cure) in [
        (
            "bpf clsact on br-lan: no; the kernel lacks cls_bpf, on OpenWrt install kmod-sched-bpf",
            "apk update; apk add kmod-sched-core kmod-sched-bpf",
        ),
        (
            "bpf load: the kernel was built without BPF_SYSCALL; use one that has it",
            "use a firmware with it",
        ),
        ("route of table 2023, is lo up?: no", "ip link set lo up"),
        (
            "bpf load: map flows: Cannot allocate memory (os error 12)",
            "lower max_flows",
        ),
        (
            "bpf load: map flows: Argument list too long (os error 7)",
            "lower max_flows",
        ),
        (
            "bpf dae_eth: Argument list too long (os error 7); the verifier: nothing",
            "logread -e dae",
        ),
        (
            "bpf tcx on br-guest: Invalid argument (os error 22)",
            "write option attach 'auto'",
        ),
        (
            "bpf attach to br-guest: its packets begin with neither Ethernet nor IP (hardware type 32)",
            "take it out of list interface",
        ),
        (
            "bpf clsact on br-guest: Invalid argument (os error 22)",
            "tc filter show dev br-guest ingress",
        ),
        // Our own trial, where nobody else has been.
        (
            "bpf clsact on a device: Invalid argument (os error 22)",
            "logread -e dae",
        ),
        (
            "bpf clsact on br-guest: Device or resource busy (os error 16)",
            "logread -e dae",
        ),
        ("bpf dae_eth: the verifier: R5 !read_ok", "logread -e dae"),
    ] {
        let mut facts = stopped();
        facts.install = "apk update; apk add";
        facts.trial = Some(Tried {
            loaded: Err(reason.into()),
            hung: None,
        });
        let tried = wrong(&facts).remove(1);
        assert!(tried.contains(&format!("{reason} -> {cure}")), "{tried}");
        leads(
            healthy(),
            |it| {
                it.install = "apk update; apk add";
                said(it)["datapath_error"] = reason.into();
            },
            &[reason, cure, "; then: dae reload"],
        );
        // One of two devices.
        leads(
            healthy(),
            |it| {
                it.install = "apk update; apk add";
                it.devices[0].1.push("br-guest".into());
                let device = |name: &str, index| Device {
                    name: name.into(),
                    index,
                    kind: 1,
                };
                seen(it).devices.push(device("br-guest", 5));
                said(it)["refused"] = json!([
                    {"device": "eth9", "reason": "else"},
                    {"device": "br-guest", "reason": reason},
                ]);
            },
            &["interface 'lan' is without dae: ", reason, cure],
        );
    }
}

#[test]
fn rights_are_the_callers_or_those_of_a_jail() {
    let reason = "bpf load: not allowed; run as root, or with CAP_BPF and CAP_NET_ADMIN";
    let mut facts = stopped();
    facts.trial = Some(Tried {
        loaded: Err(reason.into()),
        hung: None,
    });
    let tried = wrong(&facts).remove(1);
    assert!(tried.ends_with(" -> run this as root"), "{tried}");
    for reason in [
        reason,
        "policy rule 2023: Operation not permitted (os error 1)",
    ] {
        let mut facts = healthy();
        said(&mut facts)["datapath_error"] = reason.into();
        let told = wrong(&facts).remove(0);
        let cure = " -> does a jail or container keep rights from it? ";
        assert!(told.contains(cure), "{told}");
        assert!(told.ends_with("; then: service dae restart"), "{told}");
    }
}

/// Facts after a reload of which the kernel has refused this.
fn after_reload(amiss: &Value) -> Facts {
    let mut facts = healthy();
    said(&mut facts)["reload"] = json!({"last": {"reason": null, "restart": [], "amiss": amiss}});
    facts
}

#[test]
fn what_a_reload_could_not_do_is_told_once_and_while_it_is_so() {
    let tcx = "bpf tcx on br-lan: Invalid argument (os error 22)";
    let all = "bpf load: no; the LAN is as without dae, and it is tried again";
    leads(
        after_reload(&json!([tcx])),
        |_| (),
        &[
            "problem reload: the last reload could not do all: bpf tcx on br-lan",
            "-> write option attach 'auto'; then: dae reload",
        ],
    );
    let over = |facts: &Facts| assert_eq!(wrong(facts), [""; 0]);
    let mut facts = after_reload(&json!([tcx]));
    said(&mut facts)["devices"][0]["hook"] = "tcx".into();
    over(&facts);
    over(&after_reload(&json!([
        "bpf tcx on br-gone: no",
        "bpf attach to br-gone: no",
        all
    ])));
    leads(
        after_reload(&json!(["write the state: full"])),
        |_| (),
        &["could not do all: write the state: full"],
    );
    // Told of the kernel, and of the device.
    for entry in [all, "bpf load: no"] {
        leads(
            after_reload(&json!([entry])),
            |it| said(it)["datapath_error"] = "bpf load: no".into(),
            &["problem kernel: refuses the program"],
        );
    }
    for reason in ["bpf dae_ip: no", "bpf clsact on br-lan: no"] {
        leads(
            after_reload(&json!([reason])),
            |it| {
                said(it)["devices"][0]["device"] = Value::Null;
                said(it)["refused"] = json!([{"device": "br-lan", "reason": reason}]);
            },
            &["problem devices: interface 'lan' is without dae"],
        );
    }
}

#[test]
fn a_reload_is_told_of_while_there_is_no_datapath() {
    for reason in [Value::Null, "bpf load: no".into()] {
        let mut facts = healthy();
        let status = said(&mut facts);
        status["suspended"] = true.into();
        status["datapath_error"] = reason;
        status["reload"] = json!({"last": {"reason": "dae:4: brof", "restart": []}});
        let told = wrong(&facts);
        let reload = |it: &String| it.starts_with("problem reload: ") && it.contains("dae:4: brof");
        assert!(told.iter().any(reload), "{told:?}");
        said(&mut facts)["reload"] = json!({"last": {"reason": null, "restart": ["dns.listen"]}});
        let told = wrong(&facts);
        let restart = "problem reload: dns.listen not in force before a restart";
        assert!(told.iter().any(|it| it.starts_with(restart)), "{told:?}");
    }
}
