//! The reader against what OpenWrt's own `uci` said of the same files: `tests/uci/NAME.uci` was
//! `/etc/config/dae`, `NAME.expected` is what `uci show dae` printed, or `error:` and its words.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use dae::config::uci::{File, MAX_ERRORS, MAX_FILE_BYTES, parse};
use proptest::prelude::*;

/// As `uci show` prints it.
fn show(file: &File) -> String {
    let mut out = String::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for section in &file.sections {
        let count = counts.entry(&section.kind).or_default();
        let name = match &section.name {
            Some(name) => name.clone(),
            None => format!("@{}[{count}]", section.kind),
        };
        *count += 1;
        writeln!(out, "dae.{name}={}", section.kind).unwrap();
        for option in &section.options {
            let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
            let values: Vec<_> = option
                .values
                .iter()
                .map(|value| quoted(&value.text))
                .collect();
            writeln!(out, "dae.{name}.{}={}", option.name, values.join(" ")).unwrap();
        }
    }
    out
}

/// The line and byte of `... at line 2, byte 12`.
fn position(error: &str) -> (u32, u32) {
    let (rest, byte) = error.trim().rsplit_once(", byte ").unwrap();
    let (_, line) = rest.rsplit_once(" at line ").unwrap();
    (line.parse().unwrap(), byte.parse().unwrap())
}

#[test]
fn everything_is_read_as_uci_reads_it() {
    let mut seen = 0;
    for entry in fs::read_dir(Path::new("tests/uci")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "uci") {
            continue;
        }
        seen += 1;
        let expected = fs::read_to_string(path.with_extension("expected")).unwrap();
        let file = parse(&fs::read(&path).unwrap());
        if !expected.starts_with("error:") {
            assert_eq!(file.errors, [], "{path:?}");
            assert_eq!(show(&file), expected, "{path:?}");
            continue;
        }
        let error = file
            .errors
            .first()
            .unwrap_or_else(|| panic!("{path:?} must be refused"));
        let (line, byte) = position(&expected);
        // uci does not count a line that a NUL byte cut short.
        let line = if path.ends_with("nul-byte.uci") {
            line + 1
        } else {
            line
        };
        assert_eq!(error.place.line, line, "{path:?}");
        assert!(
            error.place.byte <= byte,
            "{path:?}: {:?} is behind {byte}",
            error.place
        );
    }
    assert!(seen >= 40, "only {seen} files");
}

#[test]
fn places_are_those_of_names_and_values() {
    let text = b"config rule 'a'\n\toption x 'multi\nline'\n\tlist l one\n\n  list l \"two\"\nconfig node\n";
    let file = parse(text);
    let [rule, node] = &file.sections[..] else {
        panic!()
    };
    assert_eq!((rule.place.line, rule.place.byte), (1, 7));
    assert_eq!((node.place.line, node.place.byte), (7, 7));
    let x = rule.get("x").unwrap();
    assert_eq!(
        (x.place.line, x.values[0].place.line, x.values[0].place.byte),
        (2, 2, 10)
    );
    let lines: Vec<_> = rule
        .get("l")
        .unwrap()
        .values
        .iter()
        .map(|value| value.place.line)
        .collect();
    assert_eq!(lines, [4, 6]);
    assert_eq!(rule.value("l"), Some("two"));
}

#[test]
fn one_look_shows_every_error() {
    let text = b"option early 1\nconfig rule 'a b'\n\toption x 1\n\toption y-z 1\nkonfig rule\n\
                 config node n\n\toption a b c\n\toption ok 1\n\tlist open 'x\n\n";
    let file = parse(text);
    let lines: Vec<u32> = file.errors.iter().map(|error| error.place.line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 7, 9]);
    assert_eq!(
        file.sections.len(),
        1,
        "the refused section takes its options along"
    );
    assert_eq!(file.sections[0].options.len(), 1);
}

#[test]
fn sections_opened_again_are_one_and_say_so() {
    let file =
        parse(b"config rule 'a'\n\toption x 1\nconfig node 'b'\nconfig rule 'a'\n\toption x 2\n");
    assert_eq!(show(&file), "dae.a=rule\ndae.a.x='2'\ndae.b=node\n");
    assert_eq!(file.sections[0].reopened.len(), 1);
    assert_eq!(file.sections[0].reopened[0].line, 4);
}

#[test]
fn what_is_too_much_is_refused() {
    let large = vec![b'\n'; MAX_FILE_BYTES + 1];
    let errors = parse(&large).errors;
    assert_eq!(errors.len(), 1);
    assert!(errors[0].what.contains("MAX_FILE_BYTES"));
    assert_eq!(parse(&large[1..]).errors, []);
    assert_eq!(
        parse(&b"x\n".repeat(MAX_ERRORS * 10)).errors.len(),
        MAX_ERRORS
    );
}

/// Pieces of which odd files are made.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "config",
            "option",
            "list",
            "package",
            "c",
            "o",
            "l",
            "p",
            "rule",
            "'a'",
            "\"b\"",
            "x",
            "y",
            "''",
            "'",
            "\"",
            "\\",
            ";",
            "#",
            " ",
            "\t",
            "\n",
            "\r\n",
            "\u{b}",
            "\\\n",
            "a-b",
            "config r n\n",
            "option x y\n",
            "list x 'z'\n",
            "config s\n",
            "option x 'a'",
            "ä",
            "=",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(1u8.., 1..3),
    ];
    prop::collection::vec(piece, 0..25).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn nothing_panics_and_places_are_in_the_file(text in pieces()) {
        let file = parse(&text);
        let lines = text.split(|byte| *byte == b'\n').collect::<Vec<_>>();
        let inside = |place: dae::config::uci::Place| {
            let line = lines.get(place.line as usize - 1).expect("a line of the file");
            assert!(place.byte as usize <= line.len() + 1);
        };
        file.errors.iter().for_each(|error| inside(error.place));
        for section in &file.sections {
            inside(section.place);
            for option in &section.options {
                inside(option.place);
                assert!(!option.values.is_empty());
                option.values.iter().for_each(|value| inside(value.place));
            }
        }
    }
}
