//! Commands of UCI text: words, quotes, escapes, comments and `;`.
//!
//! The router's `uci` cuts words out of a line in place, which shows in corners: `;` right
//! behind an unquoted word hides the rest of the line, elsewhere it separates commands.

use super::uci::{Place, SyntaxError, Value};

/// First word of a command; `uci` takes the first letter alone, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Package,
    Config,
    Option,
    List,
}

/// A command with its arguments, at most two.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) verb: Verb,
    /// Of the verb.
    pub(super) place: Place,
    first: Word,
    second: Word,
}

#[derive(Debug)]
struct Word {
    bytes: Vec<u8>,
    place: Place,
}

impl Word {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Command {
    /// The first argument and its place: a section's type, or the name of an option or package.
    pub(super) fn first(&self) -> (String, Place) {
        (self.first.text(), self.first.place)
    }

    /// The second argument as a section's name.
    pub(super) fn section_name(&self) -> Option<(String, Place)> {
        (!self.second.bytes.is_empty()).then(|| (self.second.text(), self.second.place))
    }

    /// The second argument as a value.
    pub(super) fn value(&self) -> Value {
        Value {
            text: self.second.text(),
            place: self.second.place,
        }
    }
}

/// A command that is none.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) error: SyntaxError,
    /// It was meant to open a section: the options behind it belong to no other.
    pub(super) opens: bool,
}

/// What the first word of a command says.
fn verb(word: &[u8], place: Place) -> Result<Verb, Refused> {
    let (what, write) = match word {
        b"package" | b"p" => return Ok(Verb::Package),
        b"config" | b"c" => return Ok(Verb::Config),
        b"option" | b"o" => return Ok(Verb::Option),
        b"list" | b"l" => return Ok(Verb::List),
        b"config\n" | b"option\n" | b"list\n" | b"package\n" => (
            "the line ends behind its first word",
            "write config TYPE, option NAME 'VALUE' or list NAME 'VALUE'",
        ),
        b"\n" | b"\r\n" => (
            "there is nothing behind the last ; of the line",
            "remove that ;",
        ),
        _ => (
            "the line starts with none of the words config, option and list",
            "begin with one of these, or with # if it is a remark",
        ),
    };
    // Options are indented by everyone, sections by nobody.
    Err(Refused {
        error: SyntaxError { place, what, write },
        opens: place.byte == 0,
    })
}

/// Refuses a first argument that is missing or has characters that cannot stand there.
fn check_first(verb: Verb, word: &Word, place: Place) -> Result<(), SyntaxError> {
    if word.bytes.is_empty() {
        let (what, write) = match verb {
            Verb::Package => (
                "package has no name",
                "write package dae, or nothing at all",
            ),
            Verb::Config => (
                "the section has no type",
                "write config TYPE 'NAME', for example config rule",
            ),
            Verb::Option | Verb::List => {
                ("the line has no option name", "write option NAME 'VALUE'")
            }
        };
        return Err(SyntaxError { place, what, write });
    }
    let allowed = |byte: &u8| match verb {
        Verb::Package => is_name_byte(byte) || *byte == b'-',
        Verb::Config => byte.is_ascii_graphic(),
        Verb::Option | Verb::List => is_name_byte(byte),
    };
    match word.bytes.iter().all(allowed) {
        true => Ok(()),
        false if verb == Verb::Config => Err(SyntaxError {
            place: word.place,
            what: "a section's type has a character that cannot stand there",
            write: "write a type such as dae, dns, node or rule",
        }),
        false => Err(bad_name(word.place)),
    }
}

fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'_'
}

fn bad_name(place: Place) -> SyntaxError {
    SyntaxError {
        place,
        what: "a name has a character that cannot stand there",
        write: "use letters, digits and _ only",
    }
}

