//! Regular expressions in a build without the feature `regex`: each is refused. Pure.

use crate::config::problem::{Wrong, absent};
use crate::features;

/// A regular expression, of which there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::config) enum Pattern {}

impl Pattern {
    pub(super) fn new(_: &str) -> Result<Self, Wrong> {
        Err(absent(features::REGEX, "write keyword: and a text"))
    }

    pub(in crate::config) fn accepts(&self, _: &str) -> bool {
        match *self {}
    }
}
