//! Reader of UCI text, the language of OpenWrt's `/etc/config`.
//!
//! It gives the sections, options and values that the router's own `uci` command gives, quirks
//! included (quotes join, an empty `option` is skipped, the same section twice is one), and
//! refuses what `uci` refuses. Two things differ on purpose: every value knows its line, and
//! reading goes on behind an error, so that one look shows them all.

use std::collections::BTreeMap;

use super::uci_line::{Command, Lines, Verb};

/// Largest file read.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Errors told of one file; reading ends behind the last.
pub const MAX_ERRORS: usize = 100;

/// Where something starts in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Byte in the line, from 0 as `uci` counts.
    pub byte: u32,
}

/// A value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Quotes and escapes resolved. Bytes that are not UTF-8 are U+FFFD here.
    pub text: String,
    /// First byte, the quote if it has one.
    pub place: Place,
}

/// `option` or `list` lines of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Letters, digits and `_`.
    pub name: String,
    /// The name's place, where it stood first.
    pub place: Place,
    /// False when an `option` line had the last word. True: there may be several values.
    pub is_list: bool,
    /// At least one. Only a list has empty ones.
    pub values: Vec<Value>,
}

/// `config TYPE 'NAME'` with what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Type; printable ASCII.
    pub kind: String,
    /// Letters, digits and `_`; none when the file gives no name.
    pub name: Option<String>,
    /// The type's place, where the section was opened first.
    pub place: Place,
    /// Where the section was opened once more: `uci` merges the parts, the last value wins.
    pub reopened: Vec<Place>,
    /// In the order of first mention.
    pub options: Vec<Entry>,
}

impl Section {
    /// The option of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.options.iter().find(|entry| entry.name == name)
    }

    /// The option's last value: what a program sees that expects one.
    pub fn value(&self, name: &str) -> Option<&str> {
        Some(&self.get(name)?.values.last()?.text)
    }
}

/// Text that `uci` would refuse, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where the trouble begins: an open quote's place, not the end of the file.
    pub place: Place,
    /// What is wrong. Never a word of the file: it could be part of a password.
    pub what: &'static str,
    /// What to do about it.
    pub write: &'static str,
}

/// A whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct File {
    /// In file order.
    pub sections: Vec<Section>,
    /// In file order. When there is one, options may be missing from the sections.
    pub errors: Vec<SyntaxError>,
}

/// Reads a file.
pub fn parse(text: &[u8]) -> File {
    if let Err(error) = refuse_whole(text) {
        return File {
            sections: Vec::new(),
            errors: vec![error],
        };
    }
    let mut reader = Reader::default();
    let mut lines = Lines::new(text);
    while let Some(command) = lines.next_command() {
        let taken = match command {
            Ok(command) => reader.take(command),
            Err(refused) => {
                if refused.opens {
                    reader.target = Target::Refused;
                }
                Err(refused.error)
            }
        };
        if let Err(error) = taken {
            reader.file.errors.push(error);
            if reader.file.errors.len() == MAX_ERRORS {
                break;
            }
        }
    }
    reader.file
}

/// Files that are no UCI text from the first line on.
fn refuse_whole(text: &[u8]) -> Result<(), SyntaxError> {
    let start = Place { line: 1, byte: 0 };
    if text.len() > MAX_FILE_BYTES {
        return Err(SyntaxError {
            place: start,
            what: "the file is larger than 1 MiB (MAX_FILE_BYTES)",
            write: "remove what is not needed",
        });
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err(SyntaxError {
            place: start,
            what: "the file starts with a byte order mark, which uci refuses",
            write: "save the file as UTF-8 without a byte order mark",
        });
    }
    let Some(nul) = text.iter().position(|byte| *byte == 0) else {
        return Ok(());
    };
    let before = text.get(..nul).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let byte = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count();
    Err(SyntaxError {
        // Both fit: the file has at most MAX_FILE_BYTES.
        place: Place {
            line: line as u32,
            byte: byte as u32,
        },
        what: "there is a NUL byte, so this is not a text file",
        write: "remove it, or save the file as UTF-8 text",
    })
}

/// Where the options of the lines to come go.
#[derive(Default, Clone, Copy)]
enum Target {
    /// No `config` line yet.
    #[default]
    Nowhere,
    /// The last `config` line was refused: its options are neither taken nor refused.
    Refused,
    /// Index of the section.
    Section(usize),
}

#[derive(Default)]
struct Reader {
    file: File,
    target: Target,
    /// Section name -> index.
    named: BTreeMap<String, usize>,
    /// (section, option name) -> index in the section.
    options: BTreeMap<(usize, String), usize>,
}

impl Reader {
    fn take(&mut self, command: Command) -> Result<(), SyntaxError> {
        match command.verb {
            // The file's name says which package it is.
            Verb::Package => Ok(()),
            Verb::Config => {
                self.target = Target::Refused;
                let section = self.open(&command)?;
                self.target = Target::Section(section);
                Ok(())
            }
            Verb::Option => self.set(command, false),
            Verb::List => self.set(command, true),
        }
    }

    fn open(&mut self, command: &Command) -> Result<usize, SyntaxError> {
        let (kind, place) = command.first();
        let name = command.section_name();
        let sections = &mut self.file.sections;
        if let Some((name, name_place)) = &name
            && let Some(&index) = self.named.get(name)
            && let Some(section) = sections.get_mut(index)
        {
            if section.kind != kind {
                return Err(SyntaxError {
                    place: *name_place,
                    what: "a section of another type has this name already",
                    write: "choose another name: names of sections are unique in the file",
                });
            }
            section.reopened.push(place);
            return Ok(index);
        }
        let name = name.map(|(name, _)| name);
        let index = sections.len();
        if let Some(name) = name.clone() {
            self.named.insert(name, index);
        }
        sections.push(Section {
            kind,
            name,
            place,
            reopened: Vec::new(),
            options: Vec::new(),
        });
        Ok(index)
    }

    fn set(&mut self, command: Command, is_list: bool) -> Result<(), SyntaxError> {
        if matches!(self.target, Target::Nowhere) {
            return Err(SyntaxError {
                place: command.place,
                what: "an option stands before the first section",
                write: "write a config line above it",
            });
        }
        let (name, place) = command.first();
        let value = command.value();
        let Target::Section(index) = self.target else {
            return Ok(());
        };
        let Some(section) = self.file.sections.get_mut(index) else {
            return Ok(());
        };
        if !is_list && value.text.is_empty() {
            return Ok(());
        }
        let key = (index, name);
        match self
            .options
            .get(&key)
            .and_then(|option| section.options.get_mut(*option))
        {
            Some(entry) => {
                if !is_list {
                    entry.values.clear();
                }
                entry.is_list = is_list;
                entry.values.push(value);
            }
            None => {
                let name = key.1.clone();
                self.options.insert(key, section.options.len());
                section.options.push(Entry {
                    name,
                    place,
                    is_list,
                    values: vec![value],
                });
            }
        }
        Ok(())
    }
}
