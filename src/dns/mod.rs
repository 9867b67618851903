//! The DNS forwarder (see `docs/dns.md`).
//!
//! Pure: `wire` (messages as bytes), `cache`, `flight` and `course` (questions on their way),
//! `route` (who answers), `forward` (the state machine over all of them), `frame`, `notify`,
//! `stats`. I/O: `server` with `serve` (clients by UDP), `tcp` (clients by TCP), `udp` and
//! `stream` (upstreams).

pub mod cache;
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
pub mod wire;

pub use server::{Learn, Listeners, Server};
pub use stats::{CacheStats, DnsStats, TcpStats, UpstreamStats};
