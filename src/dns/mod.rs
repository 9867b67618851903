//! The DNS forwarder (see `docs/dns.md`).
//!
//! Pure: `wire` (messages as bytes), `cache`, `hosts` (names of the configuration), `rebind`
//! (private addresses), `admission` (who may wait), `querylog`, `flight` and `course` (questions on their way),
//! `route` (who answers), `forward` (the state machine over all of them), `frame`, `notify`,
//! `stats`. I/O: `server` with `serve` (clients by UDP), `tcp` (clients by TCP), `udp` and
//! `stream` (upstreams).

pub mod admission;
pub mod cache;
pub mod course;
pub mod flight;
pub mod forward;
pub mod frame;
pub mod hosts;
mod notify;
pub mod querylog;
pub mod rebind;
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
