//! Bytes from socket to socket inside the kernel (`splice`), through pipes that are borrowed
//! only while bytes are under way: an idle connection holds none. I/O.

use std::cell::RefCell;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// Bytes asked for at once. The pipe's 16 slots are the real limit.
const CHUNK: usize = 1 << 20;

/// Empty pipes kept for the next one who needs one.
const SPARE: usize = 16;

/// Where pipes come from and go back to.
#[derive(Debug, Default)]
pub struct PipePool {
    spare: RefCell<Vec<Ends>>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl PipePool {
    /// An empty pipe. An error is that of `pipe2`: most likely no descriptors are left.
    pub fn pipe(self: &Rc<Self>) -> io::Result<Pipe> {
        let ends = match self.spare.borrow_mut().pop() {
            Some(ends) => ends,
            None => {
                let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
                Ends { read, write }
            }
        };
        Ok(Pipe {
            ends: Some(ends),
            filled: 0,
            pool: Rc::clone(self),
        })
    }

    fn put(&self, ends: Ends) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            spare.push(ends);
        }
    }
}

/// A pipe on loan. Dropped empty it goes back to its pool; with bytes left in it, it is closed.
#[derive(Debug)]
pub struct Pipe {
    /// None only while dropping.
    ends: Option<Ends>,
    filled: usize,
    pool: Rc<PipePool>,
}

impl Pipe {
    /// Takes what `socket` has received into the pipe, without waiting: WouldBlock when there
    /// is nothing, 0 at its end.
    pub fn fill(&mut self, socket: &TcpStream) -> io::Result<usize> {
        let moved = match &self.ends {
            Some(ends) => splice(socket, &ends.write, CHUNK)?,
            None => 0,
        };
        self.filled += moved;
        Ok(moved)
    }

    /// Gives the pipe's bytes to `socket`, without waiting: WouldBlock when it takes none.
    pub fn drain(&mut self, socket: &TcpStream) -> io::Result<usize> {
        let moved = match &self.ends {
            Some(ends) => splice(&ends.read, socket, self.filled)?,
            None => 0,
        };
        self.filled -= moved;
        Ok(moved)
    }

    /// Bytes in the pipe.
    pub fn filled(&self) -> usize {
        self.filled
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if self.filled == 0
            && let Some(ends) = self.ends.take()
        {
            self.pool.put(ends);
        }
    }
}

fn splice(from: &impl AsFd, to: &impl AsFd, length: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    // SAFETY: both descriptors are open during the call, and the offsets may be null.
    let moved = unsafe { libc::splice(from, none, to, none, length, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
