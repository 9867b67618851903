//! A descriptor kept for when there are no others. I/O.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::TcpListener;

use super::{listen, stream};

/// What is given up to refuse a connection that could not even be accepted, and taken again.
#[derive(Debug)]
pub struct Reserve(RefCell<Option<File>>);

impl Default for Reserve {
    fn default() -> Self {
        Self(RefCell::new(spare()))
    }
}

impl Reserve {
    /// Resets the connection that waits longest: its client learns at once that it cannot be
    /// served. WouldBlock when there is none; another error when there is no reserve either.
    pub fn refuse(&self, listener: &TcpListener) -> io::Result<()> {
        drop(self.0.take());
        let accepted =
            listen::accept(listener).map(|(refused, _)| stream::reset_on_close(&refused));
        self.0.replace(spare());
        accepted
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
