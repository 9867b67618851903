//! A dead daemon with its kill switch on, and the one that comes after it.

use std::net::UdpSocket;
use std::os::unix::process::CommandExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::home::{stop, words};
use crate::node::load;
use crate::scene::{MAIN, NODE_ONE, Scene, addr, config, kill, rule};

const SWITCH: &str = "\toption kill_switch '1'\n";

fn closed(scene: &Scene) {
    assert!(!scene.reaches(80), "what a rule sends to a node");
    assert!(!scene.asks("203.0.113.2:53"), "DNS of anybody");
    assert!(scene.reaches(90), "direct goes on");
}

#[test]
fn a_dead_daemon_keeps_the_kill_switch_closed() {
    let scene = Scene::new();
    let before = scene.home.trace();
    let with = |main: &str| config(main, &format!("{NODE_ONE}{}", rule(80, "one")));
    let text = with(&format!("{MAIN}{SWITCH}"));
    let mut dae = scene.home.start(&text, "run");
    assert_eq!(scene.status()["devices"][0]["hook"], "clsact");
    let mut proxied = scene.talk(80).unwrap();
    let mut direct = scene.talk(90).unwrap();
    let seen = load(&scene.at80);
    kill(&mut dae);
    closed(&scene);
    assert!(!proxied.says("nobody is here"));
    assert!(direct.says("still direct"));
    assert_eq!(load(&scene.at80), seen, "the server has seen nothing");

    // One that cannot start does not open it.
    let said = words(
        scene
            .home
            .spawn(&format!("{text}\toption frob '1'\n"), "run"),
    );
    assert!(
        said.contains("frob") && said.contains("kernel.closed"),
        "{said}"
    );
    closed(&scene);

    // The next one takes over, and a regular stop opens.
    let dae = scene.home.start(&text, "run");
    assert!(scene.reaches(80) && scene.asks("203.0.113.2:53"));
    assert_eq!(load(&scene.one), 2);
    assert!(direct.says("still direct"));
    let output = stop(dae);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(scene.home.trace(), before);
    assert!(scene.reaches(80));
}

#[test]
fn a_kill_switch_that_no_hook_can_hold_is_told() {
    let scene = Scene::new();
    let with = |main: &str| config(main, &format!("{NODE_ONE}{}", rule(80, "one")));
    let closing = with(&format!("{MAIN}{SWITCH}"));
    let mut earlier = scene.talk(80).unwrap();
    let mut dae = scene.home.start(&with(MAIN), "run");
    let router = &scene.home.network.router.name;
    let tc = |words: &str, last: &[&str]| {
        let words = ["netns", "exec", router, "tc"]
            .into_iter()
            .chain(words.split(' '));
        let words: Vec<_> = words.chain(last.iter().copied()).collect();
        crate::bpf::netns::run("ip", &words);
    };
    tc("qdisc add dev lan0 clsact", &[]);
    // A filter of somebody else, at the place of ours and for IPv4 only, so that ours is refused.
    let place = "filter add dev lan0 ingress protocol ip prio 2023 bpf bytecode";
    tc(place, &["1,6 0 0 4294967295"]);

    // The switch alone; and with another rule, which takes another program.
    let other = format!("{closing}{}", rule(90, "one"));
    for (wanted, by_node) in [(&closing, 1), (&other, 3)] {
        scene.home.write(wanted, "run");
        let said = scene.home.dae(&["reload"], "run");
        let words = String::from_utf8([said.stdout, said.stderr].concat()).unwrap();
        assert_eq!(said.status.code(), Some(1), "{words}");
        assert!(
            words.contains("clsact on lan0") && words.contains("but for"),
            "{words}"
        );
        let last = scene.status()["reload"]["last"].clone();
        assert_eq!(
            (&last["ok"], last["amiss"].as_array().map(Vec::len)),
            (&json!(true), Some(1))
        );
        assert!(
            scene.reaches(80) && scene.reaches(90) && scene.asks("203.0.113.2:53"),
            "all goes on"
        );
        assert_eq!(load(&scene.one), by_node);
        assert_eq!(scene.status()["devices"][0]["hook"], "tcx");
    }
    // A closed switch would let no rule's connection go round its node.
    assert!(earlier.says("as ever"), "it is open");

    // Out of the way: the next reload has nothing to say.
    tc("qdisc del dev lan0 clsact", &[]);
    let last = scene.reload(&closing);
    assert_eq!(last["amiss"], json!([]));
    assert_eq!(scene.status()["devices"][0]["hook"], "clsact");
    kill(&mut dae);
    closed(&scene);
}

