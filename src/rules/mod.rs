//! Which rule decides a flow. Pure: no socket, clock or file.
//!
//! [`Rule`]s are ordered, the first that matches wins. [`naive`] says so literally;
//! [`image`] compiles the rules to the exact bytes of the BPF maps (one bit vector per
//! value class and dimension, Lakshman & Stiliadis 1998) and evaluates those.

pub mod bits;
pub mod domain;
pub mod flow;
pub mod image;
pub mod naive;
pub mod names;
pub mod net;
pub mod port;
pub mod rule;

pub use bits::Bits;
pub use flow::{Family, Flow, Mac, Proto};
pub use rule::{Action, Rule, Selector, Verdict};

/// Most rules a configuration may have (`DAE_RULES` of bpf/dae.h).
pub const MAX_RULES: usize = 256;
