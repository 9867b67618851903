use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{pending, poll_fn};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, future};

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Ends a test that waits for what does not come.
fn soon<T>(work: impl Future<Output = T>) -> T {
    block_on(future::or(work, async {
        Timer::after(ms(5000)).await;
        panic!("it does not come");
    }))
}

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

fn tasks() -> usize {
    with(|local| local.executor.count())
}

/// Both ends of a stream, the first one as a source.
fn pair() -> (Source<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Source::new(ours, Interest::Both).unwrap(), theirs)
}

fn tcp_pair() -> (Source<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Source::new(ours, Interest::Both).unwrap(), theirs)
}

fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
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

#[test]
fn what_is_there_before_the_wait_is_read() {
    let (ours, mut theirs) = pair();
    theirs.write_all(b"abcdef").unwrap();
    soon(async {
        let mut buffer = [0; 4];
        assert_eq!((&ours).read(&mut buffer).await.unwrap(), 4);
        // No new event comes for the rest.
        assert_eq!((&ours).read(&mut buffer).await.unwrap(), 2);
        theirs.write_all(b"gh").unwrap();
        assert_eq!((&ours).read(&mut buffer).await.unwrap(), 2);
        let nothing = ours.try_read(|mut io| io.read(&mut buffer)).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        theirs.write_all(b"i").unwrap();
        ours.readable().await;
        assert_eq!((&ours).read(&mut buffer).await.unwrap(), 1);
    });
}

#[test]
fn the_end_is_seen_together_with_the_last_bytes_and_after_them() {
    for together in [true, false] {
        let (ours, mut theirs) = tcp_pair();
        soon(async {
            let mut buffer = [0; 64];
            if !together {
                theirs.write_all(b"x").unwrap();
                assert_eq!((&ours).read(&mut buffer).await.unwrap(), 1);
            }
            let reader = spawn(async move {
                let mut all = Vec::new();
                (&ours).read_to_end(&mut all).await.map(|_| all)
            });
            // The reader waits.
            Timer::after(ms(5)).await;
            theirs.write_all(b"last").unwrap();
            drop(theirs);
            assert_eq!(reader.await.unwrap(), b"last");
        });
    }
}

#[test]
fn a_peer_that_breaks_wakes_both_directions() {
    let (ours, theirs) = tcp_pair();
    let ours = Rc::new(ours);
    soon(async {
        let (reading, writing) = (Rc::clone(&ours), Rc::clone(&ours));
        let reader = spawn(async move { (&*reading).read(&mut [0; 8]).await });
        let writer = spawn(async move {
            loop {
                (&*writing).write_all(&[0; 65_536]).await?;
            }
        });
        Timer::after(ms(50)).await;
        assert!(!reader.is_finished() && !writer.is_finished());
        // With bytes unread, this is a reset.
        drop(theirs);
        let end: io::Result<()> = writer.await;
        let end = end.unwrap_err().kind();
        assert!(matches!(
            end,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        ));
        drop(reader.await);
    });
}

#[test]
fn both_directions_work_at_once() {
    const LENGTH: usize = 4 << 20;
    let (ours, theirs) = tcp_pair();
    let echo = std::thread::spawn(move || {
        let (mut from, mut to) = (&theirs, &theirs);
        io::copy(&mut from, &mut to).unwrap();
    });
    let ours = Rc::new(ours);
    soon(async {
        let writing = Rc::clone(&ours);
        let writer = spawn(async move {
            let mut writing = &*writing;
            for part in 0..LENGTH / 4096 {
                writing.write_all(&[part as u8; 4096]).await?;
            }
            writing.close().await
        });
        let mut all = Vec::new();
        (&*ours).read_to_end(&mut all).await.unwrap();
        writer.await.unwrap();
        assert_eq!(all.len(), LENGTH);
        assert!(
            all.chunks(4096)
                .enumerate()
                .all(|(part, bytes)| bytes == [part as u8; 4096])
        );
    });
    echo.join().unwrap();
}

#[test]
fn datagrams_sent_are_no_event() {
    let (socket, other) = (udp(), udp());
    let to = other.local_addr().unwrap();
    let socket = Source::new(socket, Interest::Read).unwrap();
    soon(async {
        socket.filled();
        for _ in 0..5 {
            socket.get_ref().send_to(b"x", to).unwrap();
            Timer::after(ms(2)).await;
        }
        assert_eq!(future::poll_once(socket.writable()).await, None);
        // And those that come are one.
        socket.drained();
        other
            .send_to(b"x", socket.get_ref().local_addr().unwrap())
            .unwrap();
        socket.readable().await;
    });
}

