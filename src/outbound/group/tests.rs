mod chaos;

use std::collections::HashMap;
use std::time::Duration;

use super::*;
use crate::config::Config;
use crate::outbound::standing::{Life, Standing, Times};

const TCP4: Network = Network::ALL[0];
const UDP6: Network = Network::ALL[3];

/// What is known, by hand.
#[derive(Debug, Clone, Default)]
struct Told(HashMap<(usize, usize), Standing>);

impl Known for Told {
    fn standing(&self, node: usize, network: Network) -> Standing {
        let known = self.0.get(&(node, network.index()));
        known.copied().unwrap_or_default()
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A configuration with nodes `a`, `b`, `c` and so on, and its groups.
struct Bench {
    config: Config,
    groups: Groups,
    told: Told,
}

impl Bench {
    fn new(nodes: usize, sections: &str) -> Self {
        let node = |n: usize| {
            let name = char::from(b'a' + n as u8);
            format!("config node {name}\n\toption url socks5://192.0.2.1\n")
        };
        let nodes: String = (0..nodes).map(node).collect();
        let text = format!("config dae 'main'\n{nodes}{sections}");
        let config = Config::parse("dae", text.as_bytes())
            .unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
        Self {
            groups: Groups::new(&config.outbounds),
            config,
            told: Told::default(),
        }
    }

    fn index(&self, name: &str) -> usize {
        let mut outbounds = self.config.outbounds.iter();
        outbounds
            .position(|outbound| outbound.name == name)
            .unwrap()
    }

    fn is(&mut self, names: &str, life: Life) -> &mut Self {
        for name in names.split(' ') {
            let key = (self.index(name), TCP4.index());
            self.told.0.entry(key).or_default().life = life;
        }
        self
    }

    /// Alive, with one time for all measures.
    fn takes(&mut self, name: &str, time: u64) -> &mut Self {
        let time = ms(time);
        self.measured(name, time, time, time)
    }

    fn measured(
        &mut self,
        name: &str,
        last: Duration,
        avg10: Duration,
        moving: Duration,
    ) -> &mut Self {
        let times = Some(Times {
            last,
            avg10,
            moving,
        });
        let life = Life::Alive;
        let key = (self.index(name), TCP4.index());
        self.told.0.insert(key, Standing { life, times });
        self
    }

    fn choose_in(&mut self, name: &str, network: Network, random: u64) -> Choice {
        let outbound = self.index(name);
        self.groups.choose(outbound, network, random, &self.told)
    }

    fn chooses(&mut self, name: &str) -> String {
        let choice = self.choose_in(name, TCP4, 0);
        let last = if choice.last_resort { "!" } else { "" };
        format!("{}{last}", self.config.outbounds[choice.outbound].name)
    }

    fn tries(&mut self, name: &str) -> String {
        let outbound = self.index(name);
        let tried = self.groups.candidates(outbound, TCP4, 0, &self.told);
        let names: Vec<&str> = tried
            .into_iter()
            .map(|way| self.config.outbounds[way].name.as_str())
            .collect();
        names.join(" ")
    }
}

#[test]
fn with_nothing_known_it_is_the_first() {
    let mut bench = Bench::new(3, "config group g\n\tlist node c\n\tlist node a\n");
    assert_eq!(bench.chooses("g"), "c");
    assert_eq!(bench.tries("g"), "c a");
    for name in ["direct", "block", "b"] {
        assert_eq!(bench.chooses(name), name, "no group");
        assert_eq!(bench.tries(name), name);
    }
}

#[test]
fn policies_look_at_their_own_times() {
    let group = |policy| format!("config group {policy}\n\toption policy {policy}\n");
    let groups = ["min", "min_avg10", "min_moving_avg"].map(group).concat();
    let mut bench = Bench::new(4, &groups);
    bench.measured("b", ms(100), ms(200), ms(300));
    bench.measured("c", ms(300), ms(100), ms(200));
    bench.measured("d", ms(200), ms(300), ms(100));
    assert_eq!(bench.chooses("min"), "b");
    assert_eq!(bench.chooses("min_avg10"), "c");
    assert_eq!(bench.chooses("min_moving_avg"), "d");
    assert_eq!(bench.tries("min"), "b d c a", "unmeasured ones last");
}

#[test]
fn a_little_faster_is_no_reason_to_leave() {
    let mut bench = Bench::new(3, "config group g\n\toption tolerance 30\n");
    bench.takes("a", 100);
    assert_eq!(bench.chooses("g"), "a");
    bench.takes("b", 70);
    assert_eq!(bench.chooses("g"), "a");
    assert_eq!(bench.tries("g"), "a b c");
    bench.takes("b", 69);
    assert_eq!(bench.chooses("g"), "b");
    bench.takes("a", 40);
    assert_eq!(bench.chooses("g"), "b");
    // Death is one.
    bench.is("b", Life::Dead);
    assert_eq!(bench.chooses("g"), "a");
    bench.is("b", Life::Alive);
    assert_eq!(bench.chooses("g"), "a", "and it does not go back");
    bench.is("a", Life::Unknown);
    assert_eq!(bench.chooses("g"), "b", "what lives comes first");
    let current = bench.groups.current(bench.index("g"), TCP4);
    assert_eq!(current, Some(bench.index("b")));
}

#[test]
fn offsets_are_added() {
    let mut bench = Bench::new(
        2,
        "config group g\n\toption tolerance 0\n\toption offset 'a:15 b:-15'\n\
         config group h\n\toption tolerance 0\n\toption node 'a g'\n\toption offset 'g:16'\n",
    );
    bench.takes("a", 100).takes("b", 129);
    assert_eq!(bench.chooses("g"), "b");
    // 114 + 16 against 100, then against 131.
    assert_eq!(bench.chooses("h"), "a");
    bench.takes("a", 131);
    assert_eq!(bench.chooses("h"), "b");
}

#[test]
fn networks_are_apart() {
    let mut bench = Bench::new(
        2,
        "config group g\n\toption tolerance 0\n\toption fallback block\n",
    );
    bench.is("a", Life::Dead);
    assert_eq!(bench.chooses("g"), "b");
    let a = bench.index("a");
    assert_eq!(bench.choose_in("g", UDP6, 0).outbound, a);
    bench.is("b", Life::Dead);
    assert_eq!(bench.chooses("g"), "block!");
    assert_eq!(bench.choose_in("g", UDP6, 0).outbound, a);
    let dead = bench.told.standing(a, TCP4);
    bench.told.0.insert((a, UDP6.index()), dead);
    assert_eq!(bench.choose_in("g", UDP6, 0).outbound, bench.index("b"));
}

#[test]
fn chance_is_fair_and_passes_over_the_dead() {
    let mut bench = Bench::new(
        4,
        "config group g\n\toption policy random\n\toption node 'a b inner'\n\
         config group inner\n\toption policy random\n\toption node 'c d'\n",
    );
    let count = |bench: &mut Bench| {
        let mut counts = [0; 4];
        for n in 0..12_000u64 {
            let random = further(n);
            let choice = bench.choose_in("g", TCP4, random);
            let first = bench.index("a");
            counts[choice.outbound - first] += 1;
        }
        counts
    };
    let near = |count: i32, expected: i32| (count - expected).abs() < 300;
    let [a, b, c, d] = count(&mut bench);
    assert!(near(a, 4000) && near(b, 4000) && near(c, 2000) && near(d, 2000));
    bench.is("a c", Life::Dead);
    let [a, b, c, d] = count(&mut bench);
    assert!(a == 0 && near(b, 6000) && c == 0 && near(d, 6000));
    bench.is("d", Life::Suspect);
    assert_eq!(count(&mut bench), [0, 12_000, 0, 0]);
    assert_eq!(bench.groups.current(bench.index("g"), TCP4), None);
    // A member chosen by hand is no matter of chance.
    bench.groups.set_choice("g", Some("b")).unwrap();
    bench.is("a", Life::Alive);
    assert_eq!(count(&mut bench), [0, 12_000, 0, 0]);
}

#[test]
fn fixed_is_that_one_and_no_other() {
    let group = |name, rest| {
        format!("config group {name}\n\toption policy fixed\n\toption fixed b\n\t{rest}\n")
    };
    let groups = group("g", "") + &group("h", "option fallback direct");
    let mut bench = Bench::new(3, &groups);
    bench.takes("a", 1).takes("b", 1000);
    assert_eq!(
        (bench.chooses("g"), bench.tries("g")),
        ("b".into(), "b".into())
    );
    bench.is("b", Life::Dead);
    assert_eq!(
        (bench.chooses("g"), bench.tries("g")),
        ("b!".into(), "b".into())
    );
    assert_eq!(
        (bench.chooses("h"), bench.tries("h")),
        ("direct!".into(), "direct".into())
    );
    // A choice by hand takes its place.
    bench.groups.set_choice("g", Some("c")).unwrap();
    assert_eq!(bench.chooses("g"), "c");
    bench.is("c", Life::Dead);
    assert_eq!(bench.chooses("g"), "c!");
    bench.groups.set_choice("g", None).unwrap();
    assert_eq!(bench.chooses("g"), "b!");
}

#[test]
fn a_choice_by_hand_counts_while_it_lives() {
    let mut bench = Bench::new(3, "config group g\n");
    bench.takes("a", 1).takes("b", 200).takes("c", 1000);
    bench.groups.set_choice("g", Some("c")).unwrap();
    assert_eq!(bench.chooses("g"), "c");
    assert_eq!(bench.tries("g"), "c a b");
    bench.is("c", Life::Suspect);
    assert_eq!(bench.chooses("g"), "a");
    assert_eq!(bench.tries("g"), "a b");
    bench.is("c", Life::Unknown);
    assert_eq!(bench.chooses("g"), "c");
    bench.groups.set_choice("g", None).unwrap();
    assert_eq!(bench.chooses("g"), "a");
    let no_group = Err(ChoiceError::NoGroup("a".into()));
    assert_eq!(bench.groups.set_choice("a", Some("b")), no_group);
    assert!(bench.groups.set_choice("g", Some("g")).is_err());
    assert_eq!(bench.chooses("g"), "a");
}

#[test]
fn a_group_stands_for_what_it_would_choose() {
    let mut bench = Bench::new(
        5,
        "config group outer\n\toption node 'a left right'\n\toption tolerance 0\n\toption fallback block\n\
         config group left\n\toption node 'b c'\n\toption fallback direct\n\
         config group right\n\toption node 'd e'\n",
    );
    assert_eq!(bench.chooses("outer"), "a");
    bench.takes("a", 50).takes("c", 40).takes("e", 30);
    assert_eq!(bench.chooses("outer"), "e");
    assert_eq!(bench.tries("outer"), "e d c b a");
    bench.is("e d", Life::Dead);
    assert_eq!(bench.chooses("outer"), "c");
    // The fallback of a member is its own affair.
    bench.is("b c", Life::Dead);
    assert_eq!(bench.chooses("left"), "direct!");
    assert_eq!(bench.chooses("outer"), "a");
    bench.is("a", Life::Dead);
    assert_eq!(bench.chooses("outer"), "block!");
    assert_eq!(bench.tries("outer"), "block");
    bench.is("b", Life::Alive);
    assert_eq!(bench.tries("outer"), "b");
}

#[test]
fn the_last_resort_is_the_fallback_or_whoever_there_is() {
    let mut bench = Bench::new(
        4,
        "config group g\n\toption node 'a b'\n\toption fallback h\n\
         config group h\n\toption node 'c d'\n",
    );
    bench.is("a", Life::Suspect);
    assert_eq!(bench.tries("g"), "b");
    bench.is("b", Life::Dead);
    assert_eq!(
        (bench.chooses("g"), bench.tries("g")),
        ("c!".into(), "c d".into())
    );
    bench.is("c d", Life::Dead);
    bench.is("d", Life::Suspect);
    assert_eq!(
        bench.chooses("h"),
        "d!",
        "it is not so sure that it is dead"
    );
    assert_eq!(
        (bench.chooses("g"), bench.tries("g")),
        ("d!".into(), "d c".into())
    );
}

#[test]
fn a_flow_tries_so_many_and_no_more() {
    let mut bench = Bench::new(20, "config group all\n");
    assert_eq!(bench.tries("all"), "a b c d e f g h");
    assert_eq!(bench.tries("all").split(' ').count(), MAX_CANDIDATES);
}

#[test]
fn choices_are_kept_by_name() {
    let sections = "config group g\n\toption node 'a b'\n\
                    config group h\n\toption node 'g c'\n\
                    config group passing\n\toption keep_choice 0\n";
    let mut bench = Bench::new(3, sections);
    assert_eq!(bench.groups.kept_choices(), "");
    bench.groups.set_choice("g", Some("b")).unwrap();
    bench.groups.set_choice("h", Some("g")).unwrap();
    bench.groups.set_choice("passing", Some("c")).unwrap();
    let kept = bench.groups.kept_choices();
    assert_eq!(kept, "g b\nh g\n");

    let mut other = Bench::new(3, sections);
    let text = format!("{kept}h gone\ngone a\npassing c\nnonsense\n\n");
    assert_eq!(other.groups.restore_choices(&text), 5);
    assert_eq!(other.groups.kept_choices(), kept);
    assert_eq!(
        other.groups.choice(other.index("h")),
        Some(other.index("g"))
    );
    assert_eq!(other.groups.choice(other.index("passing")), None);
    assert_eq!(other.groups.choice(other.index("a")), None);
}

#[test]
fn a_new_configuration_inherits_by_name() {
    let mut old = Bench::new(3, "config group g\n\toption node 'a c'\nconfig group h\n");
    old.takes("a", 100).takes("b", 30).takes("c", 90);
    old.is("a", Life::Dead);
    assert_eq!(old.chooses("g"), "c");
    old.is("a", Life::Alive);
    old.groups.set_choice("h", Some("c")).unwrap();

    let mut new = Bench::new(
        4,
        "config group f\nconfig group h\nconfig group g\n\toption node 'd c a'\n",
    );
    new.groups.inherit(&old.groups);
    new.takes("a", 60).takes("b", 30).takes("c", 90);
    assert_eq!(
        new.chooses("g"),
        "c",
        "the one in use stays within the tolerance"
    );
    assert_eq!(new.chooses("h"), "c", "chosen by hand");

    let mut gone = Bench::new(2, "config group h\n");
    gone.groups.inherit(&new.groups);
    assert_eq!(gone.groups.choice(gone.index("h")), None);
}
