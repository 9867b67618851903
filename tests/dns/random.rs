//! Random messages and random events: nothing panics, and what has to hold holds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::dns::attempt::{AttemptId, Fault};
use dae::dns::forward::{Effect, Forwarder, Origin, Outcome};
use dae::dns::wire::{Aging, Asker, Query, Question, walk};
use hickory_proto::op::Message;
use proptest::prelude::*;

use crate::messages::{answer, edns_query, query};
use crate::server::config;

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

fn words() -> impl Strategy<Value = String> {
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

    #[test]
    fn any_interleaving_keeps_the_books(events in prop::collection::vec(event(), 1..200)) {
        play(&events)?;
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Client, name, ID, by TCP.
    Ask(u8, u8, u16, bool),
    /// Which of the flights with an open leg, and what comes.
    Udp(prop::sample::Index, Bring),
    Tcp(prop::sample::Index, Bring),
    /// Milliseconds.
    Pass(u16),
}

#[derive(Debug, Clone)]
enum Bring {
    Answer(String),
    Garbage(Vec<u8>),
    Foreign,
    Failed,
}

fn event() -> impl Strategy<Value = Event> {
    let bring = prop_oneof![
        3 => words().prop_map(Bring::Answer),
        1 => words().prop_map(|words| Bring::Answer(format!("tc {words}"))),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Bring::Garbage),
        1 => Just(Bring::Foreign),
        2 => Just(Bring::Failed),
    ];
    let which = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0u8..6, 0u8..12, 0u16..3, any::<bool>()).prop_map(|(c, n, i, t)| Event::Ask(c, n, i, t)),
        2 => (which(), bring.clone()).prop_map(|(at, what)| Event::Udp(at, what)),
        2 => (which(), bring).prop_map(|(at, what)| Event::Tcp(at, what)),
        1 => (0u16..1500).prop_map(Event::Pass),
    ]
}

/// A client: who, and with which ID it asked.
type Client = (u8, u16);

struct Books {
    forwarder: Forwarder<Client>,
    now: Instant,
    /// Queries that wait, by client.
    waiting: HashMap<Client, usize>,
    /// Sockets and TCP queries that are open, with the query last sent.
    udp: Vec<(AttemptId, Vec<u8>)>,
    tcp: Vec<(AttemptId, Vec<u8>)>,
    learnt: usize,
}

const MAX_QUERIES: usize = 16;

fn play(events: &[Event]) -> Result<(), TestCaseError> {
    let text = config(
        "tcp+udp://192.0.2.53",
        &["max_queries '16'", "cache_bytes '65536'"],
    ) + "config upstream 'u'\n\toption url 'udp://192.0.2.54'\n\
           config upstream 't'\n\toption url 'tcp://192.0.2.55'\n\
           config dns_rule\n\tlist domain 'u.example'\n\toption upstream 'u'\n\
           config dns_rule\n\tlist domain 't.example'\n\toption upstream 't'\n";
    let parsed = Config::parse("test", text.as_bytes()).unwrap();
    let mut id = 0u16;
    let ids = Box::new(move || {
        id = id.wrapping_add(40_503);
        id
    });
    let mut books = Books {
        forwarder: Forwarder::new(&parsed, Vec::new(), ids),
        now: Instant::now(),
        waiting: HashMap::new(),
        udp: Vec::new(),
        tcp: Vec::new(),
        learnt: 0,
    };
    for event in events {
        books.event(event)?;
        books.effects()?;
        books.check()?;
    }
    let end = books.now + Duration::from_secs(5);
    while let Some(deadline) = books.forwarder.next_deadline() {
        prop_assert!(
            deadline < end,
            "a query that waits for more than five seconds"
        );
        books.now = books.now.max(deadline);
        books.forwarder.tick(books.now);
        books.effects()?;
    }
    prop_assert!(
        books.waiting.is_empty(),
        "{:?} got no answer",
        books.waiting
    );
    prop_assert!(
        books.udp.is_empty() && books.tcp.is_empty(),
        "a leg was left open"
    );
    prop_assert_eq!(books.forwarder.next_deadline(), None);
    books.check()
}

