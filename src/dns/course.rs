//! How one attempt tries to get its answer from one upstream: when to send again, when to turn
//! to a stream, when to give up. Pure.
//!
//! The two legs, UDP and stream (TCP, TLS or HTTPS), run side by side once the stream has
//! begun, each with its own time; the first good answer wins. The attempt is lost when no leg
//! is left.

use std::time::{Duration, Instant};

use crate::config::Transport;

/// Datagrams that follow each other one retransmission time apart. With one packet in five lost
/// each way, all five are lost for one question in 170.
const QUICK: u32 = 5;

/// The last two datagrams, from the beginning: for a path that comes back.
const SLOW: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(2250)];

/// How long UDP is listened to. Clients give up after 5 s (resolv.conf), SERVFAIL shall be
/// there earlier.
pub const UDP_TIME: Duration = Duration::from_millis(4250);

/// Most silence on UDP before the stream begins.
pub const STREAM_AFTER: Duration = Duration::from_millis(750);

/// Where UDP is taken for dead, silence on the stream after which it is tried all the same.
pub const UDP_AFTER: Duration = Duration::from_millis(400);

/// The stream's own time, from its beginning to the answer.
pub const STREAM_TIME: Duration = Duration::from_millis(3500);

/// Bounds of the silence on a stream after which the query is sent on another connection too:
/// the first may be one that the way has forgotten, without a word (NAT, a new WAN address).
const STREAM_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(900));

/// How long an attempt waits for the addresses of an upstream that is known by its name.
pub const ADDRESS_TIME: Duration = Duration::from_millis(3500);

/// So many datagrams with a wrong ID or question, and UDP is given up: somebody is guessing.
pub const MAX_FOREIGN: u8 = 16;

/// One way to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// Not begun.
    Idle,
    /// Waiting since.
    Open(Instant),
    /// Failed or not to be used.
    Over,
}

impl Leg {
    /// Whether an answer may come.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open(_))
    }
}

/// What the history of an upstream says about how to ask it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Silence after which a datagram is sent again.
    pub rto: Duration,
    /// UDP is known not to work: a transport with both legs begins with the stream.
    pub udp_dead: bool,
}

/// State of one attempt.
#[derive(Debug)]
pub struct Course {
    /// UDP leg.
    pub udp: Leg,
    /// Stream leg.
    pub stream: Leg,
    /// Whether our query has an OPT record; not for servers that do not know EDNS.
    pub edns: bool,
    transport: Transport,
    rto: Duration,
    began: Instant,
    /// Until when the upstream's address is waited for; no leg is open before.
    address_by: Option<Instant>,
    sent: u32,
    /// The stream's query was sent twice.
    stream_again: bool,
    foreign: u8,
    errors: u8,
}

/// What time has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send the UDP query (again).
    SendUdp,
    /// UDP was silent for too long: send the query by stream.
    BeginStream,
    /// The stream was silent for too long: send the query by UDP, though it is taken for dead.
    BeginUdp,
    /// Send the query on another connection too.
    SendStreamAgain,
    /// UDP's time is over.
    EndUdp,
    /// The stream's time is over.
    EndStream,
    /// No address of the upstream is known.
    NoAddress,
}

impl Course {
    /// An attempt that begins now, with its first leg open and its first query still to be sent.
    pub fn new(transport: Transport, pace: Pace, now: Instant) -> Self {
        let mut course = Self {
            udp: Leg::Over,
            stream: Leg::Over,
            edns: true,
            transport,
            rto: pace.rto,
            began: now,
            address_by: None,
            sent: 0,
            stream_again: false,
            foreign: 0,
            errors: 0,
        };
        course.open(pace, now);
        course
    }

    /// An attempt whose upstream's address is not known yet.
    pub fn waiting_for_address(transport: Transport, pace: Pace, now: Instant) -> Self {
        Self {
            udp: Leg::Over,
            stream: Leg::Over,
            address_by: Some(now + ADDRESS_TIME),
            ..Self::new(transport, pace, now)
        }
    }

    /// The address is known: the first leg opens.
    pub fn address_known(&mut self, pace: Pace, now: Instant) {
        self.address_by = None;
        self.open(pace, now);
    }

