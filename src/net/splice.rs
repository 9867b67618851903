//! Bytes from socket to socket inside the kernel (`splice`), through pipes that are borrowed
//! only while bytes are under way: an idle connection holds none. I/O.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// What a pipe of the usual size holds, bytes: 16 slots, each for a page or less.
pub const SMALL: usize = 64 * 1024;

/// What a large pipe holds, bytes; the system lets nobody have more by default. In bulk it takes
/// half the time of the processor that small ones take.
pub const LARGE: usize = 1024 * 1024;

/// Empty pipes of the usual size kept for the next one who needs one.
const SPARE: usize = 16;

/// Large pipes that there are at a time. What is in a pipe is accounted to nobody, so large ones
/// are for bytes that will leave at once.
const MAX_LARGE: usize = 4;

/// Where pipes come from and go back to.
#[derive(Debug, Default)]
pub struct PipePool {
    small: RefCell<Vec<Ends>>,
    large: RefCell<Vec<Ends>>,
    /// Large ones, on loan or not.
    larges: Rc<Cell<usize>>,
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
    /// An empty pipe for so many bytes, if there is one so large. An error is that of `pipe2`:
    /// most likely no descriptors are left.
    pub fn pipe(self: &Rc<Self>, bytes: usize) -> io::Result<Pipe> {
        let large = if bytes > SMALL { self.large() } else { None };
        let ends = match large.or_else(|| self.small.borrow_mut().pop()) {
            Some(ends) => ends,
            None => open()?,
        };
        Ok(Pipe {
            ends: Some(ends),
            filled: 0,
            pool: Rc::clone(self),
        })
    }

    /// None: there are as many as there may be, or the system allows none.
    fn large(&self) -> Option<Ends> {
        if let Some(ends) = self.large.borrow_mut().pop() {
            return Some(ends);
        }
        if self.larges.get() >= MAX_LARGE {
            return None;
        }
        let mut ends = open().ok()?;
        enlarge(&ends.write).ok()?;
        self.larges.set(self.larges.get() + 1);
        ends.large = Some(Large(Rc::clone(&self.larges)));
        Some(ends)
    }

    /// Closes the spare ones: nobody has needed any for a while.
    pub fn clear(&self) {
        self.small.borrow_mut().clear();
        self.large.borrow_mut().clear();
    }

    fn put(&self, ends: Ends) {
        let (spare, most) = match ends.large {
            Some(_) => (&self.large, MAX_LARGE),
            None => (&self.small, SPARE),
        };
        let mut spare = spare.borrow_mut();
        if spare.len() < most {
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
    /// Takes what `socket` has received into the pipe, at most so many bytes, without waiting:
    /// WouldBlock when there is nothing, 0 at its end.
    pub fn fill(&mut self, socket: &TcpStream, bytes: usize) -> io::Result<usize> {
        let moved = match &self.ends {
            Some(ends) => splice(socket, &ends.write, bytes)?,
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

fn open() -> io::Result<Ends> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let large = None;
    Ok(Ends { read, write, large })
}

fn enlarge(pipe: &impl AsFd) -> io::Result<()> {
    let size = LARGE as libc::c_int;
    // SAFETY: the descriptor is open during the call, and no memory is involved.
    let size = unsafe { libc::fcntl(pipe.as_fd().as_raw_fd(), libc::F_SETPIPE_SZ, size) };
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

    fn pipes(pool: &Rc<PipePool>, count: usize, bytes: usize) -> Vec<Pipe> {
        (0..count).map(|_| pool.pipe(bytes).unwrap()).collect()
    }

    fn large(pipes: &[Pipe]) -> usize {
        let ends = pipes.iter().filter_map(|pipe| pipe.ends.as_ref());
        ends.filter(|ends| ends.large.is_some()).count()
    }

    fn spare(pool: &PipePool) -> (usize, usize) {
        (pool.small.borrow().len(), pool.large.borrow().len())
    }

    #[test]
    fn pipes_come_back_and_large_ones_are_few() {
        let pool = Rc::<PipePool>::default();
        for _ in 0..2 {
            let held = pipes(&pool, 40, LARGE);
            assert_eq!(large(&held), MAX_LARGE);
            drop(held);
            assert_eq!(spare(&pool), (SPARE, MAX_LARGE));
        }
        assert_eq!(large(&pipes(&pool, 40, SMALL)), 0);
    }

    #[test]
    fn spare_pipes_are_closed_on_demand() {
        let pool = Rc::<PipePool>::default();
        let held = pipes(&pool, 1, LARGE);
        drop((pipes(&pool, 3, LARGE), pipes(&pool, 3, SMALL)));
        pool.clear();
        assert_eq!((spare(&pool), pool.larges.get()), ((0, 0), 1));
        drop(held);
        assert_eq!((spare(&pool), pool.larges.get()), ((0, 1), 1));
    }

    #[test]
    fn a_pipe_with_bytes_left_is_closed() {
        let pool = Rc::<PipePool>::default();
        for bytes in [SMALL, LARGE] {
            let mut pipe = pool.pipe(bytes).unwrap();
            pipe.filled = 1;
        }
        assert_eq!((spare(&pool), pool.larges.get()), ((0, 0), 0));
    }
}
