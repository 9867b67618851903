//! Bytes from socket to socket inside the kernel (`splice`), through pipes that are borrowed
//! only while bytes are under way: an idle connection holds none. I/O.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// Bytes asked for at once. The pipe's slots, each for a page, are the real limit.
const CHUNK: usize = 1 << 20;

/// Empty pipes kept for the next one who needs one.
const SPARE: usize = 16;

/// Size of a pipe with 64 slots, bytes. With the usual 16 a bulk transfer takes a quarter more
/// time of the processor.
const LARGE: libc::c_int = 256 * 1024;

/// Large pipes that there are at a time. What is in a pipe is accounted to nobody, and a receiver
/// that takes nothing leaves it there.
const MAX_LARGE: usize = 16;

/// Where pipes come from and go back to.
#[derive(Debug, Default)]
pub struct PipePool {
    spare: RefCell<Vec<Ends>>,
    /// Large ones, on loan or not.
    large: Rc<Cell<usize>>,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
    large: Option<Large>,
}

/// One of the large ones, as long as it is open.
#[derive(Debug)]
struct Large(Rc<Cell<usize>>);

impl Drop for Large {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl PipePool {
    /// An empty pipe. An error is that of `pipe2`: most likely no descriptors are left.
    pub fn pipe(self: &Rc<Self>) -> io::Result<Pipe> {
        let ends = match self.spare.borrow_mut().pop() {
            Some(ends) => ends,
            None => self.open()?,
        };
        Ok(Pipe {
            ends: Some(ends),
            filled: 0,
            pool: Rc::clone(self),
        })
    }

    fn open(&self) -> io::Result<Ends> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // The system may allow no more of it.
        let large = self.large.get() < MAX_LARGE && enlarge(&write).is_ok();
        let large = large.then(|| {
            self.large.set(self.large.get() + 1);
            Large(Rc::clone(&self.large))
        });
        Ok(Ends { read, write, large })
    }

    fn put(&self, ends: Ends) {
        let mut spare = self.spare.borrow_mut();
        let is_small = |ends: &Ends| ends.large.is_none();
        if spare.len() < SPARE {
            spare.push(ends);
        } else if ends.large.is_some()
            && let Some(small) = spare.iter().position(is_small)
        {
            spare[small] = ends;
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

fn enlarge(pipe: &impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is open during the call, and no memory is involved.
    let size = unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, LARGE) };
    if size < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn splice(from: &impl AsFd, to: &impl AsFd, length: usize) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    let (from, to) = (from.as_fd().as_raw_fd(), to.as_fd().as_raw_fd());
    // SAFETY: both descriptors are open during the call, and the offsets may be null.
    let moved = unsafe { libc::splice(from, none, to, none, length, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(pipes: &[Pipe]) -> usize {
        let ends = pipes.iter().filter_map(|pipe| pipe.ends.as_ref());
        ends.filter(|ends| ends.large.is_some()).count()
    }

    fn pipes(pool: &Rc<PipePool>, count: usize) -> Vec<Pipe> {
        (0..count).map(|_| pool.pipe().unwrap()).collect()
    }

    #[test]
    fn large_pipes_are_few_and_used_first() {
        let pool = Rc::<PipePool>::default();
        let held = pipes(&pool, 40);
        assert_eq!(large(&held), MAX_LARGE);
        // The large ones come back last, when all places are taken by small ones.
        drop(held.into_iter().rev().collect::<Vec<_>>());
        assert_eq!(pool.spare.borrow().len(), SPARE);
        assert_eq!(pool.large.get(), MAX_LARGE);
        assert_eq!(large(&pipes(&pool, SPARE)), MAX_LARGE);
    }

    #[test]
    fn a_pipe_with_bytes_left_is_closed() {
        let pool = Rc::<PipePool>::default();
        let mut pipe = pool.pipe().unwrap();
        pipe.filled = 1;
        drop(pipe);
        assert_eq!((pool.spare.borrow().len(), pool.large.get()), (0, 0));
    }
}
