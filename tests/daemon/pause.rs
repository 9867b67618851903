//! `dae suspend` and `dae resume`.

use std::time::Duration;

use crate::home::stop;
use crate::node::load;
use crate::resolver::lookup;
use crate::scene::{LISTEN, MAIN, NODE_ONE, Scene, config, kill, rule};

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
