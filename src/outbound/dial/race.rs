//! The dials of one flow: who begins when, who wins, who is to blame. I/O: it looks at the clock.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::future;

use super::super::blame::Blame;
use super::super::health::Fault;
use super::super::network::Network;
use super::super::socks5::wire::Command;
use super::super::ways::{Way, WayId, Ways};
use super::super::{DIAL_LIMIT, DialError};
use crate::net::reactor::Timer;

/// A node that has said nothing for so long is not waited for alone.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// Nodes that one flow dials at a time.
const BESIDE: usize = 3;

/// A dial under way.
pub(super) type Opening<T> = Pin<Box<dyn Future<Output = Result<T, DialError>>>>;

/// A node being dialled.
struct Attempt<T> {
    way: Rc<Way>,
    began: Instant,
    answered: Rc<Cell<bool>>,
    opening: Opening<T>,
}

/// One that is through.
pub(super) struct Up<T> {
    pub(super) way: Rc<Way>,
    pub(super) io: T,
    pub(super) took: Duration,
}

/// The dials of one flow.
pub(super) struct Race<'a, T> {
    ways: &'a Rc<Ways>,
    network: Network,
    /// Of the destination.
    far: IpAddr,
    command: Command,
    open: &'a dyn Fn(Rc<Way>, Rc<Cell<bool>>) -> Opening<T>,
    attempts: Vec<Attempt<T>>,
}

/// What happens in a race.
enum Event<T> {
    /// The attempt at this place is through, or has failed.
    Ended(usize, Result<T, DialError>),
    /// The youngest attempt was given its time.
    Late,
    /// All were given theirs.
    Over,
}

impl<'a, T> Race<'a, T> {
    /// Nobody is dialled yet.
    pub(super) fn new(
        ways: &'a Rc<Ways>,
        (network, far): (Network, IpAddr),
        command: Command,
        open: &'a dyn Fn(Rc<Way>, Rc<Cell<bool>>) -> Opening<T>,
    ) -> Self {
        Self {
            ways,
            network,
            far,
            command,
            open,
            attempts: Vec::new(),
        }
    }

    /// Dials what `asked` leads to until one is through.
    pub(super) async fn run(mut self, asked: WayId) -> Result<Up<T>, DialError> {
        let mut waiting = self.ways.candidates(asked, self.network).into_iter();
        let first = waiting.next().ok_or(DialError::Gone)?;
        let begin = Instant::now();
        self.begin(first, begin);
        loop {
            let late = self.late(waiting.len());
            let begins_next = match self.event(late, begin + DIAL_LIMIT).await {
                Event::Ended(at, outcome) => {
                    let now = Instant::now();
                    let attempt = self.attempts.swap_remove(at);
                    match outcome {
                        Ok(io) => return Ok(self.won(attempt, io, now)),
                        Err(error) if !self.failed(&attempt, &error, now) => return Err(error),
                        Err(error) if self.attempts.is_empty() && waiting.len() == 0 => {
                            return Err(error);
                        }
                        Err(_) => true,
                    }
                }
                Event::Late => true,
                Event::Over => {
                    self.blame_silent(Instant::now());
                    return Err(DialError::Timeout);
                }
            };
            if begins_next && let Some(way) = waiting.next() {
                self.begin(way, Instant::now());
            }
        }
    }

    fn begin(&mut self, way: Rc<Way>, now: Instant) {
        let answered = Rc::new(Cell::new(false));
        let opening = (self.open)(Rc::clone(&way), Rc::clone(&answered));
        self.attempts.push(Attempt {
            way,
            began: now,
            answered,
            opening,
        });
    }

    /// When the next one is to begin although none has failed; None: not at all.
    fn late(&self, waiting: usize) -> Option<Instant> {
        let can = waiting > 0 && self.attempts.len() < BESIDE;
        let began = self.attempts.iter().map(|attempt| attempt.began).max();
        began.filter(|_| can).map(|began| began + PATIENCE)
    }

    /// What happens next. An attempt whose node has answered is waited for.
    async fn event(&mut self, late: Option<Instant>, over: Instant) -> Event<T> {
        let attempts = &mut self.attempts;
        let answers: Vec<_> = attempts
            .iter()
            .map(|attempt| Rc::clone(&attempt.answered))
            .collect();
        let ended = poll_fn(|context| poll(attempts, context));
        let late = async {
            match late {
                Some(at) => drop(Timer::at(at).await),
                None => future::pending().await,
            }
            if answers.iter().any(|answered| answered.get()) {
                future::pending::<()>().await;
            }
            Event::Late
        };
        let over = async {
            Timer::at(over).await;
            Event::Over
        };
        future::or(ended, future::or(late, over)).await
    }

    fn won(&self, attempt: Attempt<T>, io: T, now: Instant) -> Up<T> {
        self.blame_silent(now);
        Up {
            way: attempt.way,
            io,
            took: now.saturating_duration_since(attempt.began),
        }
    }

    /// Tells health; whether another node is to be tried.
    fn failed(&self, attempt: &Attempt<T>, error: &DialError, now: Instant) -> bool {
        let blame = error.blame(self.command, attempt.answered.get());
        let took = now.saturating_duration_since(attempt.began);
        match blame {
            // Somebody outside said so.
            _ if attempt.way.is_direct() && is_refused(error) => {
                self.ways.heard(self.network, self.far, now);
            }
            Blame::Destination => {
                let far = (self.network, self.far);
                self.ways.dial_ok(&attempt.way, far, took, now);
            }
            Blame::Nobody => {}
            Blame::Fault(fault) => self
                .ways
                .dial_failed(&attempt.way, self.network, fault, now),
        }
        blame.goes_on()
    }

    /// Those that had their time and said nothing have failed, though nobody waits for them any
    /// more: otherwise each new flow would give them that time again.
    fn blame_silent(&self, now: Instant) {
        for attempt in &self.attempts {
            let waited = now.saturating_duration_since(attempt.began);
            if !attempt.answered.get() && waited >= PATIENCE {
                self.ways
                    .dial_failed(&attempt.way, self.network, Fault::Remote, now);
            }
        }
    }
}

fn is_refused(error: &DialError) -> bool {
    matches!(error, DialError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The first attempt that has ended.
fn poll<T>(attempts: &mut [Attempt<T>], context: &mut Context<'_>) -> Poll<Event<T>> {
    for (at, attempt) in attempts.iter_mut().enumerate() {
        if let Poll::Ready(outcome) = attempt.opening.as_mut().poll(context) {
            return Poll::Ready(Event::Ended(at, outcome));
        }
    }
    Poll::Pending
}
