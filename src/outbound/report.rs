//! What status and metrics show of nodes and groups. Pure.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::network::{NETWORKS, Network};
use super::standing::{Known as _, Standing};
use super::ways::{State, Ways};
use crate::config::GroupPolicy;

/// Nodes and groups of the configuration in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// A row per group and network.
    pub groups: Vec<GroupRow>,
    /// A row per node that is in a group and network in which it is checked, or was used.
    pub nodes: Vec<NodeRow>,
    /// Checks of nodes, and what they led to.
    pub checks: Checks,
}

/// What a group does with new flows of a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GroupRow {
    /// Its name.
    pub group: String,
    /// The network.
    pub network: &'static str,
    /// Its policy.
    pub policy: &'static str,
    /// The member chosen by hand; None: the policy decides.
    pub choice: Option<String>,
    /// The member in use; None with policy `random` unless one was chosen by hand.
    pub member: Option<String>,
    /// What carries new flows: a node, or the fallback. None as above.
    pub uses: Option<String>,
    /// No member works: it is the fallback, or a member all the same.
    pub last_resort: bool,
}

/// A group with its members.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    /// Its name.
    pub group: String,
    /// Its policy.
    pub policy: &'static str,
    /// The member chosen by hand; None: the policy decides.
    pub choice: Option<String>,
    /// In the order of the configuration.
    pub members: Vec<MemberRow>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MemberRow {
    /// Its name.
    pub member: String,
    /// The networks in which the group uses it.
    pub used: Vec<&'static str>,
    /// What is known of it in each network; of a group it is that of the node it uses.
    pub tcp4: &'static str,
    /// As above.
    pub tcp6: &'static str,
    /// As above.
    pub udp4: &'static str,
    /// As above.
    pub udp6: &'static str,
}

/// A node in a network.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct NodeRow {
    /// Its name.
    pub node: String,
    /// The network.
    pub network: &'static str,
    /// `alive`, `unknown`, `suspect` or `dead`.
    pub life: &'static str,
    /// Whether new flows are sent there while there is nothing better.
    pub usable: bool,
    /// For how long it has been that, seconds; None: since the start.
    pub since_s: Option<u64>,
    /// The last time measured, milliseconds.
    pub last_ms: Option<f64>,
    /// Mean of the last ten.
    pub avg10_ms: Option<f64>,
    /// Moving average.
    pub moving_ms: Option<f64>,
}

/// Checks of nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Checks {
    /// Now.
    pub under_way: u64,
    /// Begun.
    pub begun: u64,
    /// Of these, those that failed or had no outcome in time.
    pub failed: u64,
    /// Times that a check had to wait for others to end.
    pub waited: u64,
    /// Nodes that died, each network by itself.
    pub deaths: u64,
    /// Networks in which nothing worked any more, with or without a node.
    pub outages: u64,
    /// Whether that is so now, in each network.
    pub down: Down,
}

/// Networks in which nothing works.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Down {
    /// TCP by IPv4.
    pub tcp4: bool,
    /// TCP by IPv6.
    pub tcp6: bool,
    /// UDP by IPv4.
    pub udp4: bool,
    /// UDP by IPv6.
    pub udp6: bool,
}

impl From<[bool; NETWORKS]> for Down {
    fn from([tcp4, tcp6, udp4, udp6]: [bool; NETWORKS]) -> Self {
        Self {
            tcp4,
            tcp6,
            udp4,
            udp6,
        }
    }
}

impl NodeRow {
    /// Of a node's name and what is known of it.
    pub(super) fn new(
        node: &str,
        network: Network,
        standing: Standing,
        since: Option<Duration>,
    ) -> Self {
        let times = standing.times;
        Self {
            node: node.to_owned(),
            network: network.as_str(),
            life: standing.life.as_str(),
            usable: standing.life.is_usable(),
            since_s: since.map(|since| since.as_secs()),
            last_ms: times.map(|times| milliseconds(times.last)),
            avg10_ms: times.map(|times| milliseconds(times.avg10)),
            moving_ms: times.map(|times| milliseconds(times.moving)),
        }
    }
}

