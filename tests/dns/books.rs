//! Random events for the forwarder: whatever comes in whatever order, the books are right.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::dns::attempt::{AttemptId, Fault};
use dae::dns::forward::{Effect, Forwarder, Origin, Outcome};
use hickory_proto::op::Message;
use proptest::prelude::*;

use crate::messages::{answer, query};
use crate::random::words;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_interleaving_keeps_the_books(events in prop::collection::vec(event(), 1..200)) {
        play(&events)?;
    }
}

#[derive(Debug, Clone)]
enum Event {
    /// Client, name, ID, by TCP, for IPv6 addresses.
    Ask(u8, u8, u16, bool, bool),
    /// Which of the attempts with an open leg, and what comes.
    Udp(prop::sample::Index, Bring),
    Stream(prop::sample::Index, Bring),
    /// Milliseconds.
    Pass(u16),
    /// Another configuration, by number.
    Reload(usize),
}

#[derive(Debug, Clone)]
enum Bring {
    Answer(String),
    Garbage(Vec<u8>),
    Foreign,
    Failed,
    Full,
}

fn event() -> impl Strategy<Value = Event> {
    let bring = prop_oneof![
        3 => words().prop_map(Bring::Answer),
        1 => words().prop_map(|words| Bring::Answer(format!("tc {words}"))),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Bring::Garbage),
        1 => Just(Bring::Foreign),
        2 => Just(Bring::Failed),
        1 => Just(Bring::Full),
    ];
    let which = any::<prop::sample::Index>;
    let ask = (0u8..6, 0u8..12, 0u16..3, any::<bool>(), any::<bool>());
    prop_oneof![
        8 => ask.prop_map(|(c, n, i, t, six)| Event::Ask(c, n, i, t, six)),
        4 => (which(), bring.clone()).prop_map(|(at, what)| Event::Udp(at, what)),
        4 => (which(), bring).prop_map(|(at, what)| Event::Stream(at, what)),
        2 => (0u16..1500).prop_map(Event::Pass),
        1 => (0..configs().len()).prop_map(Event::Reload),
    ]
}

/// A client: who, and with which ID it asked.
type Client = (u8, u16);

struct Books {
    forwarder: Forwarder<Client>,
    config: Config,
    now: Instant,
    /// Queries that wait, by client.
    waiting: HashMap<Client, usize>,
    /// Legs that are open, with the query last sent.
    udp: Vec<(AttemptId, Vec<u8>)>,
    stream: Vec<(AttemptId, Vec<u8>)>,
}

const MAX_QUERIES: usize = 16;

/// Most flights of our own.
const MAX_TASKS: usize = 64;

/// Configurations with everything that makes flights meet: several upstreams in each policy,
/// one that is known by its name, rules for answers that send questions round in a circle,
/// a preferred family.
fn configs() -> Vec<Config> {
    let parse = |prefer: &str, url: &str| {
        let text = format!(
            "config dae 'main'\n\tlist interface 'lan'\n\
             config dns 'dns'\n\tlist listen '127.0.0.1:5354'\n\toption upstream 'a b'\n\
             \toption max_queries '16'\n\toption max_client_queries '8'\n\
             \toption cache_bytes '65536'\n\toption bootstrap 'u'\n\toption query_log '10'\n{prefer}\
             config upstream 'a'\n\toption url '{url}'\n\
             config upstream 'b'\n\toption url 'tcp+udp://192.0.2.52'\n\
             config upstream 'u'\n\toption url 'udp://192.0.2.54'\n\
             config upstream 't'\n\toption url 'tls://dns.example'\n\
             config dns_rule\n\tlist domain 'u.example'\n\toption upstream 'u'\n\
             config dns_rule\n\tlist domain 't.example'\n\toption upstream 't a'\n\toption policy 'race'\n\
             config dns_rule\n\tlist domain 'f.example'\n\toption upstream 'a u'\n\toption policy 'fastest'\n\
             config answer_rule\n\tlist ip '192.0.2.9'\n\toption action 'ask'\n\tlist ask 'b u'\n\
             config answer_rule\n\tlist domain 'n3.example'\n\toption action 'reject'\n"
        );
        match Config::parse("books", text.as_bytes()) {
            Ok(config) => config,
            Err(problems) => panic!("{problems:#?}"),
        }
    };
    vec![
        parse("", "tcp+udp://192.0.2.53"),
        parse("\toption ipversion_prefer '4'\n", "tcp+udp://192.0.2.53"),
        parse("\toption ipversion_prefer '6'\n", "tcp://192.0.2.53"),
    ]
}

fn play(events: &[Event]) -> Result<(), TestCaseError> {
    let config = configs().swap_remove(0);
    let now = Instant::now();
    let mut books = Books {
        forwarder: Forwarder::new(&config, Vec::new(), now),
        config,
        now,
        waiting: HashMap::new(),
        udp: Vec::new(),
        stream: Vec::new(),
    };
    for event in events {
        books.event(event)?;
        books.effects()?;
        books.check()?;
    }
    let latest = books.now + Duration::from_millis(8001);
    while let Some(deadline) = books.forwarder.next_deadline() {
        // Looking for the address of an upstream may take as long again, twice.
        let waits = !books.waiting.is_empty();
        prop_assert!(
            deadline < latest || !waits,
            "a query that waits for more than 8 s"
        );
        prop_assert!(
            deadline < latest + Duration::from_secs(16),
            "a flight without end"
        );
        books.now = books.now.max(deadline);
        books.forwarder.tick(books.now);
        books.effects()?;
    }
    let left = &books.waiting;
    prop_assert!(left.is_empty(), "{left:?} got no answer");
    prop_assert!(
        books.udp.is_empty() && books.stream.is_empty(),
        "a leg was left open"
    );
    prop_assert_eq!(books.forwarder.next_deadline(), None);
    books.check()
}

