//! The program by BPF_PROG_TEST_RUN: one packet in, what it did out.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use dae::kernel::{Object, PROGRAM_ETHER, PROGRAM_IP};

use super::model::Link;

/// What the program answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// `TC_ACT_*`.
    pub told: i32,
    /// The packet's mark afterwards.
    pub mark: u32,
    /// Nanoseconds per run, as the kernel measured.
    pub nanos: u64,
}

/// Length of `struct __sk_buff`, and offsets of its fields.
const CONTEXT: usize = 192;
const MARK: usize = 8;
const IFINDEX: usize = 40;

const BPF_PROG_TEST_RUN: libc::c_int = 10;

/// `union bpf_attr` of BPF_PROG_TEST_RUN.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: RawFd,
    told: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    nanos: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
}

/// The program of a link.
pub fn name(link: Link) -> &'static str {
    match link {
        Link::Ether => PROGRAM_ETHER,
        Link::Ip => PROGRAM_IP,
    }
}

/// Runs the packet `repeat` times, as if it had come in on a device of this namespace.
pub fn run(object: &mut Object, link: Link, bytes: &[u8], ifindex: u32, repeat: u32) -> Answer {
    let mut context = [0; CONTEXT];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    let mut after = [0; CONTEXT];
    let program = object.program(name(link)).unwrap();
    let mut run = TestRun {
        program: program.as_raw_fd(),
        size_in: bytes.len() as u32,
        data_in: bytes.as_ptr() as u64,
        repeat,
        context_size_in: CONTEXT as u32,
        context_size_out: CONTEXT as u32,
        context_in: context.as_ptr() as u64,
        context_out: after.as_mut_ptr() as u64,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads the packet and the context, and writes another context, each as
    // long as told and alive until it returns; it writes results into `run`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut run,
            size_of::<TestRun>(),
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    Answer {
        told: run.told as i32,
        mark: u32::from_ne_bytes(*after[MARK..].first_chunk().unwrap()),
        nanos: run.nanos.into(),
    }
}
