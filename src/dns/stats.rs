//! What the forwarder counts, for status and metrics. Pure.

use serde::Serialize;

/// Counters since the start, and the state of now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    /// Of these, how many because too many of the same client waited (`max_client_queries`).
    pub refused_client: u64,
    /// Queries answered from `config dns_host`.
    pub hosts: u64,
    /// Queries answered with an expired answer, for want of a fresh one.
    pub stale: u64,
    /// Queries answered with nothing, as the name has addresses of the preferred family.
    pub suppressed: u64,
    /// Answers that a rule, or the protection against rebinding, kept from clients.
    pub withheld: u64,
    /// Questions that a rule sent on to other upstreams.
    pub asked_another: u64,
    /// Queries that waited for an upstream and got our own SERVFAIL.
    pub servfail: u64,
    /// Queries that joined a flight under way.
    pub followers: u64,
    /// Queries that a client repeated while they waited.
    pub repeated: u64,
    /// Flights towards upstreams, so far.
    pub departures: u64,
    /// Of these, begun to make a cached answer new before its time.
    pub prefetched: u64,
    /// Of these, begun to see whether an upstream, or its UDP, works again.
    pub probes: u64,
    /// Flights of our own that were not begun, as there were too many.
    pub tasks_refused: u64,
    /// Attempts given up as the address of the upstream was not found.
    pub unresolved: u64,
    /// Legs given up for want of a descriptor or of room in a table of ours.
    pub local_faults: u64,
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

/// Whether an upstream answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamState {
    /// As far as is known.
    #[default]
    Up,
    /// It did not, several times in a row: the others are asked first.
    Down,
}

/// One upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UpstreamStats {
    /// Name of its section, or `asis`.
    pub name: String,
    /// Whether it answers.
    pub state: UpstreamState,
    /// UDP does not work, the stream does.
    pub udp_dead: bool,
    /// Smoothed time to an answer, milliseconds.
    pub latency_ms: Option<f64>,
    /// Datagrams sent, repetitions included.
    pub sent_udp: u64,
    /// Queries sent by TCP, TLS or HTTPS.
    pub sent_stream: u64,
    /// Answers accepted that came by UDP.
    pub answered_udp: u64,
    /// Answers accepted that came by stream.
    pub answered_stream: u64,
    /// Legs (UDP or stream) on which no answer came in time.
    pub timeouts: u64,
    /// Queries that went from UDP to the stream, for whatever reason.
    pub fallbacks: u64,
    /// Legs that failed otherwise: ICMP, connection refused or closed, nonsense.
    pub failures: u64,
    /// Datagrams dropped for a wrong ID or question.
    pub foreign: u64,
}
