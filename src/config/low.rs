//! The low form: sections and options that the table knows, each value readable by itself.
//! What sections say about each other is [`super::high`]'s.

use std::collections::BTreeMap;

use super::options::{ELSEWHERE, LATER_OPTIONS, LATER_SECTIONS, SECTIONS};
use super::problem::{Problems, Wrong, nearest, show, suggest};
use super::spec::{Naming, Opt, SectionSpec, Spec};
use super::uci::{Entry, Place, Section};

/// Names that mean something by themselves where the name of a node or upstream can stand; `auto`
/// does so where a member is chosen.
const RESERVED: [&str; 5] = ["direct", "block", "asis", "reject", "auto"];

/// Longest name of a section that others refer to.
const MAX_NAME: usize = 64;

/// A section of a known type.
pub(super) struct Low<'a> {
    pub(super) section: &'a Section,
    pub(super) spec: &'static SectionSpec,
    /// `node 'proxy'`, `rule 'no-quic'` or `rule[2]`: what problems call it.
    pub(super) label: String,
    /// `rule[2]`, the position among sections of its type as `uci` counts, from 0.
    pub(super) position: String,
}

/// One value of a list.
pub(super) struct Item<T> {
    pub(super) value: T,
    /// It had a `!` in front.
    pub(super) negated: bool,
    pub(super) place: Place,
}

impl Low<'_> {
    pub(super) fn kind(&self) -> &'static str {
        self.spec.kind
    }

    pub(super) fn entry<T>(&self, option: &Opt<T>) -> Option<&Entry> {
        self.section.get(option.spec.name)
    }

    pub(super) fn has<T>(&self, option: &Opt<T>) -> bool {
        self.entry(option).is_some()
    }

    /// The option's value, or its default. None: neither, or a problem was told already.
    pub(super) fn get<T>(&self, option: &Opt<T>) -> Option<T> {
        let value = match self.entry(option) {
            Some(entry) => &entry.values.last()?.text,
            None => option.spec.default?,
        };
        (option.read)(&option.spec, value).ok()
    }

    /// The option's values, or its default ones. Unreadable ones were told already.
    pub(super) fn list<T>(&self, option: &Opt<T>) -> Vec<Item<T>> {
        let read = |word: Word<'_>| {
            let value = (option.read)(&option.spec, word.text).ok()?;
            Some(Item {
                value,
                negated: word.negated,
                place: word.place,
            })
        };
        match self.entry(option) {
            Some(entry) => words(&option.spec, entry).filter_map(read).collect(),
            None => {
                let default = option.spec.default.unwrap_or_default().split_whitespace();
                let place = self.section.place;
                default
                    .filter_map(|text| {
                        read(Word {
                            text,
                            negated: false,
                            place,
                        })
                    })
                    .collect()
            }
        }
    }

    /// Whether the option is there and holds nothing but white space.
    pub(super) fn is_blank<T>(&self, option: &Opt<T>) -> bool {
        let blank = |entry: &Entry| words(&option.spec, entry).next().is_none();
        self.entry(option).is_some_and(blank)
    }

    /// Where the option stands, or else the section.
    pub(super) fn place<T>(&self, option: &Opt<T>) -> Place {
        let value = self.entry(option).and_then(|entry| entry.values.last());
        value.map_or(self.section.place, |value| value.place)
    }
}

struct Word<'a> {
    text: &'a str,
    negated: bool,
    place: Place,
}

/// The values of an entry. Those of a list are split at white space, and a `!` may stand alone
/// in front of its value, as in `/etc/config/firewall`.
fn words<'a>(spec: &Spec, entry: &'a Entry) -> impl Iterator<Item = Word<'a>> {
    let (negatable, single) = (spec.negatable, spec.max == 1);
    entry.values.iter().flat_map(move |value| {
        let place = value.place;
        let whole = single.then_some(Word {
            text: &value.text,
            negated: false,
            place,
        });
        let mut parts = if single { "" } else { &value.text }.split_whitespace();
        let split = std::iter::from_fn(move || {
            let part = parts.next()?;
            match part.strip_prefix('!').filter(|_| negatable) {
                Some("") => Some(Word {
                    text: parts.next().unwrap_or(""),
                    negated: true,
                    place,
                }),
                Some(text) => Some(Word {
                    text,
                    negated: true,
                    place,
                }),
                None => Some(Word {
                    text: part,
                    negated: false,
                    place,
                }),
            }
        });
        whole.into_iter().chain(split)
    })
}

/// Checks everything that can be said about sections and options one by one. `complete` is
/// false when the file has syntax errors: then nothing is said about what is missing.
pub(super) fn lower<'a>(
    sections: &'a [Section],
    complete: bool,
    problems: &mut Problems,
) -> Vec<Low<'a>> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lowered = Vec::new();
    for section in sections {
        let Some(spec) = SECTIONS.iter().find(|spec| spec.kind == section.kind) else {
            unknown_section(section, problems);
            continue;
        };
        let count = counts.entry(spec.kind).or_default();
        let position = format!("{}[{count}]", spec.kind);
        *count += 1;
        let low = Low {
            section,
            spec,
            label: label(section, spec, &position),
            position,
        };
        check_section(&low, *count, problems);
        if *count <= spec.max {
            check_options(&low, complete, problems);
            lowered.push(low);
        }
    }
    lowered
}

fn label(section: &Section, spec: &SectionSpec, position: &str) -> String {
    let title = section
        .value("name")
        .filter(|_| spec.option("name").is_some());
    match title.map(str::trim).or(section.name.as_deref()) {
        Some(name) => format!("{} {}", section.kind, show(name)),
        None => position.to_owned(),
    }
}

