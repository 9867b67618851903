//! Changes of settings while queries come.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::home::{self, Home, stop};
use crate::resolver::{Load, Upstream, lookup};

const FIRST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);
const SERVER: &str = "127.0.0.1:5354";

/// `up` answers all but what is below `hot.example`, which `stay` does.
fn config(up: Ipv4Addr, more: &str) -> String {
    format!(
        "config dae 'main'\n\toption enabled '1'\n\
         config dns 'dns'\n\toption enabled '1'\n\tlist listen '{SERVER}'\n\
         \toption upstream 'up'\n\
         \toption max_queries '4096'\n\toption max_client_queries '4096'\n{more}\
         config upstream 'up'\n\toption url 'udp://{up}'\n\
         config upstream 'stay'\n\toption url 'udp://{FIRST}'\n\
         config dns_rule\n\tlist domain 'hot.example'\n\toption upstream 'stay'\n"
    )
}

fn server() -> SocketAddr {
    SERVER.parse().unwrap()
}

/// Two upstreams, and the daemon that asks the first.
fn scene(delay: Duration) -> (Home, Upstream, Upstream, Child) {
    let home = Home::new();
    let far = &home.network.server;
    far.ip("addr add 203.0.113.3/24 dev eth0");
    let first = Upstream::start(far, FIRST, delay);
    let second = Upstream::start(far, SECOND, delay);
    let dae = home.start(&config(FIRST, ""), "run");
    (home, first, second, dae)
}

fn last(home: &Home) -> serde_json::Value {
    home.status("run").unwrap()["reload"]["last"].clone()
}

#[test]
fn twenty_reloads_under_load_lose_nothing() {
    let (home, first, second, dae) = scene(Duration::from_millis(30));
    // All queries are of one client, and this machine may be slow.
    let wide = "\toption max_queries '4000'\n\toption max_client_queries '2000'\n";
    home.write(&config(FIRST, wide), "run");
    assert!(home.dae(&["reload"], "run").status.success());
    let router = &home.network.router;
    let load = Load::start(router, server(), 2000, "www.hot.example", "fresh.example");
    let ups = [SECOND, FIRST];
    for (round, up) in ups.iter().cycle().take(20).enumerate() {
        sleep(Duration::from_millis(50));
        home.write(&config(*up, wide), "run");
        let said = home.dae(&["reload"], "run");
        assert!(said.status.success(), "{said:?}");
        let name = format!("round{round}.example");
        assert_eq!(lookup(router, server(), &name), Some(*up), "{name}");
    }
    let status = home.status("run").unwrap();
    let seen = load.finish();
    assert_eq!(status["reload"]["succeeded"], 21);
    assert_eq!(status["reload"]["failed"], 0);
    assert!(seen.sent > 2000, "{seen:?}");
    let dns = &status["dns"];
    assert_eq!(seen.answered, seen.sent, "{seen:?}");
    assert!(seen.failed.is_empty(), "{seen:?} {dns:#}");
    // Asked for once, then cached through all of them.
    assert_eq!(first.count("www.hot.example"), 1);
    assert_eq!(second.count("www.hot.example"), 0);
    assert!(status["dns"]["cache"]["hits"].as_u64().unwrap() > 900);
    assert!(stop(dae).status.success());
}

