//! What the daemon says of itself: log lines, the status document, the control socket.

pub mod limit;
pub mod log;
pub mod socket;
pub mod status;
