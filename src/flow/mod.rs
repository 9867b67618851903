//! Intercepted flows on their way to an outbound.
//!
//! [`tcp`] accepts connections and [`relay`] moves their bytes; [`udp`] receives datagrams and
//! keeps a [`session`] per client and outbound. Tables own the tasks, so a task without an
//! entry cannot be; one sweep a second ends what is idle, and sleeps while nothing is there.
//! [`live`] has what is known of each flow.

pub mod kind;
mod leaving;
pub mod live;
mod recent;
pub mod relay;
pub mod session;
mod shared;
pub mod stats;
mod tcp;
mod udp;

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::{self, Config};
use crate::net::reactor::{self, Interest, Source, Timer};
use crate::net::reply::Replier;
use crate::outbound::ways::{Way, WayId, Ways};
use kind::{KINDS, Kind};
use leaving::Leaving;
use live::{FlowRow, Newest};
use shared::Shared;
pub use shared::{Decide, Judged};
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
    leaving: RefCell<Leaving>,
}

/// Flows that there are now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FlowList {
    /// How many there are.
    pub total: usize,
    /// The newest of them, the newest first.
    pub flows: Vec<FlowRow>,
}

impl Proxy {
    /// `ways` are those of `config`. `decide` is asked once per TCP connection, and once per UDP
    /// flow (client and destination) that is in use.
    pub fn new(config: &Config, ways: Rc<Ways>, replier: Rc<Replier>, decide: Decide) -> Self {
        let main = &config.main;
        let shared = Rc::new(Shared::new(ways, &config.rules, decide));
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
                udp_idle(main),
            )),
            leaving: RefCell::default(),
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
                self.leaving.borrow_mut().clear();
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

    /// The newest `count` flows.
    pub fn flows(&self, count: usize) -> FlowList {
        let now = Instant::now();
        let mut newest = Newest::new(count);
        self.tcp.list(&mut newest);
        self.udp.list(&mut newest);
        let (total, listed) = newest.finish();
        let rows = listed.into_iter().map(|(live, udp)| live.row(udp, now));
        FlowList {
            total,
            flows: rows.collect(),
        }
    }

    /// Other settings are in force, and [`Ways`] has them already: rules are asked anew for every
    /// UDP flow, bounds hold for those who come, and idle times are the new ones. Flows under way
    /// go on by the way they have.
    pub fn reconfigure(&self, config: &Config) {
        self.shared.set_rules(&config.rules);
        self.tcp.set_limit(config.main.max_tcp_connections as usize);
        self.udp.set_limit(config.main.max_udp_sessions as usize);
        self.tcp.set_idle(seconds(config.main.tcp_idle));
        self.udp.set_idle(udp_idle(&config.main));
        self.forget_verdicts();
    }

    /// Rules may say something else from now on.
    pub fn forget_verdicts(&self) {
        self.udp.forget_verdicts();
    }

    /// Ends all flows that ask for one of these ways or are carried by one: a TCP connection is
    /// reset on both sides.
    pub fn cut(&self, ways: &[WayId]) {
        self.drain(ways, Duration::ZERO);
        self.sweep(Instant::now());
    }

    /// These ways are configured no more. Datagrams that come from now on begin other sessions;
    /// TCP connections go on, and so do the answers to UDP sessions, for `limit`. Then they are
    /// cut.
    pub fn drain(&self, ways: &[WayId], limit: Duration) {
        self.udp.retire(ways);
        self.leaving.borrow_mut().add(ways, Instant::now() + limit);
    }

    /// Ends every flow at once: packets of clients do not come to us any more.
    pub fn cut_all(&self) {
        let mut ways: Vec<WayId> = self.shared.ways.all().iter().map(|way| way.id).collect();
        ways.extend(self.leaving.borrow().ways());
        self.tcp.cut(&ways);
        self.udp.cut(&ways);
    }

    fn sweep(&self, now: Instant) {
        let dead = self.shared.ways.take_dead();
        if !dead.is_empty() {
            self.udp.leave(&dead);
        }
        let due = self.leaving.borrow_mut().due(now);
        if !due.is_empty() {
            self.tcp.cut(&due);
            self.udp.cut(&due);
        }
        self.tcp.sweep(now);
        self.udp.sweep(now);
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}

/// By [`Kind::index`].
fn udp_idle(main: &config::Main) -> [Duration; KINDS] {
    Kind::ALL.map(|kind| {
        seconds(match kind {
            Kind::Dns => main.udp_idle_dns,
            Kind::Plain => main.udp_idle,
            Kind::Quic => main.udp_idle_quic,
        })
    })
}

/// Flows hold the proxy and the proxy holds the flows: somebody must let go.
struct EndFlows(Rc<Proxy>);

impl Drop for EndFlows {
    fn drop(&mut self) {
        self.0.tcp.clear();
        self.0.udp.clear();
    }
}
