//! `*` Signals as a stream: TERM and INT end the daemon, HUP reloads its configuration.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{IoContext as _, Result};
use crate::net::reactor::{Interest, Source};

/// The signals of the daemon, blocked for all threads that start after it.
pub struct Signals(Source<SignalFd>);

impl Signals {
    /// Takes TERM, INT and HUP over. Call it before the first thread starts.
    pub fn take() -> Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block().context(|| "block signals")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        let fd = SignalFd::with_flags(&set, flags).context(|| "open a signalfd")?;
        let fd = Source::new(fd, Interest::Read).context(|| "watch the signalfd")?;
        Ok(Self(fd))
    }

    /// Waits for the next signal.
    pub async fn next(&self) -> Result<Signal> {
        let next = self.0.read_with(|fd| {
            let info = fd.read_signal()?.ok_or(io::ErrorKind::WouldBlock)?;
            Signal::try_from(info.ssi_signo as i32).map_err(io::Error::from)
        });
        next.await.context(|| "read the signalfd")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_and_kills_nobody() {
        let signals = Signals::take().unwrap();
        // To this thread, the only one that blocks it.
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        let signal = futures_lite::future::block_on(signals.next()).unwrap();
        assert_eq!(signal, Signal::SIGHUP);
    }
}
