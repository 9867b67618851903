use super::*;
use crate::rules::Proto;

fn selector<T: std::str::FromStr>(words: &str) -> Selector<T> {
    let parse = |word: &str| word.parse().ok().unwrap();
    let (exclude, include): (Vec<&str>, Vec<&str>) = words
        .split_whitespace()
        .partition(|word| word.starts_with('!'));
    Selector {
        include: include.into_iter().map(parse).collect(),
        exclude: exclude.into_iter().map(|word| parse(&word[1..])).collect(),
    }
}

fn rule(change: impl FnOnce(&mut Rule)) -> Rule {
    let verdict = Verdict {
        action: Action::Proxy,
        outbound: 2,
        mark: 0,
    };
    let mut rule = Rule {
        name: "r".into(),
        verdict,
        ..Rule::default()
    };
    change(&mut rule);
    rule
}

fn told(rules: &[Rule], names: &[&str]) -> Vec<String> {
    let flow = Flow {
        src: "192.168.1.20".parse().unwrap(),
        dst: "203.0.113.7".parse().unwrap(),
        src_port: 40_000,
        dst_port: 443,
        proto: Proto::Tcp,
        dscp: 0,
        src_mac: None,
        interface: Some(0),
    };
    let list = |words: &str| words.split(' ').map(String::from).collect::<Vec<_>>();
    let context = Context {
        rules,
        default: Verdict {
            mark: 0x10,
            ..Verdict::default()
        },
        interfaces: &list("lan guest"),
        outbounds: &list("direct block tokyo"),
    };
    explain(&context, &flow, names)
}

/// The line of a single rule.
fn line(names: &[&str], change: impl FnOnce(&mut Rule)) -> String {
    told(&[rule(change)], names).swap_remove(1)
}

#[test]
fn the_whole_story() {
    let rules = [
        rule(|rule| {
            rule.interface = Selector {
                include: vec![1],
                exclude: vec![],
            }
        }),
        rule(|rule| {
            rule.domain = selector("example.com");
            rule.dest_port = selector("443");
        }),
        rule(|_| ()),
    ];
    let expected = [
        "tcp 192.168.1.20:40000 -> 203.0.113.7:443, known as www.example.com",
        "rule 'r': interface guest does not include lan",
        "rule 'r': domain example.com includes www.example.com, dest_port is 443",
        "-> proxy 'tokyo', by rule 'r'",
    ];
    assert_eq!(told(&rules, &["www.example.com"]), expected);
}

#[test]
fn the_default_says_why() {
    let flow = "tcp 192.168.1.20:40000 -> 203.0.113.7:443";
    let none = "-> direct with mark 0x10, the default: there are no rules";
    assert_eq!(told(&[], &[]), [flow, none]);
    let rules = [rule(|rule| rule.proto = selector("udp"))];
    let expected = [
        flow,
        "rule 'r': proto udp does not include tcp",
        "-> direct with mark 0x10, the default: no rule matches",
    ];
    assert_eq!(told(&rules, &[]), expected);
}

#[test]
fn rejections_name_the_value_that_did_it() {
    for (expected, line) in [
        (
            "family ipv6 does not include ipv4",
            line(&[], |r| r.family = selector("ipv6")),
        ),
        (
            "src_ip !192.168.1.0/24 excludes 192.168.1.20",
            line(&[], |r| {
                r.src_ip = selector("192.168.0.0/16 !10.0.0.0/8 !192.168.1.0/24")
            }),
        ),
        (
            "dest_port 1 2-3 4 (and 2 more) does not include 443",
            line(&[], |r| r.dest_port = selector("1 2-3 4 5 6")),
        ),
        (
            "src_mac 00:11:22:33:44:55 is wanted, but the source's MAC is not known",
            line(&[], |r| r.src_mac = selector("00:11:22:33:44:55")),
        ),
        (
            "domain full:a.example is wanted, but no name is known of 203.0.113.7",
            line(&[], |r| r.domain = selector("full:a.example")),
        ),
        (
            "domain a.example does not include b.example c.example",
            line(&["b.example", "c.example"], |r| {
                r.domain = selector("a.example")
            }),
        ),
        (
            "domain !b.example excludes b.example",
            line(&["c.other", "b.example"], |r| {
                r.domain = selector("example !b.example")
            }),
        ),
    ] {
        assert_eq!(line, format!("rule 'r': {expected}"));
    }
}

#[test]
fn matches_name_what_was_found() {
    for (expected, line) in [
        ("matches every flow", line(&[], |_| ())),
        (
            "dest_ip 203.0.113.0/24 includes 203.0.113.7",
            line(&[], |r| r.dest_ip = selector("203.0.113.0/24")),
        ),
        (
            "dscp does not exclude 0",
            line(&[], |r| r.dscp = selector("!46")),
        ),
        (
            "domain excludes nothing: no name is known of 203.0.113.7",
            line(&[], |r| r.domain = selector("!a.example")),
        ),
        (
            "domain does not exclude c.example",
            line(&["b.example", "c.example"], |r| {
                r.domain = selector("!b.example")
            }),
        ),
    ] {
        assert_eq!(line, format!("rule 'r': {expected}"));
    }
}
