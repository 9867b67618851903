//! What queries have taught about one upstream: whether it answers, how fast, and whether UDP
//! works. Pure.
//!
//! Nothing is sent for its own sake: real queries teach, and a real query is asked a second
//! time in the background where something has to be found out again.

use std::time::{Duration, Instant};

use super::course::Pace;

/// Attempts without an answer, one after the other, after which an upstream is down.
const DOWN_AFTER: u32 = 3;

/// Datagrams without an answer, one after the other, while the stream answered, after which
/// UDP is taken for dead.
const SILENT_DATAGRAMS: u32 = 4;

/// Pauses between probes: doubled from the first to the last.
const PROBE_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Bounds of the retransmission time, and its value while nothing is known.
const RTO: (Duration, Duration, Duration) = (
    Duration::from_millis(40),
    Duration::from_millis(400),
    Duration::from_millis(100),
);

/// Bounds of the silence after which the next upstream is asked too, and its value while
/// nothing is known.
const HEDGE: (Duration, Duration, Duration) = (
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(150),
);

/// Answers to repeated datagrams, one after the other, after which their time counts all the
/// same: the way has become longer than the retransmission time.
const AMBIGUOUS: u32 = 3;

/// Silence after which the first answer is news.
const SILENCE: Duration = Duration::from_millis(500);

/// A state that has to be found out again, with growing pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recheck {
    at: Instant,
    pause: Duration,
}

impl Recheck {
    fn new(now: Instant) -> Self {
        let pause = PROBE_PAUSE.0;
        Self {
            at: now + pause,
            pause,
        }
    }

    /// Whether it is time; the next time is later.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.at <= now;
        if due {
            self.pause = (self.pause * 2).min(PROBE_PAUSE.1);
            self.at = now + self.pause;
        }
        due
    }
}

/// Smoothed time to an answer and its variation (RFC 6298, 2), microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Latency {
    mean: u32,
    deviation: u32,
}

/// Health of one upstream.
#[derive(Debug, Clone, Default)]
pub struct Health {
    latency: Option<Latency>,
    /// Answers in a row of which it is not known which datagram they answer.
    ambiguous: u32,
    failures: u32,
    down: Option<Recheck>,
    /// First query since the last answer.
    silent_since: Option<Instant>,
    /// Datagrams without an answer while the stream answered.
    silent: u32,
    udp_dead: Option<Recheck>,
}

/// A change that the log shall tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It answers again.
    Up,
    /// It answers no more.
    Down,
    /// UDP works again.
    UdpWorks,
    /// UDP does not work, the stream does.
    UdpDead,
}

impl Turn {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::UdpWorks => "udp-works",
            Self::UdpDead => "udp-dead",
        }
    }
}

/// Longest time that is told from a longer one: sums of a few, in microseconds, fit 32 bits.
const MAX_LATENCY: Duration = Duration::from_secs(60);

impl Health {
    /// How to ask.
    pub fn pace(&self) -> Pace {
        Pace {
            rto: self.wait(RTO, 4),
            udp_dead: self.udp_dead.is_some(),
        }
    }

    /// Silence after which the next upstream is asked too.
    pub fn hedge(&self) -> Duration {
        self.wait(HEDGE, 4)
    }

    fn wait(&self, bounds: (Duration, Duration, Duration), deviations: u32) -> Duration {
        let (least, most, unknown) = bounds;
        self.latency.map_or(unknown, |latency| {
            let wait = latency.mean + latency.deviation * deviations;
            Duration::from_micros(wait.into()).clamp(least, most)
        })
    }

    /// Smoothed time to an answer, once one came.
    pub fn latency(&self) -> Option<Duration> {
        let latency = self.latency?;
        Some(Duration::from_micros(latency.mean.into()))
    }

    /// Whether it is asked after the others.
    pub fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// Whether UDP is not used.
    pub fn is_udp_dead(&self) -> bool {
        self.udp_dead.is_some()
    }

    /// Whether a query shall be asked in the background to see if the upstream is back; true
    /// only once in a while.
    pub fn probe_due(&mut self, now: Instant) -> bool {
        self.down.as_mut().is_some_and(|down| down.is_due(now))
    }

    /// Whether a query shall be asked in the background, by UDP, to see if that works again.
    pub fn udp_probe_due(&mut self, now: Instant) -> bool {
        self.udp_dead.as_mut().is_some_and(|dead| dead.is_due(now))
    }

    /// A query was sent.
    pub fn asked(&mut self, now: Instant) {
        self.silent_since.get_or_insert(now);
    }

    /// Whether queries have been unanswered for longer than is usual.
    pub fn is_silent(&self, now: Instant) -> bool {
        let waiting = |since| now.saturating_duration_since(since);
        self.silent_since
            .is_some_and(|since| waiting(since) >= SILENCE.max(self.hedge()))
    }

    /// An answer came so long after the first query. `exact` unless the query had been repeated
    /// (Karn's rule).
    pub fn answered(&mut self, took: Duration, exact: bool) -> Option<Turn> {
        self.silent_since = None;
        self.ambiguous = if exact { 0 } else { self.ambiguous + 1 };
        if exact || self.latency.is_none() || self.ambiguous >= AMBIGUOUS {
            self.ambiguous = 0;
            // No answer is waited for that long.
            let took = took.min(MAX_LATENCY);
            let took = took.as_secs() as u32 * 1_000_000 + took.subsec_micros();
            self.latency = Some(match self.latency {
                None => Latency {
                    mean: took,
                    deviation: took / 2,
                },
                Some(Latency { mean, deviation }) => Latency {
                    mean: (mean * 7 + took) / 8,
                    deviation: (deviation * 3 + mean.abs_diff(took)) / 4,
                },
            });
        }
        self.failures = 0;
        self.down.take().map(|_| Turn::Up)
    }

