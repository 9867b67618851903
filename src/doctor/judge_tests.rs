//! Facts of routers, and what is said of them.

use serde_json::{Value, json};

use super::facts::{Daemon, Facts, Settings, Tried};
use super::judge::judge;
use super::outward::all_answered;
use super::page::{State, document, render};
use crate::kernel::{HookKind, Routing, Seen, devices::Device};

const THERE: Routing = Routing {
    rules: 2,
    routes: 1,
    defaults: 1,
    others: 0,
};
const CLEAN: Routing = Routing {
    rules: 0,
    routes: 0,
    defaults: 1,
    others: 0,
};

fn upstream(answered: u64, failures: u64) -> Value {
    json!([{
        "name": "isp", "transport": "tcp+udp", "latency_ms": 12.4, "udp_dead": false,
        "answered_udp": answered, "answered_stream": 0, "failures": failures,
    }])
}

fn status() -> Value {
    json!({
        "uptime_s": 300, "pid": 7, "suspended": false, "datapath_error": null,
        "devices": [{"device": "br-lan", "interface": "lan", "hook": "clsact"}],
        "rules": [{"rule": "default", "packets": 5}],
        "packets": {"dns": 3},
        "dns": {"upstreams": upstream(5, 0)},
        "nodes": [
            {"node": "jp", "network": "tcp4", "life": "alive"},
            {"node": "jp", "network": "tcp6", "life": "dead"},
        ],
        "reload": {"last": null},
    })
}

/// A router on which nothing is wrong.
pub(super) fn healthy() -> Facts {
    let device = Device {
        name: "br-lan".into(),
        index: 4,
        kind: 1,
    };
    Facts {
        file: "/etc/config/dae".into(),
        config: Ok(Settings {
            enabled: true,
            dns: true,
        }),
        at_boot: Some(true),
        daemon: Daemon::Alive(Box::new(status())),
        trial: None,
        jit: Some("1".into()),
        install: "opkg update; opkg install",
        modules_missing: Vec::new(),
        seen: Ok(Seen {
            devices: vec![device],
            filters: vec!["br-lan".into()],
            unlisted: Vec::new(),
            routing: [THERE, THERE],
            closed: false,
        }),
        devices: vec![("lan".into(), vec!["br-lan".into()])],
        forwards: Some(true),
        ipv6: true,
        input_chain: Some("meta mark & 0x40000000 == 0x40000000 accept".into()),
        listeners: vec![("127.0.0.1:5354".into(), Ok((3, 0)))],
        before: upstream(4, 0),
        time: 1_800_000_000,
        memory: Some(60_000),
        space: vec![("/etc".into(), 5000)],
        rivals: Vec::new(),
    }
}

/// The same with nothing running.
pub(super) fn stopped() -> Facts {
    let mut facts = healthy();
    facts.daemon = Daemon::Absent;
    facts.trial = Some(Tried {
        loaded: Ok(8),
        hung: Some(Ok(HookKind::Tcx)),
    });
    facts.listeners = Vec::new();
    facts.before = Value::Null;
    let seen = seen(&mut facts);
    seen.routing = [CLEAN, CLEAN];
    seen.filters = Vec::new();
    facts
}

pub(super) fn seen(facts: &mut Facts) -> &mut Seen {
    facts.seen.as_mut().unwrap()
}

pub(super) fn said(facts: &mut Facts) -> &mut Value {
    match &mut facts.daemon {
        Daemon::Alive(status) => status,
        other => panic!("{other:?}"),
    }
}

/// Everything but what is well: state, check, words and cure.
pub(super) fn wrong(facts: &Facts) -> Vec<String> {
    let wrong = judge(facts).into_iter().filter(|it| it.state != State::Ok);
    wrong
        .map(|it| {
            let state = it.state.as_str();
            format!("{state} {}: {} -> {}", it.check, it.words, it.cure)
        })
        .collect()
}

/// That a change of a healthy, or stopped, router leads to one finding with these words.
pub(super) fn leads(mut facts: Facts, change: impl FnOnce(&mut Facts), words: &[&str]) {
    change(&mut facts);
    let wrong = wrong(&facts);
    assert_eq!(wrong.len(), 1, "{wrong:?} instead of {words:?}");
    for part in words {
        assert!(wrong[0].contains(part), "{part} in {wrong:?}");
    }
}

