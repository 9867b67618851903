//! Flows on real sockets, in network namespaces without a name: they end with the test.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod dial;
mod home;
mod live;
mod net;
mod outbound;
mod router;
mod scene;
mod servers;
mod tcp;
mod tcp_bounds;
mod udp;
mod udp_sessions;
