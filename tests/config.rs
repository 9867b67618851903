//! Configurations as test data: `tests/config/valid/NAME.uci` with the `Config` they mean,
//! `tests/config/invalid/NAME.uci` with the problems they have. `DAE_UPDATE=1 cargo test --test
//! config` writes what is expected anew, and docs/config.md; read the difference before you
//! commit it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dae::config::report;
use dae::config::{
    Config, Host, MAX_PROBLEMS, OWN_MARKS, OutboundKind, Problem, Resolver, help_text, markdown,
};
use dae::features::{self, Feature};
use proptest::prelude::*;

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new("tests/config").join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "uci"));
    files.sort();
    files
}

/// Compares a text with a file, or writes it there.
fn golden(path: &Path, text: &str) {
    if std::env::var_os("DAE_UPDATE").is_some() {
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{path:?} (see the head of this test)");
}

fn problems_text(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}

#[test]
fn valid_files_mean_what_they_say() {
    for path in files("valid") {
        let config = Config::parse("dae", &fs::read(&path).unwrap())
            .unwrap_or_else(|problems| panic!("{path:?}:\n{}", problems_text(&problems)));
        golden(&path.with_extension("expected"), &format!("{config:#?}\n"));
    }
}

#[test]
fn invalid_files_are_refused_with_good_words() {
    for path in files("invalid") {
        let problems = Config::parse("dae", &fs::read(&path).unwrap()).unwrap_err();
        let text = problems_text(&problems);
        for secret in ["hunter2", "alice", "Y2hhY2", "secret-token"] {
            assert!(!text.contains(secret), "{path:?} tells {secret}:\n{text}");
        }
        golden(&path.with_extension("expected"), &text);
    }
}

/// Holds for every build: run with `--no-default-features` it sees each refusal.
#[test]
fn what_is_not_built_in_is_refused() {
    let main = "config dae 'main'\n\tlist interface 'lan'\n";
    let nodes = "config node 'n'\n\toption url 'socks5://192.0.2.1'\nconfig group 'g'\n";
    let upstream = "config upstream 'u'\n";
    let refused = |feature: Feature, before: &str, option: &str, words: &str| {
        let text = format!("{main}{before}\t{option}\n");
        let problems = Config::parse("dae", text.as_bytes()).map_or_else(|it| it, |_| vec![]);
        let line = text.lines().count();
        let section = before.lines().rfind(|it| it.starts_with("config "));
        let section = section.map_or("config dae 'main'", |section| section);
        let option = option.split(' ').nth(1).unwrap();
        let expected = format!(
            "dae:{line}: {section}: option {option}: this dae was built without {}: \
             install the full package dae, or {words}\n",
            feature.name
        );
        let expected = if feature.built_in { "" } else { &expected };
        assert_eq!(problems_text(&problems), expected, "{}", feature.name);
    };
    let tls = "option url 'tls://192.0.2.1'";
    refused(features::TLS, upstream, tls, "write tcp+udp://");
    let https = "option url 'https://192.0.2.1'";
    let instead = if features::TLS.built_in {
        "tls"
    } else {
        "tcp+udp"
    };
    refused(
        features::HTTPS,
        upstream,
        https,
        &format!("write {instead}://"),
    );
    let metrics = "option metrics '127.0.0.1:9'";
    refused(features::METRICS, "", metrics, "remove the option");
    let regex = "list filter 'regex:^n'";
    refused(features::REGEX, nodes, regex, "write keyword: and a text");
}

#[test]
fn logins_are_read_and_not_printed() {
    let text = fs::read("tests/config/valid/everything.uci").unwrap();
    let config = Config::parse("dae", &text).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("p@ss"), "{printed}");
    let logins: Vec<_> = config
        .outbounds
        .iter()
        .filter_map(|outbound| match &outbound.kind {
            OutboundKind::Socks5 { login, .. } => login.as_ref(),
            _ => None,
        })
        .map(|(user, password)| (user.as_str(), password.reveal()))
        .collect();
    assert_eq!(logins, [("user", "p@ss"), ("someone", "p@ss word%")]);
}

