//! A gate before the system call `bpf` of a process: each waits until the test says what comes of
//! it. As a kernel that takes seconds to verify a program, or refuses it.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// Where the child keeps its end until we have taken it over.
const PLACE: i32 = 100;

// include/uapi/linux/seccomp.h
const RET_USER_NOTIF: u32 = 0x7fc0_0000;
const NOTIF_RECV: u64 = 0xc050_2100;
const NOTIF_SEND: u64 = 0xc018_2101;
const RESP_CONTINUE: u32 = 1;

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Default)]
struct Asked {
    id: u64,
    pid: u32,
    flags: u32,
    /// `struct seccomp_data`.
    data: [u64; 8],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Said {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// In the place of a command (BPF_LINK_CREATE, say): none waits, each does.
const NONE: u64 = u64::MAX;
const ALL: u64 = NONE - 1;

/// What comes of the calls. Dropped, it lets all pass that still wait.
pub struct Gate {
    /// The command that waits.
    shut: Arc<AtomicU64>,
    refuses: Arc<AtomicBool>,
    waits: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Gate {
    /// Runs a command behind a gate that is open, and refuses with ENOMEM, or lets pass.
    pub fn spawn(mut command: Command, refuses: bool) -> (Child, Self) {
        // SAFETY: three system calls, between fork and exec.
        unsafe { command.pre_exec(close_in) };
        let child = command.spawn().unwrap();
        let mut gate = Self {
            shut: Arc::new(NONE.into()),
            refuses: Arc::new(refuses.into()),
            waits: Arc::default(),
            end: Arc::default(),
            thread: None,
        };
        let listener = take_over(child.id()).unwrap();
        let (shut, refuses) = (gate.shut.clone(), gate.refuses.clone());
        let (waits, end) = (gate.waits.clone(), gate.end.clone());
        let serve = move || {
            while !end.load(Ordering::Relaxed) {
                let Some(asked) = next(&listener) else {
                    continue;
                };
                // Behind the number, the architecture and the place: the first argument.
                let command = asked.data[2];
                while matches!(shut.load(Ordering::Relaxed), it if it == ALL || it == command) {
                    waits.store(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(1));
                }
                waits.store(0, Ordering::Relaxed);
                let refuses = refuses.load(Ordering::Relaxed);
                answer(&listener, asked.id, refuses);
            }
        };
        gate.thread = Some(std::thread::spawn(serve));
        (child, gate)
    }

    /// From now on calls wait.
    pub fn shut(&self) {
        self.shut.store(ALL, Ordering::Relaxed);
    }

    /// From now on calls with this command wait.
    pub fn shut_for(&self, command: u32) {
        self.shut.store(command.into(), Ordering::Relaxed);
    }

    /// They go on: refused, or as the kernel wants it.
    pub fn open(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
        self.shut.store(NONE, Ordering::Relaxed);
    }

    /// Whether one waits.
    pub fn has_somebody(&self) -> bool {
        self.waits.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open(false);
        self.end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Leaves every `bpf` of this process and all that come of it to whoever has the descriptor.
fn close_in() -> io::Result<()> {
    let statement = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    // The number of the call is at 0 of struct seccomp_data.
    let mut filter = [
        statement(0x20, 0, 0),
        statement(0x15, libc::SYS_bpf as u32, 1),
        statement(6, RET_USER_NOTIF, 0),
        statement(6, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // SAFETY: the kernel copies the filter, which lives until then; descriptors are ours.
    let result = unsafe {
        let fd = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        );
        // Without the flag that closes it in the next program.
        if fd < 0 {
            -1
        } else {
            libc::dup2(fd as i32, PLACE)
        }
    };
    match result {
        PLACE => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The descriptor of another process, which has run the next program by now.
fn take_over(pid: u32) -> io::Result<OwnedFd> {
    let owned = |fd: libc::c_long| match fd {
        // SAFETY: a new descriptor, and nobody else's.
        0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) }),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the calls take numbers alone.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: as before.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), PLACE, 0) })
}

/// The next call, if there is one within a moment.
fn next(listener: &OwnedFd) -> Option<Asked> {
    let mut poll = libc::pollfd {
        fd: listener.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut asked = Asked::default();
    // SAFETY: the kernel writes into what it is given, of the sizes that it expects.
    let received = unsafe {
        libc::poll(&raw mut poll, 1, 20) == 1
            && poll.revents & libc::POLLIN != 0
            && libc::ioctl(listener.as_raw_fd(), NOTIF_RECV as _, &raw mut asked) == 0
    };
    if !received {
        sleep(Duration::from_millis(1));
    }
    received.then_some(asked)
}

/// One whose process is gone by now is nobody's.
fn answer(listener: &OwnedFd, id: u64, refuses: bool) {
    let said = Said {
        id,
        value: 0,
        error: if refuses { -libc::ENOMEM } else { 0 },
        flags: if refuses { 0 } else { RESP_CONTINUE },
    };
    // SAFETY: the kernel reads an answer of the size that it expects.
    unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SEND as _, &raw const said) };
}
