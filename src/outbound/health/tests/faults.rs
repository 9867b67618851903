//! Whose fault a failure is.

use super::*;
use crate::outbound::standing::Life;

#[test]
fn two_failures_in_a_row_are_one_too_many() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.works(A);
    bench.fails(A, Fault::Remote);
    bench.works(A);
    bench.fails(A, Fault::Remote);
    assert_eq!(bench.life(A), Life::Alive);
    bench.works(B);
    bench.fails(A, Fault::Remote);
    assert_eq!(bench.life(A), Life::Dead, "the other works");
    bench.fails(A, Fault::Remote);
    assert_eq!(bench.told(), [turned(A, false)], "told once");
    bench.works(A);
    assert_eq!(bench.life(A), Life::Alive);
    assert_eq!(bench.told(), [turned(A, true)]);
}

#[test]
fn the_first_failure_makes_a_check_due() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.pass(5 * S);
    bench.fails(A, Fault::Remote);
    bench.pass(Duration::ZERO);
    assert_eq!(bench.under_way.len(), 1);
    bench.settle(|_| Ok(MS));
    // But no two within a second, however many fail.
    let before = bench.health.counters().checks;
    for _ in 0..1000 {
        bench.fails(A, Fault::Remote);
        bench.works(A);
        bench.pass(2 * MS);
        while let Some((id, ..)) = bench.under_way.pop() {
            bench.health.check_done(id, Ok(MS), bench.now);
            bench.take_effects();
        }
    }
    assert!(bench.health.counters().checks - before <= 4);
}

#[test]
fn what_is_not_the_nodes_fault_does_not_count() {
    let mut bench = Bench::alive(&["a", "b"]);
    for fault in [Fault::Local, Fault::Cancelled, Fault::NetworkDown] {
        let failed = bench.health.counters().failed;
        bench.works(B);
        for _ in 0..5 {
            bench.fails(A, fault);
        }
        assert_eq!(bench.life(A), Life::Alive, "{fault:?}");
        for _ in 0..12 {
            bench.settle(|node| if node == Some(A) { Err(fault) } else { Ok(MS) });
        }
        assert!(bench.health.counters().failed > failed, "{fault:?}");
        assert_eq!(bench.life(A), Life::Alive, "{fault:?}");
    }
    assert_eq!(bench.told(), []);
    // And it does not make us ask without end.
    let before = bench.health.counters().checks;
    for _ in 0..20 {
        bench.settle(|_| Err(Fault::Local));
    }
    assert!(bench.health.counters().checks - before <= 2 * 8, "{before}");
}

#[test]
fn a_suspect_is_passed_over_until_something_else_works() {
    let mut bench = Bench::alive(&["a"]);
    bench.fails(A, Fault::Remote);
    bench.fails(A, Fault::Remote);
    assert_eq!((bench.life(A), bench.told()), (Life::Suspect, vec![]));
    let direct = |bench: &Bench| bench.under_way.iter().any(|check| check.3);
    assert!(direct(&bench), "asked without a node, at once");
    bench.health.heard(TCP4, bench.now);
    bench.take_effects();
    assert_eq!(bench.life(A), Life::Dead);
    assert!(!direct(&bench), "the question is answered");
    assert_eq!(bench.told(), [turned(A, false)]);
}

#[test]
fn a_direct_answer_shows_who_is_at_fault() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.until_checked();
    bench.settle(|node| if node.is_some() { REMOTE } else { Ok(MS) });
    assert_eq!((bench.life(A), bench.life(B)), (Life::Dead, Life::Dead));
    assert!(!bench.health.is_down(TCP4));
}

#[test]
fn what_was_heard_before_the_failure_says_nothing() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.works(B);
    bench.pass(MS);
    bench.fails(A, Fault::Remote);
    bench.fails(A, Fault::Remote);
    assert_eq!(bench.life(A), Life::Suspect);
    bench.works(B);
    assert_eq!(bench.life(A), Life::Dead);
}

#[test]
fn a_server_that_only_nodes_reach_protects_nobody() {
    let mut bench = Bench::alive(&["a", "b"]);
    bench.fails(A, Fault::Remote);
    bench.fails(A, Fault::Remote);
    // The direct question fails, the node too; the other one is looked at for that reason.
    for _ in 0..4 {
        bench.settle(|node| if node == Some(B) { Ok(MS) } else { REMOTE });
    }
    assert_eq!((bench.life(A), bench.life(B)), (Life::Dead, Life::Alive));
}

#[test]
fn eight_witnesses_are_enough() {
    let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (failing, down) in [(7, false), (8, true)] {
        let mut bench = Bench::alive(&names);
        for node in A..A + failing {
            bench.fails(node, Fault::Remote);
            bench.fails(node, Fault::Remote);
        }
        let direct = bench.under_way.iter().position(|check| check.3).unwrap();
        let (id, ..) = bench.under_way.remove(direct);
        bench.health.check_done(id, REMOTE, bench.now);
        bench.take_effects();
        assert_eq!(bench.health.is_down(TCP4), down, "{failing}");
    }
}