impl Books {
    fn event(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Ask(client, name, id, tcp, six) => {
                let zone = ["example", "u.example", "t.example", "f.example"];
                let name = format!("n{name}.{}", zone[usize::from(name % 4)]);
                let kind = if *six { "AAAA" } else { "A" };
                let message = query(*id, &name, kind).to_vec().unwrap();
                let origin = Origin {
                    client: &(*client, *id),
                    from: IpAddr::from([192, 168, 1, *client]),
                    asked: None,
                    tcp: *tcp,
                };
                let mut out = Vec::new();
                match self.forwarder.query(self.now, &origin, &message, &mut out) {
                    Outcome::Answered => prop_assert!(Message::from_vec(&out).is_ok()),
                    Outcome::Waiting => *self.waiting.entry((*client, *id)).or_default() += 1,
                    Outcome::Dropped => prop_assert!(self.waiting.contains_key(&(*client, *id))),
                }
            }
            Event::Udp(at, what) if !self.udp.is_empty() => {
                let (attempt, sent) = self.udp[at.index(self.udp.len())].clone();
                match what {
                    Bring::Foreign => self.forwarder.udp_foreign(self.now, attempt),
                    Bring::Failed => self.forwarder.udp_failed(self.now, attempt, Fault::Remote),
                    Bring::Full => self.forwarder.udp_failed(self.now, attempt, Fault::Local),
                    _ => self
                        .forwarder
                        .udp_answer(self.now, attempt, &bytes(what, &sent)),
                }
            }
            Event::Stream(at, what) if !self.stream.is_empty() => {
                // The connection hands an answer over, or fails, once.
                let (attempt, sent) = self.stream.swap_remove(at.index(self.stream.len()));
                let fault = match what {
                    Bring::Failed | Bring::Foreign => Some(Fault::Remote),
                    Bring::Full => Some(Fault::Local),
                    _ => None,
                };
                match fault {
                    Some(fault) => self.forwarder.stream_failed(self.now, attempt, fault),
                    None => self
                        .forwarder
                        .stream_answer(self.now, attempt, &bytes(what, &sent)),
                }
            }
            Event::Pass(time) => {
                self.now += Duration::from_millis((*time).into());
                self.forwarder.tick(self.now);
            }
            Event::Reload(number) => {
                let new = configs().swap_remove(*number);
                self.forwarder.reconfigure(&self.config, &new);
                self.config = new;
            }
            Event::Udp(..) | Event::Stream(..) => {}
        }
        Ok(())
    }

    fn effects(&mut self) -> Result<(), TestCaseError> {
        while let Some(effect) = self.forwarder.next_effect() {
            match effect {
                Effect::SendUdp {
                    attempt, message, ..
                } => {
                    self.udp.retain(|(other, _)| *other != attempt);
                    self.udp.push((attempt, message));
                }
                Effect::SendStream {
                    attempt,
                    message,
                    fresh,
                    ..
                } => {
                    let before = self.stream.len();
                    self.stream.retain(|(other, _)| *other != attempt);
                    prop_assert_eq!(fresh, self.stream.len() < before);
                    self.stream.push((attempt, message));
                }
                Effect::EndUdp { attempt, .. } => {
                    let before = self.udp.len();
                    self.udp.retain(|(other, _)| *other != attempt);
                    prop_assert_eq!(self.udp.len() + 1, before, "ended what was not open");
                }
                Effect::EndStream { attempt, .. } => {
                    let before = self.stream.len();
                    self.stream.retain(|(other, _)| *other != attempt);
                    prop_assert_eq!(self.stream.len() + 1, before, "ended what was not open");
                }
                Effect::Learn { addrs, .. } => prop_assert!(!addrs.is_empty()),
                Effect::Failed { .. } | Effect::Withheld { .. } | Effect::Turned { .. } => {}
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

    fn check(&mut self) -> Result<(), TestCaseError> {
        let stats = self.forwarder.stats();
        let waiting: usize = self.waiting.values().sum();
        prop_assert_eq!(stats.waiting, waiting);
        prop_assert!(waiting <= MAX_QUERIES && stats.flights <= waiting + MAX_TASKS);
        prop_assert!(stats.cache.bytes <= 65_536);
        prop_assert_eq!(self.forwarder.next_deadline().is_some(), stats.flights > 0);
        Ok(())
    }
}

fn bytes(what: &Bring, sent: &[u8]) -> Vec<u8> {
    let query = Message::from_vec(sent).unwrap();
    match what {
        Bring::Answer(words) => answer(&query, words).to_vec().unwrap(),
        Bring::Garbage(bytes) => bytes.clone(),
        Bring::Foreign | Bring::Failed | Bring::Full => Vec::new(),
    }
}
