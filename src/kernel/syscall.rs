//! Commands of the `bpf` system call that aya does not have, or not as we need them. I/O.
//!
//! Structures are the parts of `union bpf_attr`, include/uapi/linux/bpf.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_TCX_INGRESS: u32 = 46;
/// Behind all programs that are there.
const BPF_F_AFTER: u32 = 1 << 4;

/// Elements told, or asked for, by one system call.
const BATCH: usize = 2048;

/// A tick of the kernel's clock takes 10 ms at most.
const PAUSE: Duration = Duration::from_millis(2);
/// Without an element more: then memory is scarce indeed.
const PAUSES: u32 = 15;

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: RawFd,
    element_flags: u64,
    flags: u64,
}

/// Sets elements of a map (BPF_MAP_UPDATE_BATCH, kernel 5.6): `keys` and `values` are equally
/// many, and have the sizes that the map has.
pub fn update<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        let (mut done, count) = (0, keys.len().min(values.len()));
        while done < count {
            let (keys, values) = (&keys[done..], &values[done..]);
            done += patiently(|| update_some(map, keys, values))?;
        }
    }
    Ok(())
}

/// Sets elements until the first that fails; how many that were.
fn update_some<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<usize> {
    let asked = keys.len().min(values.len());
    let mut attributes = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: asked as u32,
        map: map.as_raw_fd(),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `count` keys and values of the map's sizes, which the caller
    // has compared with those of K and V, from slices that outlive the call; it writes `count`.
    let result = unsafe { bpf_mut(BPF_MAP_UPDATE_BATCH, &mut attributes) };
    match (result, attributes.count as usize) {
        (Ok(_), _) => Ok(asked),
        // Not written when it failed before the first.
        (Err(_), some) if (1..asked).contains(&some) => Ok(some),
        (Err(error), _) => Err(error),
    }
}

/// Tries again for a while what the kernel has no memory for.
///
/// It keeps few elements of a map without preallocation in hand (hash maps from 6.1 on, tries
/// later). New ones it gets by an interrupt of its own, which comes with the next tick
/// of the clock where a CPU cannot interrupt itself: on mips.
pub fn patiently<T, E: Scarcity>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 0..PAUSES {
        match attempt() {
            Err(error) if error.is_scarcity() => thread::sleep(PAUSE),
            done => return done,
        }
    }
    attempt()
}

/// Errors that may say that there is no memory just now.
pub trait Scarcity {
    /// Whether this one does.
    fn is_scarcity(&self) -> bool;
}

impl Scarcity for io::Error {
    fn is_scarcity(&self) -> bool {
        self.raw_os_error() == Some(libc::ENOMEM)
    }
}

impl Scarcity for aya::maps::MapError {
    fn is_scarcity(&self) -> bool {
        matches!(self, Self::SyscallError(error) if error.io_error.is_scarcity())
    }
}

