//! Groups in the whole process: chosen by hand, kept over a restart, asked by DNS, and what
//! happens when the link goes away.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::home::{Home, said, stop};
use crate::resolver::{Upstream, lookup};

const WAIT: Duration = Duration::from_secs(20);
const SERVER: &str = "127.0.0.1:5354";

/// No node is where `a` is; `b` is dante.
fn config(more: &str) -> String {
    format!(
        "config dae 'main'\n\toption enabled '1'\n\toption metrics '127.0.0.1:9153'\n\
         config node 'a'\n\toption url 'socks5://203.0.113.2:9'\n\
         config node 'b'\n\toption url 'socks5://203.0.113.2:1080'\n\
         config group 'g'\n\toption check_interval '5'\n\
         \toption check_url 'http://203.0.113.2/'\n\tlist check_dns '203.0.113.2'\n{more}\
         config dns 'dns'\n\toption enabled '1'\n\tlist listen '{SERVER}'\n\toption upstream 'up'\n\
         config upstream 'up'\n\toption url 'udp://203.0.113.2'\n\toption outbound 'g'\n"
    )
}

/// A process that ends with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Dante on port 1080 of the server.
fn dante(home: &Home) -> Peer {
    let path = home.folder.join("danted.conf");
    let text = "logoutput: /dev/null\ninternal: 203.0.113.2 port = 1080\nexternal: eth0\n\
                socksmethod: none\nclientmethod: none\n\
                user.privileged: root\nuser.unprivileged: nobody\n\
                client pass { from: 0/0 to: 0/0 }\n\
                socks pass { from: 0/0 to: 0/0 command: connect udpassociate udpreply }\n";
    fs::write(&path, text).unwrap();
    let child = Command::new("ip")
        .args([
            "netns",
            "exec",
            &home.network.server.name,
            "danted",
            "-N",
            "1",
            "-f",
        ])
        .arg(path)
        .arg("-p")
        .arg(home.folder.join("danted.pid"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Peer(child)
}

/// The server of the check.
fn web(home: &Home) {
    let listener = home
        .network
        .server
        .enter(|| TcpListener::bind("203.0.113.2:80").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
}

fn scene() -> (Home, Upstream, Peer) {
    let home = Home::new();
    web(&home);
    let addr = [203, 0, 113, 2].into();
    let upstream = Upstream::start(&home.network.server, addr, Duration::ZERO);
    let node = dante(&home);
    (home, upstream, node)
}

fn row(status: &Value, list: &str, name: &str, network: &str) -> Value {
    let key = list.strip_suffix('s').unwrap();
    let mut rows = status[list].as_array().unwrap().iter();
    let row = rows.find(|row| row[key] == name && row["network"] == network);
    row.cloned().unwrap_or_default()
}

/// Waits until the status is as wanted.
fn until(home: &Home, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + WAIT;
    loop {
        let status = home.status("run").unwrap();
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{what}: {status:#}");
        sleep(Duration::from_millis(50));
    }
}

fn life(node: &str, network: &'static str, wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |status| row(status, "nodes", node, network)["life"] == wanted
}

#[test]
fn queries_leave_by_the_member_that_works_and_all_of_it_is_shown() {
    let (home, upstream, _node) = scene();
    let dae = home.start(&config(""), "run");
    let router = &home.network.router;
    let server = SERVER.parse().unwrap();
    let asked = lookup(router, server, "first.example");
    assert_eq!(asked, Some([203, 0, 113, 2].into()));
    assert!(upstream.count("first.example") >= 1);
    until(&home, "b alive", life("b", "udp4", "alive"));
    until(&home, "b alive", life("b", "tcp4", "alive"));
    let status = until(&home, "a dead", life("a", "tcp4", "dead"));
    let group = row(&status, "groups", "g", "tcp4");
    assert_eq!(group["uses"], "b");
    assert_eq!(group["policy"], "min_moving_avg");
    assert_eq!(group["last_resort"], false);
    assert!(
        row(&status, "nodes", "b", "tcp4")["moving_ms"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert!(status["checks"]["begun"].as_u64().unwrap() >= 4);

    let page = home.dae(&["status"], "run");
    let page = String::from_utf8(page.stdout).unwrap();
    assert!(page.contains("  group  network"), "{page}");
    let metrics = Command::new("ip")
        .args([
            "netns",
            "exec",
            &router.name,
            "curl",
            "-sS",
            "http://127.0.0.1:9153/metrics",
        ])
        .output()
        .unwrap();
    let metrics = String::from_utf8(metrics.stdout).unwrap();
    for line in [
        "dae_group_last_resort{group=\"g\",network=\"tcp4\",node=\"b\"} 0\n",
        "dae_node_usable{node=\"a\",network=\"tcp4\"} 0\n",
        "dae_node_usable{node=\"b\",network=\"tcp4\"} 1\n",
        "dae_node_latency_seconds{node=\"b\",network=\"tcp4\",mean=\"moving\"} 0.",
        "dae_network_down{network=\"tcp4\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let said = said(&stop(dae));
    assert!(
        said.contains("event=node node=a network=tcp4 state=dead"),
        "{said}"
    );
}

#[test]
fn a_choice_outlives_the_process_and_is_written_when_it_changes() {
    let (home, _upstream, _node) = scene();
    let file = home.folder.join("state/choices");
    let kept = || fs::read_to_string(&file).ok();
    let choose = |words: &[&str]| {
        let said = home.dae(&[&["choose"], words].concat(), "run");
        let text = [said.stdout, said.stderr].concat();
        (
            said.status.code().unwrap(),
            String::from_utf8(text).unwrap(),
        )
    };
    let dae = home.start(&config(""), "run");
    assert_eq!(
        choose(&["g", "x"]),
        (1, "dae: 'x' is no member of group 'g'\n".into())
    );
    assert_eq!(
        choose(&["h", "a"]),
        (1, "dae: there is no group 'h'\n".into())
    );
    assert_eq!(choose(&["h"]), (1, "dae: there is no group 'h'\n".into()));
    assert_eq!(kept(), None);
    assert_eq!(choose(&["g", "a"]), (0, "g uses a\n".into()));
    assert_eq!(kept().as_deref(), Some("g a\n"));
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    sleep(Duration::from_millis(20));
    assert_eq!(choose(&["g", "a"]).0, 0);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), written);
    assert!(stop(dae).status.success());

    let dae = home.start(&config(""), "run");
    let status = home.status("run").unwrap();
    assert_eq!(row(&status, "groups", "g", "tcp4")["choice"], "a");
    let (code, shown) = choose(&["g"]);
    assert!(code == 0 && shown.contains("choice   a\n"), "{shown}");
    assert_eq!(
        choose(&["g", "auto"]),
        (0, "g uses what its policy says\n".into())
    );
    assert!(
        !home.folder.join("state").exists(),
        "nothing to keep, nothing there"
    );
    assert!(stop(dae).status.success());

    // Not to be kept.
    let dae = home.start(&config("\toption keep_choice '0'\n"), "run");
    assert_eq!(choose(&["g", "a"]).0, 0);
    assert_eq!(kept(), None);
    assert!(stop(dae).status.success());
}

#[test]
fn a_link_that_is_down_kills_nobody_and_all_are_checked_when_it_is_back() {
    let (home, _upstream, node) = scene();
    let config = config("").replace("203.0.113.2:9'", "203.0.113.2:1080'");
    let dae = home.start(&config, "run");
    for node in ["a", "b"] {
        until(&home, "alive", life(node, "tcp4", "alive"));
    }
    home.network.router.ip("link set wan0 down");
    let begun = |status: &Value| status["checks"]["begun"].as_u64().unwrap();
    sleep(Duration::from_secs(1));
    let before = begun(&home.status("run").unwrap());
    // In that time several checks would have failed.
    sleep(Duration::from_secs(8));
    let status = home.status("run").unwrap();
    for node in ["a", "b"] {
        assert!(life(node, "tcp4", "alive")(&status), "{status:#}");
    }
    assert_eq!(status["checks"]["deaths"], 0);
    assert_eq!(begun(&status), before, "nobody is asked");
    home.network.router.ip("link set wan0 up");
    let up = Instant::now();
    until(&home, "checked", |status| begun(status) >= before + 4);
    assert!(up.elapsed() < Duration::from_secs(2), "{:?}", up.elapsed());
    // And it is seen who is not there any more, as there is something that works.
    drop(node);
    until(&home, "dead", life("a", "tcp4", "dead"));
    let said = said(&stop(dae));
    assert!(said.contains("event=uplink state=down"), "{said}");
    assert!(said.contains("event=uplink state=up"), "{said}");
}
