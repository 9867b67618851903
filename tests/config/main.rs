//! Configurations as test data: `tests/config/valid/NAME.uci` with the `Config` they mean,
//! `tests/config/invalid/NAME.uci` with the problems they have. `DAE_UPDATE=1 cargo test --test
//! config` writes what is expected anew, and docs/config.md; read the difference before you
//! commit it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bounds;
mod chaos;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dae::config::{
    Config, MAX_PROBLEMS, OWN_MARKS, OutboundKind, Problem, help_text, markdown, report,
};

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
