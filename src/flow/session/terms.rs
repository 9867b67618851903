//! What the table is told, and what it tells. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use crate::flow::kind::{KINDS, Kind};
use crate::outbound::ways::WayId;

/// What tells sessions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// The client's socket.
    pub client: SocketAddr,
    /// The outbound that is asked for; of a group it is the group.
    pub outbound: WayId,
}

/// One session, never another one with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    pub(super) place: u32,
    pub(super) serial: u64,
}

/// Bounds of a table.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Sessions; the least recently used makes room.
    pub sessions: usize,
    /// Datagrams that wait per session while it is dialled.
    pub queue: usize,
    /// Bytes that wait in all queues together.
    pub queue_bytes: usize,
    /// A session without a datagram for so long ends, by [`Kind::index`]. One that carried
    /// several kinds has the longest of their times.
    pub idle: [Duration; KINDS],
    /// An outbound that failed a client is not asked again for that client for so long.
    pub retry: Duration,
}

/// A datagram of a client.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Whose session.
    pub key: Key,
    /// Where the client sent it.
    pub destination: SocketAddr,
    /// What it is part of.
    pub kind: Kind,
    /// UDP payload.
    pub payload: &'a [u8],
}

/// A datagram that waits for its session.
#[derive(Debug, PartialEq, Eq)]
pub struct Queued {
    /// Where the client sent it.
    pub destination: SocketAddr,
    /// UDP payload.
    pub payload: Box<[u8]>,
}

/// What to do with a client's datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Offer<'a, W> {
    /// Send it with this worker.
    Send(&'a W),
    /// It waits; [`Table::ready`](super::Table::ready) hands it out.
    Queued,
    /// It was dropped and counted.
    Dropped,
}

/// How a session ended; its worker is no longer the table's.
#[derive(Debug, PartialEq, Eq)]
pub enum End<W> {
    /// It never became ready, or ended soon after for the second time in a row: the outbound is
    /// not asked again for a while.
    Failed(W),
    /// The far side ended it. The client's next datagram begins another one.
    Closed(W),
}

/// Events since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Sessions begun.
    pub created: u64,
    /// Sessions ended for want of datagrams.
    pub expired: u64,
    /// Sessions ended to make room.
    pub evicted: u64,
    /// Sessions whose outbound failed; see [`End::Failed`].
    pub failed: u64,
    /// Sessions ended by the far side.
    pub ended: u64,
    /// Sessions ended because their outbound is configured no more.
    pub cut: u64,
    /// Workers that came to their end and found their session gone. A worker goes with its
    /// session, so this stays 0.
    pub removal_failed: u64,
    /// Datagrams dropped because the queue of a session being dialled was full.
    pub dropped_queue_full: u64,
    /// Datagrams dropped because the session's outbound failed, before or a moment ago.
    pub dropped_failed: u64,
    /// Datagrams dropped with a session that ended while being dialled.
    pub dropped_unsent: u64,
}
