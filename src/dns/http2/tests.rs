//! A server by hand: frames as the RFC says, put together here.

use proptest::prelude::*;

use super::frame::{append, append_settings};
use super::*;

/// A connection whose server has said its settings.
fn greeted(settings: &[(u16, u32)]) -> Client {
    let mut client = Client::new("dns.example", "/dns-query");
    let mut bytes = Vec::new();
    append_settings(settings, &mut bytes);
    client.receive(&bytes).unwrap();
    client
}

/// Frames that the client wrote, as kind, flags, stream and payload.
fn written(client: &mut Client) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let mut bytes = Vec::new();
    client.take_output(&mut bytes);
    let mut rest = bytes.strip_prefix(PREFACE).unwrap_or(&bytes);
    let mut frames = Vec::new();
    while let Some(header) = Header::parse(rest) {
        let (payload, after) = rest[frame::HEADER..].split_at(header.length);
        frames.push((header.kind, header.flags, header.stream, payload.to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    frames
}

fn events(client: &mut Client) -> Vec<Event> {
    std::iter::from_fn(|| client.next_event()).collect()
}

/// Headers of an answer with a status of the fixed table.
fn head(status: u8) -> Vec<u8> {
    let mut block = vec![status, 0x5f, 23];
    block.extend(hpack::MEDIA_TYPE.bytes());
    block
}

const OK: u8 = 0x88;

fn answer(stream: u32, body: &[u8], out: &mut Vec<u8>) {
    append(kind::HEADERS, flag::END_HEADERS, stream, &head(OK), out);
    append(kind::DATA, flag::END_STREAM, stream, body, out);
}

#[test]
fn queries_go_out_and_answers_come_in_any_order() {
    let mut client = greeted(&[]);
    let frames = written(&mut client);
    assert_eq!(frames[0].0, kind::SETTINGS);
    assert_eq!(frames[0].3[..6], [0, 2, 0, 0, 0, 0], "no push");
    assert_eq!((frames[1].0, frames[1].2), (kind::WINDOW_UPDATE, 0));
    assert_eq!((frames[2].0, frames[2].1), (kind::SETTINGS, flag::ACK));

    client.request(70, b"first");
    client.request(71, b"second");
    let frames = written(&mut client);
    let kinds: Vec<_> = frames
        .iter()
        .map(|frame| (frame.0, frame.1, frame.2))
        .collect();
    let (headers, data) = (
        (kind::HEADERS, flag::END_HEADERS),
        (kind::DATA, flag::END_STREAM),
    );
    assert_eq!(
        kinds,
        [
            (headers.0, headers.1, 1),
            (data.0, data.1, 1),
            (headers.0, headers.1, 3),
            (data.0, data.1, 3),
        ]
    );
    assert_eq!(frames[3].3, b"second");

    let mut bytes = Vec::new();
    answer(3, b"two", &mut bytes);
    // 103 before, trailers behind, padding and priority, the body in parts.
    let early = [0x48, 3, b'1', b'0', b'3'];
    append(kind::HEADERS, flag::END_HEADERS, 1, &early, &mut bytes);
    let mut padded = vec![2, 0, 0, 0, 0, 16];
    padded.extend(head(OK));
    padded.extend([0, 0]);
    let flags = flag::PADDED | flag::PRIORITY;
    let (begin, end) = padded.split_at(10);
    // The padding's length counts for the first frame only, so it stays in one.
    assert!(begin.len() < padded.len() && !end.is_empty());
    append(
        kind::HEADERS,
        flags | flag::END_HEADERS,
        1,
        &padded,
        &mut bytes,
    );
    append(kind::DATA, flag::PADDED, 1, &[1, b'o', 0], &mut bytes);
    append(kind::DATA, 0, 1, b"ne", &mut bytes);
    let trailers = flag::END_HEADERS | flag::END_STREAM;
    append(
        kind::HEADERS,
        trailers,
        1,
        &[0x00, 1, b'x', 1, b'y'],
        &mut bytes,
    );
    for byte in bytes {
        client.receive(&[byte]).unwrap();
    }
    let expected = [
        Event::Answer(71, b"two".to_vec()),
        Event::Answer(70, b"one".to_vec()),
    ];
    assert_eq!(events(&mut client), expected);
    assert_eq!(client.capacity(), 100);
}

#[test]
fn headers_may_come_in_parts_and_nothing_else_between() {
    let mut client = greeted(&[]);
    client.request(1, b"q");
    let block = head(OK);
    let mut bytes = Vec::new();
    append(kind::HEADERS, 0, 1, &block[..4], &mut bytes);
    append(kind::CONTINUATION, 0, 1, &block[4..9], &mut bytes);
    append(
        kind::CONTINUATION,
        flag::END_HEADERS,
        1,
        &block[9..],
        &mut bytes,
    );
    append(kind::DATA, flag::END_STREAM, 1, b"a", &mut bytes);
    client.receive(&bytes).unwrap();
    assert_eq!(events(&mut client), [Event::Answer(1, b"a".to_vec())]);

    let mut client = greeted(&[]);
    client.request(1, b"q");
    let mut bytes = Vec::new();
    append(kind::HEADERS, 0, 1, &block[..4], &mut bytes);
    append(kind::PING, 0, 0, &[0; 8], &mut bytes);
    assert_eq!(client.receive(&bytes), Err(Error::Protocol));

    // Without end, they are too many some time.
    let mut client = greeted(&[]);
    client.request(1, b"q");
    let mut bytes = Vec::new();
    append(kind::HEADERS, 0, 1, &[0; 10_000], &mut bytes);
    append(kind::CONTINUATION, 0, 1, &[0; 10_000], &mut bytes);
    assert_eq!(client.receive(&bytes), Err(Error::Headers));
}

#[test]
fn what_is_no_dns_answer_fails_at_once() {
    let mut client = greeted(&[]);
    (1..=3).for_each(|tag| client.request(tag, b"q"));
    written(&mut client);
    let mut bytes = Vec::new();
    append(kind::HEADERS, flag::END_HEADERS, 1, &head(0x8d), &mut bytes);
    let html = [&[OK, 0x5f, 9][..], b"text/html"].concat();
    append(kind::HEADERS, flag::END_HEADERS, 3, &html, &mut bytes);
    // What comes nevertheless is thrown away.
    append(kind::DATA, flag::END_STREAM, 3, b"<html>", &mut bytes);
    append(kind::RST_STREAM, 0, 5, &2u32.to_be_bytes(), &mut bytes);
    client.receive(&bytes).unwrap();
    let expected = [
        Event::Failed(1, Failure::Status(404)),
        Event::Failed(2, Failure::Type),
        Event::Failed(3, Failure::Reset(2)),
    ];
    assert_eq!(events(&mut client), expected);
    let reset: Vec<_> = written(&mut client)
        .into_iter()
        .map(|frame| (frame.0, frame.2))
        .collect();
    assert_eq!(reset, [(kind::RST_STREAM, 1), (kind::RST_STREAM, 3)]);
}

#[test]
fn a_body_is_no_longer_than_a_message() {
    for (extra, fits) in [(0, true), (1, false)] {
        let mut client = greeted(&[]);
        client.request(1, b"q");
        let mut bytes = Vec::new();
        append(kind::HEADERS, flag::END_HEADERS, 1, &head(OK), &mut bytes);
        let body = vec![7; 65_535 + extra];
        for part in body.chunks(16_384) {
            append(kind::DATA, 0, 1, part, &mut bytes);
        }
        append(kind::DATA, flag::END_STREAM, 1, &[], &mut bytes);
        client.receive(&bytes).unwrap();
        let events = events(&mut client);
        let expected = if fits {
            Event::Answer(1, body)
        } else {
            Event::Failed(1, Failure::Long)
        };
        assert!(events == [expected], "{extra}");
    }
}

#[test]
fn no_more_is_sent_than_the_server_takes() {
    let window = (setting::INITIAL_WINDOW_SIZE, 4);
    let mut client = greeted(&[window, (setting::MAX_CONCURRENT_STREAMS, 2)]);
    client.request(1, b"abcdef");
    client.request(2, b"ghi");
    assert_eq!(client.capacity(), 0);
    client.request(3, b"more");
    assert_eq!(events(&mut client), [Event::Refused(3)]);
    let bodies = |client: &mut Client| -> Vec<(u8, u32, Vec<u8>)> {
        let frames = written(client).into_iter();
        let data = frames.filter(|frame| frame.0 == kind::DATA);
        data.map(|frame| (frame.1, frame.2, frame.3)).collect()
    };
    let end = flag::END_STREAM;
    assert_eq!(
        bodies(&mut client),
        [(0, 1, b"abcd".to_vec()), (end, 3, b"ghi".to_vec())]
    );
    let mut bytes = Vec::new();
    append(kind::WINDOW_UPDATE, 0, 1, &1u32.to_be_bytes(), &mut bytes);
    client.receive(&bytes).unwrap();
    assert_eq!(bodies(&mut client), [(0, 1, b"e".to_vec())]);
    // A larger window counts for streams that are open, too.
    let mut bytes = Vec::new();
    append_settings(&[(setting::INITIAL_WINDOW_SIZE, 5)], &mut bytes);
    client.receive(&bytes).unwrap();
    assert_eq!(bodies(&mut client), [(end, 1, b"f".to_vec())]);
}

#[test]
fn the_window_of_all_streams_is_kept() {
    let mut client = greeted(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
    client.request(1, &[7; 65_000]);
    client.request(2, &[7; 1000]);
    let sent = |client: &mut Client| -> usize {
        let frames = written(client).into_iter();
        frames
            .filter(|frame| frame.0 == kind::DATA)
            .map(|frame| frame.3.len())
            .sum()
    };
    assert_eq!(sent(&mut client), 65_535);
    let mut bytes = Vec::new();
    append(
        kind::WINDOW_UPDATE,
        0,
        0,
        &1000u32.to_be_bytes(),
        &mut bytes,
    );
    client.receive(&bytes).unwrap();
    assert_eq!(sent(&mut client), 465);
}

#[test]
fn the_server_gets_its_window_back_and_cannot_overdraw_it() {
    let mut client = greeted(&[]);
    written(&mut client);
    let mut returned = 0;
    for tag in 0..50 {
        client.request(tag, b"q");
        let stream = u32::from(tag) * 2 + 1;
        let mut bytes = Vec::new();
        append(
            kind::HEADERS,
            flag::END_HEADERS,
            stream,
            &head(OK),
            &mut bytes,
        );
        for _ in 0..3 {
            append(kind::DATA, 0, stream, &[7; 16_384], &mut bytes);
        }
        append(kind::DATA, flag::END_STREAM, stream, &[7; 10], &mut bytes);
        client.receive(&bytes).unwrap();
        let updates = written(&mut client).into_iter();
        let updates = updates.filter(|frame| frame.0 == kind::WINDOW_UPDATE);
        returned += updates
            .map(|frame| frame::number(&frame.3).unwrap())
            .sum::<u32>();
    }
    assert_eq!(events(&mut client).len(), 50);
    let sent = 50 * (3 * 16_384 + 10);
    assert!(
        returned <= sent && returned > sent - WINDOW / 2,
        "{returned} of {sent}"
    );

    // Bodies that never end are held, and the window ends them.
    let mut client = greeted(&[]);
    let mut result = Ok(());
    for tag in 0..12 {
        client.request(tag, b"q");
        let stream = u32::from(tag) * 2 + 1;
        let mut bytes = Vec::new();
        append(
            kind::HEADERS,
            flag::END_HEADERS,
            stream,
            &head(OK),
            &mut bytes,
        );
        for _ in 0..3 {
            append(kind::DATA, 0, stream, &[7; 16_384], &mut bytes);
        }
        result = result.and(client.receive(&bytes));
    }
    assert_eq!(result, Err(Error::Window));
}

#[test]
fn a_server_that_goes_says_what_it_has_not_seen() {
    let mut client = greeted(&[]);
    (1..=3).for_each(|tag| client.request(tag, b"q"));
    let mut bytes = Vec::new();
    append(kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0], &mut bytes);
    answer(1, b"a", &mut bytes);
    client.receive(&bytes).unwrap();
    let expected = [Event::Refused(3), Event::Answer(1, b"a".to_vec())];
    assert_eq!(events(&mut client), expected);
    assert!(client.is_over());
    assert_eq!(client.capacity(), 0);
    let mut bytes = Vec::new();
    append(
        kind::RST_STREAM,
        0,
        3,
        &code::REFUSED_STREAM.to_be_bytes(),
        &mut bytes,
    );
    client.receive(&bytes).unwrap();
    assert_eq!(events(&mut client), [Event::Refused(2)]);
}

#[test]
fn a_query_given_up_frees_its_stream() {
    let mut client = greeted(&[(setting::MAX_CONCURRENT_STREAMS, 1)]);
    client.request(1, b"q");
    written(&mut client);
    client.cancel(1);
    let frames = written(&mut client);
    assert_eq!((frames[0].0, frames[0].2), (kind::RST_STREAM, 1));
    assert_eq!(client.capacity(), 1);
    let mut bytes = Vec::new();
    answer(1, b"late", &mut bytes);
    client.receive(&bytes).unwrap();
    assert_eq!(events(&mut client), []);
}

#[test]
fn breaches_end_the_connection() {
    let frame = |kind, flags, stream, payload: &[u8]| {
        let mut bytes = Vec::new();
        append(kind, flags, stream, payload, &mut bytes);
        bytes
    };
    let long = [0, 0x40, 1, kind::DATA, 0, 0, 0, 0, 1].to_vec();
    for (bytes, error) in [
        (long, Error::Length),
        (frame(kind::PUSH_PROMISE, 4, 1, &[0; 8]), Error::Protocol),
        (frame(kind::DATA, 0, 1, b"x"), Error::Protocol),
        (frame(kind::DATA, 0, 2, b"x"), Error::Protocol),
        (frame(kind::DATA, 0, 99, b"x"), Error::Protocol),
        (frame(kind::HEADERS, 4, 0, &head(OK)), Error::Protocol),
        (frame(kind::HEADERS, 12, 1, &[9, 0x88]), Error::Protocol),
        (frame(kind::SETTINGS, 0, 0, &[0; 7]), Error::Length),
        (frame(kind::SETTINGS, 0, 1, &[]), Error::Protocol),
        (
            frame(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0, 0, 0]),
            Error::Window,
        ),
        (
            frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
            Error::Protocol,
        ),
        (frame(kind::PING, 0, 0, &[0; 7]), Error::Length),
        (frame(kind::RST_STREAM, 0, 1, &[0; 3]), Error::Length),
        (frame(kind::GOAWAY, 0, 0, &[0; 7]), Error::Length),
        (frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]), Error::Window),
        (
            frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 255, 255, 255]),
            Error::Window,
        ),
        (frame(kind::CONTINUATION, 4, 1, &[]), Error::Protocol),
    ] {
        let mut client = greeted(&[]);
        client.request(1, b"q");
        assert_eq!(client.receive(&bytes), Err(error), "{bytes:x?}");
    }
    // Whoever does not begin with settings speaks something else.
    let mut client = Client::new("dns.example", "/");
    assert_eq!(client.capacity(), 10);
    let http1 = client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert!(http1.is_err());
    // Pings are answered, but not without end.
    let mut client = greeted(&[]);
    let pings = frame(kind::PING, 0, 0, b"12345678").repeat(1000);
    client.receive(&pings).unwrap();
    let endless = (0..20).try_for_each(|_| client.receive(&pings));
    assert_eq!(endless, Err(Error::Flood));
    let pong = written(&mut client).pop().unwrap();
    assert_eq!(
        (pong.0, pong.1, &pong.3[..]),
        (kind::PING, flag::ACK, &b"12345678"[..])
    );
}

proptest! {
    /// Whatever comes: no panic, and what is held is bounded.
    #[test]
    fn nothing_that_a_server_sends_breaks_us(
        frames in prop::collection::vec(
            (0u8..11, any::<u8>(), 0u32..9, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let fresh = || {
            let mut client = greeted(&[]);
            (0..4).for_each(|tag| client.request(tag, b"query"));
            client
        };
        let (mut client, mut ended) = (fresh(), 0);
        for (kind, flags, stream, payload) in &frames {
            let mut bytes = Vec::new();
            append(*kind, *flags, *stream, payload, &mut bytes);
            let result = client.receive(&bytes);
            ended += events(&mut client).len();
            prop_assert!(client.input.is_empty() || result.is_err());
            prop_assert!(client.streams.len() + ended == 4);
            if result.is_err() {
                (client, ended) = (fresh(), 0);
            }
        }
        let _ = client.receive(&noise);
    }
}
