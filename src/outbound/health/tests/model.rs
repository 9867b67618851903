//! Random events against what must always hold, and against a world that in the end stays as it
//! is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NODES: usize = 6;

#[derive(Debug, Clone)]
enum Event {
    Pass(u64),
    Works(usize, usize),
    Fails(usize, usize, Fault),
    Heard(usize),
    Links(bool),
    Answer(usize, Result<u64, Fault>),
    Reconfigure(usize),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::Remote),
        1 => Just(Fault::Local),
        1 => Just(Fault::Cancelled),
        1 => Just(Fault::NetworkDown),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        3 => (1..500u64).prop_map(Ok),
        2 => fault().prop_map(Err),
    ];
    let (node, network) = (0..NODES + 3, 0..NETWORKS);
    prop_oneof![
        6 => (1..12_000u64).prop_map(Event::Pass),
        3 => (node.clone(), network.clone()).prop_map(|(node, network)| Event::Works(node, network)),
        6 => (node, network.clone(), fault())
            .prop_map(|(node, network, fault)| Event::Fails(node, network, fault)),
        1 => network.prop_map(Event::Heard),
        1 => any::<bool>().prop_map(Event::Links),
        10 => (0..MAX_CHECKS, outcome).prop_map(|(check, outcome)| Event::Answer(check, outcome)),
        1 => (0..CONFIGS).prop_map(Event::Reconfigure),
    ]
}

const CONFIGS: usize = 4;

/// Configurations to go back and forth between.
fn configs() -> [Config; CONFIGS] {
    let both =
        format!("{HTTP}\toption check_dns '192.0.2.53 2001:db8::53'\n\toption check_interval 20\n");
    [
        config(&["a", "b", "c", "d", "e", "f"], &both),
        config(&["z", "b", "a", "d", "e", "f"], &both),
        config(&["a", "b", "c"], HTTP),
        config(&["f", "a", "b"], ""),
    ]
}

/// A check as the caller sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    node: usize,
    network: Network,
    direct: bool,
    began: Instant,
}

/// What is known of a node in a network from outside. By name, because indices move.
#[derive(Debug, Clone, Default)]
struct Past {
    dead: bool,
    /// When each failure since the last success can have begun to be heard of.
    failing_since: Option<Instant>,
    dials: u32,
    checks: u32,
}

struct World {
    health: Health,
    configs: [Config; CONFIGS],
    config: usize,
    now: Instant,
    links_up: bool,
    under_way: BTreeMap<CheckId, Seen>,
    ids: BTreeSet<CheckId>,
    pasts: BTreeMap<(String, usize), Past>,
    heard: [Option<Instant>; NETWORKS],
}

