//! Tasks, and the loop that polls them. I/O.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use async_task::Runnable;
pub use async_task::Task;

use super::slab::Slab;
use super::{try_with, with};

/// Tasks of a thread.
#[derive(Default)]
pub(super) struct Executor {
    /// Woken, not yet polled.
    ready: RefCell<VecDeque<Runnable>>,
    /// All that have not ended.
    tasks: RefCell<Slab<Waker>>,
    running: Cell<bool>,
}

/// Runs `future` beside the others of this thread while there is a [`block_on`]. The task ends
/// when its handle is dropped; `detach` lets it go on alone.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    // Boxed, so that the machinery of a task exists once per T and not once per future.
    start(Box::pin(future))
}

fn start<T: 'static>(future: Pin<Box<dyn Future<Output = T>>>) -> Task<T> {
    let place = with(|local| {
        local
            .executor
            .tasks
            .borrow_mut()
            .insert(Waker::noop().clone())
    });
    let schedule = |runnable| {
        // Dropped when the thread is at its end: nobody will poll it.
        try_with(|local| local.executor.ready.borrow_mut().push_back(runnable));
    };
    let (runnable, task) = async_task::spawn_local(Tracked { future, place }, schedule);
    with(|local| {
        let mut tasks = local.executor.tasks.borrow_mut();
        if let Some(waker) = tasks.get_mut(place) {
            *waker = runnable.waker();
        }
    });
    runnable.schedule();
    task
}

/// A future that leaves the table when it ends.
struct Tracked<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    place: usize,
}

impl<T> Future for Tracked<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.future.as_mut().poll(context)
    }
}

impl<T> Drop for Tracked<T> {
    fn drop(&mut self) {
        // The waker is dropped outside of the borrow.
        let _waker = try_with(|local| local.executor.tasks.borrow_mut().remove(self.place));
    }
}

/// Runs `main`, and the tasks of this thread, until `main` ends; tasks that remain are dropped.
/// `main` is polled only when what it waits for has come, not when any task is.
///
/// # Panics
/// When called from within itself.
pub fn block_on<T>(main: impl Future<Output = T>) -> T {
    let _end = Running::begin();
    let mut main = pin!(main);
    let call = Arc::new(Call(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&call));
    loop {
        if call.0.swap(false, Ordering::Relaxed)
            && let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return value;
        }
        let idle = with(|local| local.executor.poll_ready());
        wait(idle && !call.0.load(Ordering::Relaxed));
    }
}

/// Looks for events and timers; when `idle`, waits for the first.
fn wait(idle: bool) {
    with(|local| {
        let limit = if idle {
            let due = local.timers.next();
            due.map(|due| due.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        local.poller.wait(limit);
        local.timers.fire();
    });
}

impl Executor {
    /// Polls the tasks that are ready now; those woken meanwhile wait for the next turn.
    /// Whether none is left.
    fn poll_ready(&self) -> bool {
        let count = self.ready.borrow().len();
        for _ in 0..count {
            let Some(task) = self.ready.borrow_mut().pop_front() else {
                break;
            };
            task.run();
        }
        self.ready.borrow().is_empty()
    }

    /// Tasks that have not ended.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.tasks.borrow().iter().count()
    }

    /// Drops every task.
    fn clear(&self) {
        loop {
            // Only what is ready can be dropped. What is being dropped may wake or spawn others.
            let wakers: Vec<_> = self.tasks.borrow().iter().cloned().collect();
            wakers.into_iter().for_each(Waker::wake);
            let ready = self.ready.take();
            if ready.is_empty() {
                break;
            }
            drop(ready);
        }
    }
}

/// Says that the loop runs, and cleans up behind it.
struct Running;

impl Running {
    fn begin() -> Self {
        let nested = with(|local| local.executor.running.replace(true));
        assert!(!nested, "block_on within block_on");
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        try_with(|local| {
            local.executor.clear();
            local.executor.running.set(false);
        });
    }
}

/// The waker of the main future.
struct Call(AtomicBool);

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
