//! One node in one network: what is known of it, and when it is looked at next. Pure.

use std::time::{Duration, Instant};

use super::super::dice::{Dice, below};
use super::super::standing::{Life, Measured, Standing};

/// Real connections that fail one after the other until something is wrong.
const FAILURES: u32 = 2;

/// The first pause after a failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// No node is checked again sooner than this after the last check began, whatever happens.
const BREATH: Duration = Duration::from_secs(1);

/// The first checks of all nodes are spread over this time.
const START: Duration = Duration::from_secs(1);

/// Health of a node in one network.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Whether checks are possible at all.
    pub(super) checked: bool,
    interval: Duration,
    life: Life,
    /// Since when it is what [`Item::standing`] says; None: since the start.
    since: Option<Instant>,
    measured: Measured,
    /// Real connections that failed one after the other.
    failures: u32,
    /// When the first of what failed one after the other can have begun to fail.
    pub(super) failing_since: Option<Instant>,
    /// Pause after the last failure.
    pause: Option<Duration>,
    /// When it is to be checked; or, of one that cannot be checked and is dead, when that is
    /// forgotten. None while a check is under way.
    pub(super) due: Option<Instant>,
    /// Start of the last check.
    last_check: Option<Instant>,
    /// When it was last seen to work.
    worked: Option<Instant>,
    /// Whether the last that was told is that it is dead.
    told_dead: bool,
}

impl Item {
    /// Nothing known; to be checked very soon.
    pub(super) fn new(checked: bool, interval: Duration, now: Instant, dice: &mut Dice) -> Self {
        let due = checked.then(|| now + part(START, dice));
        Self {
            checked,
            interval,
            life: Life::Unknown,
            since: None,
            measured: Measured::default(),
            failures: 0,
            failing_since: None,
            pause: None,
            due,
            last_check: None,
            worked: None,
            told_dead: false,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            life: self.seen(),
            times: self.measured.times(),
        }
    }

    /// Since when it is what [`Item::standing`] says; None: since the start.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// As others see it.
    fn seen(&self) -> Life {
        match self.is_suspect() {
            true => Life::Suspect,
            false => self.life,
        }
    }

    /// Notes the time of a change.
    fn mark(&mut self, before: Life, now: Instant) {
        if self.seen() != before {
            self.since = Some(now);
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.life == Life::Dead
    }

    pub(super) fn is_alive(&self) -> bool {
        self.life == Life::Alive && !self.is_suspect()
    }

    /// It has failed often enough, and the verdict is open.
    pub(super) fn is_suspect(&self) -> bool {
        self.failures >= FAILURES && self.life != Life::Dead
    }

    /// A check begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.due = None;
        self.last_check = Some(now);
    }

    /// It works. True when others were told that it does not.
    pub(super) fn works(&mut self, now: Instant, dice: &mut Dice) -> bool {
        let was_bad = self.life == Life::Dead || self.pause.is_some();
        let before = self.seen();
        self.life = Life::Alive;
        self.worked = Some(now);
        self.failures = 0;
        self.mark(before, now);
        self.failing_since = None;
        self.pause = None;
        match self.checked {
            true if was_bad && self.due.is_some() => self.schedule(now, dice),
            true => {}
            false => self.due = None,
        }
        std::mem::take(&mut self.told_dead)
    }

    /// Counts a time. Those of real connections count only where nothing else tells: how far
    /// their destinations are is not the node's doing.
    pub(super) fn measure(&mut self, time: Duration, by_check: bool) {
        if by_check || !self.checked {
            self.measured.add(time);
        }
    }

    /// A real connection failed. True when it is suspect from now on.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        if self.is_dead() || self.is_suspect() {
            return false;
        }
        let before = self.seen();
        self.failures += 1;
        self.mark(before, now);
        self.failing_since.get_or_insert(now);
        // A check knows soon.
        if self.checked {
            self.look_now(now);
        }
        self.is_suspect()
    }

    /// A check that began at `since` failed. True when it is suspect from now on. It says less
    /// than a real connection that was carried in the meantime.
    pub(super) fn check_failed(&mut self, since: Instant, now: Instant) -> bool {
        let works = self.worked.is_some_and(|worked| worked >= since);
        if works || self.is_dead() || self.is_suspect() {
            return false;
        }
        let before = self.seen();
        self.failures = FAILURES;
        self.mark(before, now);
        self.failing_since = Some(self.failing_since.map_or(since, |before| before.min(since)));
        true
    }

    /// It is at fault. True when others have to be told.
    pub(super) fn dies(&mut self, now: Instant, dice: &mut Dice) -> bool {
        let before = self.seen();
        self.life = Life::Dead;
        self.failures = 0;
        self.mark(before, now);
        self.failing_since = None;
        match self.checked {
            true if self.due.is_some() => {
                self.pause = None;
                self.back_off(now, dice);
            }
            // The check under way has an end of its own.
            true => {}
            // It is forgotten after the pause.
            false => self.back_off(now, dice),
        }
        !std::mem::replace(&mut self.told_dead, true)
    }

    /// Nothing that failed of late was its fault.
    pub(super) fn acquit(&mut self, now: Instant) {
        if !self.is_dead() {
            let before = self.seen();
            self.failures = 0;
            self.mark(before, now);
            self.failing_since = None;
        }
    }

    /// The time for which an unchecked one is dead is over: real connections may try.
    pub(super) fn forget(&mut self, now: Instant) {
        let before = self.seen();
        self.life = Life::Unknown;
        self.due = None;
        self.mark(before, now);
    }

    /// The next regular check.
    pub(super) fn schedule(&mut self, now: Instant, dice: &mut Dice) {
        if self.checked {
            self.due = Some(now + jittered(self.interval, dice));
        }
    }

    /// The next check after a failure: the pause doubles up to two thirds of the interval. With
    /// an interval below 15 s that is less than the first pause, and each pause is that long.
    pub(super) fn back_off(&mut self, now: Instant, dice: &mut Dice) {
        let most = self.interval * 2 / 3;
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| pause * 2).min(most);
        self.pause = Some(pause);
        self.due = Some(now + jittered(pause, dice));
    }

    /// Everything may have changed: it is checked at once, and what cannot be checked is tried.
    pub(super) fn look_now(&mut self, now: Instant) {
        match (self.checked, self.due) {
            (true, Some(due)) => {
                let soon = self.last_check.map_or(now, |last| now.max(last + BREATH));
                self.due = Some(due.min(soon));
            }
            (false, Some(_)) => self.forget(now),
            (_, None) => {}
        }
    }

    /// Goes on under new settings with what is known. `same` says that checks ask the same.
    pub(super) fn inherit(
        &self,
        checked: bool,
        interval: Duration,
        same: bool,
        now: Instant,
    ) -> Self {
        let mut item = self.clone();
        item.checked = checked;
        item.interval = interval;
        item.due = match (checked, self.due) {
            (true, Some(due)) if same => Some(due.min(now + interval)),
            (true, None) if same => None,
            (true, _) => Some(now),
            (false, due) if !self.checked => due,
            // What was dead by a check is forgotten like any other.
            (false, _) => self.is_dead().then(|| now + FIRST_PAUSE),
        };
        item
    }
}

/// A little less than `time`, so that nodes do not march in step.
fn jittered(time: Duration, dice: &mut Dice) -> Duration {
    time - part(time / 8, dice)
}

/// Between nothing and `time`, which is at most an hour.
fn part(time: Duration, dice: &mut Dice) -> Duration {
    // An hour has 3.6 billion microseconds, which fit.
    Duration::from_micros(below(dice.roll(), time.as_micros() as u64 + 1))
}
