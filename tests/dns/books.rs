//! Random events for the forwarder: whatever comes in whatever order, the books are right.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::dns::attempt::{AttemptId, Fault};
use dae::dns::forward::{Effect, Forwarder, News, Origin, Outcome};
use dae::dns::health::Turn;
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use proptest::prelude::*;

use crate::messages::{answer, edns_query, query};
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
    /// Client, name, ID; by TCP, for IPv6 addresses, with DO, with CD.
    Ask(u8, u8, u16, [bool; 4]),
    /// Which of the attempts with an open leg, and what comes.
    Udp(prop::sample::Index, Bring),
    Stream(prop::sample::Index, Bring),
    /// Milliseconds.
    Pass(u32),
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
    let rare = prop::bool::weighted(0.2);
    let flags = [
        any::<bool>().boxed(),
        any::<bool>().boxed(),
        rare.boxed(),
        rare.boxed(),
    ];
    let ask = (0u8..6, 0u8..12, 0u16..3, flags);
    prop_oneof![
        8 => ask.prop_map(|(client, name, id, flags)| Event::Ask(client, name, id, flags)),
        4 => (which(), bring.clone()).prop_map(|(at, what)| Event::Udp(at, what)),
        4 => (which(), bring).prop_map(|(at, what)| Event::Stream(at, what)),
        2 => (0u32..1500).prop_map(Event::Pass),
        // Answers die, are hot, may be used all the same.
        1 => (0u32..90_000).prop_map(Event::Pass),
        1 => (0..configs().len()).prop_map(Event::Reload),
    ]
}

/// A client: who, and with which ID it asked.
type Client = (u8, u16);

/// Longest wait of a client.
const PATIENCE: Duration = Duration::from_secs(8);

