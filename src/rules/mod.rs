//! Which rule decides a flow. Pure: no socket, clock or file.
//!
//! [`Rule`]s are ordered, the first that matches wins. [`naive`] says so literally;
//! [`image`] compiles the rules to the exact content of the BPF maps (one bit vector per
//! value class and dimension, Lakshman & Stiliadis 1998) and evaluates those. A
//! [`index::DomainIndex`] says which rules accept a name, and [`names`] which names an
//! address has, learnt from DNS answers. [`explain`] tells a decision in words, [`kept`]
//! what a change of rules leaves as it was.

pub mod bits;
pub mod domain;
pub mod explain;
pub mod flow;
pub mod image;
pub mod index;
pub mod kept;
pub mod naive;
pub mod names;
pub mod net;
pub mod net_set;
pub mod port;
pub mod private;
pub mod rule;

pub use bits::Bits;
pub use flow::{Family, Flow, Mac, Proto};
pub use image::{Decision, Image};
pub use index::DomainIndex;
pub use kept::Kept;
pub use rule::{Action, Rule, Selector, Verdict};

/// Most rules a configuration may have (`DAE_RULES` of bpf/dae.h).
pub const MAX_RULES: usize = 256;
