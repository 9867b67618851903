//! What the status page shows of flows.

use serde::Serialize;

use super::session;

/// Numbers since the start, but for those that say `active`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FlowStats {
    /// TCP connections.
    pub tcp: TcpStats,
    /// UDP sessions and datagrams.
    pub udp: UdpStats,
    /// Bytes per outbound, in the order of the configuration; groups carry none themselves.
    pub outbounds: Vec<OutboundStats>,
}

/// TCP connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TcpStats {
    /// Being dialled or relayed now.
    pub active: u64,
    /// Tasks that serve them, counted by themselves: as many as connections.
    pub workers: u64,
    /// Tasks that were told to end and have not come to it yet.
    pub workers_ending: u64,
    /// Taken on.
    pub opened: u64,
    /// Reset because `max_tcp_connections` was reached.
    pub refused_full: u64,
    /// Reset because a rule blocks them, or their destination is this machine.
    pub refused_blocked: u64,
    /// Reset because there were no descriptors or no memory for them.
    pub refused_shortage: u64,
    /// Reset because the outbound failed.
    pub dial_failed: u64,
    /// Ended because no byte moved for too long.
    pub idle: u64,
    /// Ended by a reset or another error of one side.
    pub broken: u64,
    /// Ended because their outbound is configured no more.
    pub cut: u64,
    /// Ended when both sides had said all.
    pub closed: u64,
    /// Times that accepting failed for want of descriptors or memory, and was tried again later.
    pub accept_failed: u64,
}

/// UDP sessions and datagrams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UdpStats {
    /// Sessions that are being dialled or ready.
    pub active: u64,
    /// Tasks that serve them, counted by themselves: as many as sessions.
    pub workers: u64,
    /// Tasks that were told to end and have not come to it yet.
    pub workers_ending: u64,
    /// Datagrams that wait for a session to be dialled.
    pub queued: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Sessions begun and ended, datagrams dropped before they had a socket.
    #[serde(flatten)]
    pub sessions: session::Counts,
    /// Datagrams relayed, both ways.
    pub datagrams: u64,
    /// Datagrams dropped because a rule blocks them, or their destination is this machine.
    pub dropped_blocked: u64,
    /// Datagrams of clients dropped because the socket to the outbound would not take them.
    pub dropped_send: u64,
    /// Datagrams of outbounds dropped because they were malformed.
    pub dropped_malformed: u64,
    /// Datagrams of outbounds dropped because the way to the client would not take them.
    pub dropped_reply: u64,
}

/// Bytes of one outbound.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct OutboundStats {
    /// Name in the configuration.
    pub name: String,
    /// Payload from clients.
    pub bytes_up: u64,
    /// Payload to clients.
    pub bytes_down: u64,
}

/// Adds to a counter in a `Cell`.
macro_rules! count {
    ($cell:expr, $field:ident) => {{
        let mut stats = $cell.get();
        stats.$field += 1;
        $cell.set(stats);
    }};
}
/// The same of more than one.
macro_rules! add {
    ($cell:expr, $field:ident, $count:expr) => {{
        let mut stats = $cell.get();
        stats.$field += $count;
        $cell.set(stats);
    }};
}
pub(super) use {add, count};
