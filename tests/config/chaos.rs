//! Anything at all: no file brings it down, and what it accepts makes sense.

use std::fs;

use dae::config::markdown;
use proptest::prelude::*;

use super::*;

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
