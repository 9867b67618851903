//! The ways out at run time: nodes and groups of the configuration in force, what each of them
//! has carried, which of them work. One owner for all who dial. Pure.
//!
//! Rules and upstreams name a way by its index into the current `Config::outbounds`. Whatever
//! lives longer than one event keeps a [`WayId`] or the [`Way`] itself: after a reload an index
//! means something else.

mod order;
mod way;

pub use order::{Order, Question};
pub use way::{Traffic, Way, WayId};

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::group::{ChoiceError, Groups};
use super::health::{CheckId, Effect, Fault, Health, Kind};
use super::network::Network;
use crate::config::Config;
use crate::net::notify::Notify;
use crate::rules::Proto;
use crate::rules::private::is_private;
use order::{question, tell_outage, tell_turned};

/// Most servers by which changes of links are seen.
pub const MAX_SERVERS: usize = 64;

/// All ways out, shared by those who dial.
#[derive(Debug)]
pub struct Ways {
    state: RefCell<State>,
    choices: Cell<u64>,
    /// Set when there is an order, or when [`Ways::next_deadline`] is sooner than it was when it
    /// was asked for last.
    pub changed: Notify,
    alarm: Cell<Option<Instant>>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Parallel to `Config::outbounds`.
    pub(super) ways: Vec<Rc<Way>>,
    pub(super) groups: Groups,
    pub(super) health: Health,
    dice: Dice,
    last: u64,
    /// Nodes that have died in a network of UDP, each once, and live no more.
    dead: Vec<(WayId, Network)>,
    /// At most a few: checks are bounded, and so are their ends.
    orders: VecDeque<Order>,
}

impl Ways {
    /// Of a configuration. Nothing is known of any node yet. `seed` is for jitter and for policy
    /// `random`.
    pub fn new(config: &Config, seed: u64, now: Instant) -> Rc<Self> {
        let mut dice = Dice::new(seed);
        let mut state = State {
            ways: Vec::new(),
            groups: Groups::new(&config.outbounds),
            health: Health::new(config, dice.roll(), now),
            dice,
            last: 0,
            dead: Vec::new(),
            orders: VecDeque::new(),
        };
        state.replace(config);
        let ways = Self {
            state: RefCell::new(state),
            choices: Cell::new(0),
            changed: Notify::default(),
            alarm: Cell::default(),
        };
        ways.settle(&mut ways.state.borrow_mut());
        Rc::new(ways)
    }

    /// Goes on with another configuration, to which all indices belong from now on. A node of
    /// the same name and settings stays what it is, its health included; a group keeps its name,
    /// its choice and what it uses. Gives those that are gone: what they carry goes on until
    /// somebody ends it.
    pub fn reconfigure(&self, config: &Config, now: Instant) -> Vec<Rc<Way>> {
        let state = &mut *self.state.borrow_mut();
        let gone = state.replace(config);
        let groups = Groups::new(&config.outbounds);
        if !gone.is_empty() || !groups.says_as(&state.groups) {
            self.choices.set(self.choices.get() + 1);
        }
        state
            .dead
            .retain(|(dead, _)| gone.iter().all(|way| way.id != *dead));
        let mut groups = groups;
        groups.inherit(&state.groups);
        state.groups = groups;
        state.health.reconfigure(config, now);
        self.settle(state);
        gone
    }

    /// Names the way at an index into the current `Config::outbounds`.
    pub fn id(&self, index: usize) -> Option<WayId> {
        Some(self.state.borrow().ways.get(index)?.id)
    }

    /// A way that is configured.
    pub fn get(&self, id: WayId) -> Option<Rc<Way>> {
        let state = self.state.borrow();
        let at = state.position(id)?;
        state.ways.get(at).cloned()
    }

    /// All that are configured, in the order of the configuration.
    pub fn all(&self) -> Vec<Rc<Way>> {
        self.state.borrow().ways.clone()
    }

    /// What a new flow to `asked` tries, one after the other; never a group, at most
    /// [`super::group::MAX_CANDIDATES`]. None when `asked` is configured no more.
    pub fn candidates(&self, asked: WayId, network: Network) -> Vec<Rc<Way>> {
        let state = &mut *self.state.borrow_mut();
        let Some(at) = state.position(asked) else {
            return Vec::new();
        };
        let random = state.dice.roll();
        let found = state.groups.candidates(at, network, random, &state.health);
        let ways = found.iter().filter_map(|at| state.ways.get(*at));
        ways.cloned().collect()
    }

    /// A way carried a flow to `far`, or said what is wrong with it, `latency` after our first
    /// byte.
    pub fn dial_ok(
        &self,
        way: &Way,
        (network, far): (Network, IpAddr),
        latency: Duration,
        now: Instant,
    ) {
        if way.is_direct() {
            return self.heard(network, far, now);
        }
        let state = &mut *self.state.borrow_mut();
        if let Some(node) = state.position(way.id) {
            state.health.dial_ok(node, network, latency, now);
            self.settle(state);
        }
    }

    /// A flow failed on its way, and whose fault that was.
    pub fn dial_failed(&self, way: &Way, network: Network, fault: Fault, now: Instant) {
        let state = &mut *self.state.borrow_mut();
        if let Some(node) = state.position(way.id) {
            state.health.dial_failed(node, network, fault, now);
            self.settle(state);
        }
    }

