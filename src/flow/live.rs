//! What is kept of each flow to be shown, and counts of the tasks that carry them. Pure.

use std::cell::{Cell, OnceCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use serde::Serialize;

use super::kind::Kind;
use crate::outbound::ways::{Way, WayId};
use crate::rules::Proto;

/// What flows decided by no rule have in place of its name.
const DEFAULT_RULE: &str = "default";

/// A TCP connection or a UDP session, from its first packet on.
#[derive(Debug)]
pub struct Live {
    proto: Proto,
    /// Who began it.
    pub client: SocketAddr,
    /// Where it goes; of a UDP session, where its first datagram went.
    pub destination: SocketAddr,
    /// The rule that decided.
    rule: Option<Rc<str>>,
    /// The outbound that the rule names.
    asked: Rc<Way>,
    /// What carries it; not known while it is dialled.
    node: OnceCell<Rc<Way>>,
    /// Payload, bytes.
    up: Cell<u64>,
    down: Cell<u64>,
    since: Instant,
}

/// A flow as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FlowRow {
    /// `tcp` or `udp`.
    pub proto: &'static str,
    /// Of UDP: `dns`, `quic` or `plain`.
    pub kind: Option<&'static str>,
    /// Who began it.
    pub source: SocketAddr,
    /// Where it goes; of a UDP session, where its first datagram went.
    pub destination: SocketAddr,
    /// Name of the rule that decided.
    pub rule: Box<str>,
    /// The outbound that the rule names.
    pub outbound: Box<str>,
    /// The node that carries it; None while it is dialled.
    pub node: Option<Box<str>>,
    /// Payload from the client, bytes.
    pub bytes_up: u64,
    /// Payload to the client, bytes.
    pub bytes_down: u64,
    /// Time since its beginning, seconds.
    pub age_s: u64,
    /// Of UDP: time since the last datagram, seconds.
    pub idle_s: Option<u64>,
}

impl Live {
    /// A flow that begins.
    pub fn new(
        proto: Proto,
        (client, destination): (SocketAddr, SocketAddr),
        asked: Rc<Way>,
        rule: Option<Rc<str>>,
        since: Instant,
    ) -> Self {
        Self {
            proto,
            client,
            destination,
            rule,
            asked,
            node: OnceCell::new(),
            up: Cell::default(),
            down: Cell::default(),
            since,
        }
    }

    /// From now on it has this node.
    pub fn carried_by(&self, node: &Rc<Way>) {
        // It is dialled once.
        let _ = self.node.set(Rc::clone(node));
    }

    /// Counts payload of the client.
    pub fn add_up(&self, bytes: u64) {
        add(&self.up, bytes);
        if let Some(node) = self.node.get() {
            add(&node.traffic.up, bytes);
        }
    }

    /// Counts payload for the client.
    pub fn add_down(&self, bytes: u64) {
        add(&self.down, bytes);
        if let Some(node) = self.node.get() {
            add(&node.traffic.down, bytes);
        }
    }

    /// Whether it asked for one of these ways or is carried by one.
    pub fn uses(&self, ways: &[WayId]) -> bool {
        let node = self.node.get().map(|node| node.id);
        ways.contains(&self.asked.id) || node.is_some_and(|node| ways.contains(&node))
    }

    /// Whether a group has chosen one of these nodes for it.
    pub fn was_given(&self, is_one: impl Fn(WayId) -> bool) -> bool {
        self.asked.is_group() && self.node.get().is_some_and(|node| is_one(node.id))
    }

    /// The outbound that the rule names.
    pub fn asked(&self) -> &Way {
        &self.asked
    }

    /// For the log: what carries it, or what was asked for.
    pub fn node_name(&self) -> &str {
        &self.node.get().unwrap_or(&self.asked).name
    }

    /// When it began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// As lists show it; of a UDP session with its kind and the time of its last datagram.
    pub fn row(&self, udp: Option<(Kind, Instant)>, now: Instant) -> FlowRow {
        let seconds = |since| now.saturating_duration_since(since).as_secs();
        let node = self.node.get();
        FlowRow {
            proto: match self.proto {
                Proto::Tcp => "tcp",
                Proto::Udp => "udp",
            },
            kind: udp.map(|(kind, _)| kind.as_str()),
            source: self.client,
            destination: self.destination,
            rule: self.rule.as_deref().unwrap_or(DEFAULT_RULE).into(),
            outbound: self.asked.name.clone(),
            node: node.map(|node| node.name.clone()),
            bytes_up: self.up.get(),
            bytes_down: self.down.get(),
            age_s: seconds(self.since),
            idle_s: udp.map(|(_, used)| seconds(used)),
        }
    }
}

