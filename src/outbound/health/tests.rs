mod changes;
mod checks;
mod faults;
mod model;
mod outages;

use super::*;
use crate::outbound::standing::Life;

const TCP4: Network = Network::ALL[0];
const TCP6: Network = Network::ALL[1];
const UDP4: Network = Network::ALL[2];
const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// The first node's index into `Config::outbounds`.
const A: usize = 2;
const B: usize = 3;
const HTTP: &str = "\toption check_url http://192.0.2.80/\n";

/// Nodes in one group with these options.
fn config(nodes: &[&str], options: &str) -> Config {
    let node = |name: &&str| format!("config node {name}\n\toption url socks5://192.0.2.1\n");
    let nodes: String = nodes.iter().map(node).collect();
    let text = format!("config dae 'main'\n{nodes}config group 'g'\n{options}");
    Config::parse("dae", text.as_bytes()).unwrap()
}

/// Health with a clock, whoever plays the rest.
trait Clock {
    fn health(&mut self) -> &mut Health;
    fn now(&mut self) -> &mut Instant;
    fn take_effects(&mut self);

    /// Lets time pass, with a tick whenever one is due.
    fn pass(&mut self, time: Duration) {
        let end = *self.now() + time;
        while let Some(at) = self.health().next_deadline().filter(|at| *at <= end) {
            assert!(at >= *self.now(), "a deadline in the past");
            *self.now() = at;
            self.health().tick(at);
            self.take_effects();
            let next = self.health().next_deadline();
            assert!(
                next.is_none_or(|next| next > at),
                "woken twice for one thing"
            );
        }
        *self.now() = end;
    }
}

/// With checks that nobody carries out by itself.
struct Bench {
    health: Health,
    now: Instant,
    under_way: Vec<(CheckId, usize, Network, bool)>,
    told: Vec<Effect>,
}

impl Bench {
    fn new(nodes: &[&str], options: &str) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            health: Health::new(&config(nodes, options), 1, now),
            now,
            under_way: Vec::new(),
            told: Vec::new(),
        };
        bench.take_effects();
        bench
    }

    /// All nodes checked over TCP and IPv4, and alive.
    fn alive(nodes: &[&str]) -> Self {
        let mut bench = Self::new(nodes, HTTP);
        bench.settle(|_| Ok(50 * MS));
        for node in 0..nodes.len() {
            assert_eq!(bench.life(A + node), Life::Alive);
        }
        bench
    }

    /// Lets 3 s pass in which all checks are answered at once: `None` is the one without a node.
    fn settle(&mut self, answer: impl Fn(Option<usize>) -> Result<Duration, Fault>) {
        for _ in 0..30 {
            while let Some((id, node, _, direct)) = self.under_way.pop() {
                let outcome = answer((!direct).then_some(node));
                self.health.check_done(id, outcome, self.now);
                self.take_effects();
            }
            self.pass(100 * MS);
        }
    }

    /// Until the second checks of all nodes have begun, and none has taken too long.
    fn until_checked(&mut self) {
        self.pass(28 * S);
    }

    fn life(&self, node: usize) -> Life {
        self.health.standing(node, TCP4).life
    }

    fn fails(&mut self, node: usize, fault: Fault) {
        self.health.dial_failed(node, TCP4, fault, self.now);
        self.take_effects();
    }

    fn works(&mut self, node: usize) {
        self.health.dial_ok(node, TCP4, 30 * MS, self.now);
        self.take_effects();
    }

    fn told(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.told)
    }
}

impl Clock for Bench {
    fn health(&mut self) -> &mut Health {
        &mut self.health
    }

    fn now(&mut self) -> &mut Instant {
        &mut self.now
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.health.next_effect() {
            match effect {
                Effect::Check {
                    id,
                    node,
                    network,
                    direct,
                    ..
                } => {
                    self.under_way.push((id, node, network, direct));
                }
                Effect::Cancel { id } => self.under_way.retain(|check| check.0 != id),
                told => self.told.push(told),
            }
        }
        assert!(self.under_way.len() <= MAX_CHECKS);
    }
}

fn turned(node: usize, alive: bool) -> Effect {
    let network = TCP4;
    Effect::Turned {
        node,
        network,
        alive,
    }
}

const REMOTE: Result<Duration, Fault> = Err(Fault::Remote);
