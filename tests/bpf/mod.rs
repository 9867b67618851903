//! What the tests of the BPF program share.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

pub mod model;
pub mod netns;
pub mod packet;
pub mod pair;
pub mod peers;
pub mod reduce;
pub mod runner;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use dae::config::Attach;
use dae::kernel::{DatapathConfig, Ports};
use dae::rules::image::Image;
use dae::rules::{Family, Proto, Rule, Verdict};

/// Rules with the default direct.
pub fn image(rules: &[Rule]) -> Image {
    Image::compile(rules, Verdict::default(), 4).unwrap()
}

/// A configuration with listeners that do not exist, with a run folder of its own.
pub fn config(attach: Attach, interfaces: &[&str]) -> DatapathConfig {
    DatapathConfig {
        interfaces: interfaces.iter().map(ToString::to_string).collect(),
        networks: Vec::new(),
        attach,
        max_flows: 1024,
        max_names: 1024,
        dns: true,
        kill_switch: false,
        ports: Ports::default()
            .with(Proto::Tcp, Family::V4, false, 1)
            .with(Proto::Tcp, Family::V6, false, 1),
        run_dir: run_dir(),
    }
}

/// A new folder's name.
pub fn run_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("dae-bpf-test-{}-{next}", std::process::id()))
}
