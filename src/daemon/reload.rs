//! `*` Changes while everything runs: other settings by SIGHUP or `reload` on the control socket,
//! and a pause by `suspend` and `resume`.
//!
//! One task carries them out, one after the other. A configuration is made ready by another
//! thread; it is put in force in one go, between two events of ours, so that no query and no
//! connection sees half of it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::beside::beside;
use super::change::{self, Ready, Running};
use super::outcome::{Outcome, refused};
use super::parts::Parts;
use super::plumbing::Plumbing;
use crate::control::log as log_lines;
use crate::error::{Error, IoContext as _};
use crate::net::notify::Notify;
use crate::outbound::ways::Ways;
use crate::{dns, flow};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Read the configuration again.
    Reload {
        /// End flows by way of outbounds that are gone at once.
        abort: bool,
    },
    /// Take the program off all devices; the process goes on.
    Suspend,
    /// Put it back.
    Resume,
    /// Try again what the kernel has refused, if it is still time when its turn comes.
    Retry,
}

/// Carries orders out. What came of the last reload is remembered.
pub struct Reloader {
    file: PathBuf,
    plumbing: Rc<Plumbing>,
    flow: Option<Rc<flow::Proxy>>,
    dns: Option<Rc<dns::Server>>,
    ways: Rc<Ways>,
    past: RefCell<Past>,
    /// At most one per client of the control socket, one hangup and one retry.
    waiting: RefCell<VecDeque<Job>>,
    came: Notify,
}

struct Job {
    order: Order,
    /// None: nobody waits for the answer.
    answer: Option<Rc<Answer>>,
}

#[derive(Default)]
struct Answer {
    value: RefCell<Option<Value>>,
    there: Notify,
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

impl Reloader {
    /// For the file that the daemon was started with.
    pub fn new(file: PathBuf, plumbing: Rc<Plumbing>, parts: &Parts) -> Self {
        Self {
            file,
            plumbing,
            flow: parts.flow.clone(),
            dns: parts.dns.clone(),
            ways: parts.ways.clone(),
            past: RefCell::default(),
            waiting: RefCell::default(),
            came: Notify::default(),
        }
    }

    /// Reloads when its turn comes.
    pub fn hang_up(&self) {
        self.note(Order::Reload { abort: false });
    }

    /// Tries again what the kernel has refused, if it is time.
    pub fn retry(&self) {
        if self.plumbing.is_due() {
            self.note(Order::Retry);
        }
    }

    /// Nobody waits for what comes of it; several of a kind that wait are one.
    fn note(&self, order: Order) {
        let mut waiting = self.waiting.borrow_mut();
        let waits = |job: &Job| job.order == order && job.answer.is_none();
        if !waiting.iter().any(waits) {
            let answer = None;
            waiting.push_back(Job { order, answer });
            self.came.notify();
        }
    }

    /// Waits for its turn, and says what came of it: `{"ok": true, "restart": ["dns.listen"]}`,
    /// or `{"ok": false, "problems": ["FILE:3: ..."]}` and nothing has changed.
    pub async fn ask(&self, order: Order) -> Value {
        let answer = Rc::<Answer>::default();
        let job = Job {
            order,
            answer: Some(answer.clone()),
        };
        self.waiting.borrow_mut().push_back(job);
        self.came.notify();
        answer.there.wait().await;
        answer.value.take().unwrap_or_default()
    }

    /// Carries orders out, for ever.
    pub async fn run(&self) {
        loop {
            let job = self.waiting.borrow_mut().pop_front();
            let Some(Job { order, answer }) = job else {
                self.came.wait().await;
                continue;
            };
            let value = match order {
                Order::Reload { abort } => self.reload(abort).await,
                Order::Suspend => self.suspend(),
                Order::Resume => self.resume().await,
                Order::Retry => {
                    self.retry_now().await;
                    continue;
                }
            };
            if let Some(answer) = answer {
                answer.value.replace(Some(value));
                answer.there.notify();
            }
        }
    }

    async fn reload(&self, abort: bool) -> Value {
        let outcome = self.apply(abort).await;
        let mut past = self.past.borrow_mut();
        match &outcome {
            Outcome::Done { .. } => past.succeeded += 1,
            Outcome::Refused { .. } => past.failed += 1,
        }
        // A field that differs each time: whoever changes a file wants to read of every try.
        outcome.tell(past.succeeded + past.failed);
        let answer = outcome.answer();
        past.last = Some(Last {
            at: Instant::now(),
            outcome,
        });
        answer
    }