#[test]
fn a_source_that_is_gone_is_not_told_though_its_descriptor_has_a_copy() {
    let (first, mut theirs) = pair();
    let copy = first.get_ref().try_clone().unwrap();
    drop(first);
    let (second, _others) = pair();
    soon(async {
        second.drained();
        theirs.write_all(b"x").unwrap();
        Timer::after(ms(10)).await;
        assert_eq!(future::poll_once(second.readable()).await, None);
    });
    drop((copy, second));
    assert_eq!(with(|local| local.poller.count()), 0);
}

#[test]
fn an_error_without_data_wakes_the_reader() {
    let (socket, gone) = (udp(), udp());
    socket.connect(gone.local_addr().unwrap()).unwrap();
    let socket = Source::new(socket, Interest::Read).unwrap();
    soon(async {
        drop(gone);
        let reader = spawn(async move {
            let mut sent = false;
            let receive = |socket: &UdpSocket| {
                let received = socket.recv(&mut [0; 8]);
                if !std::mem::replace(&mut sent, true) {
                    socket.send(b"x")?;
                }
                received
            };
            socket.read_with(receive).await
        });
        let error = reader.await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_watch_tells_keys_until_their_sockets_are_read() {
    let watch = Watch::default();
    let (a, b, sender) = (udp(), udp(), udp());
    watch.add(&a, 7).unwrap();
    watch.add(&b, (1 << 40) - 1).unwrap();
    let refused = watch.add(&sender, 1 << 40).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    let send = |to: &UdpSocket| sender.send_to(b"x", to.local_addr().unwrap()).unwrap();
    soon(async {
        let mut keys = vec![1, 2, 3];
        send(&a);
        for _ in 0..3 {
            watch.ready(&mut keys).await;
            assert_eq!(keys, [7]);
        }
        a.recv(&mut [0; 8]).unwrap();
        send(&b);
        watch.ready(&mut keys).await;
        // What was seen before the read is told once more.
        keys.retain(|key| *key != 7);
        if keys.is_empty() {
            watch.ready(&mut keys).await;
        }
        assert_eq!(keys, [(1 << 40) - 1]);
        b.recv(&mut [0; 8]).unwrap();
        Timer::after(ms(2)).await;
        while let Some(()) = future::poll_once(watch.ready(&mut keys)).await {}
        Timer::after(ms(5)).await;
        assert_eq!(future::poll_once(watch.ready(&mut keys)).await, None);
    });
}

#[test]
fn a_closed_socket_is_not_taken_for_the_next_one_of_its_number() {
    let watch = Watch::default();
    let sender = udp();
    let mut socket = udp();
    let mut same = 0;
    let mut keys = Vec::new();
    soon(async {
        for key in 0..50 {
            watch.add(&socket, key).unwrap();
            let to = socket.local_addr().unwrap();
            sender.send_to(b"x", to).unwrap();
            watch.ready(&mut keys).await;
            // What is told of an earlier one has its key.
            assert!(keys.iter().all(|told| *told <= key));
            let number = socket.as_raw_fd();
            drop(socket);
            socket = udp();
            same += u32::from(socket.as_raw_fd() == number);
        }
        watch.add(&socket, 50).unwrap();
        Timer::after(ms(5)).await;
        while let Some(()) = future::poll_once(watch.ready(&mut keys)).await {
            assert!(!keys.contains(&50), "nobody sent to it");
        }
    });
    assert!(same > 0, "a number was given again");
}

#[test]
fn keys_that_nobody_takes_do_not_pile_up() {
    let watch = Watch::default();
    let sender = udp();
    let sockets: Vec<_> = (0..300).map(|_| udp()).collect();
    for (key, socket) in (0..).zip(&sockets) {
        watch.add(socket, key).unwrap();
        sender.send_to(b"x", socket.local_addr().unwrap()).unwrap();
    }
    soon(async {
        Timer::after(ms(50)).await;
        let mut keys = Vec::new();
        watch.ready(&mut keys).await;
        assert_eq!(keys.len(), 256);
        // And all have their turn.
        let mut left: BTreeSet<u64> = (0..300).collect();
        loop {
            for key in &keys {
                left.remove(key);
                let _ = sockets[*key as usize].recv(&mut [0; 8]);
            }
            if left.is_empty() {
                break;
            }
            watch.ready(&mut keys).await;
        }
    });
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
