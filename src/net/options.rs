//! Socket options that the standard library does not set. I/O.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use libc::{c_int, socklen_t};
use socket2::{Socket, TcpKeepalive};

/// A peer that answers no probe is given up after 300 + 4 * 30 s. The kernel does it: no timer
/// of ours, and a phone that left the network does not hold its connections for hours.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(300))
    .with_interval(Duration::from_secs(30))
    .with_retries(4);

/// Options of every stream, and of listeners, whose connections inherit them.
pub(super) fn prepare_stream(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)
}

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
