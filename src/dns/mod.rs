//! The DNS forwarder (see `docs/dns.md`).
//!
//! Pure: `wire` (messages as bytes), `cache`, `flight` and `course` (questions on their way),
//! `route` (who answers), `forward` (the state machine over all of them), `udp_pool` and
//! `udp_ids` (which socket, which ID), `frame`, `notify`, `counted`, `stats`. I/O: `server`
//! with `serve` (clients by UDP), `tcp` (clients by TCP), `udp` and `stream` (upstreams).

pub mod cache;
mod counted;
pub mod course;
pub mod flight;
pub mod forward;
mod frame;
mod notify;
pub mod route;
mod serve;
mod server;
mod stats;
mod stream;
mod tcp;
mod udp;
mod udp_ids;
mod udp_pool;
pub mod wire;

pub use server::{Learn, Listeners, Server};
pub use stats::{CacheStats, DnsStats, TcpStats, UpstreamStats};