    fn open(&mut self, pace: Pace, now: Instant) {
        self.began = now;
        (self.udp, self.stream) = match self.transport {
            Transport::Udp => (Leg::Open(now), Leg::Over),
            Transport::TcpUdp if pace.udp_dead => (Leg::Idle, Leg::Open(now)),
            Transport::TcpUdp => (Leg::Open(now), Leg::Idle),
            Transport::Tcp | Transport::Tls | Transport::Https => (Leg::Over, Leg::Open(now)),
        };
    }

    /// The address is not waited for any more.
    pub fn give_up_address(&mut self) {
        self.address_by = None;
    }

    /// When the first leg opened.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Datagrams sent.
    pub fn datagrams(&self) -> u32 {
        self.sent
    }

    /// Whether the upstream's address is waited for.
    pub fn waits_for_address(&self) -> bool {
        self.address_by.is_some()
    }

    /// When [`Self::due`] has something to say; None when the attempt is over.
    pub fn deadline(&self) -> Option<Instant> {
        let at = |deadline: Option<(Instant, Due)>| deadline.map(|(at, _)| at);
        let legs = earlier(at(self.udp_deadline()), at(self.stream_deadline()));
        earlier(legs, self.address_by)
    }

    /// One thing whose time has come.
    pub fn due(&self, now: Instant) -> Option<Due> {
        let due = |(at, due)| (at <= now).then_some(due);
        self.udp_deadline()
            .and_then(due)
            .or_else(|| self.stream_deadline().and_then(due))
            .or_else(|| self.address_deadline().and_then(due))
    }

    fn address_deadline(&self) -> Option<(Instant, Due)> {
        self.address_by.map(|by| (by, Due::NoAddress))
    }

    fn udp_deadline(&self) -> Option<(Instant, Due)> {
        let since = match self.udp {
            Leg::Idle if self.address_by.is_none() => {
                return Some((self.began + UDP_AFTER, Due::BeginUdp));
            }
            Leg::Open(since) => since,
            Leg::Idle | Leg::Over => return None,
        };
        // One that has waited for the stream ends with the rest.
        let end = (self.began + UDP_TIME, Due::EndUdp);
        let send = self.next_send().map(|after| (since + after, Due::SendUdp));
        let stream_after = || (self.rto * QUICK).min(STREAM_AFTER);
        let begin_stream = || (since + stream_after(), Due::BeginStream);
        let stream = (self.stream == Leg::Idle).then(begin_stream);
        [send, stream]
            .into_iter()
            .flatten()
            .fold(end, |a, b| if b.0 < a.0 { b } else { a })
            .into()
    }

    /// When the next datagram leaves, from the beginning of the leg.
    fn next_send(&self) -> Option<Duration> {
        match self.sent.checked_sub(QUICK) {
            None if self.sent == 1 => Some(self.rto),
            None => Some(self.rto * self.sent),
            // Never closer to the one before than the quick ones are to each other.
            Some(slow) => SLOW
                .get(slow as usize)
                .map(|at| (*at).max(self.rto * self.sent)),
        }
    }

    fn stream_deadline(&self) -> Option<(Instant, Due)> {
        let Leg::Open(since) = self.stream else {
            return None;
        };
        if self.stream_again {
            return Some((since + STREAM_TIME, Due::EndStream));
        }
        let (least, most) = STREAM_AGAIN;
        let after = (self.rto * 3).clamp(least, most);
        Some((since + after, Due::SendStreamAgain))
    }

    /// The stream's query was sent on another connection too, or shall not be.
    pub fn stream_sent_again(&mut self) {
        self.stream_again = true;
    }

    /// The UDP query was sent.
    pub fn udp_sent(&mut self) {
        self.sent += 1;
    }

    /// The stream begins, where the transport has it and it has not begun; true then.
    pub fn begin_stream(&mut self, now: Instant) -> bool {
        let begins = self.stream == Leg::Idle;
        if begins {
            self.stream = Leg::Open(now);
        }
        begins
    }

    /// UDP begins, where it has waited for the stream; true then.
    pub fn begin_udp(&mut self, now: Instant) -> bool {
        let begins = self.udp == Leg::Idle;
        if begins {
            self.udp = Leg::Open(now);
        }
        begins
    }

