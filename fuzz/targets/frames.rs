//! Bytes of a TCP stream: however they arrive, the same messages come out, and the buffer stays
//! within its bound.

#![no_main]

use dae::dns::frame::Frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[limit, piece], stream)) = data.split_first_chunk() else {
        return;
    };
    let longest = usize::from(limit) * 257;
    let piece = usize::from(piece) + 1;
    let mut frames = Frames::new(longest);
    let (mut got, mut sent, mut broken) = (Vec::new(), 0, false);
    while sent < stream.len() && !broken {
        let room = frames.room();
        assert!(!room.is_empty() && room.len() <= longest.max(512) + 2);
        let count = room.len().min(piece).min(stream.len() - sent);
        room[..count].copy_from_slice(&stream[sent..sent + count]);
        frames.came(count);
        sent += count;
        loop {
            match frames.next() {
                Ok(Some(message)) => got.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
    }
    let (expected, left) = plainly(stream, longest);
    assert_eq!(got, expected);
    assert_eq!(broken, left.is_none());
    assert!(broken || frames.is_partial() == left.is_some_and(|left| left > 0));
});

/// The messages, and the bytes left over; None: an impossible length.
fn plainly(mut stream: &[u8], longest: usize) -> (Vec<Vec<u8>>, Option<usize>) {
    let mut messages = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        if length == 0 || length > longest {
            return (messages, None);
        }
        let Some((message, rest)) = rest.split_at_checked(length) else {
            break;
        };
        messages.push(message.to_vec());
        stream = rest;
    }
    (messages, Some(stream.len()))
}
