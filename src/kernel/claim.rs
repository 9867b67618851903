//! One datapath per network namespace: its rule, table and filter have fixed numbers, so a
//! second instance would take the first one's for those of a dead one. I/O: a name in the
//! abstract Unix namespace, which belongs to the network namespace, needs no file, and is free
//! the moment its holder dies.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::error::{Error, IoContext, Result};

const NAME: &str = "dae-datapath";

/// Proof that no other datapath lives here. Held as long as it is kept.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "held, never used")] UnixDatagram);

impl Claim {
    /// Takes the name; an error that says so when another instance has it.
    pub fn take() -> Result<Self> {
        let what = || "take this network namespace";
        let name = SocketAddr::from_abstract_name(NAME).context(what)?;
        match UnixDatagram::bind_addr(&name) {
            Ok(socket) => Ok(Self(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(Error::Io {
                what: what().into(),
                source: io::Error::new(error.kind(), "another dae with interfaces runs here"),
            }),
            Err(error) => Err(error).context(what),
        }
    }
}
