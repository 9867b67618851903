//! Whether one network works at all, without any node. Pure.

use std::time::{Duration, Instant};

/// First and last pause between two questions while nothing works; doubled in between.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// One network, as seen without nodes.
#[derive(Debug, Clone, Default)]
pub(super) struct Air {
    /// When something came back last: through any node, or without one.
    heard: Option<Instant>,
    /// When it was last down no more.
    back: Option<Instant>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Nobody asks.
    #[default]
    Calm,
    /// Nodes are suspect, and it is being found out whether anything works.
    Asking(Question),
    /// Nothing works.
    Down(Question),
}

/// A check that goes through no node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    /// When to ask; None while it is under way.
    due: Option<Instant>,
    pause: Duration,
}

impl Air {
    /// Something came back.
    pub(super) fn hears(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// Whether something came back at `since` or later.
    pub(super) fn heard_since(&self, since: Instant) -> bool {
        self.heard.is_some_and(|heard| heard >= since)
    }

    /// Nodes are suspect: asks at once, unless it does so already.
    pub(super) fn ask(&mut self, now: Instant) {
        if self.state == State::Calm {
            self.state = State::Asking(Question {
                due: Some(now),
                pause: PAUSES.0,
            });
        }
    }

    /// When the question is to be asked.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Calm => None,
            State::Asking(question) | State::Down(question) => question.due,
        }
    }

    /// The question is under way.
    pub(super) fn begin(&mut self) {
        if let State::Asking(question) | State::Down(question) = &mut self.state {
            question.due = None;
        }
    }

    /// The question has no answer: it is asked again after a pause.
    pub(super) fn again(&mut self, now: Instant) {
        if let State::Asking(question) | State::Down(question) = &mut self.state {
            question.due = Some(now + question.pause);
            question.pause = (question.pause * 2).min(PAUSES.1);
        }
    }

    /// Nothing came back, from anybody.
    pub(super) fn falls(&mut self) {
        if let State::Asking(question) = self.state {
            self.state = State::Down(question);
        }
    }

    /// The links have changed: what was asked before says nothing. Whether a network that was
    /// down works now is asked at once, as soon as that is possible.
    pub(super) fn links(&mut self, now: Instant) {
        self.state = match self.state {
            State::Calm | State::Asking(_) => State::Calm,
            State::Down(_) => State::Down(Question {
                due: Some(now),
                pause: PAUSES.0,
            }),
        };
    }

    /// Nobody needs to know any more. True when nothing worked until now.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let was_down = matches!(std::mem::take(&mut self.state), State::Down(_));
        if was_down {
            self.back = Some(now);
        }
        was_down
    }

    /// Whether what began then did not fall into a time when nothing worked.
    pub(super) fn is_past_outage(&self, began: Instant) -> bool {
        self.back.is_none_or(|back| began >= back)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.state == State::Calm
    }

    /// Whether nothing works, so that nothing that fails says anything.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.state, State::Down(_))
    }
}
