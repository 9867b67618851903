//! What came of a change of settings, in the words of the log, the status and the control socket.
//! Pure but for the log.

use std::time::Duration;

use serde_json::{Value, json};

/// What came of a change of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force, but for these.
    Done {
        /// `section.option`.
        restart: Vec<&'static str>,
        /// What the kernel refused; it is tried again when devices or settings change.
        amiss: Vec<String>,
        /// All of it.
        took: Duration,
        /// The part in which nothing else was done.
        paused: Duration,
    },
    /// Nothing has changed, for these reasons.
    Refused {
        /// As `dae check` prints them.
        problems: Vec<String>,
    },
}

impl Outcome {
    /// `{"ok": true, "restart": ["dns.listen"], "amiss": ["..."]}`, or `{"ok": false,
    /// "problems": [...]}`.
    pub fn answer(&self) -> Value {
        match self {
            Self::Done { restart, amiss, .. } => {
                json!({ "ok": true, "restart": restart, "amiss": amiss })
            }
            Self::Refused { problems } => refused(problems),
        }
    }

    /// For the status; `ago` is the time since then.
    pub fn document(&self, ago: Duration) -> Value {
        let (mut reason, mut restart, mut times) = (None, [].as_slice(), None);
        let mut refused = [].as_slice();
        match self {
            Self::Done {
                restart: named,
                amiss,
                took,
                paused,
            } => {
                restart = named.as_slice();
                refused = amiss.as_slice();
                times = Some((millis(*took), millis(*paused)));
            }
            Self::Refused { problems } => reason = Some(summary(problems)),
        }
        json!({
            "ago_s": ago.as_secs(),
            "ok": reason.is_none(),
            "reason": reason,
            "restart": restart,
            "amiss": refused,
            "took_ms": times.map(|times| times.0),
            "paused_ms": times.map(|times| times.1),
        })
    }

    /// Writes it to the log; `number` differs each time.
    pub fn tell(&self, number: u64) {
        match self {
            Self::Done {
                restart,
                amiss,
                took,
                paused,
            } => {
                for error in amiss {
                    log::error!(event = "kernel.refused", number, reason = error.as_str(); "");
                }
                let (took_ms, paused_ms) = (millis(*took), millis(*paused));
                if restart.is_empty() {
                    log::info!(event = "reload", number, ok = true, took_ms, paused_ms; "");
                    return;
                }
                let restart = restart.join(",");
                log::warn!(
                    event = "reload", number, ok = true, took_ms, paused_ms,
                    restart = restart.as_str();
                    "these take effect with /etc/init.d/dae restart"
                );
            }
            Self::Refused { problems } => {
                for problem in problems {
                    log::error!(event = "config.problem", number, place = problem.as_str(); "");
                }
                let reason = summary(problems);
                log::error!(
                    event = "reload", number, ok = false, reason = reason.as_str();
                    "nothing was changed"
                );
            }
        }
    }
}

/// The answer to an order that was not carried out.
pub fn refused(problems: &[String]) -> Value {
    json!({ "ok": false, "problems": problems })
}

/// In milliseconds, to a tenth.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// The first problem, and how many more there are.
fn summary(problems: &[String]) -> String {
    let first = problems.first().map_or("", String::as_str);
    match problems.len() {
        0 | 1 => first.to_owned(),
        many => format!("{first} (and {} more)", many - 1),
    }
}
