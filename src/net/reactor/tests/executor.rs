use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io::Write as _;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_lite::{AsyncReadExt as _, future};

use super::*;

/// Sets a flag when dropped.
struct Flag(Rc<Cell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

fn flag() -> (Flag, Rc<Cell<bool>>) {
    let set = Rc::default();
    (Flag(Rc::clone(&set)), set)
}

#[test]
fn the_main_future_is_polled_only_when_woken() {
    let polls = Cell::new(0);
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let called = Rc::new(Cell::new(false));
    let (theirs, call) = (Rc::clone(&waker), Rc::clone(&called));
    let _task = spawn(async move {
        for _ in 0..50 {
            future::yield_now().await;
        }
        call.set(true);
        theirs.take().unwrap().wake();
    });
    block_on(poll_fn(|context| {
        polls.set(polls.get() + 1);
        if called.get() {
            return Poll::Ready(());
        }
        waker.replace(Some(context.waker().clone()));
        Poll::Pending
    }));
    assert_eq!(polls.get(), 2);
}

#[test]
fn tasks_take_turns_and_give_results() {
    let order: Rc<RefCell<Vec<char>>> = Rc::default();
    let speak = |letter| {
        let order = Rc::clone(&order);
        spawn(async move {
            for _ in 0..3 {
                order.borrow_mut().push(letter);
                future::yield_now().await;
            }
            letter
        })
    };
    let (a, b) = (speak('a'), speak('b'));
    assert_eq!(block_on(future::zip(a, b)), ('a', 'b'));
    assert_eq!(order.borrow().iter().collect::<String>(), "ababab");
    assert_eq!(tasks(), 0);
}

#[test]
fn a_task_that_is_always_ready_starves_nobody() {
    let (ours, mut theirs) = pair();
    let _busy = spawn(async {
        loop {
            future::yield_now().await;
        }
    });
    soon(async {
        Timer::after(ms(20)).await;
        theirs.write_all(b"x").unwrap();
        assert_eq!((&ours).read(&mut [0; 8]).await.unwrap(), 1);
    });
}

#[test]
fn a_task_ends_with_its_handle_and_a_detached_one_goes_on() {
    let (held, dropped) = flag();
    let (kept, ended) = flag();
    block_on(async {
        let task = spawn(async move {
            let _held = held;
            pending::<()>().await;
        });
        spawn(async move {
            Timer::after(ms(20)).await;
            drop(kept);
        })
        .detach();
        Timer::after(ms(5)).await;
        assert_eq!((dropped.get(), tasks()), (false, 2));
        drop(task);
        Timer::after(ms(5)).await;
        assert_eq!((dropped.get(), ended.get(), tasks()), (true, false, 1));
        Timer::after(ms(30)).await;
        assert!(ended.get());
    });
}

#[test]
fn what_remains_at_the_end_is_dropped() {
    let (ours, _theirs) = pair();
    let all: Vec<_> = (0..4).map(|_| flag()).collect();
    let flags: Vec<_> = all.iter().map(|(_, set)| Rc::clone(set)).collect();
    let mut held = all.into_iter().map(|(held, _)| held);
    let mut next = || held.next().unwrap();
    let (a, b, c, d) = (next(), next(), next(), next());
    block_on(async {
        spawn(async move {
            let _held = a;
            ours.readable().await;
            ours.drained();
            ours.readable().await;
        })
        .detach();
        let inner = spawn(async move {
            let _held = b;
            pending::<()>().await;
        });
        spawn(async move {
            let _held = c;
            inner.await;
        })
        .detach();
        Timer::after(ms(5)).await;
        // Never polled.
        spawn(async move { drop(d) }).detach();
    });
    assert!(flags.iter().all(|set| set.get()));
    assert_eq!((tasks(), with(|local| local.timers.count())), (0, 0));
}

#[test]
#[should_panic(expected = "block_on within block_on")]
fn one_loop_at_a_time() {
    block_on(async { block_on(async {}) });
}

#[test]
fn what_is_used_at_the_very_end_of_a_thread_does_no_harm() {
    thread_local! {
        static LATE: RefCell<Vec<Box<dyn std::any::Any>>> = RefCell::default();
    }
    std::thread::spawn(|| {
        // Made first, so destroyed after what the reactor has.
        LATE.with_borrow_mut(|late| late.push(Box::new(0)));
        block_on(async {
            let (source, _) = pair();
            let mut timer = Timer::after(ms(1000));
            assert_eq!(future::poll_once(&mut timer).await, None);
            let kept: [Box<dyn std::any::Any>; 4] = [
                Box::new(source),
                Box::new(timer),
                Box::new(Watch::default()),
                Box::new(spawn(pending::<()>())),
            ];
            LATE.with_borrow_mut(|late| late.extend(kept));
        });
    })
    .join()
    .unwrap();
}
