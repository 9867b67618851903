//! `*` Log lines, one per event: `level=warn event=flow.fail node=jp ...`. Warnings and errors go
//! to standard error, all others to standard output.
//!
//! Callers use the `log` crate's macros with key-value pairs, `event` first. procd passes both
//! on to the system log, which adds the time: what comes from standard output as daemon.info,
//! the rest as daemon.err.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::limit::Limiter;

/// Fields that tell one repeated line from another; all others vary from line to line.
const IDENTITY: [&str; 12] = [
    "event", "reason", "node", "network", "group", "member", "outbound", "upstream", "device",
    "place", "state", "number",
];

struct Streams {
    limiter: Mutex<Limiter>,
}

/// Starts logging at `level`. A second call only changes the level.
pub fn init(level: LevelFilter) {
    static LOGGER: OnceLock<Streams> = OnceLock::new();
    let logger = LOGGER.get_or_init(|| Streams {
        limiter: Mutex::default(),
    });
    // The only failure is "already set", by ourselves.
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

impl Log for Streams {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries speak only when something is wrong with them.
        metadata.level() <= Level::Warn || metadata.target().starts_with("dae")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Line::new(record.level());
        // `Line` never refuses a pair.
        let _ = record.key_values().visit(&mut line);
        let message = record.args().to_string();
        if !message.is_empty() {
            line.push("msg", &message);
        }
        // Debug is asked for by somebody who wants every line.
        let total = if record.level() < Level::Debug {
            let mut limiter = match self.limiter.lock() {
                Ok(limiter) => limiter,
                Err(poisoned) => poisoned.into_inner(),
            };
            limiter.admit(line.kind.finish(), Instant::now())
        } else {
            Some(1)
        };
        match total {
            None => return,
            Some(1) => line.text.push('\n'),
            Some(total) => {
                line.push("repeated", &total.to_string());
                line.text.push('\n');
            }
        }
        let bytes = line.text.as_bytes();
        // Nobody to tell when the stream is gone.
        let _ = match record.level() {
            Level::Error | Level::Warn => std::io::stderr().write_all(bytes),
            // Flushed by the end of the line.
            _ => std::io::stdout().write_all(bytes),
        };
    }

    fn flush(&self) {}
}

/// A line under construction.
struct Line {
    text: String,
    kind: DefaultHasher,
}

impl Line {
    fn new(level: Level) -> Self {
        let mut line = Self {
            text: String::new(),
            kind: DefaultHasher::new(),
        };
        line.push("level", &level.as_str().to_ascii_lowercase());
        line
    }

    /// Adds ` key=value`; values with spaces, quotes or control characters are quoted and
    /// escaped, so that a peer's words cannot forge a line.
    fn push(&mut self, key: &str, value: &str) {
        if IDENTITY.contains(&key) {
            value.hash(&mut self.kind);
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let plain = !value.is_empty()
            && value
                .chars()
                .all(|c| c.is_ascii_graphic() && c != '"' && c != '=' && c != '\\');
        // Writing to a String cannot fail.
        let _ = if plain {
            write!(self.text, "{key}={value}")
        } else {
            write!(self.text, "{key}={value:?}")
        };
    }
}

impl<'kvs> VisitSource<'kvs> for Line {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.push(key.as_str(), &value.to_string());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_forge_fields_or_lines() {
        let mut line = Line::new(Level::Warn);
        line.push("event", "flow.fail");
        line.push("reason", "no such\nlevel=error");
        line.push("addr", "[2001:db8::1]:443");
        assert_eq!(
            line.text,
            "level=warn event=flow.fail reason=\"no such\\nlevel=error\" addr=[2001:db8::1]:443"
        );
    }

    #[test]
    fn lines_are_of_a_kind_when_event_and_object_agree() {
        let kind = |client: &str, node: &str| {
            let mut line = Line::new(Level::Warn);
            line.push("event", "flow.fail");
            line.push("client", client);
            line.push("node", node);
            line.kind.finish()
        };
        assert_eq!(kind("a", "jp"), kind("b", "jp"));
        let turn = |state: &str| {
            let mut line = Line::new(Level::Warn);
            line.push("event", "dns.upstream");
            line.push("upstream", "main");
            line.push("state", state);
            line.kind.finish()
        };
        assert_ne!(turn("down"), turn("up"), "back again is news");
        assert_eq!(turn("down"), turn("down"));
        assert_ne!(kind("a", "jp"), kind("a", "us"));
    }
}