impl Books {
    fn event(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Ask(client, name, id, tcp) => {
                let zone = ["example", "u.example", "t.example"][usize::from(name % 3)];
                let message = query(*id, &format!("n{name}.{zone}"), "A")
                    .to_vec()
                    .unwrap();
                let client = (*client, *id);
                let mut out = Vec::new();
                match self
                    .forwarder
                    .query(self.now, &client, &message, *tcp, None, &mut out)
                {
                    Outcome::Answered => prop_assert!(Message::from_vec(&out).is_ok()),
                    Outcome::Waiting => *self.waiting.entry(client).or_default() += 1,
                    Outcome::Dropped => prop_assert!(self.waiting.contains_key(&client)),
                }
            }
            Event::Udp(at, what) if !self.udp.is_empty() => {
                let (flight, sent) = self.udp[at.index(self.udp.len())].clone();
                match bytes(what, &sent) {
                    Some(bytes) => self.forwarder.udp_answer(self.now, flight, &bytes),
                    None => self.forwarder.udp_failed(self.now, flight),
                }
            }
            Event::Tcp(at, what) if !self.tcp.is_empty() => {
                // The stream hands an answer over, or fails, once.
                let (flight, sent) = self.tcp.swap_remove(at.index(self.tcp.len()));
                match bytes(what, &sent) {
                    Some(bytes) => self.forwarder.tcp_answer(self.now, flight, &bytes),
                    None => self.forwarder.tcp_failed(self.now, flight),
                }
            }
            Event::Pass(time) => {
                self.now += Duration::from_millis((*time).into());
                self.forwarder.tick(self.now);
            }
            Event::Udp(..) | Event::Tcp(..) => {}
        }
        Ok(())
    }

    fn effects(&mut self) -> Result<(), TestCaseError> {
        while let Some(effect) = self.forwarder.next_effect() {
            match effect {
                Effect::SendUdp {
                    flight, message, ..
                } => {
                    self.udp.retain(|(other, _)| *other != flight);
                    self.udp.push((flight, message));
                }
                Effect::SendTcp {
                    flight, message, ..
                } => {
                    prop_assert!(self.tcp.iter().all(|(other, _)| *other != flight));
                    self.tcp.push((flight, message));
                }
                Effect::EndUdp { flight } => {
                    let before = self.udp.len();
                    self.udp.retain(|(other, _)| *other != flight);
                    prop_assert_eq!(self.udp.len() + 1, before, "ended what was not open");
                }
                Effect::EndTcp { flight, .. } => {
                    let before = self.tcp.len();
                    self.tcp.retain(|(other, _)| *other != flight);
                    prop_assert_eq!(self.tcp.len() + 1, before, "ended what was not open");
                }
                Effect::Learn { addrs, .. } => {
                    prop_assert!(!addrs.is_empty());
                    self.learnt += 1;
                }
                Effect::Failed { .. } => {}
                Effect::Reply { client, message } => {
                    let reply = Message::from_vec(&message);
                    prop_assert!(reply.is_ok_and(|reply| reply.id() == client.1));
                    let count = self.waiting.get_mut(&client);
                    prop_assert!(count.is_some(), "an answer that nobody waits for");
                    let left = count.map_or(0, |count| {
                        *count -= 1;
                        *count
                    });
                    if left == 0 {
                        self.waiting.remove(&client);
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let stats = self.forwarder.stats();
        let waiting: usize = self.waiting.values().sum();
        prop_assert_eq!(stats.waiting, waiting);
        prop_assert!(waiting <= MAX_QUERIES && stats.flights <= waiting);
        prop_assert!(stats.cache.bytes <= 65_536);
        prop_assert_eq!(self.forwarder.next_deadline().is_some(), stats.flights > 0);
        prop_assert!(self.udp.len() <= stats.flights && self.tcp.len() <= stats.flights);
        prop_assert!(
            self.udp.len() + self.tcp.len() >= stats.flights,
            "a flight with no leg"
        );
        Ok(())
    }
}

/// None: failed.
fn bytes(what: &Bring, sent: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(sent).unwrap();
    match what {
        Bring::Answer(words) => Some(answer(&query, words).to_vec().unwrap()),
        Bring::Garbage(bytes) => Some(bytes.clone()),
        Bring::Foreign => {
            let mut message = answer(&query, "A:300:203.0.113.66");
            message.set_id(query.id() ^ 1);
            Some(message.to_vec().unwrap())
        }
        Bring::Failed => None,
    }
}
