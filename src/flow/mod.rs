//! Intercepted flows on their way to an outbound.
//!
//! [`tcp`] accepts connections and [`relay`] moves their bytes; [`udp`] receives datagrams and
//! keeps a [`session`] per client and outbound. Tables own the tasks, so a task without an
//! entry cannot be; one sweep a second ends what is idle, and sleeps while nothing is there.

mod recent;
pub mod relay;
pub mod session;
mod shared;
pub mod stats;
mod tcp;
mod udp;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::net::reactor::{self, Interest, Source, Timer};
use crate::net::reply::Replier;
use crate::outbound::ways::{Way, Ways};
pub use shared::Decide;
use shared::Shared;
pub use stats::FlowStats;
use stats::OutboundStats;
use tcp::Tcp;
use udp::Udp;

const SWEEP: Duration = Duration::from_secs(1);

/// The sockets that intercepted packets are assigned to, from [`crate::net::listen`]: one per
/// transport and IP version.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Transparent TCP listeners.
    pub tcp: Vec<TcpListener>,
    /// Transparent UDP sockets.
    pub udp: Vec<UdpSocket>,
}

/// Everything that is relayed.
pub struct Proxy {
    shared: Rc<Shared>,
    tcp: Rc<Tcp>,
    udp: Rc<Udp>,
}

impl Proxy {
    /// `ways` are those of `config`. `decide` is asked once per TCP connection, and once per UDP flow (client and
    /// destination) that is in use.
    pub fn new(config: &Config, ways: Rc<Ways>, replier: Rc<Replier>, decide: Decide) -> Self {
        let main = &config.main;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let shared = Rc::new(Shared::new(ways, decide));
        let connections = main.max_tcp_connections as usize;
        let sessions = main.max_udp_sessions as usize;
        Self {
            tcp: Rc::new(Tcp::new(
                Rc::clone(&shared),
                connections,
                seconds(main.tcp_idle),
            )),
            udp: Rc::new(Udp::new(
                Rc::clone(&shared),
                replier,
                sessions,
                seconds(main.udp_idle),
            )),
            shared,
        }
    }

    /// Serves `listeners` until dropped; then every flow ends. Returns only when a listener
    /// cannot be registered with the reactor.
    pub async fn run(self: Rc<Self>, listeners: Listeners) -> io::Result<()> {
        let _ends = EndFlows(Rc::clone(&self));
        let mut tasks = Vec::new();
        for listener in listeners.tcp {
            let listener = Source::new(listener, Interest::Read)?;
            tasks.push(reactor::spawn(Rc::clone(&self.tcp).accept(listener)));
        }
        for socket in listeners.udp {
            let socket = Source::new(socket, Interest::Read)?;
            tasks.push(reactor::spawn(Rc::clone(&self.udp).receive(socket)));
        }
        loop {
            if self.tcp.is_empty() && self.udp.is_empty() {
                self.shared.busy.wait().await;
            }
            let now = Timer::after(SWEEP).await;
            self.sweep(now);
        }
    }

    /// For the status page.
    pub fn stats(&self) -> FlowStats {
        let outbound = |way: &Rc<Way>| OutboundStats {
            name: way.name.to_string(),
            bytes_up: way.traffic.up.get(),
            bytes_down: way.traffic.down.get(),
        };
        let ways = self.shared.ways.all();
        let carrying = ways.iter().filter(|way| !way.is_group());
        FlowStats {
            tcp: self.tcp.stats(),
            udp: self.udp.stats(),
            outbounds: carrying.map(outbound).collect(),
        }
    }

    /// Goes on with other settings; `gone` are configured no more.
    pub fn reconfigure(&self, _config: &Config, _gone: &[Rc<Way>], _abort: bool) {}

    /// Ends every flow.
    pub fn cut_all(&self) {
        self.tcp.clear();
        self.udp.clear();
    }

    fn sweep(&self, now: Instant) {
        self.tcp.sweep(now);
        self.udp.sweep(now);
    }
}

/// Flows hold the proxy and the proxy holds the flows: somebody must let go.
struct EndFlows(Rc<Proxy>);

impl Drop for EndFlows {
    fn drop(&mut self) {
        self.0.tcp.clear();
        self.0.udp.clear();
    }
}
