//! Ways over reloads, and what they order and report.

use super::super::report;
use std::net::Ipv4Addr;

use super::*;

const TCP4: Network = Network::ALL[0];
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 80));
const MS: Duration = Duration::from_millis(1);

const CHECKED: &str = "\toption check_url http://192.0.2.80/204\n\tlist check_dns 2001:db8::53\n";

/// Nodes by name and last number of their address, and a group of all with these options.
fn config(nodes: &[(&str, u8)], options: &str) -> Config {
    let node = |(name, number): &(&str, u8)| {
        format!("config node {name}\n\toption url socks5://192.0.2.{number}\n")
    };
    let nodes: String = nodes.iter().map(node).collect();
    let text = format!("config dae 'main'\n{nodes}config group g\n{options}");
    Config::parse("dae", text.as_bytes()).unwrap()
}

fn ways(config: &Config) -> (Rc<Ways>, Instant) {
    let now = Instant::now();
    (Ways::new(config, 1, now), now)
}

fn named(ways: &Ways, name: &str) -> Rc<Way> {
    let all = ways.all();
    Rc::clone(all.iter().find(|way| *way.name == *name).unwrap())
}

/// Names of what a flow to the group tries.
fn tries(ways: &Ways) -> String {
    let tried = ways.candidates(named(ways, "g").id, TCP4);
    let names: Vec<&str> = tried.iter().map(|way| &*way.name).collect();
    names.join(" ")
}

/// Kills a node; another one was heard.
fn kill(ways: &Ways, name: &str, now: Instant) {
    let node = named(ways, name);
    ways.dial_failed(&node, TCP4, Fault::Remote, now);
    ways.dial_failed(&node, TCP4, Fault::Remote, now);
    ways.heard(TCP4, FAR, now + MS);
}

fn orders(ways: &Ways) -> Vec<Order> {
    std::iter::from_fn(|| ways.next_order()).collect()
}

#[test]
fn what_stays_is_the_same_at_another_place() {
    let (ways, now) = ways(&config(&[("a", 1), ("b", 2), ("c", 3)], ""));
    let [a, b, g] = ["a", "b", "g"].map(|name| named(&ways, name));
    assert_eq!(ways.id(2), Some(a.id));
    a.traffic.up.set(7);
    kill(&ways, "a", now);
    assert_eq!(tries(&ways), "b c");
    ways.choose("g", Some("c")).unwrap();

    // Another order, one more; another address for b.
    let gone = ways.reconfigure(&config(&[("d", 4), ("c", 3), ("b", 9), ("a", 1)], ""), now);
    assert_eq!(gone.iter().map(|way| way.id).collect::<Vec<_>>(), [b.id]);
    assert!(Rc::ptr_eq(&a, &named(&ways, "a")));
    assert_eq!(ways.id(5), Some(a.id));
    assert_eq!(named(&ways, "g").id, g.id);
    assert_ne!(named(&ways, "b").id, b.id);
    assert_eq!(ways.get(b.id).map(|way| way.id), None);
    // Its health and the choice as well.
    assert_eq!(tries(&ways), "c d b");
}

#[test]
fn who_died_is_told_once_and_only_where_sessions_can_wait() {
    let udp4 = Network::ALL[2];
    let (ways, now) = ways(&config(&[("a", 1), ("b", 2)], ""));
    let [a, b] = ["a", "b"].map(|name| named(&ways, name));
    let die = |node: &Rc<Way>| {
        for network in [TCP4, udp4] {
            ways.dial_failed(node, network, Fault::Remote, now);
            ways.dial_failed(node, network, Fault::Remote, now);
        }
    };
    die(&a);
    die(&b);
    // It was a mistake.
    ways.dial_ok(&b, (udp4, FAR), MS, now);
    assert_eq!(ways.take_dead(), [(a.id, udp4)]);
    assert_eq!(ways.take_dead(), []);
    die(&b);
    ways.reconfigure(&config(&[("a", 1)], ""), now);
    assert_eq!(ways.take_dead(), [], "it is gone");
}

#[test]
fn an_id_is_never_used_again() {
    let all = config(&[("a", 1), ("b", 2)], "");
    let none = Config::parse("dae", b"config dae 'main'\n").unwrap();
    let (ways, now) = ways(&all);
    let before: Vec<_> = ways.all().iter().map(|way| way.id).collect();
    let gone = ways.reconfigure(&none, now);
    assert_eq!(gone.len(), 3);
    assert_eq!(ways.candidates(before[4], TCP4).len(), 0);
    assert!(ways.reconfigure(&all, now).is_empty());
    let after: Vec<_> = ways.all().iter().map(|way| way.id).collect();
    assert_eq!(before[..2], after[..2], "direct and block");
    assert!(after[2..].iter().all(|id| !before.contains(id)));
    assert_eq!(ways.id(99), None);
}

