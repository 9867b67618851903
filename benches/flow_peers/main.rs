//! Peers of the benches of proxied flows: who sends, who receives, and the least that a relay
//! between them can be.
//!
//!     flow_peers sink LISTEN                 SOCKS5 server: swallows bytes, echoes datagrams
//!     flow_peers bytes TO STREAMS SECONDS    sends by TCP; prints bytes per second
//!     flow_peers connections TO THREADS SECONDS   one after another; prints them per second
//!     flow_peers datagrams TO SOCKETS SECONDS     to and fro; prints them per second
//!     flow_peers churn ADDRESS SECONDS RATE  flows come and go, so many of UDP begin a second; prints
//!                                            what came of them
//!     flow_peers hold TO CONNECTIONS         opens them, prints a line and waits to be killed
//!     flow_peers splice LISTEN SOCKS         relays TCP, two threads per connection
//!     flow_peers shuttle LISTEN SOCKS        relays datagrams, one thread
//!
//! `bytes` and `connections` speak SOCKS5 themselves when TO begins with `socks5:`.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of the benches: it ends where it fails"
)]

mod batch;
mod churn;
mod datagrams;
mod socks;
mod streams;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<usize>().unwrap();
    match words[..] {
        ["sink", listen] => socks::sink(listen),
        ["bytes", to, streams, seconds] => {
            streams::send(to, number(streams), number(seconds));
        }
        ["connections", to, threads, seconds] => {
            streams::connect(to, number(threads), number(seconds));
        }
        ["datagrams", to, sockets, seconds] => {
            datagrams::echo(to, number(sockets), number(seconds));
        }
        ["churn", to, seconds, rate] => churn::churn(to, number(seconds), number(rate)),
        ["hold", to, connections] => streams::hold(to, number(connections)),
        ["splice", listen, socks] => streams::splice_all(listen, socks),
        ["shuttle", listen, socks] => datagrams::shuttle(listen, socks),
        _ => println!("usage: see the head of benches/flow_peers/main.rs"),
    }
}
