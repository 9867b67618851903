//! What the forwarder counts, for status and metrics. Pure.

use serde::Serialize;

/// Counters since the start, and the state of now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DnsStats {
    /// Messages from clients, whatever became of them.
    pub queries: u64,
    /// Messages that were no answerable query: dropped, FORMERR or NOTIMP.
    pub malformed: u64,
    /// Queries that a rule answered with nothing.
    pub rejected: u64,
    /// Queries refused: too many waited, or `asis` and nobody to ask.
    pub refused: u64,
    /// Of these, how many for want of room (`max_queries`, or 256 for one question).
    pub overflowed: u64,
    /// Queries that waited for an upstream and got our own SERVFAIL.
    pub servfail: u64,
    /// Queries that joined a flight under way.
    pub followers: u64,
    /// Queries that a client repeated while they waited.
    pub repeated: u64,
    /// Flights now.
    pub flights: usize,
    /// Clients that wait now.
    pub waiting: usize,
    /// The cache.
    pub cache: CacheStats,
    /// TCP clients.
    pub tcp: TcpStats,
    /// UDP answers that could not be sent.
    pub unsent: u64,
    /// UDP sockets open towards upstreams.
    pub upstream_sockets: usize,
    /// UDP queries that found no socket or descriptor.
    pub upstream_exhausted: u64,
    /// UDP answers that came when nobody waited any more.
    pub upstream_late: u64,
    /// TCP connections open towards upstreams.
    pub upstream_connections: usize,
    /// Per upstream in the order of the configuration, then the servers asked `asis`.
    pub upstreams: Vec<UpstreamStats>,
}

/// The cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// Queries answered from it.
    pub hits: u64,
    /// Answers stored.
    pub stored: u64,
    /// Answers that left early, for want of room.
    pub evicted: u64,
    /// Answers held now.
    pub entries: usize,
    /// Bytes in use now.
    pub bytes: usize,
}

/// Connections of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TcpStats {
    /// Accepted.
    pub accepted: u64,
    /// Open now.
    pub open: usize,
    /// Closed to make room for a newer one, or refused as all were busy.
    pub displaced: u64,
    /// Closed because the client was idle, slow to send or slow to read.
    pub timed_out: u64,
}

/// One upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamStats {
    /// Name of its section, or `asis`.
    pub name: String,
    /// Datagrams sent, repetitions included.
    pub sent_udp: u64,
    /// Queries sent by TCP.
    pub sent_tcp: u64,
    /// Answers accepted.
    pub answered: u64,
    /// Legs (UDP or TCP) on which no answer came in time.
    pub timeouts: u64,
    /// Queries that went from UDP to TCP, for whatever reason.
    pub fallbacks: u64,
    /// Legs that failed otherwise: ICMP, connection refused or closed, nonsense.
    pub failures: u64,
    /// Datagrams dropped for a wrong ID or question.
    pub foreign: u64,
}
