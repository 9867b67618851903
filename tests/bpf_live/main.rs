//! Real packets through the datapath: a client, the router with the program and its listeners,
//! a server. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[path = "../bpf/mod.rs"]
mod bpf;
mod deliver;
mod devices;
mod frames;
mod kill_switch;
mod pass;
mod pause;
mod replace;
mod scene;
