//! Tasks of one thread, and what they wait for: sockets, timers, each other. I/O.
//!
//! Everything here belongs to the thread that uses it: no locks, and no second thread that
//! would wake ours. [`block_on`] goes round in turns. A turn polls what has been woken, then
//! looks once for events of sockets and for timers that are due ([`executor`]). A socket is
//! registered once and edge-triggered ([`poller`]), and whoever wants to read tries first
//! ([`source`]); sockets that one task serves are seen together ([`watch`]); a timer is an entry
//! of a map ([`timer`]). So a wait costs one system call.
//!
//! A waker must not be used by another thread.

mod executor;
mod poller;
mod slab;
mod source;
#[cfg(test)]
mod tests;
mod timer;
mod watch;

pub use executor::{Task, block_on, spawn};
pub use poller::Interest;
pub use source::Source;
pub use timer::Timer;
pub use watch::Watch;

/// What a thread has.
#[derive(Default)]
struct Local {
    executor: executor::Executor,
    poller: poller::Poller,
    timers: timer::Timers,
}

thread_local! {
    static LOCAL: Local = Local::default();
}

/// Does something with the thread's own; panics where a thread is past its end.
fn with<T>(act: impl FnOnce(&Local) -> T) -> T {
    LOCAL.with(act)
}

/// The same for what may be dropped at the very end of a thread, when all is gone.
fn try_with<T>(act: impl FnOnce(&Local) -> T) -> Option<T> {
    LOCAL.try_with(act).ok()
}
