//! Commands of the `bpf` system call, but for entries of maps, which [`super::map`] has. I/O.
//!
//! Structures are the parts of `union bpf_attr`, include/uapi/linux/bpf.h.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::code::MapSpec;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_TCX_INGRESS: u32 = 46;
/// Behind all programs that are there.
const BPF_F_AFTER: u32 = 1 << 4;

/// Makes a map of so many entries. The name is for those who look (bpftool).
pub fn map_create(spec: &MapSpec, entries: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key: u32,
        value: u32,
        entries: u32,
        flags: u32,
        inner: u32,
        numa_node: u32,
        name: Name,
    }
    let attributes = Attributes {
        kind: spec.kind,
        key: spec.key,
        value: spec.value,
        entries,
        flags: spec.flags,
        inner: 0,
        numa_node: 0,
        name: name(spec.name),
    };
    // SAFETY: the kernel reads the attributes only, which name no memory.
    unsafe { bpf(BPF_MAP_CREATE, &attributes).map(|fd| owned(fd)) }
}

/// What the verifier says of a refused program: kernels from 6.4 on keep the end of it, older ones
/// need room for all.
const LOG: usize = 1 << 20;

/// Has the kernel verify a program for tc. An error has the verifier's last words.
pub fn program_load(program: &str, code: &[u64], license: &CStr) -> io::Result<OwnedFd> {
    let loaded = verify(program, code, license, &mut []);
    let Err(error) = loaded else { return loaded };
    if error.raw_os_error() == Some(libc::EPERM) {
        return Err(error);
    }
    let mut log = vec![0; LOG];
    verify(program, code, license, &mut log).map_err(|_| {
        let words = last_words(&log);
        io::Error::new(error.kind(), format!("{error}; the verifier: {words}"))
    })
}

fn verify(program: &str, code: &[u64], license: &CStr, log: &mut [u8]) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
        name: Name,
    }
    let attributes = Attributes {
        kind: BPF_PROG_TYPE_SCHED_CLS,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        log: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
        kernel: 0,
        flags: 0,
        name: name(program),
    };
    // SAFETY: the kernel reads `count` instructions of eight bytes, and the license to its zero; it
    // writes `log_size` bytes of the log at most.
    unsafe { bpf(BPF_PROG_LOAD, &attributes).map(|fd| owned(fd)) }
}

/// The verifier's reason: the last line that is not one of its statistics.
fn last_words(log: &[u8]) -> String {
    let end = log.iter().position(|byte| *byte == 0);
    let text = String::from_utf8_lossy(&log[..end.unwrap_or(log.len())]);
    let mut lines = text.lines().rev().map(str::trim);
    let reason = lines.find(|line| !line.is_empty() && !line.starts_with("processed "));
    reason.unwrap_or("nothing").to_owned()
}

/// A name as the kernel has it, which ends with a zero.
type Name = [u8; 16];

fn name(text: &str) -> Name {
    let mut name = Name::default();
    let last = name.len() - 1;
    for (place, byte) in name[..last].iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    name
}

/// # Safety
/// `fd` is a new descriptor, and nobody else's.
unsafe fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: as the caller promises.
    unsafe { OwnedFd::from_raw_fd(fd) }
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
    unsafe { bpf(BPF_LINK_CREATE, &attributes).map(|fd| owned(fd)) }
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
pub(super) unsafe fn bpf<A>(command: libc::c_int, attributes: &A) -> io::Result<RawFd> {
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
pub(super) unsafe fn bpf_mut<A>(command: libc::c_int, attributes: &mut A) -> io::Result<RawFd> {
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

    #[test]
    fn the_verifiers_reason_is_found() {
        let log = b"0: (61) r2 = *(u32 *)(r1 +4)\ninvalid access to packet\n\
            processed 7 insns (limit 1000000)\n\0\0rest";
        assert_eq!(last_words(log), "invalid access to packet");
        assert_eq!(last_words(b"cut off"), "cut off");
        assert_eq!(last_words(&[0; 4]), "nothing");
    }

    #[test]
    fn a_program_that_is_refused_says_why() {
        // r0 = r5; exit: of a register that nobody has set.
        let refused = program_load("test", &[0x50bf, 0x95], c"GPL").unwrap_err();
        match refused.raw_os_error() {
            // Without the rights of root.
            Some(error) => assert_eq!(error, libc::EPERM),
            None => assert!(refused.to_string().contains("R5 !read_ok"), "{refused}"),
        }
    }
}
