//! Sockets of the daemon: the one place with raw socket code, all of it I/O.
//!
//! [`listen`] makes the sockets that intercepted packets are assigned to, [`batch`] reads
//! datagrams from them many per system call, [`reply`] answers in the name of any address,
//! [`dial`] opens connections that are never intercepted again, [`splice`] moves bytes from
//! one to another, [`stream`] breaks them, [`tls`] encrypts them. [`reactor`] runs the tasks
//! that use them.

pub mod batch;
mod control;
pub mod dial;
pub mod listen;
pub mod notify;
mod options;
pub mod outbox;
pub mod reactor;
pub mod reply;
pub mod reserve;
mod sockaddr;
pub mod splice;
pub mod stream;
#[cfg_attr(not(feature = "tls"), path = "tls_absent.rs")]
pub mod tls;

/// SO_MARK of every socket of the daemon: what it sends is not intercepted again, and the
/// BPF program takes a listener for ours only when it carries this mark.
pub const OWN_MARK: u32 = 0x2000_0000;

/// Mark, and mask, of packets handed to our sockets; a policy rule makes them local.
pub const DELIVER_MARK: u32 = 0x4000_0000;
