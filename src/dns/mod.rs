//! The DNS forwarder (see `docs/dns.md`).

pub mod cache;
pub mod course;
pub mod flight;
pub mod forward;
pub mod route;
pub mod stats;
pub mod wire;

pub use stats::DnsStats;