/// `isspace` of the C locale; Rust's own test has no vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Walks through a text without NUL bytes, command by command.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    pos: usize,
    /// First byte behind the current line and its newline.
    end: usize,
    line: u32,
    line_start: usize,
    /// The line has shown a command already: a `;` was before this one.
    within: bool,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self {
            text,
            pos: 0,
            end: 0,
            line: 0,
            line_start: 0,
            within: false,
        }
    }

    /// The next command, or what is wrong with it; behind an error the next line follows.
    pub(super) fn next_command(&mut self) -> Option<Result<Command, Refused>> {
        loop {
            if self.within {
                self.skip(|byte| matches!(byte, b' ' | b'\t'));
            } else {
                if !self.next_line() {
                    return None;
                }
                self.skip(is_space);
            }
            if matches!(self.current(), None | Some(b'#')) {
                self.within = false;
                continue;
            }
            self.within = true;
            let command = self.command();
            if command.is_err() {
                self.within = false;
            }
            return Some(command);
        }
    }

    fn command(&mut self) -> Result<Command, Refused> {
        let place = self.place();
        let start = self.pos;
        self.skip(|byte| !matches!(byte, b' ' | b'\t'));
        let word = self.text.get(start..self.pos).unwrap_or_default();
        let verb = verb(word, place)?;
        self.arguments(verb, place).map_err(|error| Refused {
            error,
            opens: verb == Verb::Config,
        })
    }

    fn arguments(&mut self, verb: Verb, place: Place) -> Result<Command, SyntaxError> {
        // Each word is checked before the next is read, so that a quote gone wrong is told where
        // it first shows.
        let first = self.word()?;
        check_first(verb, &first, place)?;
        let second = match verb {
            Verb::Package => Word {
                bytes: Vec::new(),
                place: self.place(),
            },
            _ => self.word()?,
        };
        if verb == Verb::Config && !second.bytes.iter().all(is_name_byte) {
            return Err(bad_name(second.place));
        }
        let extra = self.word()?;
        if !extra.bytes.is_empty() {
            return Err(SyntaxError {
                place: extra.place,
                what: "there is one word too many in this line",
                write: "put quotes around a value that has spaces",
            });
        }
        Ok(Command {
            verb,
            place,
            first,
            second,
        })
    }

    /// The next word of the command, empty when there is none.
    fn word(&mut self) -> Result<Word, SyntaxError> {
        self.skip(is_space);
        let place = self.place();
        let mut bytes = Vec::new();
        if self.current() == Some(b';') {
            self.pos += 1;
            return Ok(Word { bytes, place });
        }
        // A word without quotes and escapes: the place of its end is the place of its terminator.
        let mut plain = true;
        loop {
            match self.current() {
                None => return Ok(Word { bytes, place }),
                Some(b'#') => {
                    self.pos = self.end;
                    return Ok(Word { bytes, place });
                }
                Some(b';') => {
                    if plain {
                        self.pos = self.end;
                    }
                    return Ok(Word { bytes, place });
                }
                Some(quote @ (b'\'' | b'"')) => {
                    plain = false;
                    self.quoted(quote, &mut bytes)?;
                }
                Some(b'\\') => {
                    plain = false;
                    self.escape(&mut bytes);
                }
                Some(byte) => {
                    bytes.push(byte);
                    self.pos += 1;
                }
            }
            if self.current().is_some_and(is_space) {
                self.pos += 1;
                return Ok(Word { bytes, place });
            }
        }
    }

    /// From a quote to its twin, over lines if need be.
    fn quoted(&mut self, quote: u8, bytes: &mut Vec<u8>) -> Result<(), SyntaxError> {
        let open = self.place();
        self.pos += 1;
        loop {
            match self.current() {
                None => {
                    if !self.next_line() {
                        return Err(SyntaxError {
                            place: open,
                            what: "a quote opens here and never closes",
                            write: "write the same quote again behind the value",
                        });
                    }
                }
                Some(byte) if byte == quote => {
                    self.pos += 1;
                    return Ok(());
                }
                Some(b'\\') if quote == b'"' => self.escape(bytes),
                Some(byte) => {
                    bytes.push(byte);
                    self.pos += 1;
                }
            }
        }
    }

    /// `\c` is c; at the end of a line it joins the next.
    fn escape(&mut self, bytes: &mut Vec<u8>) {
        self.pos += 1;
        match self.text.get(self.pos..self.end) {
            Some(b"\n" | b"\r\n") => drop(self.next_line()),
            Some([byte, ..]) => {
                bytes.push(*byte);
                self.pos += 1;
            }
            _ => {}
        }
    }

    /// Goes to the line behind the current one; false at the end of the text.
    fn next_line(&mut self) -> bool {
        self.pos = self.end;
        let rest = self.text.get(self.pos..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        self.line_start = self.pos;
        self.line += 1;
        self.end += rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |at| at + 1);
        true
    }

    fn current(&self) -> Option<u8> {
        self.text.get(..self.end)?.get(self.pos).copied()
    }

    fn skip(&mut self, unwanted: impl Fn(u8) -> bool) {
        while self.current().is_some_and(&unwanted) {
            self.pos += 1;
        }
    }

    fn place(&self) -> Place {
        // Fits: a line is never longer than the file, at most MAX_FILE_BYTES.
        Place {
            line: self.line.max(1),
            byte: (self.pos - self.line_start) as u32,
        }
    }
}
