//! `dae help config` and docs/config.md, from the table.

use std::fmt::Write;

use super::options::SECTIONS;
use super::spec::{Naming, SectionSpec, Spec};

const INTRO: &str = "The file /etc/config/dae is written in the language of OpenWrt's other files \
in /etc/config. Options with several values are written as one list line per value, or as one \
option line with spaces between the values. Where it says \"or !\", a value may start with ! to \
exclude it: the option then accepts everything else, or of the other values those that are not \
excluded. dae check tells what is wrong with a file, and changes nothing.";

const WIDTH: usize = 78;

/// The text of `dae help config`.
pub fn text() -> String {
    let mut out = String::new();
    wrap(&mut out, "", INTRO);
    for section in &SECTIONS {
        let _ = writeln!(out, "\n{}", heading(section));
        wrap(&mut out, "    ", section.help);
        for spec in section.options.iter().map(|option| option.spec()) {
            let _ = writeln!(out, "\n    {} {}", keyword(spec), spec.name);
            wrap(&mut out, "        ", spec.help);
            wrap(&mut out, "        ", &format!("Value: {}.", facts(spec)));
        }
    }
    out
}

/// The text of docs/config.md.
pub fn markdown() -> String {
    let mut out = String::from("# Options of /etc/config/dae\n\n");
    out.push_str("<!-- Made by `dae help config --markdown`; do not edit. -->\n\n");
    let _ = writeln!(out, "{INTRO}");
    for section in &SECTIONS {
        let _ = writeln!(out, "\n## `{}`\n\n{}\n", heading(section), section.help);
        out.push_str("| option | value | meaning |\n|---|---|---|\n");
        for spec in section.options.iter().map(|option| option.spec()) {
            let (name, facts) = (spec.name, facts(spec));
            let _ = writeln!(
                out,
                "| `{} {name}` | {facts} | {} |",
                keyword(spec),
                spec.help
            );
        }
    }
    out
}

fn heading(section: &SectionSpec) -> String {
    match section.naming {
        Naming::Only(name) => format!("config {} '{name}'", section.kind),
        Naming::Named => format!("config {} 'NAME'", section.kind),
        Naming::Ordered => format!("config {}", section.kind),
    }
}

fn keyword(spec: &Spec) -> &'static str {
    if spec.max > 1 { "list" } else { "option" }
}

/// Form, bounds and default in one line.
fn facts(spec: &Spec) -> String {
    let mut facts = spec.form.to_string();
    if spec.negatable {
        facts.push_str(", or ! and such a value");
    }
    if spec.max > 1 {
        let _ = write!(facts, "; at most {}", spec.max);
    }
    match spec.default {
        Some(default) => {
            let _ = write!(facts, "; default {default}");
        }
        None if spec.required => facts.push_str("; required"),
        None => {}
    }
    facts
}

/// Writes a paragraph, indented, in lines of at most [`WIDTH`] characters.
fn wrap(out: &mut String, indent: &str, paragraph: &str) {
    let mut column = 0;
    for word in paragraph.split_whitespace() {
        if column > 0 && column + 1 + word.len() > WIDTH {
            out.push('\n');
            column = 0;
        }
        let gap = if column == 0 { indent } else { " " };
        out.push_str(gap);
        out.push_str(word);
        column += gap.len() + word.len();
    }
    out.push('\n');
}
