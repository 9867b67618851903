//! Other settings, and what groups make of it all.

use super::*;
use crate::outbound::standing::Life;

#[test]
fn untouched_nodes_keep_their_health() {
    let mut bench = Bench::alive(&["a", "b", "c"]);
    bench.works(B);
    bench.fails(A, Fault::Remote);
    bench.works(B);
    bench.fails(A, Fault::Remote);
    bench.pass(3 * S);
    let before = bench.health.counters().checks;
    // A new node in front: all indices move. The last one is gone.
    bench
        .health
        .reconfigure(&config(&["z", "a", "b"], HTTP), bench.now);
    bench.take_effects();
    let lives: Vec<Life> = (A..A + 3).map(|node| bench.life(node)).collect();
    assert_eq!(lives, [Life::Unknown, Life::Dead, Life::Alive]);
    assert_eq!(
        bench.health.standing(A + 2, TCP4).times.unwrap().last,
        50 * MS
    );
    let asked: Vec<usize> = bench.under_way.iter().map(|check| check.1).collect();
    assert_eq!(asked, [A + 1], "the dead one at once");
    bench.settle(|_| Ok(MS));
    assert_eq!(
        bench.health.counters().checks - before,
        2,
        "the living one in its time"
    );
    assert_eq!(bench.told(), [turned(A, false), turned(A + 1, true)]);
    for _ in 0..10 {
        bench.settle(|_| Ok(MS));
    }
    assert!(bench.health.counters().checks - before >= 5);
}

#[test]
fn other_servers_to_ask_are_asked_at_once() {
    let mut bench = Bench::alive(&["a"]);
    let options = "\toption check_url http://192.0.2.81/\n";
    bench
        .health
        .reconfigure(&config(&["a"], options), bench.now);
    bench.take_effects();
    assert_eq!((bench.life(A), bench.under_way.len()), (Life::Alive, 1));
    // What was asked of the old ones is not wanted any more.
    let (id, ..) = bench.under_way[0];
    bench.health.reconfigure(&config(&["a"], HTTP), bench.now);
    bench.take_effects();
    assert!(bench.under_way.iter().all(|check| check.0 != id) && bench.under_way.len() == 1);
    // A check that still means the same goes on.
    let (id, ..) = bench.under_way[0];
    bench
        .health
        .reconfigure(&config(&["b", "a"], HTTP), bench.now);
    bench.take_effects();
    assert_eq!(bench.under_way.len(), 1);
    bench.health.check_done(id, Ok(7 * MS), bench.now);
    bench.under_way.clear();
    assert_eq!(bench.health.standing(B, TCP4).times.unwrap().last, 7 * MS);
    // Nobody is left.
    bench
        .health
        .reconfigure(&config(&["a"], "\tlist node a\n"), bench.now);
    bench.take_effects();
    assert_eq!(
        (bench.under_way.len(), bench.health.next_deadline()),
        (0, None)
    );
}

#[test]
fn an_outage_outlives_a_reload_but_not_those_who_are_asked() {
    let mut bench = Bench::alive(&["a"]);
    bench.until_checked();
    bench.settle(|_| REMOTE);
    bench
        .health
        .reconfigure(&config(&["a", "b"], HTTP), bench.now);
    assert!(bench.health.is_down(TCP4));
    bench.settle(|_| REMOTE);
    assert_eq!((bench.life(A), bench.life(B)), (Life::Alive, Life::Unknown));
    bench
        .health
        .reconfigure(&config(&["a", "b"], ""), bench.now);
    assert!(!bench.health.is_down(TCP4));
}

#[test]
fn groups_follow_health() {
    let config = config(&["a", "b"], &format!("{HTTP}\toption fallback block\n"));
    let group = config.outbounds.len() - 1;
    let mut groups = crate::outbound::group::Groups::new(&config.outbounds);
    let mut bench = Bench::alive(&["a", "b"]);
    let mut chosen = |bench: &Bench| groups.choose(group, TCP4, 0, &bench.health).outbound;
    assert_eq!(chosen(&bench), A);
    // Two flows fail: the next one goes elsewhere, before anybody knows why.
    bench.fails(A, Fault::Remote);
    assert_eq!(chosen(&bench), A);
    bench.fails(A, Fault::Remote);
    assert_eq!((bench.life(A), chosen(&bench)), (Life::Suspect, B));
    bench.works(B);
    assert_eq!((bench.life(A), chosen(&bench)), (Life::Dead, B));
    bench.works(B);
    bench.fails(B, Fault::Remote);
    bench.fails(B, Fault::Remote);
    assert_eq!(chosen(&bench), 1, "block");
    bench.works(A);
    assert_eq!(chosen(&bench), A);
    assert_eq!(groups.choose(group, UDP4, 0, &bench.health).outbound, A);
}
