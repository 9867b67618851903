//! HTTP/2 in a build without the feature `https`: types of which there are no values. Pure.

use std::convert::Infallible;
use std::io;

/// As in a build with HTTPS.
pub const FIRST_STREAMS: u32 = 10;

/// Whom to ask, and for what: nobody.
#[derive(Debug)]
pub enum Target {}

/// A connection.
#[derive(Debug)]
pub enum Client {}

/// What came of a query.
#[derive(Debug)]
pub enum Event {
    /// The answer's body.
    Answer(u16, Vec<u8>),
    /// No answer.
    Failed(u16, Infallible),
    /// The server did nothing with it.
    Refused(u16),
}

impl Target {
    /// Always an error.
    pub fn new(_: &str, _: &str) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Never called.
    pub fn connect(&self) -> Client {
        match *self {}
    }
}

impl Client {
    /// Never called, as all that follow.
    pub fn max_streams(&self) -> usize {
        match *self {}
    }

    /// See above.
    pub fn is_over(&self) -> bool {
        match *self {}
    }

    /// See above.
    pub fn request(&mut self, _: u16, _: &[u8]) {
        match *self {}
    }

    /// See above.
    pub fn cancel(&mut self, _: u16) {
        match *self {}
    }

    /// See above.
    pub fn next_event(&mut self) -> Option<Event> {
        match *self {}
    }

    /// See above.
    pub fn take_output(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }

    /// See above.
    pub fn receive(&mut self, _: &[u8]) -> Result<(), Infallible> {
        match *self {}
    }
}