#[test]
fn what_is_said_of_a_node_that_is_gone_does_no_harm() {
    let (ways, now) = ways(&config(&[("a", 1), ("b", 2), ("c", 3)], ""));
    let a = named(&ways, "a");
    ways.reconfigure(&config(&[("b", 2), ("c", 3)], ""), now);
    ways.dial_failed(&a, TCP4, Fault::Remote, now);
    ways.dial_failed(&a, TCP4, Fault::Remote, now);
    assert_eq!(tries(&ways), "b c");
}

#[test]
fn a_direct_flow_is_no_nodes_merit_but_something_was_heard() {
    let (ways, now) = ways(&config(&[("a", 1), ("b", 2)], CHECKED));
    let a = named(&ways, "a");
    ways.dial_failed(&a, TCP4, Fault::Remote, now);
    ways.dial_failed(&a, TCP4, Fault::Remote, now);
    let life = |ways: &Ways| ways.report(now).nodes[0].life;
    assert_eq!(life(&ways), "suspect");
    let direct = named(&ways, "direct");
    let inside = "192.168.1.1".parse().unwrap();
    ways.dial_ok(&direct, (TCP4, inside), MS, now + MS);
    ways.heard(TCP4, inside, now + MS);
    assert_eq!(
        life(&ways),
        "suspect",
        "the router itself is no proof of a line"
    );
    ways.dial_ok(&direct, (TCP4, FAR), MS, now + MS);
    assert_eq!(life(&ways), "dead");
}

#[test]
fn orders_say_by_which_way_what_is_asked() {
    let (ways, now) = ways(&config(&[("a", 1)], CHECKED));
    ways.tick(now + Duration::from_secs(1));
    let mut asked: Vec<_> = orders(&ways)
        .iter()
        .map(|order| match order {
            Order::Check { way, question, .. } => format!("{} {question}", way.name),
            Order::Cancel(_) => panic!("{order:?}"),
        })
        .collect();
    asked.sort();
    assert_eq!(asked, ["a dns [2001:db8::53]:53", "a http 192.0.2.80:80"]);
    // Something is wrong with the only node: the same without it.
    let a = named(&ways, "a");
    ways.dial_failed(&a, TCP4, Fault::Remote, now);
    ways.dial_failed(&a, TCP4, Fault::Remote, now);
    let orders = orders(&ways);
    let [Order::Check { way, question, .. }] = &orders[..] else {
        panic!("{orders:?}")
    };
    assert_eq!(
        (&*way.name, question.to_string()),
        ("direct", "http 192.0.2.80:80".into())
    );
}

#[test]
fn an_order_that_nobody_took_is_taken_back() {
    let (ways, now) = ways(&config(&[("a", 1)], CHECKED));
    let late = now + Duration::from_secs(1);
    ways.tick(late);
    ways.links(false, late);
    assert_eq!(orders(&ways).len(), 0, "neither checks nor their ends");
    ways.links(true, late + Duration::from_secs(20));
    assert_eq!(orders(&ways).len(), 2);
    ways.links(false, late + Duration::from_secs(21));
    assert!(matches!(
        orders(&ways)[..],
        [Order::Cancel(_), Order::Cancel(_)]
    ));
}

#[test]
fn orders_are_bounded_where_nobody_takes_them() {
    let (ways, start) = ways(&config(&[("a", 1), ("b", 2), ("c", 3)], CHECKED));
    for second in 0..2000 {
        ways.tick(start + Duration::from_secs(second));
    }
    assert!(ways.state.borrow().orders.len() <= super::super::health::MAX_CHECKS);
}

#[test]
fn the_report_says_what_is_used_and_when_it_is_a_last_resort() {
    let group = "\toption fallback direct\n";
    let (ways, now) = ways(&config(&[("a", 1), ("b", 2)], group));
    let row = || ways.report(now).groups.swap_remove(0);
    let shown = |row: report::GroupRow| (row.choice, row.member, row.uses, row.last_resort);
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(shown(row()), (None, some("a"), some("a"), false));
    kill(&ways, "a", now);
    assert_eq!(shown(row()), (None, some("b"), some("b"), false));
    ways.choose("g", Some("a")).unwrap();
    assert_eq!(shown(row()), (some("a"), some("b"), some("b"), false));
    kill(&ways, "b", now);
    let (_, _, uses, last_resort) = shown(row());
    assert_eq!((uses, last_resort), (some("direct"), true));
    assert_eq!(ways.report(now).checks.deaths, 2);
    let group = ways.group_report("g").unwrap();
    assert_eq!(group.choice.as_deref(), Some("a"));
    let members = group.members.iter();
    let members: Vec<_> = members
        .map(|row| (&*row.member, row.tcp4, row.udp4))
        .collect();
    assert_eq!(
        members,
        [("a", "dead", "unknown"), ("b", "dead", "unknown")]
    );
    assert_eq!(ways.group_report("a"), None);
}
