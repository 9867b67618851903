//! What is wrong with a configuration, in words for the one who wrote it.

use std::fmt;

use super::uci::Place;
use crate::features::Feature;

/// Problems told of one file; how many more there are is told in one further line.
pub const MAX_PROBLEMS: usize = 200;

/// One thing to change. No field ever holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// As given to [`super::Config::parse`].
    pub file: String,
    /// From 1, never behind the last line.
    pub line: u32,
    /// `node 'proxy'`, `rule[2]`; empty when the problem is no section's.
    pub section: String,
    /// Empty when the problem is no option's.
    pub option: String,
    /// What is wrong.
    pub what: String,
    /// What to do, a phrase that starts with a verb: `write a number from 1 to 65535`.
    pub write: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if !self.section.is_empty() {
            write!(f, "config {}: ", self.section)?;
        }
        if !self.option.is_empty() {
            write!(f, "option {}: ", self.option)?;
        }
        write!(f, "{}: {}", self.what, self.write)
    }
}

/// Why a value is refused, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) write: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, write: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            write: write.into(),
        }
    }
}

/// Refuses what needs a feature that this program was built without. `otherwise` is what to write
/// to go without it.
pub(super) fn required(feature: Feature, otherwise: &str) -> Result<(), Wrong> {
    match feature.built_in {
        true => Ok(()),
        false => Err(absent(feature, otherwise)),
    }
}

/// The refusal.
pub(super) fn absent(feature: Feature, otherwise: &str) -> Wrong {
    Wrong::new(
        format!("this dae was built without {}", feature.name),
        format!("install the full package dae, or {otherwise}"),
    )
}

/// Collects the problems of one file, at most [`MAX_PROBLEMS`].
pub(super) struct Problems {
    file: String,
    found: Vec<Problem>,
    more: usize,
}

impl Problems {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            found: Vec::new(),
            more: 0,
        }
    }

    pub(super) fn add(&mut self, place: Place, section: &str, option: &str, wrong: Wrong) {
        if self.is_full() {
            return;
        }
        self.found.push(Problem {
            file: self.file.clone(),
            line: place.line,
            section: section.to_owned(),
            option: option.to_owned(),
            what: wrong.what,
            write: wrong.write,
        });
    }

    /// Counts a problem that would not be shown anyway: true when there are that many. Asked
    /// before words are looked for at length.
    pub(super) fn is_full(&mut self) -> bool {
        let full = self.found.len() == MAX_PROBLEMS;
        self.more += usize::from(full);
        full
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Sorted by line.
    pub(super) fn into_vec(mut self) -> Vec<Problem> {
        self.found.sort_by_key(|problem| problem.line);
        if self.more > 0
            && let Some(last) = self.found.last()
        {
            self.found.push(Problem {
                line: last.line,
                section: String::new(),
                option: String::new(),
                what: format!("{} more problems are not shown", self.more),
                write: "correct those above and check again".into(),
                file: self.file,
            });
        }
        self.found
    }
}

/// Longest piece of a value that a problem shows, characters.
const SHOWN: usize = 60;

/// A value as a problem shows it: quoted, short, without control characters, and with
/// everything masked that could be a login (`user:pass@`) or a whole secret link
/// (`ss://BASE64`).
pub(super) fn show(value: &str) -> String {
    let shown = match value.split_once("://") {
        Some((scheme, _)) => {
            let scheme = scheme.trim_start_matches('!');
            if !scheme.is_empty() && scheme.bytes().all(is_scheme_byte) {
                return format!("'{}://***'", scheme.chars().take(16).collect::<String>());
            }
            return "'***'".into();
        }
        None => match value.rsplit_once('@') {
            Some((_, host)) => format!("***@{host}"),
            None => value.to_owned(),
        },
    };
    let mut text: String = shown
        .chars()
        .take(SHOWN)
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect();
    if shown.chars().nth(SHOWN).is_some() {
        text.push_str("...");
    }
    format!("'{text}'")
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// The candidate that the word was probably meant to be.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const LONGEST: usize = 40;
    if word.len() > LONGEST {
        return None;
    }
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= word.len().max(candidate.len()).div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Changes of one byte that make one word of the other, two neighbours swapped being one change
/// (optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(above.len());
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = at(&above, j) + usize::from(x != y);
            best = best.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

/// `did you mean 'x'?` turned into what to write, or the list of what exists.
pub(super) fn suggest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("write '{near}' if that is what you mean");
    }
    const LISTED: usize = 12;
    let mut all = candidates.into_iter();
    let listed: Vec<&str> = all.by_ref().take(LISTED).collect();
    if listed.is_empty() {
        return "remove it".into();
    }
    if let [only] = listed.as_slice() {
        return format!("write '{only}', there is no other");
    }
    let rest = if all.next().is_some() { ", ..." } else { "" };
    format!("write one of {}{rest}", listed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        for (value, shown) in [
            ("plain", "'plain'"),
            ("socks5://user:pass@host:1", "'socks5://***'"),
            ("!ss://c2VjcmV0", "'ss://***'"),
            ("secret secret://x", "'***'"),
            ("user:p@ss@host", "'***@host'"),
            ("a\x1b[31m\n", "'a\u{fffd}[31m\u{fffd}'"),
        ] {
            assert_eq!(show(value), shown);
        }
        assert_eq!(show(&"x".repeat(1000)).len(), SHOWN + 5);
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["interface", "log_level", "direct", "proxy"];
        assert_eq!(nearest("interfaces", names), Some("interface"));
        assert_eq!(nearest("loglevel", names), Some("log_level"));
        assert_eq!(nearest("porxy", names), Some("proxy"));
        assert_eq!(nearest("DIRECT", names), Some("direct"));
        assert_eq!(nearest("something", names), None);
        assert_eq!(nearest(&"direct".repeat(1000), names), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