#[test]
fn a_bad_configuration_changes_nothing_and_says_why() {
    let (home, _first, _second, dae) = scene(Duration::ZERO);
    let router = &home.network.router;
    assert!(last(&home).is_null());
    let bad = config(SECOND, "\toption frob '1'\n\toption brof '1'\n");
    let path = home.write(&bad, "run");
    let place = format!("{}:9: config dns 'dns': option frob", path.display());

    let said = home.dae(&["reload"], "run");
    assert_eq!(said.status.code(), Some(1));
    let words = String::from_utf8(said.stderr).unwrap();
    assert!(words.contains(&place) && words.contains("brof"), "{words}");
    assert!(words.ends_with("nothing was changed\n"), "{words}");

    let status = last(&home);
    assert_eq!(status["ok"], false);
    let reason = status["reason"].as_str().unwrap();
    assert!(reason.starts_with(&place) && reason.ends_with("(and 1 more)"));
    assert_eq!(lookup(router, server(), "a.example"), Some(FIRST));

    home.write(&config(SECOND, ""), "run");
    assert!(home.dae(&["reload"], "run").status.success());
    assert_eq!(last(&home)["ok"], true);
    assert_eq!(lookup(router, server(), "b.example"), Some(SECOND));
    let output = stop(dae);
    let log = home::said(&output);
    let line = |level: &str, words: &str| {
        let mut lines = log.lines();
        lines.any(|line| line.starts_with(level) && line.contains(words))
    };
    assert!(
        line("level=error", "event=config.problem number=1"),
        "{log}"
    );
    assert!(
        line("level=error", "event=reload number=1 ok=false"),
        "{log}"
    );
    assert!(line("level=info", "event=reload number=2 ok=true"), "{log}");
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_applied() {
    let (home, _first, _second, dae) = scene(Duration::ZERO);
    let router = &home.network.router;
    let changed = config(
        SECOND,
        "\tlist listen '127.0.0.1:5355'\n\toption query_log '9'\n",
    ) + "config rule\n\tlist dest_ip '192.0.2.0/24'\n\toption outbound 'direct'\n";
    home.write(&changed, "run");
    let said = home.dae(&["reload"], "run");
    assert!(said.status.success(), "{said:?}");
    let words = String::from_utf8(said.stdout).unwrap();
    assert!(words.ends_with("restart only: dns.listen\n"), "{words}");
    let restart = last(&home)["restart"].clone();
    assert_eq!(restart, serde_json::json!(["dns.listen"]));
    assert_eq!(lookup(router, server(), "a.example"), Some(SECOND));
    // The log is on from now on.
    let page = home.dae(&["status", "--queries"], "run").stdout;
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("a.example") && page.contains("upstream up"),
        "{page}"
    );
    stop(dae);
}

#[test]
fn bounds_hold_for_those_who_come_after() {
    let (home, _first, _second, dae) = scene(Duration::ZERO);
    let router = &home.network.router;
    let connect = || router.enter(|| TcpStream::connect(server()).unwrap());
    let displaced = || home.status("run").unwrap()["dns"]["tcp"]["displaced"].clone();
    let _clients = [connect(), connect()];
    assert_eq!(displaced(), 0);
    let narrow = config(FIRST, "\toption max_client_connections '2'\n");
    home.write(&narrow, "run");
    assert!(home.dae(&["reload"], "run").status.success());
    let _third = connect();
    let end = Instant::now() + Duration::from_secs(5);
    while displaced() != 1 {
        assert!(Instant::now() < end, "{}", displaced());
        sleep(Duration::from_millis(20));
    }
    stop(dae);
}

#[test]
fn a_hangup_reloads_however_many_come_at_once() {
    let (home, _first, _second, dae) = scene(Duration::ZERO);
    let router = &home.network.router;
    home.write(&config(SECOND, ""), "run");
    let pid = Pid::from_raw(dae.id() as i32);
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| kill(pid, Signal::SIGHUP).unwrap());
            scope.spawn(|| assert!(home.dae(&["reload"], "run").status.success()));
        }
    });
    let end = Instant::now() + Duration::from_secs(5);
    let reload = loop {
        let reload = home.status("run").unwrap()["reload"].clone();
        // Signals that come at once may be one.
        if reload["succeeded"].as_u64().unwrap() >= 6 {
            break reload;
        }
        assert!(Instant::now() < end, "{reload}");
        sleep(Duration::from_millis(20));
    };
    assert_eq!(reload["failed"], 0);
    assert_eq!(lookup(router, server(), "a.example"), Some(SECOND));
    assert!(stop(dae).status.success());
}
