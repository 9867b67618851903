//! The DNS forwarder (see `docs/dns.md`).
//!
//! Pure: `wire` (messages as bytes), `cache`, `hosts`, `route` (who answers), `upstream` with
//! `health`, `flights` with `flight` and `deadlines`, `attempt` and `course` (questions on their way), `answer_rules`,
//! `rebind` and `ttl` (what becomes of answers), `forward` (the state machine over all of
//! them), `udp_pool` with `udp_ids` (which socket, which ID), `admission` with `counts`, `querylog`,
//! `frame`, `http2`, `stats`. I/O: `server` with `serve` (clients by UDP), `tcp`
//! (clients by TCP), `udp`, `udp_node` and `streams` (upstreams).

pub mod admission;
pub mod answer_rules;
pub mod attempt;
pub mod cache;
pub mod counts;
pub mod course;
mod deadlines;
pub mod flight;
pub mod flights;
pub mod forward;
pub mod frame;
pub mod health;
pub mod hosts;
#[cfg_attr(not(feature = "https"), path = "http2_absent.rs")]
pub mod http2;
pub mod querylog;
pub mod rebind;
pub mod route;
mod serve;
mod server;
mod stats;
mod streams;
mod tcp;
pub mod ttl;
mod udp;
mod udp_ids;
mod udp_node;
mod udp_pool;
pub mod upstream;
pub mod wire;

pub use server::{Learn, Listeners, Server};
pub use stats::{CacheStats, DnsStats, TcpStats, UpstreamState, UpstreamStats};
pub use streams::reach::Prepared;
