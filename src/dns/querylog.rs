//! The last queries, for `dae status`: a ring of fixed size, off unless asked for. Pure.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::wire::rcode_name;
use crate::config::qtype_name;

/// Longest name kept, bytes; of a longer one the end is cut off.
const MAX_NAME: usize = 64;

/// What stands at the end of a name that was cut.
const CUT: &str = "...";

/// One query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Time since the daemon's start when the answer left.
    pub at: Duration,
    /// Who asked.
    pub client: IpAddr,
    /// Name asked for.
    pub name: Name,
    /// Type asked for.
    pub qtype: u16,
    /// Where the answer came from.
    pub outcome: Outcome,
    /// Response code.
    pub rcode: u8,
    /// How long the client waited, milliseconds.
    pub ms: u32,
}

/// Where an answer came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer that lives.
    Cache,
    /// One that has died, for want of a better.
    Stale,
    /// A `dns_host`.
    Hosts,
    /// A rule that gives no answer, or none of these addresses.
    Rule,
    /// An upstream by its name, or `asis`.
    Upstream(Rc<str>),
    /// Nobody was asked: a bound was reached, or there was nobody to ask.
    Refused,
    /// Nobody answered.
    Failed,
}

impl Outcome {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Stale => "stale",
            Self::Hosts => "hosts",
            Self::Rule => "rule",
            Self::Upstream(_) => "upstream",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// A name of bounded length that needs no memory of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; MAX_NAME],
    length: u8,
}

impl Name {
    /// From text in ASCII.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; MAX_NAME];
        let text = text.as_bytes();
        let length = text.len().min(MAX_NAME);
        bytes[..length].copy_from_slice(&text[..length]);
        if text.len() > MAX_NAME {
            bytes[MAX_NAME - CUT.len()..].copy_from_slice(CUT.as_bytes());
        }
        Self {
            bytes,
            length: length as u8,
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

/// `{"at": 12.5, "client": "192.0.2.1", "name": "www.example", "type": "A", "outcome": "upstream",
/// "upstream": "name", "rcode": "NOERROR", "ms": 21}`; `upstream` is null for other outcomes.
impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let upstream = match &self.outcome {
            Outcome::Upstream(name) => Some(&**name),
            _ => None,
        };
        let mut line = serializer.serialize_struct("Line", 8)?;
        line.serialize_field("at", &(self.at.as_millis() as f64 / 1000.0))?;
        line.serialize_field("client", &self.client)?;
        line.serialize_field("name", self.name.as_str())?;
        line.serialize_field("type", &qtype_name(self.qtype))?;
        line.serialize_field("outcome", self.outcome.word())?;
        line.serialize_field("upstream", &upstream)?;
        line.serialize_field("rcode", &rcode_name(self.rcode))?;
        line.serialize_field("ms", &self.ms)?;
        line.end()
    }
}

/// The last lines. Its memory is taken once, when it is made.
#[derive(Debug, Default)]
pub struct QueryLog {
    lines: VecDeque<Line>,
    bound: usize,
}

impl QueryLog {
    /// Of at most `bound` lines; 0: off, without memory.
    pub fn new(bound: usize) -> Self {
        Self {
            lines: VecDeque::with_capacity(bound),
            bound,
        }
    }

    /// Whether lines are kept.
    pub fn is_on(&self) -> bool {
        self.bound > 0
    }

    /// Another bound; the last lines that fit stay.
    pub fn resize(&mut self, bound: usize) {
        if bound != self.bound {
            let skipped = self.lines.len().saturating_sub(bound);
            let mut log = Self::new(bound);
            log.lines.extend(self.lines.drain(skipped..));
            *self = log;
        }
    }

    /// Adds a line, made only if lines are kept. The oldest leaves for it.
    pub fn push(&mut self, line: impl FnOnce() -> Line) {
        if !self.is_on() {
            return;
        }
        if self.lines.len() == self.bound {
            self.lines.pop_front();
        }
        self.lines.push_back(line());
    }

    /// All lines, the oldest first.
    pub fn lines(&self) -> impl ExactSizeIterator<Item = &Line> + DoubleEndedIterator {
        self.lines.iter()
    }
}

/// A list of its lines, the oldest first.
impl Serialize for QueryLog {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.lines())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u32) -> Line {
        Line {
            at: Duration::from_millis(u64::from(number) * 1500),
            client: [192, 0, 2, 1].into(),
            name: Name::new("www.example"),
            qtype: 28,
            outcome: Outcome::Cache,
            rcode: 0,
            ms: number,
        }
    }

    fn numbers(log: &QueryLog) -> Vec<u32> {
        log.lines().map(|line| line.ms).collect()
    }

    #[test]
    fn the_last_lines_stay_and_memory_does_not_grow() {
        let mut log = QueryLog::new(3);
        let capacity = log.lines.capacity();
        for number in 0..10 {
            log.push(|| line(number));
        }
        assert_eq!(numbers(&log), [7, 8, 9]);
        assert_eq!(log.lines.capacity(), capacity);
        log.resize(5);
        log.push(|| line(10));
        assert_eq!(numbers(&log), [7, 8, 9, 10]);
        log.resize(2);
        assert_eq!(numbers(&log), [9, 10]);
        log.push(|| line(11));
        assert_eq!(numbers(&log), [10, 11]);
        log.resize(0);
        assert!(!log.is_on() && log.lines().len() == 0);
    }

    #[test]
    fn off_costs_nothing() {
        let mut log = QueryLog::new(0);
        assert_eq!(log.lines.capacity(), 0);
        log.push(|| panic!("nobody wants this line"));
        assert_eq!(numbers(&log), [0; 0]);
    }

    #[test]
    fn long_names_are_cut() {
        let (fits, long) = ("a".repeat(64), "b".repeat(65));
        assert_eq!(Name::new(&fits).as_str(), fits);
        assert_eq!(Name::new(&long).as_str(), "b".repeat(61) + "...");
        assert_eq!(Name::new("").as_str(), "");
    }

    #[test]
    fn lines_are_json() {
        let mut log = QueryLog::new(8);
        log.push(|| line(1));
        log.push(|| Line {
            outcome: Outcome::Upstream("first".into()),
            client: "2001:db8::1".parse().unwrap(),
            qtype: 99,
            rcode: 3,
            ..line(2)
        });
        let expected = serde_json::json!([
            {"at": 1.5, "client": "192.0.2.1", "name": "www.example", "type": "AAAA",
             "outcome": "cache", "upstream": null, "rcode": "NOERROR", "ms": 1},
            {"at": 3.0, "client": "2001:db8::1", "name": "www.example", "type": "TYPE99",
             "outcome": "upstream", "upstream": "first", "rcode": "NXDOMAIN", "ms": 2},
        ]);
        assert_eq!(serde_json::to_value(&log).unwrap(), expected);
    }
}