#[test]
fn nothing_is_wrong_with_a_healthy_router_or_a_disabled_one() {
    let findings = judge(&healthy());
    assert_eq!(wrong(&healthy()), [""; 0]);
    let (good, page) = render(&findings);
    assert!(good && page.ends_with("nothing wrong found\n"), "{page}");
    for words in [
        "ok       daemon     runs for 300 s, process 7\n",
        "ok       devices    interface 'lan' is br-lan\n",
        "'isp' (tcp+udp) answers, 12 ms\n",
        "'jp': tcp4, dead in tcp6\n",
        "127.0.0.1:5354 answers, 3 ms\n",
    ] {
        assert!(page.contains(words), "{words} in {page}");
    }
    leads(
        stopped(),
        |it| {
            it.config = Ok(Settings {
                enabled: false,
                dns: true,
            });
        },
        &["problem config", "uci set dae.main.enabled=1"],
    );
}

#[test]
fn a_daemon_that_does_not_serve_is_told_with_its_reason() {
    leads(
        stopped(),
        |_| (),
        &["daemon: does not run", "service dae start"],
    );
    leads(
        stopped(),
        |it| it.daemon = Daemon::Dead,
        &["was killed", "service dae restart"],
    );
    leads(
        stopped(),
        |it| it.daemon = Daemon::Silent("does not answer: late".into()),
        &["does not answer: late", "restart"],
    );
    leads(
        stopped(),
        |it| it.daemon = Daemon::Forbidden,
        &["unknown", "as root"],
    );
    // Its rules and routes are there, and not a dead one's.
    leads(
        healthy(),
        |it| it.daemon = Daemon::Silent("does not answer: late".into()),
        &["does not answer: late", "restart"],
    );
    leads(
        healthy(),
        |it| it.daemon = Daemon::Forbidden,
        &["unknown", "as root"],
    );
    leads(
        healthy(),
        |it| it.config = Err(("dae:3: frob".into(), 3)),
        &["dae:3: frob (and 2 more)", "dae check"],
    );
    leads(
        healthy(),
        |it| said(it)["reload"] = json!({"last": {"reason": "dae:4: brof"}}),
        &["reload", "dae:4: brof"],
    );
    leads(
        healthy(),
        |it| said(it)["reload"] = json!({"last": {"restart": ["dns.listen", "dae.metrics"]}}),
        &[
            "reload: dns.listen, dae.metrics not in force",
            "-> service dae restart",
        ],
    );
    leads(
        healthy(),
        |it| {
            said(it)["suspended"] = true.into();
            seen(it).routing = [CLEAN, CLEAN];
            seen(it).filters = Vec::new();
            said(it)["devices"] = json!([]);
            // Put back with all the rest.
            it.jit = Some("0".into());
        },
        &["suspended", "dae resume"],
    );
    leads(
        healthy(),
        |it| it.at_boot = Some(false),
        &["boot", "service dae enable"],
    );
}

#[test]
fn a_kernel_that_refuses_is_told_in_its_words() {
    let refused = "bpf clsact on a device: the kernel lacks cls_bpf, install kmod-sched-bpf";
    let tried = |loaded: Result<u64, String>, hung| Some(Tried { loaded, hung });
    let stays_down = |facts: &mut Facts| facts.config.as_mut().unwrap().enabled = true;
    for (trial, words) in [
        (
            tried(Err("built without BPF_SYSCALL".into()), None),
            "without BPF_SYSCALL",
        ),
        (tried(Ok(3), Some(Err(refused.into()))), "kmod-sched-bpf"),
    ] {
        let mut facts = stopped();
        stays_down(&mut facts);
        facts.trial = trial;
        let wrong = wrong(&facts);
        let kernel = wrong.iter().find(|it| it.contains("problem kernel"));
        assert!(kernel.is_some_and(|it| it.contains(words)), "{wrong:?}");
    }
    let mut facts = stopped();
    facts.trial = tried(Ok(3), None);
    assert_eq!(wrong(&facts).len(), 1);
    facts.modules_missing = vec!["cls_bpf".into()];
    let wrong = wrong(&facts);
    assert!(
        wrong[1].starts_with("unknown kernel") && wrong[1].contains("cls_bpf"),
        "{wrong:?}"
    );
    assert!(wrong[1].ends_with("-> opkg update; opkg install kmod-sched-core kmod-sched-bpf"));
    leads(
        healthy(),
        |it| {
            said(it)["suspended"] = true.into();
            said(it)["datapath_error"] = "bpf load: no".into();
            seen(it).routing = [CLEAN, CLEAN];
            said(it)["devices"] = json!([]);
            seen(it).filters = Vec::new();
        },
        &["problem kernel: refuses the program", ": bpf load: no"],
    );
    leads(
        healthy(),
        |it| it.jit = Some("0".into()),
        &["jit", "bpf_jit_enable=1"],
    );
}