/// Hands all elements of a hash map to `each`, some at a time (BPF_MAP_LOOKUP_BATCH, kernel 5.6).
/// Their sizes are those of K and V. One that comes or goes meanwhile is there or not; `most` are
/// looked at, and a few more.
pub fn elements<K: aya::Pod, V: aya::Pod>(
    map: BorrowedFd<'_>,
    most: usize,
    mut each: impl FnMut(&[K], &[V]) -> io::Result<()>,
) -> io::Result<()> {
    // A bucket comes whole or not at all; one of a full map has a few elements.
    let mut keys: Vec<K> = Vec::with_capacity(BATCH);
    let mut values: Vec<V> = Vec::with_capacity(BATCH);
    // Where to go on: a number of a bucket.
    let mut place = 0_u32;
    let mut seen = 0;
    while seen <= most {
        let mut attributes = Batch {
            in_batch: if seen == 0 {
                0
            } else {
                (&raw const place) as u64
            },
            out_batch: (&raw mut place) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: BATCH as u32,
            map: map.as_raw_fd(),
            element_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel writes at most `count` keys and values of the map's sizes, which
        // the caller has compared with those of K and V, into vectors with that much room; it
        // reads and writes four bytes of `place`, and `count`.
        let result = unsafe { bpf_mut(BPF_MAP_LOOKUP_BATCH, &mut attributes) };
        let is_last = match result {
            Ok(_) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            Err(error) => return Err(error),
        };
        let count = (attributes.count as usize).min(BATCH);
        // SAFETY: the kernel has written so many of each, and any bytes are a K and a V.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        each(&keys, &values)?;
        seen += count;
        if is_last || count == 0 {
            break;
        }
    }
    Ok(())
}

/// Hangs a program on the ingress of a device (BPF_LINK_CREATE with BPF_TCX_INGRESS, kernel
/// 6.6), behind those that are there. It is gone with the descriptor.
pub fn link_create(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program: RawFd,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        pad: u32,
        expected_revision: u64,
    }
    let attributes = Attributes {
        program: program.as_raw_fd(),
        ifindex,
        attach_type: BPF_TCX_INGRESS,
        flags: BPF_F_AFTER,
        relative: 0,
        pad: 0,
        expected_revision: 0,
    };
    // SAFETY: the kernel reads the attributes only, which name no memory.
    let link = unsafe { bpf(BPF_LINK_CREATE, &attributes) }?;
    // SAFETY: a new descriptor, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Puts another program in the place of a link's, in one step (BPF_LINK_UPDATE, kernel 5.7).
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: RawFd,
        new_program: RawFd,
        flags: u32,
        old_program: u32,
    }
    let attributes = Attributes {
        link: link.as_raw_fd(),
        new_program: program.as_raw_fd(),
        flags: 0,
        old_program: 0,
    };
    // SAFETY: the kernel reads the attributes only, which name no memory.
    unsafe { bpf(BPF_LINK_UPDATE, &attributes) }.map(drop)
}

/// What the kernel says to a command that there is not: ENOSYS where it was built without
/// BPF_SYSCALL, EPERM where we may not.
pub fn probe() -> io::Error {
    const NO_SUCH_COMMAND: libc::c_int = -1;
    // SAFETY: the kernel refuses the command before it would read the attributes; none given.
    unsafe { libc::syscall(libc::SYS_bpf, NO_SUCH_COMMAND, 0usize, 0usize) };
    io::Error::last_os_error()
}

/// # Safety
/// What the attributes point to must be there, with the sizes that the command expects, and the
/// command must write nothing.
unsafe fn bpf<A>(command: libc::c_int, attributes: &A) -> io::Result<RawFd> {
    // SAFETY: as the caller promises; the kernel is told the size of `attributes`.
    done(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw const *attributes,
            size_of::<A>(),
        )
    })
}

/// # Safety
/// What the attributes point to must be there, with the sizes that the command expects.
unsafe fn bpf_mut<A>(command: libc::c_int, attributes: &mut A) -> io::Result<RawFd> {
    // SAFETY: as the caller promises; the kernel is told the size of `attributes`.
    done(unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<A>()) })
}

fn done(result: libc::c_long) -> io::Result<RawFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // A descriptor or 0.
    Ok(result as RawFd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scarce() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOMEM)
    }

    #[test]
    fn what_has_no_memory_is_tried_again_for_a_while() {
        let mut left = 3;
        let done = patiently(|| {
            left -= 1;
            if left > 0 { Err(scarce()) } else { Ok("set") }
        });
        assert_eq!(done.unwrap(), "set");

        let mut tried = 0;
        let gave_up: io::Result<()> = patiently(|| {
            tried += 1;
            Err(scarce())
        });
        assert!(gave_up.unwrap_err().is_scarcity());
        assert_eq!(tried, PAUSES + 1);
    }

    #[test]
    fn other_errors_are_told_at_once() {
        let mut tried = 0;
        let refused: io::Result<()> = patiently(|| {
            tried += 1;
            Err(io::Error::from_raw_os_error(libc::E2BIG))
        });
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::E2BIG));
        assert_eq!(tried, 1);
    }
}
