use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::rc::Rc;

use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, future};

use super::*;

fn tcp_pair() -> (Source<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Source::new(ours, Interest::Both).unwrap(), theirs)
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
