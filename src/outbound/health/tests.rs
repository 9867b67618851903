mod model;

use super::*;
use crate::outbound::standing::Life;

const TCP4: Network = Network::ALL[0];
const TCP6: Network = Network::ALL[1];
const UDP4: Network = Network::ALL[2];
const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// The first node's index into `Config::outbounds`.
const A: usize = 2;
const B: usize = 3;

const HTTP: &str = "\toption check_url http://192.0.2.80/\n";

/// Nodes in one group with these options.
fn config(nodes: &[&str], options: &str) -> Config {
    let node = |name: &&str| format!("config node {name}\n\toption url socks5://192.0.2.1\n");
    let nodes: String = nodes.iter().map(node).collect();
    let text = format!("config dae 'main'\n{nodes}config group 'g'\n{options}");
    Config::parse("dae", text.as_bytes()).unwrap()
}

/// Health with a clock, and with checks that nobody carries out by itself.
struct Bench {
    health: Health,
    now: Instant,
    under_way: Vec<(CheckId, usize, Network, bool)>,
    told: Vec<Effect>,
}

impl Bench {
    fn new(nodes: &[&str], options: &str) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            health: Health::new(&config(nodes, options), 1, now),
            now,
            under_way: Vec::new(),
            told: Vec::new(),
        };
        bench.take_effects();
        bench
    }

    /// All nodes checked over TCP and IPv4, and alive.
    fn alive(nodes: &[&str]) -> Self {
        let mut bench = Self::new(nodes, HTTP);
        bench.settle(|_| Ok(50 * MS));
        for node in 0..nodes.len() {
            assert_eq!(bench.life(A + node), Life::Alive);
        }
        bench
    }

    fn take_effects(&mut self) {
        while let Some(effect) = self.health.next_effect() {
            match effect {
                Effect::Check {
                    id,
                    node,
                    network,
                    direct,
                    ..
                } => {
                    self.under_way.push((id, node, network, direct));
                }
                Effect::Cancel { id } => self.under_way.retain(|check| check.0 != id),
                told => self.told.push(told),
            }
        }
        assert!(self.under_way.len() <= MAX_CHECKS);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.health.next_deadline().filter(|at| *at <= end) {
            assert!(at >= self.now, "it was due before");
            self.now = at;
            self.health.tick(at);
            self.take_effects();
            let next = self.health.next_deadline();
            assert!(
                next.is_none_or(|next| next > at),
                "woken twice for one thing"
            );
        }
        self.now = end;
    }

    /// Lets 3 s pass in which all checks are answered at once: `None` is the one without a node.
    fn settle(&mut self, answer: impl Fn(Option<usize>) -> Result<Duration, Fault>) {
        for _ in 0..30 {
            while let Some((id, node, _, direct)) = self.under_way.pop() {
                let outcome = answer((!direct).then_some(node));
                self.health.check_done(id, outcome, self.now);
                self.take_effects();
            }
            self.pass(100 * MS);
        }
    }

    /// Until the second checks of all nodes have begun, and none has taken too long.
    fn until_checked(&mut self) {
        self.pass(28 * S);
    }

    fn life(&self, node: usize) -> Life {
        self.health.standing(node, TCP4).life
    }

    fn fails(&mut self, node: usize, fault: Fault) {
        self.health.dial_failed(node, TCP4, fault, self.now);
        self.take_effects();
    }

    fn works(&mut self, node: usize) {
        self.health.dial_ok(node, TCP4, 30 * MS, self.now);
        self.take_effects();
    }

    fn told(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.told)
    }
}

fn turned(node: usize, alive: bool) -> Effect {
    let network = TCP4;
    Effect::Turned {
        node,
        network,
        alive,
    }
}

const REMOTE: Result<Duration, Fault> = Err(Fault::Remote);

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