    /// A datagram was the answer.
    pub fn udp_answered(&mut self) -> Option<Turn> {
        self.silent = 0;
        self.udp_dead.take().map(|_| Turn::UdpWorks)
    }

    /// The stream answered after so many datagrams did not.
    pub fn udp_silent(&mut self, now: Instant, datagrams: u32) -> Option<Turn> {
        self.silent = self.silent.saturating_add(datagrams);
        if self.silent < SILENT_DATAGRAMS || self.udp_dead.is_some() {
            return None;
        }
        self.udp_dead = Some(Recheck::new(now));
        Some(Turn::UdpDead)
    }

    /// No answer came, and the fault was not ours; or another upstream that was asked later
    /// answered first.
    pub fn failed(&mut self, now: Instant) -> Option<Turn> {
        self.failures = self.failures.saturating_add(1);
        if self.failures < DOWN_AFTER || self.down.is_some() {
            return None;
        }
        self.down = Some(Recheck::new(now));
        Some(Turn::Down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn three_failures_in_a_row_and_it_is_down_until_it_answers() {
        let now = Instant::now();
        let mut health = Health::default();
        assert_eq!([health.failed(now), health.failed(now)], [None; 2]);
        assert_eq!(health.answered(MS, true), None);
        assert_eq!([health.failed(now), health.failed(now)], [None; 2]);
        assert_eq!(health.failed(now), Some(Turn::Down));
        assert_eq!(health.failed(now), None, "told once");
        assert!(health.is_down());
        assert_eq!(health.answered(MS, true), Some(Turn::Up));
        assert!(!health.is_down());
    }

    #[test]
    fn probes_have_growing_pauses() {
        let mut now = Instant::now();
        let mut health = Health::default();
        for _ in 0..3 {
            health.failed(now);
        }
        let mut pauses = Vec::new();
        let mut last = now;
        while pauses.len() < 8 {
            now += 100 * MS;
            if health.probe_due(now) {
                assert!(!health.probe_due(now), "once");
                pauses.push((now - last).as_secs());
                last = now;
            }
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn waits_follow_the_latency() {
        let mut health = Health::default();
        assert_eq!((health.pace().rto, health.hedge()), (100 * MS, 150 * MS));
        for _ in 0..50 {
            health.answered(2 * MS, true);
        }
        assert_eq!((health.pace().rto, health.hedge()), (40 * MS, 100 * MS));
        for _ in 0..50 {
            health.answered(200 * MS, true);
        }
        let rto = health.pace().rto;
        assert!(rto > 200 * MS && rto < 210 * MS, "{rto:?}");
        for _ in 0..50 {
            health.answered(3000 * MS, true);
        }
        assert_eq!((health.pace().rto, health.hedge()), (400 * MS, 400 * MS));
    }

    #[test]
    fn one_answer_counts_as_much_as_the_rfc_says() {
        let mut health = Health::default();
        health.answered(80 * MS, true);
        // Half of the first is its deviation (RFC 6298, 2.2).
        assert_eq!(health.pace().rto, 240 * MS);
        health.answered(160 * MS, true);
        assert_eq!(health.latency(), Some(90 * MS), "an eighth of the new one");
        // Three quarters of 40 and a quarter of 80 (2.3).
        assert_eq!(health.pace().rto, (90 + 4 * 50) * MS);
    }

    #[test]
    fn answers_to_repeated_datagrams_teach_when_there_is_nothing_better() {
        let mut health = Health::default();
        health.answered(120 * MS, false);
        assert_eq!(health.latency(), Some(120 * MS), "better than nothing");
        health.answered(20 * MS, true);
        let known = health.latency();
        for _ in 1..AMBIGUOUS {
            health.answered(900 * MS, false);
            assert_eq!(health.latency(), known);
        }
        health.answered(900 * MS, false);
        assert!(health.latency() > known, "the way has become longer");
    }

    #[test]
    fn silence_begins_with_the_first_query_and_ends_with_an_answer() {
        let now = Instant::now();
        let mut health = Health::default();
        assert!(!health.is_silent(now + 1000 * MS), "nobody asked");
        health.asked(now);
        health.asked(now + 400 * MS);
        assert!(!health.is_silent(now + 499 * MS) && health.is_silent(now + 500 * MS));
        health.answered(MS, true);
        assert!(!health.is_silent(now + 1000 * MS));
    }

    #[test]
    fn udp_is_dead_after_four_silent_datagrams_and_works_with_the_first_answer() {
        let now = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.udp_silent(now, 2), None);
        assert_eq!(health.udp_silent(now, 2), Some(Turn::UdpDead));
        assert!(health.pace().udp_dead && !health.udp_probe_due(now));
        assert!(health.udp_probe_due(now + Duration::from_secs(1)));
        assert_eq!(health.udp_answered(), Some(Turn::UdpWorks));
        assert!(!health.pace().udp_dead);
    }
}