#[test]
fn devices_without_our_program_are_told() {
    leads(
        healthy(),
        |it| it.devices.push(("guest".into(), vec!["br-guest".into()])),
        &["interface 'guest': there is no device br-guest"],
    );
    leads(
        healthy(),
        |it| said(it)["devices"][0]["device"] = Value::Null,
        &["interface 'lan': br-lan has not our program"],
    );
    leads(
        healthy(),
        |it| seen(it).filters.clear(),
        &["taken our filter from br-lan"],
    );
    leads(
        healthy(),
        |it| {
            seen(it).filters.clear();
            seen(it).unlisted = vec![("br-lan".into(), "interrupted".into())];
        },
        &["unknown devices: whether br-lan has our filter: interrupted"],
    );
    leads(
        healthy(),
        |it| {
            said(it)["rules"][0]["packets"] = 0.into();
            said(it)["packets"]["other"] = 1.into();
            said(it)["packets"]["dns"] = 0.into();
        },
        &["unknown dns", "no query of the LAN"],
    );
    let mut facts = healthy();
    said(&mut facts)["rules"][0]["packets"] = 0.into();
    said(&mut facts)["packets"]["dns"] = 0.into();
    assert!(wrong(&facts)[0].contains("no packet of the LAN"));
    said(&mut facts)["uptime_s"] = 59.into();
    assert_eq!(wrong(&facts), [""; 0], "too early to tell");
}

#[test]
fn what_is_left_behind_or_missing_of_routes_is_told() {
    for routing in [
        Routing { rules: 3, ..THERE },
        Routing { rules: 1, ..THERE },
        Routing { routes: 0, ..THERE },
    ] {
        leads(
            healthy(),
            |it| seen(it).routing[0] = routing,
            &["problem routing", "service dae restart"],
        );
        let mut facts = stopped();
        seen(&mut facts).routing[1] = routing;
        assert!(wrong(&facts)[1].ends_with("left behind -> dae clean"));
    }
    let mut facts = stopped();
    seen(&mut facts).filters = vec!["br-lan".into()];
    assert!(wrong(&facts)[1].ends_with("left behind -> dae clean"));
    seen(&mut facts).closed = true;
    let told = wrong(&facts);
    assert!(told[1].contains("kill switch is closed"), "{told:?}");
    assert!(told[1].ends_with("dae clean to open it"), "{told:?}");
    // It was to be taken over, in vain.
    let mut facts = healthy();
    said(&mut facts)["suspended"] = true.into();
    said(&mut facts)["datapath_error"] = "bpf load: no".into();
    seen(&mut facts).closed = true;
    let told = wrong(&facts);
    assert!(
        told[1].ends_with("dropped -> dae suspend opens it"),
        "{told:?}"
    );
    // Of one that lives, and so could not undo it.
    let mut facts = healthy();
    said(&mut facts)["suspended"] = true.into();
    let told = wrong(&facts);
    assert!(
        told[1].contains("filters of ours are left behind -> service dae restart"),
        "{told:?}"
    );
    let mut facts = healthy();
    seen(&mut facts).routing[1] = CLEAN;
    assert_eq!(wrong(&facts).len(), 1);
    facts.ipv6 = false;
    assert_eq!(wrong(&facts), [""; 0], "IPv6 is switched off");
    leads(
        healthy(),
        |it| it.forwards = Some(false),
        &["forwards nothing"],
    );
    leads(
        healthy(),
        |it| {
            seen(it).routing[0].defaults = 0;
            seen(it).routing[1].defaults = 0;
        },
        &["no default route", "ifup wan"],
    );
    let mut facts = healthy();
    let routing = &mut seen(&mut facts).routing;
    (routing[0].defaults, routing[0].others, routing[1].defaults) = (0, 2, 0);
    assert_eq!(wrong(&facts), [""; 0], "policy routing");
    let (_, page) = render(&judge(&facts));
    assert!(
        page.contains("IPv4: one, for some traffic (not in table main); of IPv6: none\n"),
        "{page}"
    );
    let mut facts = stopped();
    facts.seen = Err("list devices: no".into());
    assert!(wrong(&facts)[1].starts_with("unknown routing: list devices: no"));
}

