//! Networks in which nothing works, and links that are down.

use super::*;
use crate::outbound::standing::Life;

#[test]
fn a_network_that_is_down_for_all_is_nobodys_fault() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    bench.settle(|_| REMOTE);
    for _ in 0..10 {
        bench.fails(A, Fault::Remote);
        bench.settle(|_| REMOTE);
        assert_eq!((bench.life(A), bench.life(B)), (Life::Alive, Life::Alive));
    }
    let outage = |over| Effect::Outage {
        network: TCP4,
        over,
    };
    assert!(bench.health.is_down(TCP4));
    assert_eq!(bench.told(), [outage(false)]);
    // Back again: found out within 10 s, and all are looked at.
    let before = bench.health.counters();
    for _ in 0..4 {
        bench.settle(|_| Ok(MS));
    }
    assert!(!bench.health.is_down(TCP4));
    assert_eq!(bench.told(), [outage(true)]);
    let after = bench.health.counters();
    assert!(after.checks >= before.checks + 2 && after.deaths == 0 && after.outages == 1);
}

#[test]
fn a_check_that_began_in_an_outage_is_no_witness_after_it() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    bench.settle(|_| REMOTE);
    assert!(bench.health.is_down(TCP4));
    let of_a = |bench: &Bench| {
        let mut checks = bench.under_way.iter();
        checks
            .find(|check| check.1 == A && !check.3)
            .map(|check| check.0)
    };
    let found = (0..600).find_map(|_| {
        bench.pass(100 * MS);
        of_a(&bench)
    });
    bench.pass(100 * MS);
    bench.health.heard(TCP4, bench.now);
    bench.take_effects();
    assert!(!bench.health.is_down(TCP4));
    bench.health.check_done(found.unwrap(), REMOTE, bench.now);
    bench.take_effects();
    assert_eq!(
        (bench.life(A), bench.health.counters().deaths),
        (Life::Alive, 0)
    );
    bench.pass(2 * S);
    assert!(of_a(&bench).is_some(), "it is looked at again, at once");
}

#[test]
fn after_an_outage_all_are_looked_at() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    bench.settle(|_| REMOTE);
    assert!(bench.health.is_down(TCP4));
    let before = bench.health.counters().checks;
    bench.pass(S / 2);
    assert_eq!(bench.health.counters().checks - before, 0, "nobody was due");
    bench.health.heard(TCP4, bench.now);
    bench.take_effects();
    let mut asked: Vec<usize> = bench.under_way.iter().map(|check| check.1).collect();
    asked.sort_unstable();
    assert_eq!(asked, [A, B]);
}

#[test]
fn links_that_are_down_excuse_and_links_that_come_up_are_news() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    assert_eq!(bench.under_way.len(), 2);
    bench.health.links(false, bench.now);
    bench.take_effects();
    assert_eq!(bench.under_way, [], "cancelled");
    for _ in 0..5 {
        bench.fails(A, Fault::Remote);
    }
    bench.pass(600 * S);
    assert_eq!((bench.under_way.len(), bench.life(A)), (0, Life::Alive));
    assert_eq!(
        bench.health.next_deadline(),
        None,
        "nobody is woken for nothing"
    );
    bench.health.links(true, bench.now);
    bench.take_effects();
    assert_eq!(bench.under_way.len(), 2, "at once");
    bench.settle(|_| Ok(MS));
    assert_eq!(bench.told(), []);
    // A link that flaps does not make us ask more than once a second.
    let before = bench.health.counters().checks;
    for _ in 0..100 {
        bench.health.links(true, bench.now);
        bench.take_effects();
        bench.pass(10 * MS);
        while let Some((id, ..)) = bench.under_way.pop() {
            bench.health.check_done(id, Ok(MS), bench.now);
            bench.take_effects();
        }
    }
    assert!(bench.health.counters().checks - before <= 4);
}
