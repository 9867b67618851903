//! Files that are too large, or have too much of something.

use dae::config::{Host, MAX_PROBLEMS, OutboundKind, Resolver};

use super::*;

fn told(text: &str, what: &str) -> usize {
    let problems = sound(text.as_bytes()).unwrap_err();
    assert_eq!(problems.len(), 1, "{}", problems_text(&problems));
    assert!(problems[0].what.contains(what), "{}", problems[0]);
    problems[0].line as usize
}

#[test]
fn huge_files_are_answered_in_time() {
    let main = "config dae 'main'\n";
    let long = format!(
        "{main}config rule\n\tlist src_ip '{}'\n",
        "x".repeat(10 << 20)
    );
    assert!(
        sound(long.as_bytes()).unwrap_err()[0]
            .what
            .contains("1 MiB")
    );
    let below = format!(
        "{main}config rule\n\toption name '{}'\n",
        "x".repeat(1_000_000)
    );
    sound(below.as_bytes()).unwrap_err();
    for line in [
        "config a\n",
        "config x\n\tlist a b\n",
        "config rule\n",
        "config node\n",
    ] {
        let text = line.repeat(100_000.min((1 << 20) / line.len()));
        assert_eq!(
            sound(text.as_bytes()).unwrap_err().len(),
            MAX_PROBLEMS + 1,
            "{line}"
        );
    }
    let options: String = (0..60_000).map(|n| format!("option a{n} b\n")).collect();
    sound(format!("{main}{options}").as_bytes()).unwrap_err();
    let name = |n: usize| format!("{n:x>40}");
    let nodes: String = (0..256)
        .map(|n| format!("config node {}\n", name(n)))
        .collect();
    let rules = (1000..5000).map(|n| format!("config rule\n\toption outbound {}\n", name(n)));
    sound(format!("{main}{nodes}{}", rules.collect::<String>()).as_bytes()).unwrap_err();
    let values = "list src_ip 'x y z'\n".repeat(50_000);
    sound(format!("{main}config rule\n{values}").as_bytes()).unwrap_err();
    let all: String = (0..64).map(|n| format!("\tlist node g{n}\n")).collect();
    let groups = (0..64).map(|n| format!("config group g{n}\n{all}"));
    let nodes = (100..356).map(|n| {
        let url = "option url socks5://192.0.2.1";
        format!("config node n{n}{}\n\t{url}\n", "x".repeat(60))
    });
    let nodes: String = nodes.collect();
    let slow = |patterns: usize| {
        let slow = "\tlist filter '!regex:(x?x?x?x?){2}z$'\n".repeat(patterns);
        format!("{main}{nodes}config group slow\n{slow}config group fast\n")
    };
    sound(slow(16).as_bytes()).unwrap();
    let more = slow(16) + "\toption filter '!regex:z'\n";
    told(&more, "more than 16 regular expressions");
    let tangle = format!("{main}{}", groups.collect::<String>());
    sound(tangle.as_bytes()).unwrap_err();
    sound("config dae 'main\n".repeat(60_000).as_bytes()).unwrap_err();
    sound("\"'\\".repeat(300_000).as_bytes()).unwrap_err();
}

const MAIN: &str = "config dae 'main'\n";

fn nodes(n: usize) -> String {
    let node = |n| format!("config node n{n}\n\toption url socks5://192.0.2.1\n");
    MAIN.to_owned() + &(0..n).map(node).collect::<String>()
}

#[test]
fn rules_are_counted_that_are_enabled() {
    let rules = |n: usize| {
        let rules = "config rule\n\toption outbound block\n".repeat(n);
        format!("{MAIN}{rules}")
    };
    assert_eq!(sound(rules(256).as_bytes()).unwrap().rules.len(), 256);
    assert_eq!(
        told(&rules(257), "more than 256 enabled rules"),
        2 + 256 * 2
    );
    let off = "config rule\n\toption enabled 0\n\toption outbound block\n".repeat(300);
    assert!(
        sound(format!("{}{off}", rules(256)).as_bytes()).is_ok(),
        "disabled ones do not count"
    );
}

