//! Socket options that the standard library does not set. I/O.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, socklen_t};

/// `setsockopt` with an `int`, the shape of nearly every option.
pub(super) fn set_int(
    socket: &impl AsFd,
    level: c_int,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    set(socket, level, option, &value)
}

/// `setsockopt` with a C structure.
pub(super) fn set<T: Copy>(
    socket: &impl AsFd,
    level: c_int,
    option: c_int,
    value: &T,
) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let pointer = std::ptr::from_ref(value).cast();
    // SAFETY: `fd` is open for the call, and the kernel reads `size_of::<T>()` bytes of `value`.
    let result =
        unsafe { libc::setsockopt(fd, level, option, pointer, size_of::<T>() as socklen_t) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
