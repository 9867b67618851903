//! Changes of rules and nodes while flows are under way.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::home::stop;
use crate::node::{PATIENCE, load};
use crate::scene::{MAIN, NODE_ONE, NODE_TWO, Scene, config, rule};

#[test]
fn rules_change_under_flows_that_go_on() {
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

    // Nodes in front of it go, and its own has another number again.
    scene.reload(&config(MAIN, &[NODE_TWO, &rule(80, "two")].concat()));
    assert!(next.says("drains") && proxied.says("stays") && direct.says("stays too"));
    assert!(next.ends(PATIENCE), "cut after the time to drain");
    assert!(proxied.says("stays for good") && direct.says("for good too"));
    let output = stop(dae);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn flows_of_a_node_that_goes_drain_or_are_cut_and_the_others_stay() {
    let scene = Scene::new();
    let rules = [rule(90, "one"), rule(80, "two")].concat();
    let old = config(MAIN, &[NODE_ONE, NODE_TWO, &rules].concat());
    let dae = scene.home.start(&old, "run");
    let mut stays = scene.talk(80).unwrap();
    let mut drains = scene.talk(90).unwrap();
    assert_eq!((load(&scene.one), load(&scene.two)), (1, 1));

    // The other node keeps its flows and its bytes.
    let bytes = |name: &str| {
        let status = scene.status();
        let rows = status["flow"]["outbounds"].as_array().unwrap().clone();
        let row = rows.into_iter().find(|row| row["name"] == name);
        row.map(|row| row["bytes_up"].as_u64().unwrap())
    };
    assert!(bytes("two").unwrap() > 0);
    let without = config(MAIN, &[NODE_TWO, &rule(80, "two")].concat());
    let begin = Instant::now();
    scene.reload(&without);
    assert!(bytes("two").unwrap() > 0 && bytes("one").is_none());
    assert!(drains.says("drains") && stays.says("stays"));
    assert!(drains.ends(PATIENCE), "cut after the time to drain");
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(stays.says("stays for good"));
    let mut direct = scene.talk(90).unwrap();

    // And the last one, at once.
    scene.home.write(&config(MAIN, ""), "run");
    assert!(
        scene
            .home
            .dae(&["reload", "--abort"], "run")
            .status
            .success()
    );
    assert!(stays.ends(Duration::from_secs(1)));
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