fn unknown_section(section: &Section, problems: &mut Problems) {
    if problems.is_full() {
        return;
    }
    let label = match &section.name {
        Some(name) => format!("{} {}", show(&section.kind).trim_matches('\''), show(name)),
        None => show(&section.kind).trim_matches('\'').to_owned(),
    };
    let kinds = SECTIONS.iter().map(|spec| spec.kind);
    let wrong = if LATER_SECTIONS.contains(&section.kind.as_str()) {
        Wrong::new(
            "this version has no subscriptions yet",
            "write a config node for each server and remove this section",
        )
    } else {
        Wrong::new(
            "there is no such type of section",
            suggest(&section.kind, kinds),
        )
    };
    problems.add(section.place, &label, "", wrong);
}

/// Names and numbers of sections.
fn check_section(low: &Low, count: usize, problems: &mut Problems) {
    let (kind, section) = (low.kind(), low.section);
    let mut add = |place, wrong| problems.add(place, &low.label, "", wrong);
    for place in &section.reopened {
        let what = format!("this section stands in line {} already", section.place.line);
        add(
            *place,
            Wrong::new(what, "move the options there, or choose another name"),
        );
    }
    let name = section.name.as_deref();
    match low.spec.naming {
        Naming::Only(only) if count == low.spec.max + 1 => {
            let what = format!("there is more than one section of type {kind}");
            add(
                section.place,
                Wrong::new(what, format!("keep one config {kind} '{only}'")),
            );
        }
        Naming::Only(only) if count == 1 && name != Some(only) => {
            let what = format!("the section must be called '{only}'");
            add(
                section.place,
                Wrong::new(what, format!("write config {kind} '{only}'")),
            );
        }
        Naming::Only(_) => {}
        _ if count == low.spec.max + 1 => {
            let what = format!(
                "there are more than {} sections of type {kind}",
                low.spec.max
            );
            add(section.place, Wrong::new(what, "remove some"));
        }
        Naming::Ordered => {}
        Naming::Named => match name {
            None => {
                let what = format!("the {kind} has no name");
                add(
                    section.place,
                    Wrong::new(what, format!("write config {kind} 'NAME'")),
                );
            }
            Some(name) if RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name)) => {
                let what = format!("the name {name} has a meaning of its own");
                add(section.place, Wrong::new(what, "choose another name"));
            }
            Some(name) if name.len() > MAX_NAME => {
                let what = "the name is longer than 64 characters";
                add(section.place, Wrong::new(what, "choose a shorter one"));
            }
            Some(_) => {}
        },
    }
}

fn check_options(low: &Low, complete: bool, problems: &mut Problems) {
    for entry in &low.section.options {
        match low.spec.option(&entry.name) {
            Some(option) => check_values(low, entry, option, problems),
            None => unknown_option(low, entry, problems),
        }
    }
    for option in low.spec.options.iter().map(|option| option.spec()) {
        if complete && option.required && low.section.get(option.name).is_none() {
            let write = format!("write option {} with {}", option.name, option.form);
            let wrong = Wrong::new("it is missing", write);
            problems.add(low.section.place, &low.label, option.name, wrong);
        }
    }
}

fn unknown_option(low: &Low, entry: &Entry, problems: &mut Problems) {
    if problems.is_full() {
        return;
    }
    let kind = low.kind();
    let shown: String = entry.name.chars().take(MAX_NAME).collect();
    let what = format!("sections of type {kind} have no such option");
    let name = entry.name.as_str();
    let elsewhere = ELSEWHERE
        .iter()
        .find(|known| (known.0, known.1) == (kind, name));
    let other = SECTIONS.iter().find(|spec| spec.option(name).is_some());
    let near = nearest(name, low.spec.option_names());
    let wrong = if LATER_OPTIONS.contains(&(kind, name)) {
        Wrong::new("it is not supported by this version", "remove it")
    } else if let Some((_, _, here)) = elsewhere {
        Wrong::new(
            what,
            format!("write {here}, which is what it is called here"),
        )
    } else if let (None, Some(other)) = (near, other) {
        Wrong::new(
            what,
            format!("move it to a section of type {}, or remove it", other.kind),
        )
    } else {
        Wrong::new(what, suggest(name, low.spec.option_names()))
    };
    problems.add(entry.place, &low.label, &shown, wrong);
}

fn check_values(
    low: &Low,
    entry: &Entry,
    option: &'static dyn super::spec::AnyOpt,
    problems: &mut Problems,
) {
    let spec = option.spec();
    let mut add = |place, wrong| problems.add(place, &low.label, spec.name, wrong);
    let first = entry
        .values
        .first()
        .map_or(entry.place, |value| value.place);
    if spec.max == 1 && entry.values.len() > 1 {
        let what = format!("it takes one value, and {} are given", entry.values.len());
        let write = format!("write option {} once, in place of list", spec.name);
        return add(first, Wrong::new(what, write));
    }
    for (index, word) in words(spec, entry).enumerate() {
        if index == spec.max {
            let what = format!("there are more than {} values", spec.max);
            return add(word.place, Wrong::new(what, "remove some"));
        }
        let wrong = if word.text.contains(char::REPLACEMENT_CHARACTER) {
            Err(Wrong::new(
                "there are bytes that are not UTF-8 text",
                "save the file as UTF-8",
            ))
        } else if word.negated && word.text.is_empty() {
            Err(Wrong::new(
                "a ! stands alone",
                format!("write ! in front of {}", spec.form),
            ))
        } else {
            option.check(word.text)
        };
        if let Err(wrong) = wrong {
            add(word.place, wrong);
        }
    }
}
