//! What the kernel wants before it takes a program, and its refusals in plain words. I/O: system
//! calls.

use std::io;

use super::syscall;
use crate::error::Result;

/// Kernels before 5.11 count maps as locked memory, of which a process may have 64 kB.
pub fn allow_locked_memory() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the kernel reads `limit`, which lives for the call. A refusal shows when the
    // maps are created, with its reason.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

const NOT_ALLOWED: &str = "not allowed; run as root, or with CAP_BPF and CAP_NET_ADMIN";

/// Newer kernels refuse only when the first map is created.
pub fn explain(map: &str, error: &io::Error) -> crate::Error {
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => NOT_ALLOWED.into(),
        _ => format!("map {map}: {error}"),
    };
    crate::Error::Bpf {
        what: "load".into(),
        reason,
    }
}

/// Says plainly what a kernel without BPF, or a user without rights, will not do.
pub fn probe() -> Result<()> {
    let reason = match syscall::probe().raw_os_error() {
        Some(libc::ENOSYS) => "the kernel was built without BPF_SYSCALL; use one that has it",
        Some(libc::EPERM) => NOT_ALLOWED,
        _ => return Ok(()),
    };
    Err(crate::Error::Bpf {
        what: "load".into(),
        reason: reason.into(),
    })
}