fn add(total: &Cell<u64>, bytes: u64) {
    total.set(total.get() + bytes);
}

/// A flow that may be shown; of a UDP session with its kind and the time of its last datagram.
pub type Listed = (Rc<Live>, Option<(Kind, Instant)>);

/// The newest of many, in memory for twice as many.
pub struct Newest<T> {
    limit: usize,
    kept: Vec<(Instant, T)>,
    seen: usize,
}

impl<T> Newest<T> {
    /// Keeps at most `limit`.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
            seen: 0,
        }
    }

    /// One that began at `since`.
    pub fn add(&mut self, since: Instant, one: T) {
        self.seen += 1;
        self.kept.push((since, one));
        if self.kept.len() >= self.limit.saturating_mul(2).max(1) {
            self.trim();
        }
    }

    /// How many there were, and the newest of them, the newest first.
    pub fn finish(mut self) -> (usize, Vec<T>) {
        self.trim();
        let kept = self.kept.into_iter();
        (self.seen, kept.map(|(_, one)| one).collect())
    }

    fn trim(&mut self) {
        self.kept
            .sort_by_key(|(since, _)| std::cmp::Reverse(*since));
        self.kept.truncate(self.limit);
    }
}

/// Counts tasks that live: each holds a [`Counted`], and its owner a [`Leash`].
///
/// A task that is told to end is gone when the loop comes round to it, so there are some that
/// are ending; they are not counted. One that nobody has told to end is, whether anybody owns it
/// or not.
#[derive(Debug, Default)]
pub struct Workers(Rc<Tally>);

#[derive(Debug, Default)]
struct Tally {
    live: Cell<u64>,
    ending: Cell<u64>,
}

/// Held by the task, as long as it lives.
#[derive(Debug)]
pub struct Counted(Rc<Worker>);

/// Held by the task's owner, who lets go of both at a time.
#[derive(Debug)]
pub struct Leash(Rc<Worker>);

#[derive(Debug)]
struct Worker {
    tally: Rc<Tally>,
    /// The owner has let go.
    released: Cell<bool>,
    gone: Cell<bool>,
}

impl Workers {
    /// One more.
    pub fn enter(&self) -> (Counted, Leash) {
        add(&self.0.live, 1);
        let worker = Rc::new(Worker {
            tally: Rc::clone(&self.0),
            released: Cell::new(false),
            gone: Cell::new(false),
        });
        (Counted(Rc::clone(&worker)), Leash(worker))
    }

    /// How many live and were not told to end.
    pub fn count(&self) -> u64 {
        self.0.live.get() - self.0.ending.get()
    }

    /// How many were told to end and still live: none, once the loop has come round.
    pub fn ending(&self) -> u64 {
        self.0.ending.get()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Worker {
            tally,
            released,
            gone,
        } = &*self.0;
        gone.set(true);
        tally.live.set(tally.live.get() - 1);
        if released.get() {
            tally.ending.set(tally.ending.get() - 1);
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let Worker {
            tally,
            released,
            gone,
        } = &*self.0;
        released.set(true);
        if !gone.get() {
            add(&tally.ending, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_newest_are_kept(times in prop::collection::vec(0..1000u64, 0..100), limit in 0..20usize) {
            let begin = Instant::now();
            let mut newest = Newest::new(limit);
            for time in &times {
                newest.add(begin + Duration::from_secs(*time), *time);
                prop_assert!(newest.kept.len() <= limit.max(1) * 2);
            }
            let (seen, kept) = newest.finish();
            let mut expected = times.clone();
            expected.sort_by_key(|time| std::cmp::Reverse(*time));
            expected.truncate(limit);
            prop_assert_eq!((seen, kept), (times.len(), expected));
        }
    }

    #[test]
    fn workers_are_counted_while_they_live() {
        let workers = Workers::default();
        let counts = || (workers.count(), workers.ending());
        let (one, one_leash) = workers.enter();
        let (two, two_leash) = workers.enter();
        let (orphan, orphan_leash) = workers.enter();
        std::mem::forget(orphan_leash);
        assert_eq!(counts(), (3, 0));
        // Told to end first, or ended by itself first.
        drop(one_leash);
        assert_eq!(counts(), (2, 1));
        drop(one);
        assert_eq!(counts(), (2, 0));
        drop(two);
        assert_eq!(counts(), (1, 0));
        drop(two_leash);
        assert_eq!(counts(), (1, 0), "nobody told the orphan");
        drop(orphan);
        assert_eq!(counts(), (0, 0));
    }
}
