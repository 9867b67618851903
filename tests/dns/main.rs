//! The DNS forwarder: scenarios with a fake clock, real sockets, real peers. Messages are made
//! and read by hickory-proto, an implementation that shares nothing with ours.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod books;
#[allow(dead_code, reason = "shared with the tests of flows")]
#[path = "../flow/home.rs"]
mod home;
mod hosts;
mod https;
mod messages;
mod peers;
mod peers_tls;
mod random;
mod scenario;
mod server;
mod sockets;
mod tls;
mod tls_server;
mod udp;
mod upstream;
mod wire;
