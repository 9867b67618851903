//! How one flight tries to get its answer: when to send again, when to turn to TCP, when to
//! give up. Pure.
//!
//! The two legs, UDP and TCP, run side by side once TCP has begun, each with its own time; the
//! first good answer wins. The flight fails when no leg is left.

use std::time::{Duration, Instant};

use super::wire::Answer;
use crate::config::Transport;

/// When the UDP query is sent, from the start of the flight. One lost packet costs a client a
/// quarter of a second.
pub const UDP_SENDS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(1000),
    Duration::from_millis(2250),
];

/// How long UDP is listened to. Clients give up after 5 s (resolv.conf), SERVFAIL shall be
/// there earlier.
pub const UDP_TIME: Duration = Duration::from_millis(4250);

/// Silence on UDP after which TCP begins.
pub const TCP_AFTER: Duration = Duration::from_millis(750);

/// TCP's own time, from its beginning to the answer.
pub const TCP_TIME: Duration = Duration::from_millis(3500);

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

/// State of one flight.
#[derive(Debug)]
pub struct Course {
    /// UDP leg.
    pub udp: Leg,
    /// TCP leg.
    pub tcp: Leg,
    /// ID of the query, the same on both legs.
    pub id: u16,
    /// Whether our query has an OPT record; not for servers that do not know EDNS.
    pub edns: bool,
    /// A truncated answer: better than none if TCP fails.
    pub truncated: Option<Box<Answer>>,
    transport: Transport,
    started: Instant,
    sent: usize,
    foreign: u8,
    errors: u8,
}

/// What time has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send the UDP query (again).
    SendUdp,
    /// UDP was silent for too long: send the query by TCP.
    BeginTcp,
    /// UDP's time is over.
    EndUdp,
    /// TCP's time is over.
    EndTcp,
}

impl Course {
    /// A flight that starts now, with its first leg open and its first query still to be sent.
    pub fn new(transport: Transport, id: u16, now: Instant) -> Self {
        let (udp, tcp) = match transport {
            Transport::Udp => (Leg::Open(now), Leg::Over),
            Transport::Tcp | Transport::Tls | Transport::Https => (Leg::Over, Leg::Open(now)),
            Transport::TcpUdp => (Leg::Open(now), Leg::Idle),
        };
        Self {
            udp,
            tcp,
            id,
            edns: true,
            truncated: None,
            transport,
            started: now,
            sent: 0,
            foreign: 0,
            errors: 0,
        }
    }

    /// When [`Self::due`] has something to say.
    pub fn deadline(&self) -> Instant {
        let legs = [self.udp_deadline(), self.tcp_deadline()];
        // A flight with both legs over has ended; its deadline is then of no interest.
        legs.into_iter()
            .flatten()
            .map(|(at, _)| at)
            .min()
            .unwrap_or(self.started)
    }

    /// One thing whose time has come.
    pub fn due(&self, now: Instant) -> Option<Due> {
        let due = |(at, due)| (at <= now).then_some(due);
        self.udp_deadline()
            .and_then(due)
            .or_else(|| self.tcp_deadline().and_then(due))
    }

    fn udp_deadline(&self) -> Option<(Instant, Due)> {
        let Leg::Open(since) = self.udp else {
            return None;
        };
        let end = (since + UDP_TIME, Due::EndUdp);
        let send = UDP_SENDS
            .get(self.sent)
            .map(|after| (since + *after, Due::SendUdp));
        let tcp = (self.tcp == Leg::Idle).then_some((since + TCP_AFTER, Due::BeginTcp));
        [send, tcp]
            .into_iter()
            .flatten()
            .fold(end, |a, b| if b.0 < a.0 { b } else { a })
            .into()
    }

    fn tcp_deadline(&self) -> Option<(Instant, Due)> {
        let Leg::Open(since) = self.tcp else {
            return None;
        };
        Some((since + TCP_TIME, Due::EndTcp))
    }

    /// The UDP query was sent.
    pub fn udp_sent(&mut self) {
        self.sent += 1;
    }

    /// TCP begins, where the transport has it and it has not begun; true then.
    pub fn begin_tcp(&mut self, now: Instant) -> bool {
        let begins = self.tcp == Leg::Idle;
        if begins {
            self.tcp = Leg::Open(now);
        }
        begins
    }

    /// A datagram with a wrong ID or question came; true when there were too many.
    pub fn count_foreign(&mut self) -> bool {
        self.foreign += 1;
        self.foreign >= MAX_FOREIGN
    }

    /// The network refused our datagram (ICMP), or there was no socket. True when UDP shall be
    /// given up: at once when TCP can take over, else after a second try, as a server that
    /// restarts refuses for a moment.
    pub fn count_error(&mut self) -> bool {
        self.errors += 1;
        self.transport == Transport::TcpUdp || self.errors >= 2
    }

    /// Whether a truncated answer is good enough to be passed on.
    pub fn passes_truncated(&self) -> bool {
        self.transport == Transport::Udp
    }

    /// Whether no leg can bring an answer any more.
    pub fn is_lost(&self) -> bool {
        !matches!(self.udp, Leg::Open(_)) && !matches!(self.tcp, Leg::Open(_))
    }
}
