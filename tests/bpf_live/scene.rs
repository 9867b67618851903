//! What the tests share: addresses, rules, talks, and a datapath between a client and a server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use dae::config::Attach;
use dae::kernel::{Datapath, DatapathConfig, HookKind, Object};
use dae::rules::port::PortRange;
use dae::rules::{Action, Kept, Rule, Selector, Verdict};

use crate::bpf;
use crate::bpf::netns::{Namespace, Network};
use crate::bpf::peers::{self, Listeners};

pub const HOOKS: [(Attach, HookKind); 2] = [
    (Attach::Tcx, HookKind::Tcx),
    (Attach::Clsact, HookKind::Clsact),
];
pub const SERVER4: &str = "203.0.113.2";
pub const SERVER6: &str = "[2001:db8::2]";

pub fn rule(port: u16, action: Action, outbound: u16, mark: u32) -> Rule {
    Rule {
        dest_port: Selector {
            include: vec![PortRange::new(port, port).unwrap()],
            exclude: Vec::new(),
        },
        verdict: Verdict {
            action,
            outbound,
            mark,
        },
        ..Rule::default()
    }
}

pub fn proxied(port: u16) -> Rule {
    rule(port, Action::Proxy, 2, 0)
}

/// Port 80 and 443 proxied, 81 blocked, 82 marked; the rest is direct.
pub fn rules() -> [Rule; 4] {
    [
        proxied(80),
        rule(443, Action::Proxy, 3, 0),
        rule(81, Action::Block, 1, 0),
        rule(82, Action::Direct, 0, 0x10),
    ]
}

pub fn addr(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

/// Of a datapath at lan0.
pub fn config(attach: Attach, listeners: &Listeners) -> DatapathConfig {
    let mut config = bpf::config(attach, &["lan0"]);
    config.ports = listeners.ports;
    config
}

/// Runs `test` in a router with a datapath of [`rules`] at lan0, and a server for all of their
/// ports; nothing must be left when the datapath stops.
pub fn steered(attach: Attach, test: impl FnOnce(&Network, Listeners, &Datapath) + Send) {
    steered_in(&Network::new(), attach, test);
}

/// The same in a network that was made for it.
pub fn steered_in(
    network: &Network,
    attach: Attach,
    test: impl FnOnce(&Network, Listeners, &Datapath) + Send,
) {
    serve(&network.server);
    network.router.enter(|| {
        let listeners = Listeners::open();
        let config = config(attach, &listeners);
        let datapath = Datapath::start(&bpf::image(&rules()), config).unwrap();
        test(network, listeners, &datapath);
        assert!(datapath.stop().is_empty());
    });
}

/// Other rules for a running datapath.
pub fn replace(datapath: &mut Datapath, rules: &[Rule], config: &DatapathConfig, kept: &Kept) {
    let image = bpf::image(rules);
    let object = Object::load(&image, config).unwrap();
    datapath
        .replace(Some(object), &image, config.clone(), &[], kept)
        .unwrap();
}

/// Servers at all ports of [`rules`], and at some that no rule speaks of.
pub fn serve(server: &Namespace) {
    server.enter(|| {
        for host in [SERVER4, SERVER6] {
            for port in [53, 80, 81, 82, 90, 443] {
                peers::serve(addr(host, port));
            }
        }
    });
}

/// Echoes what connections say, for as long as the process lives.
pub fn echo(addr: SocketAddr) {
    let listener = TcpListener::bind(addr).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&buffer[..len]);
                }
            });
        }
    });
}

/// The echo at the far end hears, and is heard.
pub fn says(stream: &mut TcpStream, words: &[u8]) {
    stream.set_read_timeout(Some(peers::PATIENCE)).unwrap();
    stream.write_all(words).unwrap();
    let mut heard = vec![0; words.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, words);
}

/// Our end hears, and is heard.
pub fn says_to(stream: &mut TcpStream, ours: &mut TcpStream) {
    stream.write_all(b"again").unwrap();
    let mut heard = [0; 5];
    ours.read_exact(&mut heard).unwrap();
    ours.write_all(b"reply").unwrap();
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"reply");
}

/// The kernel finds sockets of established connections by itself, where it may. Not here: it is
/// the program that has to.
pub fn without_early_demux(router: &Namespace) {
    router.set("net.ipv4.ip_early_demux=0");
}
