//! Changes of rules, nodes and interfaces while flows are under way; a pause; a dead daemon with
//! its kill switch on.

use std::net::{SocketAddr, UdpSocket};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::home::{Home, stop, words};
use crate::node::{self, PATIENCE, Talk, load};
use crate::resolver::{Upstream, answers, lookup};

const SERVER: &str = "203.0.113.2";
const ONE: &str = "203.0.113.2:1081";
const TWO: &str = "203.0.113.2:1082";
const LISTEN: &str = "127.0.0.1:5354";
const MAIN: &str = "\tlist interface 'lan0'\n\toption drain '2'\n";
const NODE_ONE: &str = "config node 'one'\n\toption url 'socks5://203.0.113.2:1081'\n";
const NODE_TWO: &str = "config node 'two'\n\toption url 'socks5://203.0.113.2:1082'\n";

fn config(main: &str, rest: &str) -> String {
    format!(
        "config dae 'main'\n\toption enabled '1'\n{main}\
         config dns 'dns'\n\toption enabled '1'\n\tlist listen '{LISTEN}'\n\toption upstream 'up'\n\
         config upstream 'up'\n\toption url 'udp://{SERVER}'\n{rest}"
    )
}

fn rule(port: u16, outbound: &str) -> String {
    format!(
        "config rule\n\toption name 'to{port}'\n\toption dest_port '{port}'\n\
         \toption outbound '{outbound}'\n"
    )
}

fn addr(port: u16) -> SocketAddr {
    format!("{SERVER}:{port}").parse().unwrap()
}

/// Two nodes, a resolver, and echoes at ports 80 and 90.
struct Scene {
    home: Home,
    one: Arc<AtomicUsize>,
    two: Arc<AtomicUsize>,
    /// Connections that the servers saw, through a node or not.
    at80: Arc<AtomicUsize>,
    at90: Arc<AtomicUsize>,
    _resolver: Upstream,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let far = &home.network.server;
        let one = node::socks(far, ONE.parse().unwrap());
        let two = node::socks(far, TWO.parse().unwrap());
        let (at80, at90) = (node::echo(far, addr(80)), node::echo(far, addr(90)));
        let resolver = Upstream::start(far, SERVER.parse().unwrap(), Duration::ZERO);
        Self {
            one,
            two,
            at80,
            at90,
            _resolver: resolver,
            home,
        }
    }

    fn talk(&self, port: u16) -> Option<Talk> {
        Talk::open(&self.home.network.client, addr(port), PATIENCE)
    }

    /// Fails soon where nobody answers.
    fn reaches(&self, port: u16) -> bool {
        let wait = Duration::from_millis(700);
        Talk::open(&self.home.network.client, addr(port), wait).is_some()
    }

    fn reload(&self, config: &str) -> Value {
        self.home.write(config, "run");
        let said = self.home.dae(&["reload"], "run");
        assert!(said.status.success(), "{said:?}");
        self.home.status("run").unwrap()["reload"]["last"].clone()
    }

    fn status(&self) -> Value {
        self.home.status("run").unwrap()
    }

    fn packets(&self, rule: &str) -> u64 {
        let status = self.status();
        let rows = status["rules"].as_array().unwrap();
        let row = rows.iter().find(|row| row["rule"] == rule);
        row.map_or(0, |row| row["packets"].as_u64().unwrap())
    }

    fn asks(&self, to: &str) -> bool {
        let client = &self.home.network.client;
        let wait = Duration::from_millis(700);
        answers(client, to.parse().unwrap(), "a.example", wait)
    }
}

