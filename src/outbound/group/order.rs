//! The order of a group's members. Pure.

use super::{Groups, MAX_CANDIDATES, Set};
use crate::config::GroupPolicy;
use crate::outbound::dice::{below, further};
use crate::outbound::network::Network;
use crate::outbound::standing::{Known, Life, Times};

/// How good a member is; the smaller the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    life: Life,
    /// Microseconds, offsets included; [`UNMEASURED`] when there is no time.
    time: i64,
}

/// Behind every time that was measured.
const UNMEASURED: i64 = i64::MAX;

/// The position of the member that a group uses, whose groups below are up to date. Of policy
/// `random` it is the best, which stands for the group in others.
pub(super) fn first(groups: &Groups, group: usize, network: Network, known: &impl Known) -> usize {
    let Some(set) = groups.set(group) else {
        return 0;
    };
    if let Some(only) = set.only() {
        return only;
    }
    let rank = |member: usize| rank(groups, set, member, network, known);
    if let Some(pinned) = set.pinned.filter(|pinned| rank(*pinned).life.is_usable()) {
        return pinned;
    }
    let best = (0..set.config.members.len()).min_by_key(|member| rank(*member));
    let best = best.unwrap_or(0);
    let current = set.current[network.index()];
    let (new, old) = (rank(best), rank(current));
    // Microseconds of at most 10 s.
    let tolerance = set.config.tolerance.as_micros() as i64;
    let stays = old.life == new.life && old.time.saturating_sub(new.time) <= tolerance;
    match stays && set.config.policy != GroupPolicy::Random {
        true => current,
        false => best,
    }
}

/// The position of the member that policy `random` draws; None for other policies, and when a
/// living member was chosen by hand.
pub(super) fn drawn(
    groups: &Groups,
    set: &Set,
    network: Network,
    random: u64,
    known: &impl Known,
) -> Option<usize> {
    if set.config.policy != GroupPolicy::Random {
        return None;
    }
    let is_usable = |member: &usize| rank(groups, set, *member, network, known).life.is_usable();
    if set.pinned.is_some_and(|pinned| is_usable(&pinned)) {
        return None;
    }
    let all = 0..set.config.members.len();
    let usable = all.clone().filter(is_usable).count();
    match usable {
        0 => all.clone().nth(at_random(random, all.len())),
        usable => all.filter(is_usable).nth(at_random(random, usable)),
    }
}

fn at_random(random: u64, count: usize) -> usize {
    // Below the count, so it fits.
    below(random, count as u64) as usize
}

/// How good a member is, by the measure of the group's own policy. A group is as good as the
/// member that it uses.
fn rank(groups: &Groups, set: &Set, member: usize, network: Network, known: &impl Known) -> Rank {
    let (mut of, mut at, mut offset) = (set, member, 0i64);
    let way = loop {
        let Some(member) = of.config.members.get(at) else {
            return Rank {
                life: Life::Dead,
                time: UNMEASURED,
            };
        };
        offset += i64::from(member.offset) * 1000;
        match groups.set(member.outbound) {
            Some(inner) => (of, at) = (inner, inner.current[network.index()]),
            None => break member.outbound,
        }
    };
    let standing = known.standing(way, network);
    let measure = |times: Times| match set.config.policy {
        GroupPolicy::Min => times.last,
        GroupPolicy::MinAvg10 => times.avg10,
        GroupPolicy::MinMovingAvg | GroupPolicy::Random | GroupPolicy::Fixed(_) => times.moving,
    };
    // A time fits: nobody waits for hundreds of thousands of years.
    let time = standing
        .times
        .map(|times| measure(times).as_micros() as i64 + offset);
    Rank {
        life: standing.life,
        time: time.unwrap_or(UNMEASURED),
    }
}

/// Collects nodes in the order in which they are tried.
pub(super) struct Walk<'a, K> {
    known: &'a K,
    network: Network,
    /// Whether those that are not usable are left out.
    only_usable: bool,
    pub(super) found: Vec<usize>,
    /// Groups that were looked at: nothing new is in them.
    seen: Vec<usize>,
}

impl<'a, K: Known> Walk<'a, K> {
    pub(super) fn new(known: &'a K, network: Network, only_usable: bool) -> Self {
        Self {
            known,
            network,
            only_usable,
            found: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Of a group that is up to date. Recurses as deep as groups are nested.
    pub(super) fn collect(&mut self, groups: &Groups, group: usize, random: u64) {
        let Some(set) = groups.set(group).filter(|_| !self.seen.contains(&group)) else {
            return;
        };
        self.seen.push(group);
        for member in self.members(groups, set, random) {
            if self.found.len() == MAX_CANDIDATES {
                return;
            }
            let Some(member) = set.config.members.get(member) else {
                continue;
            };
            let way = member.outbound;
            if groups.set(way).is_some() {
                self.collect(groups, way, further(random));
            } else if !self.found.contains(&way) && self.is_wanted(way) {
                self.found.push(way);
            }
        }
    }

    fn is_wanted(&self, node: usize) -> bool {
        !self.only_usable || self.known.standing(node, self.network).life.is_usable()
    }

    /// Positions of members, the one in use first.
    fn members(&self, groups: &Groups, set: &Set, random: u64) -> Vec<usize> {
        if let Some(only) = set.only() {
            return vec![only];
        }
        let count = set.config.members.len();
        let drawn = drawn(groups, set, self.network, random, self.known);
        let mut order: Vec<usize> = (0..count).collect();
        match drawn {
            // Those behind the one drawn, in a circle: each is as likely to be the next.
            Some(drawn) => order.rotate_left(drawn),
            None => {
                let current = set.current[self.network.index()];
                let key = |member: &usize| {
                    let rank = rank(groups, set, *member, self.network, self.known);
                    (*member != current, rank)
                };
                order.sort_by_cached_key(key);
            }
        }
        order
    }
}
