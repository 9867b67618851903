//! What a build may go without, so that it fits a router with little flash. Pure.
//!
//! Cargo features of the same names: each is a file or a folder, in whose place another stands
//! that has the same types and can make none of them (`tls_absent.rs` for `tls/`). A configuration
//! that asks for one is refused. docs/building.md says what each costs.

use std::fmt::Write as _;

/// A part of the program that is built in or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// As cargo and the user know it.
    pub name: &'static str,
    /// Whether this program has it.
    pub built_in: bool,
}

/// Upstreams `https://`; brings `tls` with it.
pub const HTTPS: Feature = Feature {
    name: "https",
    built_in: cfg!(feature = "https"),
};

/// `option metrics`.
pub const METRICS: Feature = Feature {
    name: "metrics",
    built_in: cfg!(feature = "metrics"),
};

/// `regex:` in `list filter` of a group.
pub const REGEX: Feature = Feature {
    name: "regex",
    built_in: cfg!(feature = "regex"),
};

/// Upstreams `tls://`.
pub const TLS: Feature = Feature {
    name: "tls",
    built_in: cfg!(feature = "tls"),
};

/// Every one there is.
pub const ALL: [Feature; 4] = [HTTPS, METRICS, REGEX, TLS];

/// `dae --version`: the first line has the version alone.
pub fn version() -> String {
    let mut text = concat!("dae ", env!("CARGO_PKG_VERSION"), "\n").to_owned();
    text.push_str(&list(&ALL));
    text
}

fn list(all: &[Feature]) -> String {
    let mut text = String::new();
    for (built_in, words) in [(true, "built with:"), (false, "built without:")] {
        let mut names = all.iter().filter(|it| it.built_in == built_in).peekable();
        if names.peek().is_some() {
            text.push_str(words);
            for feature in names {
                // Writing to a String cannot fail.
                let _ = write!(text, " {}", feature.name);
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_there_and_what_is_not_is_told_apart() {
        let of = |names: [bool; 2]| {
            let [tls, https] = names;
            let feature = |name, built_in| Feature { name, built_in };
            list(&[feature("tls", tls), feature("https", https)])
        };
        assert_eq!(of([true, true]), "built with: tls https\n");
        assert_eq!(of([true, false]), "built with: tls\nbuilt without: https\n");
        assert_eq!(of([false, false]), "built without: tls https\n");
    }

    /// Holds for every build: run with `--no-default-features` it sees each refusal.
    #[test]
    fn what_is_not_built_in_is_refused() {
        let main = "config dae 'main'\n\tlist interface 'lan'\n";
        let nodes = "config node 'n'\n\toption url 'socks5://192.0.2.1'\nconfig group 'g'\n";
        let upstream = "config upstream 'u'\n";
        let refused = |feature: Feature, before: &str, option: &str, words: &str| {
            let text = format!("{main}{before}\t{option}\n");
            let problems = Config::parse("dae", text.as_bytes())
                .err()
                .unwrap_or_default();
            let told: String = problems.iter().map(|it| format!("{it}\n")).collect();
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
            assert_eq!(told, expected, "{}", feature.name);
        };
        let tls = "option url 'tls://192.0.2.1'";
        refused(TLS, upstream, tls, "write tcp+udp://");
        let https = "option url 'https://192.0.2.1'";
        let instead = if TLS.built_in { "tls" } else { "tcp+udp" };
        refused(HTTPS, upstream, https, &format!("write {instead}://"));
        let metrics = "option metrics '127.0.0.1:9'";
        refused(METRICS, "", metrics, "remove the option");
        let regex = "list filter 'regex:^n'";
        refused(REGEX, nodes, regex, "write keyword: and a text");
    }
}
