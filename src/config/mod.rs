//! UCI text to a [`Config`] that is valid by construction. Pure: the caller reads the file.
//!
//! [`uci`] gives sections, [`low`] holds each value against the table in [`options`], [`high`]
//! looks at what sections say about each other. Each step tells all its problems.

mod answers;
mod change;
mod check;
mod dns;
mod group;
mod help;
mod high;
mod link;
mod low;
mod names;
mod nesting;
mod node;
mod options;
mod problem;
pub mod report;
mod rule;
mod spec;
mod types;
pub mod uci;
mod uci_line;
mod upstream;
mod values;

pub use change::Change;
pub use help::{markdown, text as help_text};
pub use problem::{MAX_PROBLEMS, Problem};
pub use types::*;
pub use values::{OWN_MARKS, qtype_name};

use problem::{Problems, Wrong};

impl Config {
    /// Reads a configuration. `file_name` is what problems call it, `text` its bytes.
    ///
    /// # Errors
    /// Every problem of the file, sorted by line, at most [`MAX_PROBLEMS`] and one that counts
    /// the rest. While the text itself is broken, nothing is said about what is missing.
    pub fn parse(file_name: &str, text: &[u8]) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::new(file_name);
        let file = uci::parse(text);
        for error in &file.errors {
            problems.add(error.place, "", "", Wrong::new(error.what, error.write));
        }
        let complete = file.errors.is_empty();
        let lowered = low::lower(&file.sections, complete, &mut problems);
        let config = if complete {
            high::build(&lowered, &mut problems)
        } else {
            None
        };
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems.into_vec()),
        }
    }
}
