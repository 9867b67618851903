//! The router's networks change while the daemon lives: devices of the LAN come and go, the WAN
//! comes back with another address, the router gets another one. And nothing is written to flash.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::home::{self, Home, stop};
use crate::node::{self, PATIENCE, Talk, load};
use crate::resolver::{Upstream, answers, lookup};

const SERVER: &str = "203.0.113.2";
const NODE: &str = "config node 'one'\n\toption url 'socks5://203.0.113.2:1081'\n";
const RULE: &str = "config rule\n\toption name 'port80'\n\toption dest_port '80'\n\
    \toption outbound 'one'\n";
const SOON: Duration = Duration::from_millis(700);

fn config(interfaces: &[&str]) -> String {
    let list = interfaces
        .iter()
        .map(|it| format!("\tlist interface '{it}'\n"));
    let list: String = list.collect();
    format!(
        "config dae 'main'\n\toption enabled '1'\n{list}\
         config dns 'dns'\n\toption enabled '1'\n\toption upstream 'up'\n\
         config upstream 'up'\n\toption url 'udp://{SERVER}'\n{NODE}{RULE}"
    )
}

fn addr(port: u16) -> SocketAddr {
    format!("{SERVER}:{port}").parse().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(50));
    }
}

/// Devices with our program.
fn devices(home: &Home) -> Vec<String> {
    let status = home.status("run").unwrap();
    let rows = status["devices"].as_array().unwrap().iter();
    rows.filter_map(|it| it["device"].as_str().map(str::to_owned))
        .collect()
}

/// A LAN of its own on the router, with a client (the server's namespace is no client).
fn guest(home: &Home, device: &str) {
    let (router, client) = (&home.network.router, &home.network.client);
    router.ip(&format!(
        "link add {device} type veth peer name guest0 netns {}",
        client.name
    ));
    router.ip(&format!("addr add 10.8.0.1/24 dev {device}"));
    router.ip(&format!("link set {device} up"));
    client.ip("addr add 10.8.0.2/24 dev guest0");
    client.ip("link set guest0 up");
    client.ip("route replace default via 10.8.0.1");
}

#[test]
fn a_second_lan_is_served_as_soon_as_it_is_there_and_let_go_of_when_it_goes() {
    let home = Home::new();
    let (router, client) = (&home.network.router, &home.network.client);
    let far = &home.network.server;
    let taken = node::socks(far, addr(1081));
    let _web = node::echo(far, addr(80));
    let _upstream = Upstream::start(far, SERVER.parse().unwrap(), Duration::ZERO);
    // A VLAN of the bridge, and a bridge of its own: what counts is the name.
    let interfaces = ["lan0", "br-lan.7", "br-guest"];
    let dae = home.start(&config(&interfaces), "run");
    assert_eq!(devices(&home), ["lan0"]);
    for (round, device) in ["br-lan.7", "br-guest"].iter().enumerate() {
        if *device == "br-guest" {
            router.ip("link add br-guest type bridge");
            guest(&home, "port7");
            router.ip("addr del 10.8.0.1/24 dev port7");
            router.ip("link set port7 master br-guest");
            router.ip("addr add 10.8.0.1/24 dev br-guest");
            router.ip("link set br-guest up");
            client.ip("route replace default via 10.8.0.1");
        } else {
            guest(&home, device);
        }
        until("it is attached to", || devices(&home) == ["lan0", *device]);
        let before = load(&taken);
        assert!(Talk::open(client, addr(80), PATIENCE).is_some());
        assert_eq!(load(&taken), before + 1, "round {round}");
        assert!(answers(
            client,
            "9.9.9.9:53".parse().unwrap(),
            "a.example",
            SOON * 4
        ));
        if *device == "br-guest" {
            router.ip("link del port7");
        }
        router.ip(&format!("link del {device}"));
        until("it is let go of", || devices(&home) == ["lan0"]);
    }
    assert!(stop(dae).status.success());
}

/// Another device and another address towards the server, as after a PPPoE reconnect.
fn reconnect(home: &Home, device: &str, number: u8) {
    let (router, far) = (&home.network.router, &home.network.server);
    router.ip(&format!(
        "link add {device} type veth peer name eth0 netns {}",
        far.name
    ));
    router.ip(&format!("addr add 203.0.113.{number}/24 dev {device}"));
    router.ip(&format!("link set {device} up"));
    far.ip("addr add 203.0.113.2/24 dev eth0");
    far.ip("link set eth0 up");
    // What the network's maker gave it went with the device.
    far.ip(&format!("route add default via 203.0.113.{number}"));
}

#[test]
fn the_wan_goes_and_comes_back_with_another_address() {
    let home = Home::new();
    let (router, client) = (&home.network.router, &home.network.client);
    let far = &home.network.server;
    let taken = node::socks(far, addr(1081));
    let _web = (node::echo(far, addr(80)), node::echo(far, addr(90)));
    let _upstream = Upstream::start(far, SERVER.parse().unwrap(), Duration::ZERO);
    let dae = home.start(&config(&["lan0"]), "run");
    let ask = |name: &str, wait| answers(client, "10.9.0.1:53".parse().unwrap(), name, wait);
    assert!(Talk::open(client, addr(80), PATIENCE).is_some() && ask("a.example", PATIENCE));

    router.ip("link del wan0");
    assert!(Talk::open(client, addr(80), SOON).is_none());
    assert!(ask("b.example", PATIENCE), "an answer that there is none");

    reconnect(&home, "pppoe-wan", 77);
    let back = Instant::now();
    let before = load(&taken);
    until("flows", || Talk::open(client, addr(80), SOON).is_some());
    assert!(load(&taken) > before, "through the node");
    until("direct flows", || {
        Talk::open(client, addr(90), SOON).is_some()
    });
    until("names", || {
        lookup(client, "10.9.0.1:53".parse().unwrap(), "c.example").is_some()
    });
    assert!(
        back.elapsed() < Duration::from_secs(5),
        "{:?}",
        back.elapsed()
    );

    // The address of before is somebody else's now, and that of today our own.
    let own: SocketAddr = "203.0.113.77:80".parse().unwrap();
    let _banner = node::echo(router, own);
    let before = load(&taken);
    until("its own service", || {
        Talk::open(client, own, SOON).is_some()
    });
    assert_eq!(load(&taken), before, "not through the node");
    assert!(stop(dae).status.success());
}

