//! What the tests of the parts share.

mod executor;
mod source;
mod timer;
mod watch;

use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_lite::future;

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Ends a test that waits for what does not come.
fn soon<T>(work: impl Future<Output = T>) -> T {
    block_on(future::or(work, async {
        Timer::after(ms(5000)).await;
        panic!("it does not come");
    }))
}

fn tasks() -> usize {
    with(|local| local.executor.count())
}

/// Both ends of a stream, the first one as a source.
fn pair() -> (Source<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Source::new(ours, Interest::Both).unwrap(), theirs)
}

fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}
