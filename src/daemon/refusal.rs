//! When a datapath is tried again that the kernel has refused. Pure.

use std::time::{Duration, Instant};

/// The first pause.
const FIRST: Duration = Duration::from_secs(5);

/// Pauses double up to this one.
const LONGEST: Duration = Duration::from_secs(300);

/// An event brings the next try nearer, but not nearer to the last than the pause or this: a try
/// takes seconds of a small router, and there may be events all the time.
const AFTER_EVENT: Duration = Duration::from_secs(30);

/// The kernel has refused the datapath. It is tried again, less and less often.
#[derive(Debug)]
pub struct Refusal {
    reason: String,
    /// Between the last try and the next.
    pause: Duration,
    /// The last try.
    tried: Instant,
    next: Instant,
}

impl Refusal {
    /// The first of a row.
    pub fn new(reason: String, now: Instant) -> Self {
        Self {
            reason,
            pause: FIRST,
            tried: now,
            next: now + FIRST,
        }
    }

    /// It was refused again; whether for another reason.
    pub fn again(&mut self, reason: String, now: Instant) -> bool {
        self.pause = (self.pause * 2).min(LONGEST);
        self.tried = now;
        self.next = now + self.pause;
        let is_other = self.reason != reason;
        self.reason = reason;
        is_other
    }

    /// In the kernel's words.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Other settings may have cured it.
    pub fn on_settings(&mut self, now: Instant) {
        self.pause = FIRST;
        self.next = self.next.min(now + FIRST);
    }

    /// Devices or addresses have changed, on which it may have hung.
    pub fn on_event(&mut self, now: Instant) {
        let soon = self.tried + self.pause.min(AFTER_EVENT);
        self.next = self.next.min(soon.max(now + FIRST));
    }

    /// Whether it is time to try.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Seconds from `now` until it is due.
    fn wait(refusal: &Refusal, now: Instant) -> u32 {
        (0..).find(|it| refusal.is_due(now + SECOND * *it)).unwrap()
    }

    #[test]
    fn tries_become_rare_and_another_reason_is_told() {
        let now = Instant::now();
        let mut refusal = Refusal::new("one".into(), now);
        let mut waits = vec![wait(&refusal, now)];
        for _ in 0..7 {
            assert!(!refusal.again("one".into(), now));
            waits.push(wait(&refusal, now));
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert!(refusal.again("other".into(), now));
        assert_eq!((refusal.reason(), wait(&refusal, now)), ("other", 300));
    }

    #[test]
    fn events_hurry_it_and_do_not_drive_it() {
        let now = Instant::now();
        let mut refusal = Refusal::new("one".into(), now);
        refusal.on_event(now);
        assert_eq!(wait(&refusal, now), 5, "it was about to come");
        for _ in 0..6 {
            refusal.again("one".into(), now);
        }
        // Events every second: a try every 30 s.
        for second in 0..20 {
            refusal.on_event(now + SECOND * second);
        }
        assert_eq!(wait(&refusal, now), 30);
        let later = now + SECOND * 29;
        refusal.again("one".into(), now - SECOND * 60);
        refusal.on_event(later);
        assert_eq!(wait(&refusal, later), 5);
        refusal.again("one".into(), later);
        refusal.on_settings(later);
        assert_eq!(wait(&refusal, later), 5);
        refusal.again("one".into(), later);
        assert_eq!(wait(&refusal, later), 10, "it begins anew");
    }
}
