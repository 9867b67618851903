//! One upstream asked for one flight. Pure.

use std::hash::{Hash, Hasher};
use std::net::SocketAddr;

use super::course::Course;
use super::flight::FlightId;
use super::udp_pool::Numbered;
use super::upstream::Server;

/// Names an attempt, once and for ever. What sockets and connections do for it is told with
/// this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId {
    /// The flight.
    pub flight: FlightId,
    number: u8,
}

impl Numbered for AttemptId {
    fn number(self) -> usize {
        self.flight.slot()
    }
}

impl Hash for AttemptId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // One number: every query is hashed with its attempt several times.
        state.write_u64(self.flight.number() ^ u64::from(self.number) << 56);
    }
}

/// Whose fault it is that an attempt, or a leg of it, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The upstream's, or that of the way to it: ICMP, refused, reset, TLS broken, nonsense.
    Remote,
    /// Ours: no descriptor, no room in a table. Nobody is blamed.
    Local,
}

/// See the module.
#[derive(Debug)]
pub struct Attempt {
    /// Its name.
    pub id: AttemptId,
    /// Who is asked.
    pub server: Server,
    /// Where; None while that is not known.
    pub addr: Option<SocketAddr>,
    /// How far it is.
    pub course: Course,
    /// Something failed that was the upstream's fault.
    pub blamed: bool,
}

impl Attempt {
    /// The attempt `number` of a flight.
    pub fn new(
        flight: FlightId,
        number: u8,
        server: Server,
        addr: Option<SocketAddr>,
        course: Course,
    ) -> Self {
        Self {
            id: AttemptId { flight, number },
            server,
            addr,
            course,
            blamed: false,
        }
    }
}