#[test]
fn rules_and_nodes_change_under_flows_that_go_on() {
    let scene = Scene::new();
    let old = config(MAIN, &[NODE_ONE, NODE_TWO, &rule(80, "two")].concat());
    let dae = scene.home.start(&old, "run");
    let mut proxied = scene.talk(80).unwrap();
    let mut direct = scene.talk(90).unwrap();
    assert_eq!((load(&scene.one), load(&scene.two)), (0, 1));

    // The same rule stands behind another one now, and its node has another number.
    let zero = "config node 'zero'\n\toption url 'socks5://203.0.113.2:9'\n";
    let rules = [rule(90, "one"), rule(80, "two")].concat();
    let new = config(MAIN, &[zero, NODE_ONE, NODE_TWO, &rules].concat());
    let before = scene.packets("to80");
    assert!(before > 0);
    let last = scene.reload(&new);
    assert_eq!(last["restart"], json!([]));
    assert!(last["paused_ms"].as_f64().unwrap() <= last["took_ms"].as_f64().unwrap());
    assert!(proxied.says("still there"));
    assert!(direct.says("still direct"));
    assert!(
        scene.packets("to80") >= before,
        "the rule's counter goes on"
    );
    let mut next = scene.talk(90).unwrap();
    assert_eq!((load(&scene.one), load(&scene.two)), (1, 1));

    // Nothing but the log level: the datapath is left alone.
    let filter = || scene.home.trace();
    let here = filter();
    scene.reload(&new.replace("'lan0'", "'lan0'\n\toption log_level 'debug'"));
    assert_eq!(filter(), here);

    // One of the nodes goes; the other keeps its flows and its bytes.
    let bytes = |name: &str| {
        let status = scene.status();
        let rows = status["flow"]["outbounds"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["name"] == name);
        row.map(|row| row["bytes_up"].as_u64().unwrap())
    };
    assert!(bytes("two").unwrap() > 0);
    let without = config(MAIN, &[NODE_TWO, &rule(80, "two")].concat());
    scene.reload(&without);
    assert!(bytes("two").unwrap() > 0 && bytes("one").is_none());
    assert!(next.says("drains") && proxied.says("stays"));
    let begin = Instant::now();
    assert!(next.ends(PATIENCE), "cut after the time to drain");
    assert!(
        begin.elapsed() > Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    assert!(proxied.says("stays for good") && direct.says("too"));

    // And the last one, at once.
    scene.home.write(&config(MAIN, ""), "run");
    assert!(
        scene
            .home
            .dae(&["reload", "--abort"], "run")
            .status
            .success()
    );
    assert!(proxied.ends(Duration::from_secs(1)));
    assert!(direct.says("as ever"));
    assert!(scene.talk(80).is_some());
    assert_eq!(load(&scene.two), 1, "direct now");
    let output = stop(dae);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn names_are_judged_by_the_new_rules() {
    let scene = Scene::new();
    let by_name = |name: &str| {
        format!(
            "config rule\n\tlist domain '{name}'\n\toption dest_port '80'\n\toption outbound 'one'\n"
        )
    };
    let wanted = |name: &str| config(MAIN, &format!("{NODE_ONE}{}", by_name(name)));
    let dae = scene.home.start(&wanted("else.example"), "run");
    // The resolver says that every name is at the server's address.
    assert!(scene.asks("203.0.113.2:53"));
    assert!(scene.reaches(80));
    assert_eq!(load(&scene.one), 0);
    scene.reload(&wanted("a.example"));
    assert!(scene.reaches(80));
    assert_eq!(load(&scene.one), 1, "the name was learnt before");
    scene.reload(&wanted("else.example"));
    assert!(scene.reaches(80));
    assert_eq!(load(&scene.one), 1);
    stop(dae);
}

/// What a process has that could pile up: descriptors, threads, programs and maps.
fn belongings(dae: &Child) -> [usize; 3] {
    let count = |folder: &str| {
        let entries = std::fs::read_dir(format!("/proc/{}/{folder}", dae.id()));
        entries.unwrap().count()
    };
    let links = std::fs::read_dir(format!("/proc/{}/fd", dae.id())).unwrap();
    let bpf = links
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().contains("bpf"));
    [count("fd"), count("task"), bpf.count()]
}

#[test]
fn nothing_of_a_reload_outlives_it() {
    let scene = Scene::new();
    let of = |port| config(MAIN, &format!("{NODE_ONE}{}", rule(port, "one")));
    let dae = scene.home.start(&of(80), "run");
    let mut direct = scene.talk(90).unwrap();
    let before = belongings(&dae);
    assert_eq!(before[1], 1);
    for round in 0..10 {
        scene.reload(&of([81, 80][round % 2]));
    }
    assert!(scene.home.dae(&["suspend"], "run").status.success());
    let paused = belongings(&dae);
    assert_eq!(paused[2], 0, "no program and no map is left");
    assert!(scene.home.dae(&["resume"], "run").status.success());
    assert!(direct.says("all the time"));
    // The connection of the last order is closed a moment after its answer.
    let end = Instant::now() + Duration::from_secs(2);
    while belongings(&dae) != before && Instant::now() < end {
        sleep(Duration::from_millis(20));
    }
    assert_eq!(belongings(&dae), before);
    stop(dae);
}

#[test]
fn orders_wait_for_each_other() {
    let scene = Scene::new();
    let of = |port| config(MAIN, &format!("{NODE_ONE}{}", rule(port, "one")));
    let dae = scene.home.start(&of(80), "run");
    let before = scene.home.trace();
    let home = &scene.home;
    std::thread::scope(|scope| {
        for words in [
            &["reload"][..],
            &["suspend"],
            &["reload", "--abort"],
            &["resume"],
        ] {
            for _ in 0..2 {
                scope.spawn(move || {
                    let said = home.dae(words, "run");
                    assert!(said.status.success(), "{words:?}: {said:?}");
                });
            }
        }
    });
    assert!(scene.home.dae(&["resume"], "run").status.success());
    assert_eq!(scene.status()["reload"]["succeeded"], 4);
    assert_eq!(scene.home.trace(), before);
    assert!(scene.reaches(80));
    assert_eq!(load(&scene.one), 1);
    stop(dae);
}

#[test]
fn a_reload_that_the_kernel_refuses_changes_nothing() {
    let scene = Scene::new();
    let old = config(MAIN, &format!("{NODE_ONE}{}", rule(80, "one")));
    let dae = scene.home.start(&old, "run");
    let mut proxied = scene.talk(80).unwrap();
    // No further descriptors, so no further maps.
    let pid = dae.id().to_string();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count();
    let limit = format!("--nofile={}:", open + 8);
    crate::bpf::netns::run("prlimit", &["--pid", &pid, &limit]);
    let before = scene.home.trace();
    scene.home.write(
        &config(MAIN, &format!("{NODE_ONE}{}", rule(90, "one"))),
        "run",
    );
    let said = scene.home.dae(&["reload"], "run");
    let problems = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{problems}");
    assert!(problems.contains("bpf load"), "{problems}");
    crate::bpf::netns::run("prlimit", &["--pid", &pid, "--nofile=1024:"]);
    assert_eq!(scene.home.trace(), before);
    assert_eq!(scene.status()["reload"]["failed"], 1);
    assert!(proxied.says("goes on"));
    assert!(scene.reaches(90) && scene.reaches(80));
    assert_eq!(load(&scene.one), 2, "by the old rules");
    assert!(scene.home.dae(&["reload"], "run").status.success());
    assert!(scene.reaches(90));
    assert_eq!(load(&scene.one), 3, "by the new ones");
    stop(dae);
}

#[test]
fn a_pause_gives_the_lan_back_and_keeps_the_process() {
    let scene = Scene::new();
    let before = scene.home.trace();
    let of = |port| config(MAIN, &format!("{NODE_ONE}{}", rule(port, "one")));
    let dae = scene.home.start(&of(80), "run");
    let mut proxied = scene.talk(80).unwrap();
    assert!(scene.asks("203.0.113.2:53"));
    let queries = || scene.status()["dns"]["queries"].as_u64().unwrap();
    let (asked, packets) = (queries(), scene.packets("to80"));
    assert_eq!(scene.status()["suspended"], false);

    let order = |word: &str| {
        let said = scene.home.dae(&[word], "run");
        assert!(said.status.success(), "{word}: {said:?}");
    };
    order("suspend");
    assert_eq!(scene.home.trace(), before);
    assert_eq!(scene.status()["suspended"], true);
    assert!(proxied.ends(Duration::from_secs(1)), "it cannot go on");
    assert!(scene.reaches(80) && scene.asks("203.0.113.2:53"));
    assert_eq!((load(&scene.one), queries()), (1, asked));
    // Who asks us by name is answered all the same, from the cache.
    let router = &scene.home.network.router;
    assert!(lookup(router, LISTEN.parse().unwrap(), "a.example").is_some());
    assert_eq!(scene.packets("to80"), packets, "counters stay");

    // Twice is once, and a reload only prepares.
    order("suspend");
    scene.reload(&of(90));
    assert_eq!(scene.home.trace(), before);
    order("resume");
    order("resume");
    assert_eq!(scene.status()["suspended"], false);
    assert!(scene.reaches(80) && scene.reaches(90));
    assert_eq!(load(&scene.one), 2, "by the rules of meanwhile");
    assert!(scene.packets("to90") > 0);
    order("suspend");
    let output = stop(dae);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(scene.home.trace(), before);
    assert!(!scene.home.folder.join("run").exists());
}

#[test]
fn killed_in_a_pause_it_leaves_nothing() {
    let scene = Scene::new();
    let before = scene.home.trace();
    let text = config(&format!("{MAIN}\toption attach 'clsact'\n"), "");
    let mut dae = scene.home.start(&text, "run");
    assert!(scene.home.dae(&["suspend"], "run").status.success());
    kill(&mut dae);
    assert_eq!(scene.home.trace(), before);
}

fn kill(dae: &mut Child) {
    dae.kill().unwrap();
    dae.wait().unwrap();
}

fn closed(scene: &Scene) {
    assert!(!scene.reaches(80), "what a rule sends to a node");
    assert!(!scene.asks("203.0.113.2:53"), "DNS of anybody");
    assert!(scene.reaches(90), "direct goes on");
}

const SWITCH: &str = "\toption kill_switch '1'\n";

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
    let dae = scene.home.start(&with(MAIN), "run");
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

    scene.home.write(&with(&format!("{MAIN}{SWITCH}")), "run");
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
        scene.reaches(80) && scene.asks("203.0.113.2:53"),
        "all goes on"
    );
    assert_eq!(load(&scene.one), 1);

    // Out of the way: the next reload has nothing to say.
    tc("qdisc del dev lan0 clsact", &[]);
    let last = scene.reload(&with(&format!("{MAIN}{SWITCH}")));
    assert_eq!(last["amiss"], json!([]));
    assert_eq!(scene.status()["devices"][0]["hook"], "clsact");
    stop(dae);
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
