//! `*` Work that takes long, on a thread of its own that ends with it, while ours goes on.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::thread;

use crate::net::reactor::{Interest, Source};

/// Runs `work` on another thread. When nobody waits any more, it still comes to its end.
///
/// # Errors
/// When there can be no such thread; or it panicked, where panics unwind: with the release profile
/// (`panic = "abort"`) one ends the process, as does an allocation that fails.
pub async fn beside<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    // Wakers of this thread are not for others; the end of a stream is heard like any event.
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = Source::new(ours, Interest::Read)?;
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        let _closed_at_the_end = theirs;
        work()
    })?;
    ours.read_with(|mut stream| stream.read(&mut [0])).await?;
    let panicked = |_| io::Error::other("the thread panicked");
    thread.join().map_err(panicked)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::net::reactor::{self, Timer};

    #[test]
    fn ours_goes_on_meanwhile() {
        let ticks = Rc::new(Cell::new(0));
        let counted = Rc::clone(&ticks);
        let ticking = async move {
            loop {
                Timer::after(Duration::from_millis(5)).await;
                counted.set(counted.get() + 1);
            }
        };
        let done = reactor::block_on(async {
            let _ticking = reactor::spawn(ticking);
            let work = || {
                thread::sleep(Duration::from_millis(100));
                7
            };
            beside("test", work).await.unwrap()
        });
        assert_eq!(done, 7);
        assert!(ticks.get() > 5, "{}", ticks.get());
    }

    #[test]
    fn a_panic_is_an_error() {
        let work = || -> u8 { panic!("on purpose") };
        let done = reactor::block_on(beside("test", work));
        assert!(done.unwrap_err().to_string().contains("panicked"));
    }
}
