//! Messages of clients: whatever comes, what we take for a query has an answer that fits, and
//! what we ask an upstream for it is a query with the same question.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use dae::dns::hosts::Hosts;
use dae::dns::wire::{
    Aging, Asker, Ede, Query, Refusal, Stored, error_without_question, flag, upstream_query,
};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// 200 addresses of n.example.
    static HOSTS: Hosts = {
        let addrs = (0..200).map(|number| Ipv4Addr::from_bits(number).into());
        let addrs: Vec<IpAddr> = addrs.collect();
        Hosts::new([("n.example", &addrs[..])])
    };
}

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, age], message)) = data.split_first_chunk() else {
        return;
    };
    let (mut lower, mut out) = (Vec::new(), Vec::new());
    match Query::parse(message, &mut lower) {
        Err(Refusal::Silent) => {}
        Err(Refusal::Code(code)) => {
            error_without_question(message, code, &mut out);
            assert_eq!(out.len(), 12);
            assert_eq!(out[..2], message[..2]);
        }
        Ok(query) => HOSTS.with(|hosts| answer(&query, hosts, choice, age)),
    }
});

fn answer(query: &Query<'_>, hosts: &Hosts, choice: u8, age: u8) {
    let question = query.question.to_owned();
    let text = question.text();
    assert!(text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_uppercase()));
    let known = hosts.lookup(&question);
    assert!(known.is_none() || question.qclass() == 1);

    let ede = Ede::ALL.get(usize::from(choice >> 4)).copied();
    let aging = match age {
        0 => Aging::New,
        255 => Aging::Stale,
        age => Aging::Aged(u32::from(age) * 4),
    };
    let stored = Stored::of(&question, 300, &vec![vec![7; 4]; usize::from(choice)]);
    for tcp in [false, true] {
        let asker = Asker::of(query, tcp);
        let mut out = vec![0xee; 3];
        asker.answer(&stored, aging, ede, &mut out);
        check(&asker, &out[3..]);
        let mut out = Vec::new();
        asker.error(choice & 31, ede, &mut out);
        check(&asker, &out);
        assert!(out.len() <= 512);
        if let Some(known) = known {
            let mut out = Vec::new();
            asker.answer(known, aging, None, &mut out);
            check(&asker, &out);
        }
    }
    for (edns, padded) in [(false, false), (true, false), (true, true)] {
        let message = upstream_query(
            query.flags,
            &question,
            edns,
            query.dnssec_ok(),
            padded,
            Vec::new(),
        );
        assert!(!padded || message.len() % 128 == 0);
        let mut lower = Vec::new();
        let again = Query::parse(&message, &mut lower);
        let again = again.unwrap_or_else(|why| panic!("our own query: {why:?}"));
        assert_eq!(again.question.as_bytes(), question.as_bytes());
        assert_eq!(again.edns.is_some(), edns);
        assert_eq!(again.edns.is_some_and(|edns| edns.options), padded);
    }
}

/// What holds for every answer.
fn check(asker: &Asker<'_>, message: &[u8]) {
    assert!(message.len() <= asker.limit());
    assert_eq!(message[..2], asker.id.to_be_bytes());
    let flags = u16::from_be_bytes([message[2], message[3]]);
    assert!(flags & flag::QR != 0 && flags & flag::RA != 0);
    assert_eq!(flags & flag::RD, asker.flags & flag::RD);
    assert!(message[12..].starts_with(asker.question));
    assert_eq!(message[11] > 0, asker.edns.is_some());
}
