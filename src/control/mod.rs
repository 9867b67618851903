//! What the daemon says of itself: log lines, the status document, the control socket.

pub mod dns_page;
pub mod limit;
pub mod log;
pub mod queries;
pub mod socket;
pub mod status;
mod table;
