//! When nodes are checked, and what a check says.

use super::*;
use crate::outbound::standing::Life;

#[test]
fn checks_begin_soon_and_come_again() {
    let mut bench = Bench::new(&["a", "b"], HTTP);
    assert_eq!(bench.life(A), Life::Unknown);
    bench.settle(|_| Ok(40 * MS));
    assert_eq!(bench.health.counters().checks, 2, "each once within 3 s");
    let times = bench.health.standing(A, TCP4).times.unwrap();
    assert_eq!((bench.life(A), times.last), (Life::Alive, 40 * MS));
    assert_eq!(
        bench.health.standing(A, TCP6).life,
        Life::Unknown,
        "nobody is asked there"
    );
    // 30 s, less an eighth at most.
    bench.pass(22 * S);
    assert_eq!(bench.under_way.len(), 0);
    bench.pass(6 * S);
    assert_eq!(bench.under_way.len(), 2);
    assert_eq!(bench.told(), []);
}

#[test]
fn every_network_with_somebody_to_ask_is_checked() {
    let options = "\toption check_url http://name.example/\n\toption check_addr '192.0.2.80 2001:db8::1'\n\
                   \toption check_dns 192.0.2.53\n";
    let mut bench = Bench::new(&["a"], options);
    bench.pass(2 * S);
    let mut networks: Vec<Network> = bench.under_way.iter().map(|check| check.2).collect();
    networks.sort_by_key(|network| network.index());
    assert_eq!(networks, [TCP4, TCP6, UDP4]);
    assert_eq!(
        (plan::kind(TCP6), plan::kind(UDP4)),
        (Kind::Http, Kind::Dns)
    );
}

#[test]
fn no_more_than_four_are_under_way() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::new(&names, HTTP);
    bench.pass(2 * S);
    assert_eq!(bench.under_way.len(), MAX_CHECKS);
    let (id, ..) = bench.under_way.remove(0);
    bench.health.check_done(id, Ok(MS), bench.now);
    bench.take_effects();
    assert_eq!(bench.health.counters().waited, 1, "another one is due, too");
    assert_eq!(bench.under_way.len(), MAX_CHECKS, "the next one begins");
    bench.settle(|_| Ok(MS));
    assert!((0..20).all(|node| bench.life(A + node) == Life::Alive));
}

#[test]
fn a_check_that_fails_is_death_when_others_work() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    bench.settle(|node| if node == Some(A) { REMOTE } else { Ok(MS) });
    assert_eq!((bench.life(A), bench.life(B)), (Life::Dead, Life::Alive));
    assert_eq!(bench.told(), [turned(A, false)]);
    bench.settle(|_| Ok(MS));
    assert_eq!(bench.life(A), Life::Dead, "not yet");
    bench.pass(2 * S);
    bench.settle(|_| Ok(MS));
    assert_eq!(bench.life(A), Life::Alive);
    assert_eq!(bench.told(), [turned(A, true)]);
    assert_eq!(bench.health.counters().deaths, 1);
}

#[test]
fn a_check_without_an_outcome_has_failed() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    let (id, ..) = *bench.under_way.iter().find(|check| check.1 == A).unwrap();
    bench.pass(CHECK_LIMIT);
    bench.settle(|_| Ok(MS));
    assert_eq!(bench.life(A), Life::Dead);
    // Whoever comes too late is not heard.
    let failed = bench.health.counters().failed;
    bench.health.check_done(id, Ok(MS), bench.now);
    assert_eq!(
        (bench.life(A), bench.health.counters().failed),
        (Life::Dead, failed)
    );
}

#[test]
fn checks_do_not_march_in_step() {
    let bench = Bench::alive(&["a", "b", "c"]);
    let due = |node: &Node| node.items[TCP4.index()].due.unwrap();
    let mut dues: Vec<Instant> = bench.health.nodes.iter().map(due).collect();
    dues.sort_unstable();
    // Answered at steps of 100 ms.
    let step = dues[0].duration_since(bench.now).as_micros() % 100_000;
    let same = |due: &Instant| due.duration_since(bench.now).as_micros() % 100_000 == step;
    assert!(!dues[1..].iter().any(same), "{dues:?}");
}