/// A router, its configuration, and everything that a daemon does in normal life.
struct Busy {
    home: Home,
    text: String,
    _upstream: Upstream,
}

impl Busy {
    fn new() -> Self {
        let home = Home::new();
        let far = &home.network.server;
        node::socks(far, addr(1081));
        node::echo(far, addr(80));
        let upstream = Upstream::start(far, SERVER.parse().unwrap(), Duration::ZERO);
        let more = "\toption query_log '100'\n\toption upstream";
        let text = config(&["lan0"]).replace("\toption upstream", more);
        Self {
            text: format!("{text}config group 'g'\n\tlist node 'one'\n"),
            _upstream: upstream,
            home,
        }
    }

    fn live(&self) {
        let client = &self.home.network.client;
        for at in 0..20 {
            let name = format!("n{at}.example");
            let server = "9.9.9.9:53".parse().unwrap();
            assert!(answers(client, server, &name, PATIENCE));
        }
        assert!(Talk::open(client, addr(80), PATIENCE).is_some());
        for word in ["reload", "suspend", "resume", "status", "flows"] {
            let done = self.home.dae(&[word], "run");
            assert!(done.status.success(), "{word}: {done:?}");
        }
        // Longer than names and idle things are looked at.
        sleep(Duration::from_secs(6));
    }

    fn choose(&self) {
        let chosen = self.home.dae(&["choose", "g", "one"], "run");
        assert!(chosen.status.success(), "{chosen:?}");
    }

    /// What there is outside the run folder, and when it was changed.
    fn kept(&self) -> Vec<(String, i64)> {
        let mut found = Vec::new();
        let mut folders = vec![self.home.folder.clone()];
        let run = self.home.folder.join("run");
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().flatten() {
                let (path, meta) = (entry.path(), entry.metadata().unwrap());
                if path == run {
                    continue;
                }
                let changed = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
                found.push((path.display().to_string(), changed));
                if meta.is_dir() {
                    folders.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

/// The files that a process could write to just now.
fn writable(dae: &Child) -> Vec<String> {
    let folder = format!("/proc/{}", dae.id());
    let open = fs::read_dir(format!("{folder}/fd")).unwrap().flatten();
    let open = open.filter_map(|entry| {
        let info = format!("{folder}/fdinfo/{}", entry.file_name().to_str()?);
        let info = fs::read_to_string(info).ok()?;
        let flags = info.lines().find_map(|it| it.strip_prefix("flags:"))?;
        let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
        let target = fs::read_link(entry.path()).ok()?.display().to_string();
        let is_file = target.starts_with('/') && !target.starts_with("/dev/");
        (is_file && flags & libc::O_ACCMODE != libc::O_RDONLY).then_some(target)
    });
    open.collect()
}

#[test]
fn nothing_is_written_but_in_the_run_folder_and_choices() {
    let busy = Busy::new();
    busy.home.write(&busy.text, "run");
    let dae = busy.home.start(&busy.text, "run");
    let before = busy.kept();
    busy.live();
    assert_eq!(busy.kept(), before);
    assert_eq!(writable(&dae), [""; 0]);
    assert_eq!(before.len(), 1, "the configuration: {before:?}");
    busy.choose();
    let new = busy.kept().len() - before.len();
    assert_eq!(new, 2, "the state folder, and the file of choices");
    assert!(stop(dae).status.success());
}

#[test]
fn a_router_whose_flash_cannot_be_written_to_is_served_without_a_complaint() {
    let busy = Busy::new();
    let home = &busy.home;
    fs::create_dir_all(home.folder.join("run")).unwrap();
    let plain = home.command(&busy.text, "run");
    // `ip netns exec NAME` has made a mount namespace for us already.
    let read_only = "f=$1; shift; mount --bind $f $f && mount --bind $f/run $f/run && \
        mount -o remount,ro,bind $f && mount -o remount,ro,bind / && exec \"$@\"";
    let mut command = Command::new(plain.get_program());
    command
        .args(plain.get_args().take(3))
        .args(["sh", "-c", read_only, "sh"])
        .arg(&home.folder)
        .args(plain.get_args().skip(3))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let dae = home.answers(command.spawn().unwrap(), "run");
    busy.live();
    busy.choose();
    let output = stop(dae);
    assert!(output.status.success(), "{output:?}");
    let said = home::said(&output);
    let refused: Vec<_> = said
        .lines()
        .filter(|it| it.contains("os error 30"))
        .collect();
    // A choice by hand is the one thing that is to be kept.
    assert!(
        refused.len() == 1 && refused[0].contains("event=choices"),
        "{refused:?}"
    );
}
