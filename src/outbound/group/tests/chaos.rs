//! Any groups with anything known of their nodes, against what must always hold.

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::outbound::standing::{Life, Standing, Times};

/// Who could carry a flow at all, found the long way.
fn leaves(config: &Config, groups: &Groups, way: usize, found: &mut Vec<usize>) {
    let OutboundKind::Group(group) = &config.outbounds[way].kind else {
        found.push(way);
        return;
    };
    let pinned = groups.choice(way);
    for (position, member) in group.members.iter().enumerate() {
        let allowed = match (group.policy, pinned) {
            (GroupPolicy::Fixed(_), Some(pinned)) => member.outbound == pinned,
            (GroupPolicy::Fixed(fixed), None) => position == fixed,
            _ => true,
        };
        if allowed {
            leaves(config, groups, member.outbound, found);
        }
    }
}

const NODES: usize = 6;
const GROUPS: usize = 5;

/// Groups of nodes and of groups behind them, with any policy.
fn sections() -> impl Strategy<Value = String> {
    let policy = prop::sample::select(vec![
        "min",
        "min_avg10",
        "min_moving_avg",
        "random",
        "fixed",
    ]);
    let members = prop::collection::btree_set(0..NODES + GROUPS, 1..5);
    let group = (members, policy, 0..GROUPS + 4);
    prop::collection::vec(group, GROUPS).prop_map(|groups| {
        let mut text = String::new();
        for (at, (members, policy, fallback)) in groups.into_iter().enumerate() {
            text += &format!("config group g{at}\n\toption policy {policy}\n\tlist node a\n");
            for member in members {
                match member {
                    0 => {}
                    node if node < NODES => {
                        text += &format!("\tlist node {}\n", char::from(b'a' + node as u8));
                    }
                    group if group - NODES > at => {
                        text += &format!("\tlist node g{}\n", group - NODES)
                    }
                    _ => {}
                }
            }
            match fallback {
                group if group > at && group < GROUPS => {
                    text += &format!("\toption fallback g{group}\n")
                }
                GROUPS => text += "\toption fallback direct\n",
                _ => {}
            }
        }
        text
    })
}

fn standing() -> impl Strategy<Value = Standing> {
    let life = prop::sample::select(vec![Life::Alive, Life::Unknown, Life::Suspect, Life::Dead]);
    let times = prop::option::of((0..200u64, 0..200u64, 0..200u64));
    (life, times).prop_map(|(life, times)| Standing {
        life,
        times: times.map(|(last, avg10, moving)| Times {
            last: ms(last),
            avg10: ms(avg10),
            moving: ms(moving),
        }),
    })
}

proptest! {
    #[test]
    fn whatever_is_known_somebody_is_chosen(
        sections in sections(),
        known in prop::collection::vec(prop::collection::vec(standing(), NODES), 1..5),
        pins in prop::collection::vec((0..GROUPS, 0..NODES), 0..3),
        random in any::<u64>(),
    ) {
        let mut bench = Bench::new(NODES, &sections);
        for (group, node) in pins {
            let node = char::from(b'a' + node as u8).to_string();
            let _ = bench.groups.set_choice(&format!("g{group}"), Some(&node));
        }
        let first = bench.index("a");
        let all: Vec<usize> = (0..GROUPS).map(|group| bench.index(&format!("g{group}"))).collect();
        for standings in known {
            for (node, standing) in standings.into_iter().enumerate() {
                bench.told.0.insert((first + node, TCP4.index()), standing);
            }
            for group in all.iter().copied() {
                let mut could = Vec::new();
                leaves(&bench.config, &bench.groups, group, &mut could);
                let is_usable = |way: &usize| bench.told.standing(*way, TCP4).life.is_usable();
                let lives = could.iter().any(is_usable);
                let choice = bench.groups.choose(group, TCP4, random, &bench.told);
                let tried = bench.groups.candidates(group, TCP4, random, &bench.told);
                prop_assert_eq!(tried.first(), Some(&choice.outbound));
                prop_assert_eq!(choice.last_resort, !lives);
                let mut distinct = tried.clone();
                distinct.sort_unstable();
                distinct.dedup();
                prop_assert!(tried.len() == distinct.len() && tried.len() <= MAX_CANDIDATES);
                let is_group = |way: &usize| matches!(bench.config.outbounds[*way].kind, OutboundKind::Group(_));
                prop_assert!(!tried.iter().any(is_group));
                if lives {
                    prop_assert!(tried.iter().all(|way| could.contains(way) && is_usable(way)));
                    let all: std::collections::BTreeSet<_> = could.into_iter().filter(is_usable).collect();
                    prop_assert_eq!(tried.len(), all.len().min(MAX_CANDIDATES));
                }
                let again = bench.groups.choose(group, TCP4, random, &bench.told);
                prop_assert_eq!(again, choice, "nothing has changed");
            }
        }
    }

    #[test]
    fn without_tolerance_it_is_the_fastest(
        standings in prop::collection::vec(standing(), NODES),
        offsets in prop::collection::vec(-100..100i64, NODES),
    ) {
        let names = "abcdef".chars();
        let listed: String = names.zip(&offsets).map(|(name, ms)| format!(" {name}:{ms}")).collect();
        let section = format!("config group g\n\toption policy min\n\toption tolerance 0\n\toption offset '{listed}'\n");
        let mut bench = Bench::new(NODES, &section);
        let first = bench.index("a");
        let mut best: Option<(Life, i64, usize)> = None;
        for (node, standing) in standings.into_iter().enumerate() {
            bench.told.0.insert((first + node, TCP4.index()), standing);
            let time = standing.times.map(|times| times.last.as_millis() as i64 + offsets[node]);
            let rank = (standing.life, time.unwrap_or(i64::MAX), first + node);
            best = Some(best.map_or(rank, |best| best.min(rank)));
        }
        let choice = bench.choose_in("g", TCP4, 0);
        prop_assert_eq!(Some(choice.outbound), best.map(|(_, _, node)| node));
    }
}
