//! A proxy at work in the router's namespace.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::flow::{FlowStats, Judged, Listeners, Proxy};
use dae::net::listen;
use dae::net::reactor::{Timer, block_on};
use dae::net::reply::Replier;
use dae::outbound::ways::{WayId, Ways};
use dae::rules::image::Decision;
use dae::rules::{Action, Proto, Verdict};
use futures_lite::future;

use crate::home::{Namespace, ip};

/// The outbound of a destination is its last byte: 203.0.113.0 goes direct, .1 is blocked, .2
/// goes to the first node. Others, bit 4 apart, too: .18 is another address for the first node.
fn decide(to: SocketAddr, shift: u8) -> Decision {
    let last = match to.ip() {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(v6) => v6.octets()[15],
    };
    let verdict = match last.wrapping_add(shift) % 16 {
        0 => Verdict {
            action: Action::Direct,
            ..Verdict::default()
        },
        1 => Verdict {
            action: Action::Block,
            outbound: 1,
            mark: 0,
        },
        outbound => Verdict {
            action: Action::Proxy,
            outbound: outbound.into(),
            mark: 0,
        },
    };
    Decision {
        // There is one rule in the configuration, for what goes through nodes.
        rule: (verdict.action == Action::Proxy).then_some(0),
        verdict,
    }
}

/// What is done in the router's thread.
type Question = Box<dyn FnOnce(&Inside) + Send>;

/// The proxy at work.
pub struct Inside {
    pub proxy: Rc<Proxy>,
    pub ways: Rc<Ways>,
    /// Added to the last byte of destinations before their outbound is decided.
    pub shift: Rc<Cell<u8>>,
}

impl Inside {
    /// The way at an index of `Config::outbounds`.
    pub fn way(&self, index: usize) -> WayId {
        self.ways.id(index).unwrap()
    }
}

pub struct Router {
    pub tcp4: u16,
    pub tcp6: u16,
    pub udp4: u16,
    pub udp6: u16,
    ask: Sender<Question>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// `nodes` are URLs; `change` may set bounds that a file could not.
    pub fn start(
        namespace: &Namespace,
        nodes: &[&str],
        change: impl FnOnce(&mut Config) + Send + 'static,
    ) -> Self {
        let mut text = String::from(
            "config dae 'main'\n\tlist interface 'r0'\n\
             config rule\n\toption name 'through-nodes'\n\toption outbound 'direct'\n",
        );
        for (index, url) in nodes.iter().enumerate() {
            text += &format!("config node 'n{index}'\n\toption url '{url}'\n");
        }
        let (ports, started) = channel();
        let (ask, asked) = channel();
        let thread = namespace.spawn(move || {
            let mut config = Config::parse("test", text.as_bytes()).unwrap();
            change(&mut config);
            serve(&config, &ports, &asked);
        });
        let [tcp4, tcp6, udp4, udp6] = started.recv().unwrap();
        Self {
            tcp4,
            tcp6,
            udp4,
            udp6,
            ask,
            thread: Some(thread),
        }
    }

    pub fn stats(&self) -> FlowStats {
        self.inside(|inside| inside.proxy.stats())
    }

    /// Does something with the proxy between two events.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce(&Inside) -> T + Send + 'static) -> T {
        let (answer, result) = channel();
        let question = move |inside: &Inside| answer.send(work(inside)).unwrap();
        self.ask.send(Box::new(question)).unwrap();
        result.recv().unwrap()
    }

    /// Waits until the numbers are as told.
    pub fn wait(&self, what: &str, until: impl Fn(&FlowStats) -> bool) -> FlowStats {
        let start = Instant::now();
        loop {
            let stats = self.stats();
            if until(&stats) {
                return stats;
            }
            assert!(
                start.elapsed() < Duration::from_secs(15),
                "{what}: {stats:#?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more.
        self.ask = channel().0;
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            assert!(result.is_ok() || std::thread::panicking());
        }
    }
}

fn serve(config: &Config, ports: &Sender<[u16; 4]>, asked: &Receiver<Question>) {
    let tcp = [ip("0.0.0.0"), ip("::")].map(|any| listen::transparent_tcp(any).unwrap());
    let udp = [ip("0.0.0.0"), ip("::")].map(|any| listen::transparent_udp(any).unwrap());
    let tcp_port = |i: usize| tcp[i].local_addr().unwrap().port();
    let udp_port = |i: usize| udp[i].local_addr().unwrap().port();
    ports
        .send([tcp_port(0), tcp_port(1), udp_port(0), udp_port(1)])
        .unwrap();

    let replier = Rc::new(Replier::new().unwrap());
    let ways = Ways::new(config, 1, Instant::now());
    let shift = Rc::new(Cell::new(0));
    let decided = Rc::clone(&shift);
    let decide = Rc::new(move |_: Proto, _: SocketAddr, to| Judged {
        decision: decide(to, decided.get()),
        certain: true,
    });
    let inside = Inside {
        proxy: Rc::new(Proxy::new(config, Rc::clone(&ways), replier, decide)),
        ways,
        shift,
    };
    let listeners = Listeners {
        tcp: tcp.into(),
        udp: udp.into(),
    };
    let answer = async {
        use std::sync::mpsc::TryRecvError;
        loop {
            match asked.try_recv() {
                Ok(question) => question(&inside),
                Err(TryRecvError::Empty) => drop(Timer::after(Duration::from_millis(5)).await),
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
    };
    let run = Rc::clone(&inside.proxy).run(listeners);
    block_on(future::or(answer, run)).unwrap();
}