    /// Something came back from `far` without any node. From inside the house it says nothing of
    /// the line.
    pub fn heard(&self, network: Network, far: IpAddr, now: Instant) {
        if is_private(far) {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        if state.health.heard(network, now) {
            self.settle(state);
        }
    }

    /// The links towards the Internet have changed; see [`Health::links`].
    pub fn links(&self, up: bool, now: Instant) {
        let state = &mut *self.state.borrow_mut();
        state.health.links(up, now);
        self.settle(state);
    }

    /// What came of an [`Order::Check`]; see [`Health::check_done`].
    pub fn check_done(&self, id: CheckId, outcome: Result<Duration, Fault>, now: Instant) {
        let state = &mut *self.state.borrow_mut();
        state.health.check_done(id, outcome, now);
        self.settle(state);
    }

    /// Time has passed; see [`Health::tick`].
    pub fn tick(&self, now: Instant) {
        let state = &mut *self.state.borrow_mut();
        state.health.tick(now);
        self.settle(state);
    }

    /// When [`Ways::tick`] is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.state.borrow().health.next_deadline();
        self.alarm.set(deadline);
        deadline
    }

    /// What the checker does next.
    pub fn next_order(&self) -> Option<Order> {
        self.state.borrow_mut().orders.pop_front()
    }

    /// Nodes that have died in a network of UDP since the last call: sessions by way of them wait
    /// for answers that do not come.
    pub fn take_dead(&self) -> Vec<(WayId, Network)> {
        std::mem::take(&mut self.state.borrow_mut().dead)
    }

    /// Chooses a member of a group by hand, or leaves it to the policy again.
    pub fn choose(&self, group: &str, member: Option<&str>) -> Result<(), ChoiceError> {
        self.state.borrow_mut().groups.set_choice(group, member)?;
        self.choices.set(self.choices.get() + 1);
        Ok(())
    }

    /// Another number each time that a member was chosen by hand, or groups or nodes changed.
    pub fn choices(&self) -> u64 {
        self.choices.get()
    }

    /// Choices that shall outlive the process; see [`Groups::kept_choices`].
    pub fn kept_choices(&self) -> String {
        self.state.borrow().groups.kept_choices()
    }

    /// Takes them over; says how many mean nothing any more.
    pub fn restore_choices(&self, text: &str) -> usize {
        self.state.borrow_mut().groups.restore_choices(text)
    }

    /// For reports.
    pub(super) fn with_state<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.state.borrow_mut())
    }

    /// Addresses of the nodes that are in groups, and of whom checks ask; at most
    /// [`MAX_SERVERS`] of them, distinct.
    pub fn servers(&self) -> Vec<SocketAddr> {
        let state = self.state.borrow();
        let mut servers = Vec::new();
        for (node, check) in state.health.nodes() {
            let own = state.ways.get(node).and_then(|way| way.server());
            let http = check
                .http
                .iter()
                .flat_map(|http| http.addrs.iter().copied());
            servers.extend(own.into_iter().chain(http).chain(check.dns.iter().copied()));
        }
        servers.sort_unstable();
        servers.dedup();
        servers.truncate(MAX_SERVERS);
        servers
    }

    /// Turns what health wants done into orders and lines of the log.
    fn settle(&self, state: &mut State) {
        while let Some(effect) = state.health.next_effect() {
            match effect {
                Effect::Check {
                    id,
                    node,
                    network,
                    kind,
                    direct,
                } => {
                    let order = state.check(id, (node, direct), network, kind);
                    state.orders.extend(order);
                }
                Effect::Cancel { id } => state.cancel(id),
                Effect::Turned {
                    node,
                    network,
                    alive,
                } => state.turned(node, network, alive),
                Effect::Outage { network, over } => tell_outage(network, over),
            }
        }
        let due = state.health.next_deadline();
        let sooner = |due: Instant| self.alarm.get().is_none_or(|alarm| due < alarm);
        if !state.orders.is_empty() || due.is_some_and(sooner) {
            self.changed.notify();
        }
    }
}

impl State {
    /// Takes over the outbounds of a configuration; gives those that are gone.
    fn replace(&mut self, config: &Config) -> Vec<Rc<Way>> {
        let mut gone = std::mem::take(&mut self.ways);
        for outbound in &config.outbounds {
            let known = gone.iter().position(|way| way.is(outbound));
            let way = match known {
                // The members of a group may be others now; nothing here depends on them.
                Some(known) => gone.swap_remove(known),
                None => {
                    self.last += 1;
                    Rc::new(Way::new(WayId::numbered(self.last), outbound))
                }
            };
            self.ways.push(way);
        }
        gone
    }

    fn position(&self, id: WayId) -> Option<usize> {
        self.ways.iter().position(|way| way.id == id)
    }

    fn check(
        &self,
        id: CheckId,
        (node, direct): (usize, bool),
        network: Network,
        kind: Kind,
    ) -> Option<Order> {
        let question = question(self.health.check_of(node)?, network, kind)?;
        let way = match direct {
            true => self.ways.iter().find(|way| way.is_direct()),
            false => self.ways.get(node),
        };
        let way = Rc::clone(way?);
        Some(Order::Check { id, way, question })
    }

    fn turned(&mut self, node: usize, network: Network, alive: bool) {
        let Some(way) = self.ways.get(node) else {
            return;
        };
        tell_turned(way, network, alive);
        way.turned(network, alive);
        let one = (way.id, network);
        self.dead.retain(|other| *other != one);
        if !alive && network.proto == Proto::Udp {
            self.dead.push(one);
        }
    }

    /// An order that nobody has taken yet is taken back.
    fn cancel(&mut self, cancelled: CheckId) {
        let is_it = |order: &Order| matches!(order, Order::Check { id, .. } if *id == cancelled);
        match self.orders.iter().position(is_it) {
            Some(at) => drop(self.orders.remove(at)),
            None => self.orders.push_back(Order::Cancel(cancelled)),
        }
    }
}

#[cfg(test)]
mod tests;
