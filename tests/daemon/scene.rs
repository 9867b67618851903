//! A daemon between a client and two nodes: what changes, pauses and kill switches are tried on.

use std::net::SocketAddr;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use serde_json::Value;

use crate::home::Home;
use crate::node::{self, PATIENCE, Talk};
use crate::resolver::{Upstream, answers};

const SERVER: &str = "203.0.113.2";
const ONE: &str = "203.0.113.2:1081";
const TWO: &str = "203.0.113.2:1082";
pub const LISTEN: &str = "127.0.0.1:5354";
pub const MAIN: &str = "\tlist interface 'lan0'\n\toption drain '2'\n";
pub const NODE_ONE: &str = "config node 'one'\n\toption url 'socks5://203.0.113.2:1081'\n";
pub const NODE_TWO: &str = "config node 'two'\n\toption url 'socks5://203.0.113.2:1082'\n";

pub fn config(main: &str, rest: &str) -> String {
    format!(
        "config dae 'main'\n\toption enabled '1'\n{main}\
         config dns 'dns'\n\toption enabled '1'\n\tlist listen '{LISTEN}'\n\toption upstream 'up'\n\
         config upstream 'up'\n\toption url 'udp://{SERVER}'\n{rest}"
    )
}

pub fn rule(port: u16, outbound: &str) -> String {
    format!(
        "config rule\n\toption name 'to{port}'\n\toption dest_port '{port}'\n\
         \toption outbound '{outbound}'\n"
    )
}

pub fn addr(port: u16) -> SocketAddr {
    format!("{SERVER}:{port}").parse().unwrap()
}

/// Two nodes, a resolver, and echoes at ports 80 and 90.
pub struct Scene {
    pub home: Home,
    pub one: Arc<AtomicUsize>,
    pub two: Arc<AtomicUsize>,
    /// Connections that the servers saw, through a node or not.
    pub at80: Arc<AtomicUsize>,
    pub at90: Arc<AtomicUsize>,
    _resolver: Upstream,
}

impl Scene {
    pub fn new() -> Self {
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

    pub fn talk(&self, port: u16) -> Option<Talk> {
        Talk::open(&self.home.network.client, addr(port), PATIENCE)
    }

    /// Fails soon where nobody answers.
    pub fn reaches(&self, port: u16) -> bool {
        let wait = Duration::from_millis(700);
        Talk::open(&self.home.network.client, addr(port), wait).is_some()
    }

    pub fn reload(&self, config: &str) -> Value {
        self.home.write(config, "run");
        let said = self.home.dae(&["reload"], "run");
        assert!(said.status.success(), "{said:?}");
        self.home.status("run").unwrap()["reload"]["last"].clone()
    }

    pub fn status(&self) -> Value {
        self.home.status("run").unwrap()
    }

    pub fn packets(&self, rule: &str) -> u64 {
        let status = self.status();
        let rows = status["rules"].as_array().unwrap();
        let row = rows.iter().find(|row| row["rule"] == rule);
        row.map_or(0, |row| row["packets"].as_u64().unwrap())
    }

    pub fn asks(&self, to: &str) -> bool {
        let client = &self.home.network.client;
        let wait = Duration::from_millis(700);
        answers(client, to.parse().unwrap(), "a.example", wait)
    }
}

pub fn kill(dae: &mut Child) {
    dae.kill().unwrap();
    dae.wait().unwrap();
}
