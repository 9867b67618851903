//! The library's one error type. Context (which file, which device) is added at the edges.

use std::io;
use std::path::PathBuf;

/// Result of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong outside a configuration's own problems, which are
/// [`crate::config::Problem`]s: there are many of them at once, each with a place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or file operation failed; `what` says what we were doing.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with its object: `open /etc/config/dae`.
        what: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The configuration has problems and was not applied.
    #[error("{} has {count} problem(s), nothing was changed; see `dae check`", .path.display())]
    Config {
        /// The file read.
        path: PathBuf,
        /// Number of problems found.
        count: usize,
    },
    /// The kernel would not load, attach or fill the BPF program.
    #[error("bpf {what}: {reason}")]
    Bpf {
        /// Which step and object.
        what: String,
        /// The kernel's or the loader's words, and what to do where we know.
        reason: String,
    },
    /// A proxy server or upstream broke its protocol.
    #[error("{peer}: {reason}")]
    Protocol {
        /// Which peer.
        peer: String,
        /// What it did.
        reason: String,
    },
    /// Words on the command line that make no sense; `dae --help` is the cure.
    #[error("{0}; try `dae --help`")]
    Usage(String),
}

/// Adds what was being done to an [`io::Error`].
pub trait IoContext<T> {
    /// Wraps the error; `what` is called only when there is one.
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> IoContext<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::Io {
            what: what().into(),
            source: error.into(),
        })
    }
}