    async fn apply(&self, abort: bool) -> Outcome {
        let begin = Instant::now();
        let running = Running {
            file: self.file.clone(),
            config: self.plumbing.config(),
            base: self.plumbing.base(),
            datapath: self.plumbing.datapath_config(),
            programs: self.plumbing.programs(),
        };
        let ready = match beside("reload", || change::prepare(running)).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(problems)) => return Outcome::Refused { problems },
            Err(error) => {
                let problems = vec![format!("prepare the configuration: {error}")];
                return Outcome::Refused { problems };
            }
        };
        let pause = Instant::now();
        let (restart, amiss) = match self.put_in_force(ready, abort) {
            Ok(done) => done,
            Err(error) => {
                let problems = vec![error.to_string()];
                return Outcome::Refused { problems };
            }
        };
        let paused = pause.elapsed();
        let mut amiss: Vec<_> = amiss.iter().map(ToString::to_string).collect();
        // Whoever reloads wants to know whether that has cured it.
        if self.plumbing.failure().is_some() {
            match self.take_up().await {
                Ok(()) => {
                    let refused = self.plumbing.refusals();
                    amiss.retain(|told| !refused.contains(told));
                    amiss.extend(refused);
                }
                Err(error) => {
                    let reason = error.to_string();
                    amiss.retain(|told| *told != reason);
                    amiss.push(self.plumbing.explain(&error));
                }
            }
        }
        Outcome::Done {
            restart,
            amiss,
            took: begin.elapsed(),
            paused,
        }
    }

    /// What waits for a restart, and what is amiss. What can fail comes first.
    fn put_in_force(
        &self,
        ready: Ready,
        abort: bool,
    ) -> crate::Result<(Vec<&'static str>, Vec<Error>)> {
        let Ready {
            config,
            restart,
            datapath,
            rules,
        } = ready;
        let before = self.plumbing.config();
        let prepared = self.dns.as_ref().map(|_| dns::Prepared::new(&config));
        let prepared = prepared.transpose()?;
        let amiss = self.plumbing.set_config(config, datapath, rules)?;
        let config = self.plumbing.config();
        let gone = self.ways.reconfigure(&config, Instant::now());
        if let (Some(dns), Some(prepared)) = (&self.dns, prepared) {
            dns.reconfigure(&before, &config, prepared);
        }
        if let Some(flow) = &self.flow {
            flow.reconfigure(&config);
            let gone: Vec<_> = gone.iter().map(|way| way.id).collect();
            if abort {
                flow.cut(&gone);
            } else {
                flow.drain(&gone, Duration::from_secs(config.main.drain.into()));
            }
        }
        log_lines::init(config.main.log_level);
        Ok((restart, amiss))
    }

    fn suspend(&self) -> Value {
        let was = self.plumbing.is_suspended();
        if was.is_none() {
            return refused(&["there are no interfaces to let go of".to_owned()]);
        }
        let undone = self.plumbing.suspend();
        if let Some(flow) = &self.flow {
            // Their packets do not come to us any more.
            flow.cut_all();
        }
        if was == Some(false) {
            log::info!(event = "suspend"; "the LAN is as without dae until dae resume");
        }
        match undone {
            Ok(()) => json!({ "ok": true }),
            Err(error) => refused(&[error.to_string()]),
        }
    }

    async fn resume(&self) -> Value {
        let was = self.plumbing.is_suspended();
        if was.is_none() {
            return refused(&["there are no interfaces to go on with".to_owned()]);
        }
        match self.take_up().await {
            Ok(()) => {
                if was == Some(true) {
                    log::info!(event = "resume"; "");
                }
                json!({ "ok": true, "amiss": self.plumbing.refusals() })
            }
            Err(error) => refused(&[self.plumbing.explain(&error)]),
        }
    }

    async fn retry_now(&self) {
        // An order may have come before that has cured it, or has ended the wish for it.
        if self.plumbing.is_due() {
            // What came of it is told by then.
            let _ = self.take_up().await;
        }
    }

    /// Goes on after a pause, or after the kernel has refused. An error is told in the log; it is
    /// tried again from now on.
    async fn take_up(&self) -> crate::Result<()> {
        let Some(paused) = self.plumbing.paused() else {
            return Ok(());
        };
        let awake = beside("resume", || change::wake(paused)).await;
        let awake = awake.context(|| "load beside").flatten();
        self.plumbing.resume(awake)
    }

    /// For the status: `{"succeeded": 2, "failed": 1, "last": {"ago_s": 5, "ok": false, "reason":
    /// "FILE:3: ...", "restart": [], "took_ms": null, "paused_ms": null}}`, `last` null before
    /// the first.
    pub fn status(&self) -> Value {
        let past = self.past.borrow();
        let last = past.last.as_ref();
        let last = last.map(|last| last.outcome.document(last.at.elapsed()));
        json!({ "succeeded": past.succeeded, "failed": past.failed, "last": last })
    }
}
