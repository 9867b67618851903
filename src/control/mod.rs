//! What the daemon says of itself: log lines, the status document, the control socket, metrics.

pub mod dns_page;
pub mod flows;
pub mod groups;
#[cfg_attr(not(feature = "metrics"), path = "http_absent.rs")]
pub mod http;
pub mod leases;
pub mod limit;
pub mod log;
pub mod metrics;
pub mod queries;
pub mod socket;
pub mod status;
mod table;
