//! Messages of upstreams: whatever comes, what we take for an answer is kept, cut, aged and
//! cached without harm, and read by ourselves it says the same.

#![no_main]

use std::time::{Duration, Instant};

use dae::dns::cache::{Cache, Found, Key};
use dae::dns::upstream::Server;
use dae::dns::wire::{Aging, Answer, Asker, Ede, Edns, Question, flag, rcode, walk};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 4] = ["", "a", "www.example", "x.y.z.example.com"];
const TYPES: [u16; 8] = [1, 28, 65, 64, 6, 16, 255, 12];

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, size, age, fixed], rest)) = data.split_first_chunk() else {
        return;
    };
    let kind = TYPES[usize::from(choice >> 2 & 7)];
    let question = Question::of(NAMES[usize::from(choice & 3)], kind).expect("a good name");
    // As it came, or behind the question without which nothing would be looked at.
    let message = if choice & 0x80 != 0 {
        rest.to_vec()
    } else {
        let Some((&head, rest)) = rest.split_first_chunk::<8>() else {
            return;
        };
        let flags = [head[0] & 0x87 | 0x80, head[1]];
        let message = [
            &[0, 0],
            &flags[..],
            &[0, 1],
            &head[2..],
            question.as_bytes(),
            rest,
        ];
        message.concat()
    };
    if let Ok(answer) = walk(&message, &question) {
        // Without its OPT record such a code says "no EDNS" and is no answer.
        let odd = matches!(answer.rcode, rcode::FORMERR | rcode::NOTIMP)
            || names_read_ttls(answer.stored.wire(), question.as_bytes().len());
        keep(answer, &question, [size, age, fixed], odd);
    }
});

/// Whether a name leads, by a pointer, through the TTL of a record. It changes with the TTL then:
/// nonsense that may be passed on, and that need not make sense when read again.
fn names_read_ttls(message: &[u8], question: usize) -> bool {
    let word = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let (mut ttls, mut read) = (Vec::new(), Vec::new());
    let mut at = 12 + question;
    // Names inside the data of service records lead on from two bytes into them.
    let mut name = |start: usize| {
        let (mut at, mut floor, mut end) = (start, start, None);
        loop {
            match message.get(at) {
                Some(0) => {
                    read.push(at..at + 1);
                    return end.unwrap_or(at + 1);
                }
                Some(length @ 1..64) => {
                    read.push(at..at + 1 + usize::from(*length));
                    at += 1 + usize::from(*length);
                }
                Some(192..) if at + 1 < message.len() => {
                    read.push(at..at + 2);
                    end = end.or(Some(at + 2));
                    let target = word(at) & 0x3fff;
                    if target >= floor {
                        return end.unwrap_or(at);
                    }
                    (at, floor) = (target, target);
                }
                _ => return end.unwrap_or(at),
            }
        }
    };
    while at < message.len() {
        let fields = name(at);
        let (kind, length) = (word(fields), word(fields + 8));
        ttls.push(fields + 4);
        if matches!(kind, 64 | 65) && length > 2 {
            name(fields + 12);
        }
        at = fields + 10 + length;
    }
    let overlaps = |ttl: &usize| {
        read.iter()
            .any(|read| read.start < ttl + 4 && *ttl < read.end)
    };
    ttls.iter().any(overlaps)
}

fn keep(mut answer: Answer, question: &Question, [size, age, fixed]: [u8; 3], odd: bool) {
    let Ok(again) = walk(answer.stored.wire(), question) else {
        assert!(odd);
        return;
    };
    assert!(odd || again.addresses == answer.addresses);
    assert_eq!((again.life, again.ttl), (answer.life, answer.ttl));
    assert_eq!(answer.stored.question().as_bytes(), question.as_bytes());
    if fixed > 0 {
        answer.fix_ttl(u32::from(fixed - 1) * 500);
        assert!(answer.life.is_none_or(|life| life > 0 && life <= 86_400));
    }
    let edns = Edns {
        udp: u16::from(size) * 16,
        version: 0,
        dnssec_ok: age & 1 == 1,
        options: false,
    };
    let aging = [Aging::New, Aging::Stale, Aging::Aged(age.into())][usize::from(age % 3)];
    for (edns, tcp) in [
        (None, false),
        (Some(edns), false),
        (None, true),
        (Some(edns), true),
    ] {
        let asker = Asker {
            id: 0,
            flags: flag::RD,
            question: question.as_bytes(),
            edns,
            tcp,
        };
        let mut out = Vec::new();
        asker.answer(&answer.stored, aging, Some(Ede::StaleAnswer), &mut out);
        assert!(out.len() <= asker.limit());
        if odd {
            continue;
        }
        let sent = walk(&out, question).expect("what a client gets");
        assert!(answer.addresses.starts_with(&sent.addresses));
        assert!(sent.truncated || sent.addresses == answer.addresses);
        assert_eq!(sent.rcode, answer.rcode);
    }
    cache(answer, question, age);
}

fn cache(answer: Answer, question: &Question, age: u8) {
    let Some(life) = answer.life else { return };
    let now = Instant::now();
    let mut cache = Cache::new(80_000, 3600);
    let key = Key::new(question, false, false);
    let memory = answer.stored.memory();
    let asked = ([192, 0, 2, 1], 53).into();
    cache.insert(now, key, Server::AsIs(asked), answer.stored, life);
    assert!(cache.bytes() <= 80_000);
    cache.retain(|other, server, _| {
        assert_eq!(other.as_bytes(), question.as_bytes());
        Some(server)
    });
    cache.reconfigure(70_000 + usize::from(age) * 100, 3600);
    match cache.lookup(now + Duration::from_secs(age.into()), key, Some(asked)) {
        Some(Found::Fresh { stored, .. } | Found::Stale { stored, .. }) => {
            assert_eq!(stored.memory(), memory);
        }
        None => assert!(memory > 20_000 || age > 0),
    }
}