    /// A datagram with a wrong ID or question came; true when there were too many.
    pub fn count_foreign(&mut self) -> bool {
        self.foreign = self.foreign.saturating_add(1);
        self.foreign >= MAX_FOREIGN
    }

    /// The network refused our datagram (ICMP). True when UDP shall be given up: at once when
    /// the stream can take over, else after a second try, as a server that restarts refuses for
    /// a moment.
    pub fn count_error(&mut self) -> bool {
        self.errors = self.errors.saturating_add(1);
        self.transport == Transport::TcpUdp || self.errors >= 2
    }

    /// Whether a truncated answer is good enough to be passed on.
    pub fn passes_truncated(&self) -> bool {
        self.transport == Transport::Udp
    }

    /// Whether no leg can bring an answer any more.
    pub fn is_lost(&self) -> bool {
        let idle = self.udp == Leg::Idle;
        !self.udp.is_open() && !self.stream.is_open() && self.address_by.is_none() && !idle
    }
}

/// The earlier of two times that there may be.
pub fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays an attempt that nobody answers: milliseconds and what was due.
    fn silence(transport: Transport, rto: u64, udp_dead: bool) -> Vec<(u128, Due)> {
        let start = Instant::now();
        let pace = Pace {
            rto: Duration::from_millis(rto),
            udp_dead,
        };
        let mut course = Course::new(transport, pace, start);
        if course.udp.is_open() {
            course.udp_sent();
        }
        let mut seen = Vec::new();
        while let Some(at) = course.deadline() {
            let due = course.due(at).unwrap();
            match due {
                Due::SendUdp => course.udp_sent(),
                Due::BeginStream => assert!(course.begin_stream(at)),
                Due::BeginUdp => {
                    assert!(course.begin_udp(at));
                    course.udp_sent();
                }
                Due::SendStreamAgain => course.stream_sent_again(),
                Due::EndUdp => course.udp = Leg::Over,
                Due::EndStream => course.stream = Leg::Over,
                Due::NoAddress => unreachable!(),
            }
            seen.push(((at - start).as_millis(), due));
        }
        assert!(course.is_lost());
        seen
    }

    #[test]
    fn datagrams_follow_quickly_and_then_slowly() {
        let sends = |transport, rto| -> Vec<u128> {
            let all = silence(transport, rto, false).into_iter();
            all.filter(|(_, due)| *due == Due::SendUdp)
                .map(|(at, _)| at)
                .collect()
        };
        assert_eq!(sends(Transport::Udp, 40), [40, 80, 120, 160, 1000, 2250]);
        assert_eq!(
            sends(Transport::Udp, 400),
            [400, 800, 1200, 1600, 2000, 2400]
        );
        assert!(sends(Transport::Tls, 40).is_empty());
    }

    #[test]
    fn a_stream_begins_beside_udp_and_has_its_own_time() {
        let of = |rto, wanted| {
            let mut all = silence(Transport::TcpUdp, rto, false).into_iter();
            all.find(|(_, due)| *due == wanted).unwrap().0
        };
        assert_eq!(of(40, Due::BeginStream), 200);
        assert_eq!(of(100, Due::BeginStream), 500);
        assert_eq!(of(400, Due::BeginStream), 750);
        assert_eq!(of(40, Due::SendStreamAgain), 200 + 500);
        assert_eq!(of(100, Due::SendStreamAgain), 500 + 500);
        assert_eq!(of(400, Due::SendStreamAgain), 750 + 900);
        assert_eq!(of(40, Due::EndStream), 200 + 3500);
        assert_eq!(of(400, Due::EndUdp), 4250);
    }

    #[test]
    fn dead_udp_is_tried_when_the_stream_is_silent_too() {
        let all = silence(Transport::TcpUdp, 100, true);
        assert_eq!(all[0], (400, Due::BeginUdp));
        assert!(all.contains(&(500, Due::SendStreamAgain)));
        assert!(all.contains(&(3500, Due::EndStream)));
        assert_eq!(all.last(), Some(&(4250, Due::EndUdp)));
    }
}
