//! Who dae's tests on real kernels talk to, and talk with. I/O.
//!
//! Servers, which run until they are killed:
//!
//!     peer serve ADDRESS...       web (TCP 80), echo (TCP 7, UDP 7 and 443): both say who called
//!     peer dns A AAAA ADDRESS...  DNS (UDP and TCP 53): every name has these two addresses
//!     peer socks ADDRESS          SOCKS5 (TCP 1080): CONNECT and UDP ASSOCIATE
//!
//! Clients print one line; exit code 1 when nobody answers within four seconds:
//!
//!     peer fetch ADDRESS              whom the web server saw
//!     peer echo ADDRESS PORT          whom the echo server saw by UDP
//!     peer ask SERVER NAME TYPE HOW   the address in the answer; TYPE a or aaaa, HOW udp or tcp
//!     peer hold ADDRESS SECONDS       one TCP connection, bytes to and fro; the longest silence, ms
//!
//! And a starter:
//!
//!     peer stamped LOG COMMAND...     runs it; its standard error goes to LOG, every line with
//!                                     the milliseconds since its start; says when it hooks in

mod client;
mod dns;
mod server;
mod socks;
mod stamped;

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<String> {
    match words {
        ["serve", addresses @ ..] => server::serve(addresses),
        ["dns", a, aaaa, addresses @ ..] => dns::serve(parse(a)?, parse(aaaa)?, addresses),
        ["socks", address] => socks::serve(parse(address)?),
        ["fetch", address] => client::fetch(parse(address)?),
        ["echo", address, port] => client::echo(parse(address)?, parse(port)?),
        ["ask", server, name, kind, how] => dns::ask(parse(server)?, name, kind, how),
        ["hold", address, seconds] => client::hold(parse(address)?, parse(seconds)?),
        ["stamped", log, command @ ..] => stamped::run(log, command),
        _ => Err(wrong("usage: see the head of kernels/peer/src/main.rs")),
    }
}

/// An error with these words.
fn wrong(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

fn parse<T: std::str::FromStr>(word: &str) -> io::Result<T> {
    word.parse()
        .map_err(|_| wrong(&format!("what is '{word}'?")))
}