#[test]
fn a_start_that_fails_late_leaves_it_closed() {
    // include/uapi/linux/capability.h
    const CAP_NET_RAW: libc::c_ulong = 13;
    let scene = Scene::new();
    let before = scene.home.trace();
    let text = config(&format!("{MAIN}{SWITCH}"), NODE_ONE);
    let mut dae = scene.home.start(&text, "run");
    kill(&mut dae);
    let closed = scene.home.trace();
    assert_ne!(closed, before);
    // Answers of UDP flows leave by a raw socket, for which the next one has no right.
    let mut again = scene.home.command(&text, "run");
    // SAFETY: one system call, between fork and exec.
    unsafe {
        again.pre_exec(
            || match libc::prctl(libc::PR_CAPBSET_DROP, CAP_NET_RAW, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
    let output = again.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(scene.home.trace(), closed);
}

#[test]
fn the_next_instance_takes_over_without_a_gap() {
    let scene = Scene::new();
    let text = config(
        &format!("{MAIN}{SWITCH}"),
        &format!("{NODE_ONE}{}", rule(443, "one")),
    );
    // What reaches the server at this port has gone round the node, which carries no UDP here.
    let server = scene
        .home
        .network
        .server
        .enter(|| UdpSocket::bind(addr(443)).unwrap());
    server.set_nonblocking(true).unwrap();
    let client = scene
        .home
        .network
        .client
        .enter(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let mut dae = scene.home.start(&text, "run");
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut sent = 0;
            while !ends.load(Ordering::Relaxed) {
                let _ = client.send_to(b"round", addr(443));
                sent += 1;
                sleep(Duration::from_micros(200));
            }
            sent
        });
        for _ in 0..3 {
            sleep(Duration::from_millis(100));
            kill(&mut dae);
            sleep(Duration::from_millis(100));
            dae = scene.home.start(&text, "run");
        }
        ends.store(true, Ordering::Relaxed);
        assert!(sent.join().unwrap() > 1000);
    });
    assert!(server.recv_from(&mut [0; 9]).is_err(), "one went round");
    // Without the switch it opens when it dies.
    scene.reload(&text.replace(SWITCH, ""));
    assert_eq!(scene.status()["devices"][0]["hook"], "tcx");
    kill(&mut dae);
    client.send_to(b"round", addr(443)).unwrap();
    sleep(Duration::from_millis(50));
    assert!(server.recv_from(&mut [0; 9]).is_ok());
}

#[test]
fn a_kill_switch_is_opened_by_hand_and_by_a_start_without_it() {
    let scene = Scene::new();
    let before = scene.home.trace();
    let with = |main: &str| config(main, &format!("{NODE_ONE}{}", rule(80, "one")));
    let closing = with(&format!("{MAIN}{SWITCH}"));
    let mut dae = scene.home.start(&closing, "run");
    let refused = scene.home.dae(&["clean"], "run");
    assert_eq!(refused.status.code(), Some(1), "it lives: {refused:?}");
    kill(&mut dae);
    closed(&scene);
    let router = scene.home.network.router.name.as_str();
    let run_dir = scene.home.folder.join("run").display().to_string();
    let binary = env!("CARGO_BIN_EXE_dae");
    let clean = ["netns", "exec", router, binary, "clean", "-r", &run_dir];
    crate::bpf::netns::run("ip", &clean);
    assert_eq!(scene.home.trace(), before);
    assert!(!scene.home.folder.join("run").exists());
    assert!(scene.reaches(80));

    let mut dae = scene.home.start(&closing, "run");
    kill(&mut dae);
    closed(&scene);
    let dae = scene.home.start(&with(MAIN), "run");
    assert!(scene.reaches(80));
    stop(dae);
    assert_eq!(scene.home.trace(), before);
    assert!(load(&scene.at90) > 0);
}
