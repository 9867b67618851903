use std::collections::BTreeSet;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use futures_lite::future;

use super::*;

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
