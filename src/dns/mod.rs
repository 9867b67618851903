//! The DNS forwarder (see `docs/dns.md`).

pub mod wire;
