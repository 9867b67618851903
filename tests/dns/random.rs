//! Random messages: nothing panics, and what has to hold holds.

use dae::dns::wire::{Aging, Asker, Query, Question, walk};
use hickory_proto::op::Message;
use proptest::prelude::*;

use crate::messages::{answer, edns_query, query};

const WORDS: [&str; 14] = [
    "A:300:192.0.2.1",
    "A:0:192.0.2.1",
    "AAAA:60:2001:db8::1",
    "CNAME:30:other.example",
    "A*30:300",
    "TXT:9:text",
    "SOA:900:60",
    "+A:40:192.0.2.9",
    "nxdomain",
    "servfail",
    "formerr",
    "noopt",
    "aa",
    "ad",
];

pub fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&WORDS[..]), 0..6).prop_map(|words| words.join(" "))
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z][a-zA-Z0-9]{0,11}", 1..6).prop_map(|labels| labels.join("."))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A walked answer, sent to a client without a limit, is the same answer.
    #[test]
    fn answers_survive_being_stored(name in name(), words in words(), id: u16, size in 512u16..1000) {
        let sent = edns_query(id, &name.to_lowercase(), "A", 1232, false);
        let received = answer(&sent, &words);
        let bytes = received.to_vec().unwrap();
        let received = Message::from_vec(&bytes).unwrap();
        let question = Question::of(&name, 1).unwrap();
        let Ok(got) = walk(&bytes, &question) else {
            // FORMERR without EDNS is told apart; everything else is an answer.
            prop_assert!(words.contains("formerr") && words.contains("noopt"));
            return Ok(());
        };
        let asked = query(id ^ 0xffff, &name, "A").to_vec().unwrap();
        let mut lower = Vec::new();
        let client = Query::parse(&asked, &mut lower).unwrap();
        let mut out = vec![0xee; 3];
        Asker::of(&client, true).answer(&got.stored, Aging::New, None, &mut out);
        let reply = Message::from_vec(&out[3..]).unwrap();
        prop_assert_eq!(reply.id(), id ^ 0xffff);
        prop_assert_eq!(reply.queries()[0].name().to_ascii(), format!("{name}."));
        prop_assert_eq!(reply.answers(), received.answers());
        prop_assert_eq!(reply.name_servers(), received.name_servers());
        prop_assert_eq!(reply.additionals(), received.additionals());
        prop_assert!(reply.extensions().is_none());

        // By UDP it fits, and is a beginning of the whole; TC is set when something is missing.
        let asked = edns_query(1, &name, "A", size, true).to_vec().unwrap();
        let client = Query::parse(&asked, &mut lower).unwrap();
        out.clear();
        Asker::of(&client, false).answer(&got.stored, Aging::Aged(5), None, &mut out);
        prop_assert!(out.len() <= usize::from(size));
        let short = Message::from_vec(&out).unwrap();
        prop_assert!(short.extensions().as_ref().is_some_and(|edns| edns.flags().dnssec_ok));
        let whole = reply.answers().len() + reply.name_servers().len();
        let there = short.answers().len() + short.name_servers().len();
        prop_assert_eq!(short.truncated(), there < whole);
        for (short, whole) in short.answers().iter().zip(reply.answers()) {
            prop_assert_eq!(short.data(), whole.data());
            prop_assert_eq!(short.ttl(), whole.ttl().saturating_sub(5));
        }
        prop_assert_eq!(got.addresses.len(), received.answers().iter().filter(|record| {
            matches!(record.record_type().to_string().as_str(), "A" | "AAAA")
        }).count());
    }

    /// Bytes changed, cut or added anywhere: no panic, and no answer longer than asked for.
    #[test]
    fn broken_messages_do_no_harm(
        name in name(),
        words in words(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let sent = edns_query(7, &name, "A", 1232, true);
        let mut bytes = answer(&sent, &words).to_vec().unwrap();
        let mut asked = sent.to_vec().unwrap();
        for bytes in [&mut bytes, &mut asked] {
            for (at, value) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            if !whole {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
        }
        let question = Question::of(&name, 1).unwrap();
        let sent = sent.to_vec().unwrap();
        let mut lower = Vec::new();
        if let Ok(got) = walk(&bytes, &question) {
            let client = Query::parse(&sent, &mut lower).unwrap();
            for tcp in [false, true] {
                let mut out = Vec::new();
                let asker = Asker::of(&client, tcp);
                asker.answer(&got.stored, Aging::Aged(1), None, &mut out);
                prop_assert!(out.len() <= asker.limit());
            }
        }
        if let Ok(client) = Query::parse(&asked, &mut lower) {
            // What we take for a query, others do too, as far as the question goes.
            prop_assert!(client.asked.len() <= 259);
            let text = client.question.text();
            prop_assert!(text.is_ascii() && text.to_ascii_lowercase() == text);
        }
    }
}