struct Books {
    forwarder: Forwarder<Client>,
    config: Config,
    now: Instant,
    /// Queries that wait, by client: what is asked, and since when.
    waiting: HashMap<Client, Vec<(String, Instant)>>,
    /// Upstreams that the log has told to be down or without UDP; None after a reload, as
    /// another upstream may have the name of one that still ends its flights.
    turned: Option<HashSet<(String, &'static str)>>,
    /// Legs that are open, with the query last sent.
    udp: Vec<(AttemptId, Vec<u8>)>,
    stream: Vec<(AttemptId, Vec<u8>)>,
}

const MAX_QUERIES: usize = 16;
const MAX_OF_CLIENT: usize = 8;

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
        turned: Some(HashSet::new()),
        udp: Vec::new(),
        stream: Vec::new(),
    };
    for event in events {
        books.event(event)?;
        books.effects()?;
        books.check()?;
    }
    // Looking for the address of an upstream may take as long again.
    let latest = books.now + PATIENCE * 2;
    while let Some(deadline) = books.forwarder.next_deadline() {
        prop_assert!(deadline <= latest, "a flight without end");
        books.pass_until(deadline)?;
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
            Event::Ask(client, name, id, [tcp, six, dnssec_ok, cd]) => {
                let zone = ["example", "u.example", "t.example", "f.example"];
                let name = format!("n{name}.{}", zone[usize::from(name % 4)]);
                let kind = if *six { "AAAA" } else { "A" };
                let mut message = match dnssec_ok {
                    true => edns_query(*id, &name, kind, 1232, true),
                    false => query(*id, &name, kind),
                };
                message.set_checking_disabled(*cd);
                let asked = question(&message);
                let message = message.to_vec().unwrap();
                let origin = Origin {
                    client: &(*client, *id),
                    from: IpAddr::from([192, 168, 1, *client]),
                    asked: None,
                    tcp: *tcp,
                };
                let mut out = Vec::new();
                let client = (*client, *id);
                match self.forwarder.query(self.now, &origin, &message, &mut out) {
                    Outcome::Answered => right_answer(&out, &asked)?,
                    Outcome::Waiting => {
                        let waiting = self.waiting.entry(client).or_default();
                        waiting.push((asked, self.now));
                    }
                    Outcome::Dropped => {
                        let mut waiting = self.waiting.get(&client).into_iter().flatten();
                        prop_assert!(waiting.any(|(other, _)| *other == asked));
                    }
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
                self.pass_until(self.now + Duration::from_millis((*time).into()))?;
            }
            Event::Reload(number) => {
                let new = configs().swap_remove(*number);
                self.forwarder.reconfigure(&self.config, &new);
                self.config = new;
                self.turned = None;
            }
            Event::Udp(..) | Event::Stream(..) => {}
        }
        Ok(())
    }

    /// Time passes, as the loops let it: what is due is done when it is.
    fn pass_until(&mut self, until: Instant) -> Result<(), TestCaseError> {
        while let Some(deadline) = self.forwarder.next_deadline()
            && deadline <= until
        {
            self.now = self.now.max(deadline);
            self.forwarder.tick(self.now);
            self.effects()?;
            self.check()?;
        }
        self.now = self.now.max(until);
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
                Effect::EndUdp { attempt } => {
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
                Effect::Tell(News::Failed { .. } | News::Withheld { .. }) => {}
                Effect::Tell(News::Turned { upstream, turn }) => {
                    let (bad, what) = match turn {
                        Turn::Down => (true, "up"),
                        Turn::Up => (false, "up"),
                        Turn::UdpDead => (true, "udp"),
                        Turn::UdpWorks => (false, "udp"),
                    };
                    let key = (upstream.to_string(), what);
                    if let Some(turned) = &mut self.turned {
                        let news = if bad {
                            turned.insert(key)
                        } else {
                            turned.remove(&key)
                        };
                        prop_assert!(news, "told twice");
                    }
                }
                Effect::Reply { client, message } => {
                    let reply = Message::from_vec(&message).unwrap();
                    prop_assert_eq!(reply.id(), client.1);
                    let waiting = self.waiting.get_mut(&client);
                    prop_assert!(waiting.is_some(), "an answer that nobody waits for");
                    let waiting = waiting.unwrap();
                    let asked = question(&reply);
                    let place = waiting.iter().position(|(other, _)| *other == asked);
                    prop_assert!(place.is_some(), "{asked}: an answer to another question");
                    let (_, since) = waiting.remove(place.unwrap());
                    let waited = self.now - since;
                    prop_assert!(waited <= PATIENCE, "{asked} waited for {waited:?}");
                    if waiting.is_empty() {
                        self.waiting.remove(&client);
                    }
                    right_answer(&message, &asked)?;
                }
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let stats = self.forwarder.stats();
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        for client in 0..6 {
            let own = self
                .waiting
                .iter()
                .filter(|((other, _), _)| *other == client);
            let own: usize = own.map(|(_, queries)| queries.len()).sum();
            prop_assert!(own <= MAX_OF_CLIENT, "a client with too many places");
        }
        prop_assert!(self.forwarder.query_log().lines().len() <= 10);
        prop_assert_eq!(stats.waiting, waiting);
        prop_assert!(waiting <= MAX_QUERIES && stats.flights <= waiting + MAX_TASKS);
        prop_assert!(stats.cache.bytes <= 65_536);
        prop_assert_eq!(self.forwarder.next_deadline().is_some(), stats.flights > 0);
        Ok(())
    }
}

/// An upstream's answer says in the end what it answers, but to a query without EDNS, which
/// cannot say whether DO was wanted.
fn bytes(what: &Bring, sent: &[u8]) -> Vec<u8> {
    let query = Message::from_vec(sent).unwrap();
    match what {
        Bring::Answer(words) if query.extensions().is_none() => {
            answer(&query, words).to_vec().unwrap()
        }
        Bring::Answer(words) => {
            let words = format!("{words} +TXT:600:{}", question(&query));
            answer(&query, &words).to_vec().unwrap()
        }
        Bring::Garbage(bytes) => bytes.clone(),
        Bring::Foreign | Bring::Failed | Bring::Full => Vec::new(),
    }
}

/// What an answer depends on: name, type, DO and CD.
fn question(message: &Message) -> String {
    let asked = &message.queries()[0];
    let edns = message.extensions().as_ref();
    let dnssec_ok = edns.is_some_and(|edns| edns.flags().dnssec_ok);
    let (name, cd) = (asked.name().to_ascii(), message.checking_disabled());
    let name = name.trim_end_matches('.');
    format!("{name}/{}/{dnssec_ok}/{cd}", asked.query_type())
}

/// Whether an answer is readable, and one to this question.
fn right_answer(bytes: &[u8], asked: &str) -> Result<(), TestCaseError> {
    let reply = Message::from_vec(bytes);
    prop_assert!(reply.is_ok());
    let reply = reply.unwrap();
    prop_assert_eq!(question(&reply), asked);
    for record in reply.additionals() {
        if let RData::TXT(text) = record.data() {
            prop_assert_eq!(text.to_string(), asked);
        }
    }
    Ok(())
}