#[test]
fn the_first_node_too_many_is_told_and_no_further_one() {
    assert_eq!(sound(nodes(256).as_bytes()).unwrap().outbounds.len(), 258);
    let what = "more than 256 sections of type node";
    assert_eq!(told(&nodes(257), what), 2 + 256 * 2);
    let further = format!("{}config node bad\n\toption url x\n", nodes(257));
    told(&further, what);
}

#[test]
fn groups_have_a_number_members_and_a_depth() {
    let groups = |groups: usize, filters: usize| {
        let group = |n| format!("config group g{n}\n\toption filter n1\n");
        let groups: String = (1..groups).map(group).collect();
        format!(
            "{}{groups}config group last\n\toption filter '{}'\n",
            nodes(256),
            "n1 ".repeat(filters)
        )
    };
    let most = sound(groups(64, 32).as_bytes()).unwrap();
    assert_eq!(most.outbounds.len(), 2 + 256 + 64);
    assert_eq!(
        told(&groups(65, 32), "more than 64 sections of type group"),
        2 + 256 * 2 + 64 * 2
    );
    told(&groups(1, 33), "more than 32 values");
    let everybody = format!("{}config group all\n", nodes(256));
    let everybody = sound(everybody.as_bytes()).unwrap();
    let OutboundKind::Group(all) = &everybody.outbounds[258].kind else {
        panic!("{everybody:?}");
    };
    assert_eq!(all.members.len(), 256);
    let chain = |last: usize| {
        let group = |n| format!("config group c{n}\n\toption node c{}\n", n + 1);
        let chain: String = (1..last).map(group).collect();
        format!("{}{chain}config group c{last}\n", nodes(1))
    };
    sound(chain(8).as_bytes()).unwrap();
    told(&chain(9), "more than 8 groups");
}

#[test]
fn lists_have_a_length() {
    let ports = |n: usize| {
        let ports = "1 ".repeat(n);
        format!("{MAIN}config rule\n\toption outbound block\n\toption dest_port '{ports}'\n")
    };
    let most = sound(ports(65_536).as_bytes()).unwrap();
    assert_eq!(most.rules[0].dest_port.include.len(), 65_536);
    assert_eq!(told(&ports(65_537), "more than 65536 values"), 4);

    let interface = |n| format!("\tlist interface if{n}\n");
    let interfaces: String = (0..65).map(interface).collect();
    assert_eq!(
        told(&format!("{MAIN}{interfaces}"), "more than 64 values"),
        66
    );
}

#[test]
fn a_dns_rule_and_an_upstream_have_so_many_candidates() {
    let candidates = |names: usize, addrs: usize| {
        let upstream = |n| format!("config upstream u{n}\n\toption url udp://192.0.2.1\n");
        let upstreams: String = (0..10).map(upstream).collect();
        let names: String = (0..names).map(|n| format!(" u{n}")).collect();
        let addrs: String = (0..addrs).map(|n| format!(" 192.0.2.{n}")).collect();
        format!(
            "{MAIN}{upstreams}config upstream by_name\n\toption url tls://dns.example\n\t\
             option addr '192.0.3.1{addrs}'\nconfig dns_rule\n\toption upstream '{names}'\n"
        )
    };
    let most = sound(candidates(8, 7).as_bytes()).unwrap();
    let Resolver::Ask(asked) = &most.dns_rules[0].resolver else {
        panic!("{most:?}");
    };
    assert_eq!(asked.upstreams, [0, 1, 2, 3, 4, 5, 6, 7]);
    let Host::Addrs(addrs) = &most.upstreams[10].host else {
        panic!("{most:?}");
    };
    assert_eq!(addrs.len(), 8);
    assert_eq!(told(&candidates(9, 7), "more than 8 values"), 26);
    assert_eq!(told(&candidates(8, 8), "more than 8 values"), 24);
}
