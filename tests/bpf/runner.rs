//! The program by BPF_PROG_TEST_RUN: one packet in, what it did out.

use aya::TestRun;
use aya::programs::TestRunOptions;
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
    let options = TestRunOptions {
        data_in: Some(bytes),
        ctx_in: Some(&context),
        ctx_out: Some(&mut after),
        repeat,
        ..TestRunOptions::new()
    };
    let result = object
        .program(name(link))
        .unwrap()
        .test_run(options)
        .unwrap();
    Answer {
        told: result.return_value as i32,
        mark: u32::from_ne_bytes(*after[MARK..].first_chunk().unwrap()),
        nanos: result.duration.as_nanos() as u64,
    }
}