#[test]
fn the_reference_is_the_table() {
    golden(Path::new("docs/config.md"), &markdown());
    assert!(help_text().lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn the_default_file_is_valid_and_off() {
    let text = fs::read("openwrt/files/etc/config/dae").unwrap();
    let config = Config::parse("/etc/config/dae", &text)
        .unwrap_or_else(|problems| panic!("{}", problems_text(&problems)));
    assert!(!config.main.enabled);
    let lan = "192.168.1.2".parse().unwrap();
    assert!(config.rules[0].dest_ip.accepts(|net| net.contains(lan)));
    assert_eq!(config.rules[0].verdict.outbound, 0);
}

/// Each commented-out example of the default file must be right, too: owners will use it.
#[test]
fn the_examples_of_the_default_file_are_valid() {
    let text = fs::read_to_string("openwrt/files/etc/config/dae").unwrap();
    let uncommented: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(code) if code.starts_with("config") || code.starts_with('\t') => code,
            Some(_) => "",
            None => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::parse("/etc/config/dae", uncommented.as_bytes())
        .unwrap_or_else(|problems| panic!("{}", problems_text(&problems)));
    assert!(config.outbounds.len() > 2 && config.rules.len() > 1);
    assert!(!config.upstreams.is_empty() && !config.answer_rules.is_empty());
    assert!(!config.dns_hosts.is_empty());
}

/// Two modules, because configuration knows nothing of sockets.
#[test]
fn marks_that_rules_may_not_set_are_those_of_the_sockets() {
    assert_eq!(OWN_MARKS, dae::net::OWN_MARK | dae::net::DELIVER_MARK);
}

#[test]
fn check_reports() {
    let good = report::check("f", b"config dae 'main'\n", |_| Ok(()));
    assert!(
        good.good && good.text.starts_with("f: good; dae is off"),
        "{}",
        good.text
    );
    let full = report::check("f", b"config dae 'main'\n", |_| {
        Err("too many vectors".into())
    });
    assert_eq!(
        (full.good, &*full.text),
        (false, "f: too many vectors, nothing was changed\n")
    );
    let bad = report::check("f", b"", |_| panic!("a bad file is not compiled"));
    assert!(!bad.good && bad.text.ends_with("f: 1 problem, nothing was changed\n"));
}

/// Parses, and holds what is true of every outcome.
fn sound(text: &[u8]) -> Result<Config, Vec<Problem>> {
    let started = Instant::now();
    let result = Config::parse("dae", text);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
    if let Err(problems) = &result {
        assert!(!problems.is_empty() && problems.len() <= MAX_PROBLEMS + 1);
        let lines = text.iter().filter(|byte| **byte == b'\n').count()
            + usize::from(text.last().is_none_or(|byte| *byte != b'\n'));
        for problem in problems {
            assert!(
                (1..=lines).contains(&(problem.line as usize)),
                "{problem} of {lines} lines"
            );
            assert!(problem.to_string().len() < 1000, "{problem}");
            assert!(!problem.what.is_empty() && !problem.write.is_empty());
            let shown = problem.to_string();
            assert!(!shown.contains(char::is_control), "{shown:?}");
        }
        assert!(problems.is_sorted_by_key(|problem| problem.line));
    }
    if let Ok(config) = &result {
        assert!(refers_backwards(config), "{config:?}");
    }
    result
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

/// What `sound` cannot see from outside: nothing refers to itself, however long the way.
fn refers_backwards(config: &Config) -> bool {
    let references = |(index, kind): (usize, &OutboundKind)| match kind {
        OutboundKind::Group(group) => {
            let members = group.members.iter().map(|member| member.outbound);
            !group.members.is_empty() && members.chain(group.fallback).all(|to| to < index)
        }
        _ => true,
    };
    let kinds = config.outbounds.iter().map(|outbound| &outbound.kind);
    kinds.enumerate().all(references)
}

fn told(text: &str, what: &str) -> usize {
    let problems = sound(text.as_bytes()).unwrap_err();
    assert_eq!(problems.len(), 1, "{}", problems_text(&problems));
    assert!(problems[0].what.contains(what), "{}", problems[0]);
    problems[0].line as usize
}

#[test]
fn bounds_are_told_once_where_they_are_passed() {
    let main = "config dae 'main'\n";
    let rules = |n: usize| {
        format!(
            "{main}{}",
            "config rule\n\toption outbound block\n".repeat(n)
        )
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

    let nodes = |n: usize| -> String {
        let node = |n| format!("config node n{n}\n\toption url socks5://192.0.2.1\n");
        main.to_owned() + &(0..n).map(node).collect::<String>()
    };
    assert_eq!(sound(nodes(256).as_bytes()).unwrap().outbounds.len(), 258);
    assert_eq!(
        told(&nodes(257), "more than 256 sections of type node"),
        2 + 256 * 2
    );

    let further = format!("{}config node bad\n\toption url x\n", nodes(257));
    told(&further, "more than 256 sections of type node");

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

    let ports = |n: usize| {
        format!(
            "{main}config rule\n\toption outbound block\n\toption dest_port '{}'\n",
            "1 ".repeat(n)
        )
    };
    assert_eq!(
        sound(ports(65_536).as_bytes()).unwrap().rules[0]
            .dest_port
            .include
            .len(),
        65_536
    );
    assert_eq!(told(&ports(65_537), "more than 65536 values"), 4);

    let candidates = |names: usize, addrs: usize| {
        let upstream = |n| format!("config upstream u{n}\n\toption url udp://192.0.2.1\n");
        let upstreams: String = (0..10).map(upstream).collect();
        let names: String = (0..names).map(|n| format!(" u{n}")).collect();
        let addrs: String = (0..addrs).map(|n| format!(" 192.0.2.{n}")).collect();
        format!(
            "{main}{upstreams}config upstream by_name\n\toption url tls://dns.example\n\t\
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

    let interfaces: String = (0..65)
        .map(|n| format!("\tlist interface if{n}\n"))
        .collect();
    assert_eq!(
        told(&format!("{main}{interfaces}"), "more than 64 values"),
        66
    );
}

/// Groups that refer to one another at random.
fn tangled() -> impl Strategy<Value = Vec<u8>> {
    let group = (prop::collection::vec(0..12usize, 0..4), 0..14usize);
    prop::collection::vec(group, 1..12).prop_map(|groups| {
        let mut text =
            "config dae 'main'\nconfig node n\n\toption url socks5://192.0.2.1\n".to_owned();
        for (at, (members, fallback)) in groups.into_iter().enumerate() {
            text += &format!("config group g{at}\n\tlist node n\n");
            for member in members {
                text += &format!("\tlist node g{member}\n");
            }
            if fallback < 12 {
                text += &format!("\toption fallback g{fallback}\n");
            }
        }
        text.into_bytes()
    })
}

/// A valid file with some bytes or lines changed, doubled or removed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let text = fs::read("tests/config/valid/everything.uci").unwrap();
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(&b"'\"\\;#! \n\t:/@%."[..])
    ];
    let change = (any::<prop::sample::Index>(), 0..5, byte);
    prop::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut text = text.clone();
        for (at, what, byte) in changes {
            let at = at.index(text.len().max(1)).min(text.len());
            let end = text[at..]
                .iter()
                .position(|b| *b == b'\n')
                .map_or(text.len(), |n| at + n + 1);
            match what {
                0 => text.insert(at, byte),
                1 => drop(text.drain(at..end)),
                2 => drop(text.splice(end..end, text[at..end].to_vec())),
                _ if at < text.len() => text[at] = byte,
                _ => {}
            }
        }
        text
    })
}

/// A file of the table's words in a wild order.
fn wild() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<String> = markdown()
        .split(|c: char| !c.is_ascii_graphic() || matches!(c, '`' | '|' | ','))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let word = prop::sample::select(words);
    let line = (
        prop::sample::select(vec!["config", "\toption", "\tlist"]),
        word.clone(),
        word,
    );
    let line = line.prop_map(|(a, b, c)| format!("{a} {b} '{c}'\n"));
    prop::collection::vec(line, 0..60).prop_map(|lines| lines.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn random_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = sound(&text);
    }

    #[test]
    fn tangled_groups_are_survived(text in tangled()) {
        let _ = sound(&text);
    }

    #[test]
    fn changed_files_are_survived(text in mutated()) {
        let _ = sound(&text);
    }

    #[test]
    fn wild_files_are_survived(text in wild()) {
        let _ = sound(&text);
    }

    #[test]
    fn passwords_are_never_told(secret in "[!-&(-\\[\\]-~]{8,20}", form in 0..12usize) {
        let forms = [
            format!("option url 'socks5://user:{secret}@192.0.2.1:99999'"),
            format!("option url 'socks5://user:{secret}'"),
            format!("option url '{secret}'"),
            format!("option password '{secret}'\n\tlist password '{secret}'"),
            format!("option pasword '{secret}'"),
            format!("option url 'ss://{secret}'"),
            format!("option password {secret}'\n\toption port 1\n"),
            format!("list url 'socks5://{secret}:x@[::1'\n\toption server 'a:{secret}@192.0.2.1'"),
        ];
        let upstreams = [
            format!("option url 'tls://user:{secret}@192.0.2.1'"),
            format!("option url 'https://192.0.2.1/{secret}'\n\tlist addr '192.0.2.1'"),
            format!("option url 'https://dns.example/{secret}'"),
            format!("option url 'tls://dns.example:{secret}'"),
        ];
        let section = match forms.get(form) {
            Some(node) => format!("config node 'n'\n\t{node}\n"),
            None => format!("config upstream 'n'\n\t{}\n", upstreams[form - forms.len()]),
        };
        let text = format!("config dae 'main'\n{section}");
        if let Err(problems) = sound(text.as_bytes()) {
            let told = problems_text(&problems);
            prop_assert!(!told.contains(&secret), "{}", told);
        }
    }
}
