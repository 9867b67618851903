//! The server on real sockets, with an upstream that misbehaves.

mod answers;
mod bounds;
mod fallback;

use std::time::{Duration, Instant};

use crate::server::{Client, Running, config};
use crate::upstream::{Speaks, Upstream};

const GOOD: &str = "id=7 noerror";

/// A server with one upstream.
fn pair(scheme: &str, speaks: Speaks, options: &[&str]) -> (Running, Upstream) {
    let upstream = Upstream::start(speaks);
    let server = Running::start(&config(&upstream.url(scheme), options));
    (server, upstream)
}

/// Asks for a name, and how long the answer took.
fn timed(client: &mut Client, name: &str) -> (String, Duration) {
    let start = Instant::now();
    let answer = client.ask(name);
    (answer, start.elapsed())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