#[test]
fn dns_and_nodes_that_do_not_answer_are_told() {
    leads(
        healthy(),
        |it| it.before = upstream(5, 0),
        &["'isp' (tcp+udp) is silent", "logread -e isp"],
    );
    leads(
        healthy(),
        |it| {
            said(it)["dns"]["upstreams"] = upstream(4, 2);
            it.before = upstream(4, 1);
        },
        &["'isp' (tcp+udp) cannot be reached"],
    );
    leads(
        healthy(),
        |it| said(it)["dns"]["upstreams"][0]["udp_dead"] = true.into(),
        &["12 ms, but not by UDP"],
    );
    leads(
        healthy(),
        |it| it.listeners[0].1 = Err("timed out".into()),
        &["no answer from 127.0.0.1:5354: timed out"],
    );
    leads(
        healthy(),
        |it| said(it)["nodes"][0]["life"] = "dead".into(),
        &["'jp' is dead (tcp4 tcp6)", "logread -e jp"],
    );
    // Another one, and that of the clients' own choice, which nobody can ask.
    leads(
        healthy(),
        |it| {
            let row = |name: &str, answered| {
                let mut row = upstream(answered, 0)[0].clone();
                row["name"] = name.into();
                row
            };
            it.before = json!([row("isp", 4), row("far", 9), row("asis", 0)]);
            let after = json!([row("isp", 5), row("far", 9), row("asis", 0)]);
            assert!(!all_answered(&after, &it.before));
            said(it)["dns"]["upstreams"] = after;
        },
        &["'far' (tcp+udp) is silent"],
    );
    assert!(all_answered(&upstream(5, 0), &upstream(4, 0)));
    let mut by_stream = upstream(5, 0);
    by_stream[0]["udp_dead"] = true.into();
    assert!(
        !all_answered(&by_stream, &upstream(4, 0)),
        "UDP may come back"
    );
    let mut facts = healthy();
    facts.listeners[0].1 = Ok((4, 2));
    assert_eq!(wrong(&facts), [""; 0], "an upstream without a root is one");
    let (_, page) = render(&judge(&facts));
    assert!(
        page.contains("127.0.0.1:5354 answers (SERVFAIL), 4 ms\n"),
        "{page}"
    );
    // A daemon that cannot be told to ask says nothing of its upstreams.
    let mut facts = healthy();
    facts.before = Value::Null;
    assert_eq!(wrong(&facts), [""; 0]);
}

#[test]
fn the_rest_of_the_router_is_looked_at_too() {
    leads(
        healthy(),
        |it| it.input_chain = Some("accept".into()),
        &["service firewall restart"],
    );
    leads(healthy(), |it| it.time = 1000, &["clock", "sysntpd"]);
    leads(
        healthy(),
        |it| it.memory = Some(8000),
        &["8000 kB are free"],
    );
    leads(healthy(), |it| it.space[0].1 = 10, &["/etc is full, 10 kB"]);
    leads(
        healthy(),
        |it| it.rivals.push("openclash"),
        &["unknown others", "service openclash stop"],
    );
    let mut facts = healthy();
    facts.input_chain = None;
    assert_eq!(wrong(&facts), [""; 0], "no fw4, nothing to say");
}

#[test]
fn programs_read_the_same() {
    let mut facts = healthy();
    facts.time = 0;
    let findings = judge(&facts);
    let (good, page) = render(&findings);
    assert!(!good && page.ends_with("\n1 problem\n"), "{page}");
    let document = document(&findings);
    let rows = document.as_array().unwrap();
    assert_eq!(rows.len(), page.lines().count() - 1);
    let clock = rows.iter().find(|it| it["check"] == "clock").unwrap();
    assert_eq!(clock["state"], "problem");
    assert!(clock["cure"].as_str().unwrap().contains("date -s"));
}