/// To a tenth.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// As the configuration writes it.
pub(super) fn policy(policy: GroupPolicy) -> &'static str {
    match policy {
        GroupPolicy::Fixed(_) => "fixed",
        GroupPolicy::Random => "random",
        GroupPolicy::Min => "min",
        GroupPolicy::MinAvg10 => "min_avg10",
        GroupPolicy::MinMovingAvg => "min_moving_avg",
    }
}

impl Ways {
    /// One group with its members; None when there is none of this name.
    pub fn group_report(&self, group: &str) -> Option<GroupReport> {
        self.with_state(|state| self::group(state, group))
    }

    /// Nodes and groups as they are now.
    pub fn report(&self, now: Instant) -> Report {
        self.with_state(|state| Report {
            groups: groups(state),
            nodes: nodes(state, now),
            checks: checks(state),
        })
    }
}

/// One group; None when there is none of this name.
fn group(state: &mut State, name: &str) -> Option<GroupReport> {
    let at = state.ways.iter().position(|way| *way.name == *name)?;
    let policy = policy(state.groups.policy(at)?);
    let members = state.groups.members(at);
    let current = Network::ALL.map(|network| {
        state.groups.choose(at, network, 0, &state.health);
        state.groups.current(at, network)
    });
    let row = |member: usize| {
        let life = Network::ALL.map(|network| {
            let used = state.groups.choose(member, network, 0, &state.health);
            state.health.standing(used.outbound, network).life.as_str()
        });
        let [tcp4, tcp6, udp4, udp6] = life;
        let networks = Network::ALL.iter().zip(current);
        let used = networks.filter(|(_, current)| *current == Some(member));
        Some(MemberRow {
            member: state.ways.get(member)?.name.to_string(),
            used: used.map(|(network, _)| network.as_str()).collect(),
            tcp4,
            tcp6,
            udp4,
            udp6,
        })
    };
    let members = members.into_iter().filter_map(row).collect();
    let choice = state.groups.choice(at);
    let choice = choice.and_then(|at| Some(state.ways.get(at)?.name.to_string()));
    Some(GroupReport {
        group: name.to_owned(),
        policy,
        choice,
        members,
    })
}

fn groups(state: &mut State) -> Vec<GroupRow> {
    let mut rows = Vec::new();
    for at in 0..state.ways.len() {
        let Some(policy) = state.groups.policy(at) else {
            continue;
        };
        for network in Network::ALL {
            // Looks anew at what is known; nothing is drawn.
            let chosen = state.groups.choose(at, network, 0, &state.health);
            let member = state.groups.current(at, network);
            let name = |at: usize| state.ways.get(at).map(|way| way.name.to_string());
            let drawn = member.is_none() && !chosen.last_resort;
            rows.push(GroupRow {
                group: name(at).unwrap_or_default(),
                network: network.as_str(),
                policy: self::policy(policy),
                choice: state.groups.choice(at).and_then(name),
                member: member.and_then(name),
                uses: name(chosen.outbound).filter(|_| !drawn),
                last_resort: chosen.last_resort,
            });
        }
    }
    rows
}

fn nodes(state: &State, now: Instant) -> Vec<NodeRow> {
    let row = |(node, network, standing, since): (usize, _, _, Option<Instant>)| {
        let name = &state.ways.get(node)?.name;
        let since = since.map(|since| now.saturating_duration_since(since));
        Some(NodeRow::new(name, network, standing, since))
    };
    state.health.all().filter_map(row).collect()
}

fn checks(state: &State) -> Checks {
    let counters = state.health.counters();
    Checks {
        under_way: state.health.under_way() as u64,
        begun: counters.checks,
        failed: counters.failed,
        waited: counters.waited,
        deaths: counters.deaths,
        outages: counters.outages,
        down: Network::ALL
            .map(|network| state.health.is_down(network))
            .into(),
    }
}