impl Clock for World {
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
                    kind,
                    direct,
                } => {
                    assert!(self.links_up, "asked while the links are down");
                    assert!(self.ids.insert(id), "{id:?} twice");
                    assert_eq!(kind, plan::kind(network));
                    let same = |seen: &Seen| {
                        seen.direct == direct
                            && seen.network == network
                            && (direct || seen.node == node)
                    };
                    assert!(!self.under_way.values().any(same), "asked twice at a time");
                    let began = self.now;
                    self.under_way.insert(
                        id,
                        Seen {
                            node,
                            network,
                            direct,
                            began,
                        },
                    );
                }
                Effect::Cancel { id } => {
                    let seen = self
                        .under_way
                        .remove(&id)
                        .expect("cancelled what is not under way");
                    if self.now == seen.began + CHECK_LIMIT && self.links_up {
                        self.note_failed_check(&seen);
                    }
                }
                Effect::Turned {
                    node,
                    network,
                    alive,
                } => self.turned(node, network, alive),
                Effect::Outage { .. } => {}
            }
        }
        assert!(self.under_way.len() <= MAX_CHECKS);
        assert_eq!(self.under_way.len(), self.health.under_way.len());
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let (now, configs) = (Instant::now(), configs());
        let mut world = Self {
            health: Health::new(&configs[0], seed, now),
            configs,
            config: 0,
            now,
            links_up: true,
            under_way: BTreeMap::new(),
            ids: BTreeSet::new(),
            pasts: BTreeMap::new(),
            heard: [None; NETWORKS],
        };
        world.take_effects();
        world
    }

    fn config(&self) -> &Config {
        &self.configs[self.config]
    }

    fn past(&mut self, node: usize, network: Network) -> Option<&mut Past> {
        let outbounds = &self.configs[self.config].outbounds;
        let name = outbounds.get(node).filter(|_| node > 1)?.name.clone();
        Some(self.pasts.entry((name, network.index())).or_default())
    }

    /// Deaths have a reason, and are told in turn with resurrections.
    fn turned(&mut self, node: usize, network: Network, alive: bool) {
        let heard = self.heard[network.index()];
        let excused = !self.links_up;
        let can_ask = self.health.asker(network).is_some();
        let past = self.past(node, network).expect("a node");
        assert_eq!(past.dead, alive, "told twice");
        past.dead = !alive;
        if !alive {
            assert!(!excused, "the links are down");
            assert!(past.dials >= 2 || past.checks >= 1, "no reason: {past:?}");
            let proven = heard >= past.failing_since;
            assert!(proven || !can_ask, "nothing else is known to work");
        }
    }

    fn note_failed_check(&mut self, seen: &Seen) {
        if seen.direct {
            return;
        }
        if let Some(past) = self.past(seen.node, seen.network) {
            past.checks += 1;
            let since = past
                .failing_since
                .map_or(seen.began, |since| since.min(seen.began));
            past.failing_since = Some(since);
        }
    }

    fn note_success(&mut self, node: Option<usize>, network: Network) {
        self.heard[network.index()] = Some(self.now);
        if let Some(past) = node.and_then(|node| self.past(node, network)) {
            (past.dials, past.checks, past.failing_since) = (0, 0, None);
        }
    }

    fn answer(&mut self, id: CheckId, outcome: Result<u64, Fault>) {
        let seen = self.under_way.remove(&id).expect("under way");
        match outcome {
            Ok(_) => self.note_success((!seen.direct).then_some(seen.node), seen.network),
            Err(Fault::Remote) => self.note_failed_check(&seen),
            Err(_) => {}
        }
        let outcome = outcome.map(Duration::from_millis);
        self.health.check_done(id, outcome, self.now);
        self.take_effects();
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Pass(ms) => self.pass(Duration::from_millis(ms)),
            Event::Works(node, network) => {
                let network = Network::ALL[network];
                if self.health.position(node).is_some() {
                    self.note_success(Some(node), network);
                }
                self.health
                    .dial_ok(node, network, Duration::from_millis(9), self.now);
            }
            Event::Fails(node, network, fault) => {
                let (network, now) = (Network::ALL[network], self.now);
                if fault == Fault::Remote
                    && let Some(past) = self.past(node, network)
                {
                    past.dials += 1;
                    past.failing_since.get_or_insert(now);
                }
                self.health.dial_failed(node, network, fault, now);
            }
            Event::Heard(network) => {
                self.note_success(None, Network::ALL[network]);
                self.health.heard(Network::ALL[network], self.now);
            }
            Event::Links(up) => {
                self.links_up = up;
                self.health.links(up, self.now);
            }
            Event::Answer(check, outcome) => {
                if let Some(id) = self.under_way.keys().nth(check).copied() {
                    self.answer(id, outcome);
                }
            }
            Event::Reconfigure(config) => self.reconfigure(config),
        }
        self.take_effects();
        self.hold();
    }

    fn reconfigure(&mut self, config: usize) {
        let names: Vec<String> = self
            .config()
            .outbounds
            .iter()
            .map(|way| way.name.clone())
            .collect();
        self.config = config;
        self.health.reconfigure(&self.configs[config], self.now);
        // What goes on has another index now; what is gone has no past.
        let outbounds = &self.configs[config].outbounds;
        let position = |name: &String| outbounds.iter().position(|way| way.name == *name);
        for seen in self.under_way.values_mut() {
            seen.node = position(&names[seen.node]).unwrap_or(usize::MAX);
        }
        self.pasts.retain(|(name, _), _| position(name).is_some());
    }

    /// What must hold at all times.
    fn hold(&self) {
        let health = &self.health;
        assert!(health.effects.is_empty());
        assert_eq!(health.nodes.len(), self.config().checked.len());
        let deadline = health.next_deadline();
        for (at, node) in health.nodes.iter().enumerate() {
            for network in Network::ALL {
                let item = &node.items[network.index()];
                let asked = health
                    .under_way
                    .iter()
                    .any(|check| !check.direct && (check.node, check.network) == (at, network));
                if !item.checked {
                    assert!(!asked && (item.due.is_some() == item.is_dead()));
                } else {
                    assert_ne!(asked, item.due.is_some(), "checked now or later");
                }
                let longest = match item.is_dead() {
                    true => node.check.interval * 2 / 3,
                    false => node.check.interval,
                };
                if let Some(due) = item.due {
                    assert!(due <= self.now + longest, "{due:?} is late");
                    let free = self.links_up && health.under_way.len() < MAX_CHECKS;
                    if free || !item.checked {
                        assert!(deadline.is_some_and(|deadline| deadline <= due));
                    }
                }
            }
        }
        for network in Network::ALL {
            let suspect = |node: &Node| node.items[network.index()].is_suspect();
            let asks = !health.airs[network.index()].is_calm();
            assert!(
                asks || !health.nodes.iter().any(suspect),
                "a suspect without a trial"
            );
            let asked = |check: &Check| check.direct && check.network == network;
            let is_asked = health.under_way.iter().any(asked);
            let due = health.airs[network.index()].due();
            assert_eq!(asks, is_asked != due.is_some(), "asked now or later");
        }
    }

    /// From now on every check is answered after `ms`: by the nodes that `good` says, and without
    /// a node if `air` says so.
    fn stay(&mut self, good: &[bool], air: bool, seconds: u64) {
        for _ in 0..seconds * 2 {
            let ids: Vec<CheckId> = self.under_way.keys().copied().collect();
            for id in ids {
                let Some(seen) = self.under_way.get(&id) else {
                    continue;
                };
                let works = match seen.direct {
                    true => air,
                    false => *good.get(seen.node - 2).unwrap_or(&false),
                };
                self.answer(id, if works { Ok(20) } else { Err(Fault::Remote) });
            }
            self.pass(Duration::from_millis(500));
            self.hold();
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_it_stays_sound(
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 1..120),
        good in prop::collection::vec(any::<bool>(), NODES),
        air in any::<bool>(),
    ) {
        let mut world = World::new(seed);
        for event in events {
            world.step(event);
        }
        // Then the world stays as it is.
        world.step(Event::Links(true));
        world.stay(&good, air, 70);
        for network in Network::ALL {
            let checked = |node: &Node| node.items[network.index()].checked;
            let nodes: Vec<usize> = world.health.nodes.iter().filter(|node| checked(node)).map(|node| node.node).collect();
            let lives = |node: &usize| good[node - 2];
            let something_works = air || nodes.iter().any(lives);
            let is_dead = |node: &usize| world.health.standing(*node, network).life == Life::Dead;
            let all_dead = nodes.iter().all(is_dead);
            let is_down = world.health.is_down(network);
            prop_assert!(is_down != something_works || !is_down && all_dead);
            for node in nodes {
                let life = world.health.standing(node, network).life;
                if lives(&node) {
                    prop_assert_eq!(life, Life::Alive, "{} {}", node, network.as_str());
                } else if something_works {
                    prop_assert_eq!(life, Life::Dead, "{} {}", node, network.as_str());
                }
            }
        }
    }

    #[test]
    fn an_outage_kills_nobody(seed in any::<u64>(), flows in prop::collection::vec((0..NODES, 0..4000u64), 0..80)) {
        let mut world = World::new(seed);
        world.stay(&[true; NODES], true, 5);
        let deaths = world.health.counters().deaths;
        // Flows fail all the while, in whatever order checks fail as well.
        for (node, ms) in flows {
            world.step(Event::Fails(2 + node, 0, Fault::Remote));
            world.stay(&[false; NODES], false, ms / 1000);
        }
        world.stay(&[false; NODES], false, 60);
        prop_assert_eq!(world.health.counters().deaths, deaths);
        prop_assert!(world.health.is_down(Network::ALL[0]));
        world.stay(&[true; NODES], true, 15);
        prop_assert!((2..2 + NODES).all(|node| world.health.standing(node, Network::ALL[0]).life == Life::Alive));
        prop_assert_eq!(world.health.counters().deaths, deaths);
    }
}
