//! `*` A change of settings while everything runs: by SIGHUP, or `reload` on the control socket.
//!
//! It happens in one go, between two events of the one thread: two of them cannot mix, and no
//! query sees half of it.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use serde_json::{Value, json};

use super::load;
use super::plumbing::Plumbing;
use crate::config::Change;
use crate::control::log as log_lines;
use crate::dns;

/// Reads the configuration again and applies what can change. What came of it is remembered.
pub struct Reloader {
    file: PathBuf,
    plumbing: Rc<Plumbing>,
    dns: Option<Rc<dns::Server>>,
    past: RefCell<Past>,
}

#[derive(Default)]
struct Past {
    succeeded: u64,
    failed: u64,
    last: Option<Last>,
}

struct Last {
    at: Instant,
    outcome: Outcome,
}

/// What came of a reload.
enum Outcome {
    /// It is in force, but for these.
    Done { restart: Vec<&'static str> },
    /// Nothing has changed: the file has these problems.
    Refused { problems: Vec<String> },
}

impl Reloader {
    /// For the file that the daemon was started with.
    pub fn new(file: PathBuf, plumbing: Rc<Plumbing>, dns: Option<Rc<dns::Server>>) -> Self {
        Self {
            file,
            plumbing,
            dns,
            past: RefCell::default(),
        }
    }

    /// Reloads, and says what came of it: `{"ok": true, "restart": ["rule"]}`, or `{"ok": false,
    /// "problems": ["FILE:3: ..."]}` and nothing has changed.
    pub fn reload(&self) -> Value {
        let outcome = self.apply();
        let mut past = self.past.borrow_mut();
        match &outcome {
            Outcome::Done { .. } => past.succeeded += 1,
            Outcome::Refused { .. } => past.failed += 1,
        }
        // A field that differs each time: whoever changes a file wants to read of every try.
        tell(&outcome, past.succeeded + past.failed);
        let answer = outcome.answer();
        past.last = Some(Last {
            at: Instant::now(),
            outcome,
        });
        answer
    }

    fn apply(&self) -> Outcome {
        let running = self.plumbing.config();
        let wanted = match load::again(&self.file, &running) {
            Ok(wanted) => wanted,
            Err(problems) => return Outcome::Refused { problems },
        };
        let Change { config, restart } = running.change_to(&wanted);
        if let Some(dns) = &self.dns
            && let Err(error) = dns.reconfigure(&running, &config)
        {
            let problems = vec![error.to_string()];
            return Outcome::Refused { problems };
        }
        log_lines::init(config.main.log_level);
        self.plumbing.set_config(config);
        Outcome::Done { restart }
    }

    /// For the status: `{"succeeded": 2, "failed": 1, "last": {"ago_s": 5, "ok": false, "reason":
    /// "FILE:3: ...", "restart": []}}`, `last` null before the first.
    pub fn status(&self) -> Value {
        let past = self.past.borrow();
        let last = past.last.as_ref().map(|last| {
            let (reason, restart) = match &last.outcome {
                Outcome::Done { restart } => (None, restart.as_slice()),
                Outcome::Refused { problems } => (Some(summary(problems)), [].as_slice()),
            };
            json!({
                "ago_s": last.at.elapsed().as_secs(),
                "ok": reason.is_none(),
                "reason": reason,
                "restart": restart,
            })
        });
        json!({ "succeeded": past.succeeded, "failed": past.failed, "last": last })
    }
}

impl Outcome {
    fn answer(&self) -> Value {
        match self {
            Self::Done { restart } => json!({ "ok": true, "restart": restart }),
            Self::Refused { problems } => json!({ "ok": false, "problems": problems }),
        }
    }
}

fn tell(outcome: &Outcome, number: u64) {
    match outcome {
        Outcome::Done { restart } if restart.is_empty() => {
            log::info!(event = "reload", number, ok = true; "");
        }
        Outcome::Done { restart } => {
            let restart = restart.join(",");
            log::warn!(
                event = "reload", number, ok = true, restart = restart.as_str();
                "these take effect with /etc/init.d/dae restart"
            );
        }
        Outcome::Refused { problems } => {
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

/// The first problem, and how many more there are.
fn summary(problems: &[String]) -> String {
    let first = problems.first().map_or("", String::as_str);
    match problems.len() {
        0 | 1 => first.to_owned(),
        many => format!("{first} (and {} more)", many - 1),
    }
}
