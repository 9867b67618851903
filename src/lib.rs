//! dae: a transparent proxy and DNS forwarder for home routers.
//!
//! `docs/architecture.md` has the map and the three journeys: a packet, a DNS query, a
//! change of settings. Modules marked with `*` there touch sockets, the clock, files or
//! the kernel; the others are pure and take time and bytes as arguments.

pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dns;
pub mod doctor;
pub mod error;
pub mod features;
pub mod flow;
pub mod kernel;
pub mod net;
pub mod outbound;
pub mod rules;
pub mod trace;

pub use error::{Error, Result};