#[test]
fn pauses_grow_to_two_thirds_of_the_interval() {
    for (interval, pauses) in [
        (60, [10, 20, 40, 40]),
        (30, [10, 20, 20, 20]),
        (6, [4, 4, 4, 4]),
    ] {
        let mut bench = Bench::new(
            &["a"],
            &format!("{HTTP}\toption check_interval {interval}\n"),
        );
        bench.pass(S);
        for pause in pauses.map(|pause| pause * S) {
            while let Some((id, _, _, direct)) = bench.under_way.pop() {
                let outcome = if direct { Ok(MS) } else { REMOTE };
                bench.health.check_done(id, outcome, bench.now);
                bench.take_effects();
            }
            assert_eq!(bench.life(A), Life::Dead);
            bench.pass(pause * 7 / 8 - MS);
            assert_eq!(bench.under_way.len(), 0, "{interval} {pause:?}");
            bench.pass(pause / 8 + MS);
            assert_eq!(bench.under_way.len(), 1, "{interval} {pause:?}");
        }
    }
}

#[test]
fn the_dead_are_looked_at_when_a_link_comes_up() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.works(B);
    bench.fails(A, Fault::Remote);
    bench.works(B);
    bench.fails(A, Fault::Remote);
    assert_eq!(bench.life(A), Life::Dead);
    bench.pass(3 * S);
    bench.health.links(true, bench.now);
    bench.take_effects();
    bench.settle(|_| Ok(MS));
    assert_eq!(bench.life(A), Life::Alive);
}

#[test]
fn without_checks_death_is_forgotten_after_a_pause() {
    let mut bench = Bench::new(&["a"], "");
    assert_eq!(bench.health.next_deadline(), None);
    bench.works(A);
    assert_eq!(
        bench.health.standing(A, TCP4).times.map(|times| times.last),
        Some(30 * MS)
    );
    for (pause, told) in [(10, vec![turned(A, false)]), (20, vec![]), (20, vec![])] {
        bench.fails(A, Fault::Remote);
        bench.fails(A, Fault::Remote);
        assert_eq!((bench.life(A), bench.told()), (Life::Dead, told));
        bench.pass(pause * S * 7 / 8 - MS);
        assert_eq!(bench.life(A), Life::Dead);
        bench.pass(pause * S / 8 + MS);
        assert_eq!(bench.life(A), Life::Unknown, "it may be tried");
    }
    bench.works(A);
    assert_eq!(bench.told(), [turned(A, true)]);
    bench.pass(100 * S);
    assert_eq!(bench.life(A), Life::Alive);
}

#[test]
fn times_of_real_connections_count_where_nothing_is_checked() {
    let mut bench = Bench::alive(&["a"]);
    bench.works(A);
    assert_eq!(bench.health.standing(A, TCP4).times.unwrap().last, 50 * MS);
    bench.health.dial_ok(A, UDP4, 30 * MS, bench.now);
    assert_eq!(bench.health.standing(A, UDP4).times.unwrap().last, 30 * MS);
}

#[test]
fn a_connection_that_was_carried_says_more_than_a_check() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    bench.works(A);
    bench.works(B);
    let ids: Vec<_> = bench.under_way.drain(..).collect();
    for (id, ..) in ids {
        bench.health.check_done(id, REMOTE, bench.now);
    }
    assert_eq!((bench.life(A), bench.life(B)), (Life::Alive, Life::Alive));
}

#[test]
fn nodes_that_nobody_looks_at_change_nothing() {
    let mut bench = Bench::alive(&["a"]);
    for node in [0, 1, 99] {
        bench.fails(node, Fault::Remote);
        bench.fails(node, Fault::Remote);
        bench.works(node);
        assert_eq!(bench.life(node), Life::Unknown);
    }
    assert_eq!(bench.told(), []);
}
