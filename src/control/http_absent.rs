//! The metrics endpoint in a build without the feature `metrics`: there is none. Pure.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::error::{IoContext as _, Result};

/// Makes the page.
pub type Page = Rc<dyn Fn() -> String>;

/// A listener, of which there are none.
pub enum Endpoint {}

impl Endpoint {
    /// Always an error.
    pub fn open(addr: SocketAddr) -> Result<Self> {
        let absent: io::Result<Self> = Err(io::ErrorKind::Unsupported.into());
        absent.context(|| format!("listen for metrics on {addr}"))
    }

    /// Never called.
    pub async fn run(&self, _: Page) -> Infallible {
        match *self {}
    }
}
