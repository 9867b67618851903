use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use futures_lite::future;

use super::*;

#[test]
fn timers_fire_in_order_and_never_early() {
    let fired: Rc<RefCell<Vec<u64>>> = Rc::default();
    let start = Instant::now();
    let mut tasks = Vec::new();
    for at in [30, 10, 12, 11, 10, 0] {
        let fired = Rc::clone(&fired);
        tasks.push(spawn(async move {
            let set = start + ms(at);
            assert_eq!(Timer::at(set).await, set);
            assert!(Instant::now() >= set);
            fired.borrow_mut().push(at);
        }));
    }
    block_on(async {
        for task in tasks {
            task.await;
        }
    });
    assert_eq!(*fired.borrow(), [0, 10, 10, 11, 12, 30]);
    assert!(start.elapsed() < ms(500));
}

#[test]
fn a_dropped_timer_leaves_and_ten_thousand_may_wait() {
    let count = || with(|local| local.timers.count());
    block_on(async {
        let mut timers: Vec<_> = (0..10_000).map(|i| Timer::after(ms(i % 50))).collect();
        for timer in &mut timers {
            assert!(future::poll_once(timer).await.is_none());
        }
        assert_eq!(count(), 10_000);
        timers.truncate(4000);
        assert_eq!(count(), 4000);
        for timer in timers {
            timer.await;
        }
        assert_eq!(count(), 0);
        // The one that loses is dropped.
        let later = async {
            Timer::after(ms(10_000)).await;
        };
        future::or(later, future::yield_now()).await;
        assert_eq!(count(), 0);
    });
}
