//! The whole forwarder under random events: clients ask, answers come or do not, time passes,
//! the configuration changes. Whatever comes in whatever order, every query that waits is
//! answered once and in time, every leg that is opened is closed, and all bounds hold.

#![no_main]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::dns::attempt::{AttemptId, Fault};
use dae::dns::forward::{Effect, Forwarder, Origin, Outcome};
use dae::dns::wire::{Question, flag, id, set_id, upstream_query};
use libfuzzer_sys::fuzz_target;

const MAX_QUERIES: usize = 16;
const CACHE_BYTES: usize = 65_536;

/// Most flights of our own.
const MAX_TASKS: usize = 64;

/// No client waits longer, whatever upstreams do.
const LONGEST: Duration = Duration::from_millis(8001);

thread_local! {
    static CONFIGS: [Config; 3] = [
        config("", "tcp+udp://192.0.2.53"),
        config("\toption ipversion_prefer '4'\n\toption serve_stale '0'\n", "tcp+udp://192.0.2.53"),
        config("\toption ipversion_prefer '6'\n\toption https_records 'block'\n", "tcp://192.0.2.53"),
    ];
}

/// Everything that makes flights meet: each policy, an upstream known by its name, rules for
/// answers that send questions round in a circle, hosts, fixed TTLs.
fn config(more: &str, url: &str) -> Config {
    let text = format!(
        "config dae 'main'\n\tlist interface 'lan'\n\
         config dns 'dns'\n\tlist listen '127.0.0.1:5354'\n\toption upstream 'a b'\n\
         \toption max_queries '{MAX_QUERIES}'\n\toption max_client_queries '8'\n\
         \toption cache_bytes '{CACHE_BYTES}'\n\toption bootstrap 'u'\n\toption query_log '10'\n{more}\
         config upstream 'a'\n\toption url '{url}'\n\
         config upstream 'b'\n\toption url 'tcp+udp://192.0.2.52'\n\
         config upstream 'u'\n\toption url 'udp://192.0.2.54'\n\
         config upstream 't'\n\toption url 'tls://dns.example'\n\
         config dns_rule\n\tlist domain 'u.example'\n\toption upstream 'u'\n\
         config dns_rule\n\tlist domain 't.example'\n\toption upstream 't a'\n\toption policy 'race'\n\
         config dns_rule\n\tlist domain 'f.example'\n\toption upstream 'a u'\n\toption policy 'fastest'\n\
         config answer_rule\n\tlist ip '192.0.2.9'\n\toption action 'ask'\n\tlist ask 'b u'\n\
         config answer_rule\n\tlist domain 'n3.example'\n\toption action 'reject'\n\
         config dns_host\n\toption name 'nas.home'\n\tlist ip '192.168.1.2'\n\
         config dns_ttl\n\tlist domain 'n5.example'\n\toption ttl '0'\n"
    );
    Config::parse("fuzz", text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The input, used up byte by byte; zeros follow.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let first = self.0.split_off_first();
        first.copied().unwrap_or(0)
    }

    fn some(&mut self) -> &[u8] {
        let count = usize::from(self.byte()).min(self.0.len());
        self.0.split_off(..count).unwrap_or(&[])
    }

    /// A place in a list of `length`, which is not empty.
    fn index(&mut self, length: usize) -> usize {
        usize::from(self.byte()) % length
    }
}

/// A client and the ID of its query.
type Client = (u8, u16);

struct Books {
    forwarder: Forwarder<Client>,
    config: usize,
    now: Instant,
    /// Since when queries wait, by client.
    waiting: HashMap<Client, Vec<Instant>>,
    /// Open legs, with the query last sent.
    udp: Vec<(AttemptId, Vec<u8>)>,
    stream: Vec<(AttemptId, Vec<u8>)>,
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let now = Instant::now();
    let mut books = Books {
        forwarder: CONFIGS.with(|all| Forwarder::new(&all[0], Vec::new(), now)),
        config: 0,
        now,
        waiting: HashMap::new(),
        udp: Vec::new(),
        stream: Vec::new(),
    };
    while !bytes.0.is_empty() {
        books.event(&mut bytes);
        books.effects();
        books.check();
    }
    // Looking for the address of an upstream may take as long as a flight, twice.
    let latest = books.now + 3 * LONGEST;
    while let Some(deadline) = books.forwarder.next_deadline() {
        assert!(deadline < latest, "a flight without end");
        books.pass(deadline);
    }
    assert!(
        books.waiting.is_empty(),
        "no answer for {:?}",
        books.waiting
    );
    assert!(
        books.udp.is_empty() && books.stream.is_empty(),
        "a leg was left open"
    );
});

impl Books {
    fn event(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.byte() % 8 {
            0..3 => self.ask(bytes),
            3 | 4 if !self.udp.is_empty() => {
                let at = bytes.index(self.udp.len());
                let (attempt, sent) = self.udp[at].clone();
                match bytes.byte() {
                    0 => self.forwarder.udp_foreign(self.now, attempt),
                    1 => self.forwarder.udp_failed(self.now, attempt, Fault::Remote),
                    2 => self.forwarder.udp_failed(self.now, attempt, Fault::Local),
                    how => {
                        let message = answer(how, &sent, bytes);
                        self.forwarder.udp_answer(self.now, attempt, &message);
                    }
                }
            }
            5 if !self.stream.is_empty() => {
                // The connection hands an answer over, or fails, once.
                let at = bytes.index(self.stream.len());
                let (attempt, sent) = self.stream.swap_remove(at);
                match bytes.byte() {
                    0 | 1 => self
                        .forwarder
                        .stream_failed(self.now, attempt, Fault::Remote),
                    2 => self
                        .forwarder
                        .stream_failed(self.now, attempt, Fault::Local),
                    how => {
                        let message = answer(how, &sent, bytes);
                        self.forwarder.stream_answer(self.now, attempt, &message);
                    }
                }
            }
            6 => {
                let time = match bytes.byte() {
                    short @ 0..200 => Duration::from_millis(u64::from(short) * 5),
                    long => Duration::from_secs(u64::from(long - 199) * 20),
                };
                self.let_pass(time);
            }
            7 => {
                let new = bytes.index(3);
                CONFIGS.with(|all| self.forwarder.reconfigure(&all[self.config], &all[new]));
                self.config = new;
            }
            _ => {}
        }
    }

    fn ask(&mut self, bytes: &mut Bytes<'_>) {
        let (client, how) = (bytes.byte() % 4, bytes.byte());
        let message = if how & 0x80 != 0 {
            bytes.some().to_vec()
        } else {
            let zones = ["example", "u.example", "t.example", "f.example", "home"];
            let (number, zone) = (how & 7, zones[usize::from(how >> 3) % 5]);
            let name = if zone == "home" {
                "nas.home".into()
            } else {
                format!("n{number}.{zone}")
            };
            let kind = [1, 28, 65, 16][bytes.index(4)];
            let question = Question::of(&name, kind).expect("a good name");
            let more = bytes.byte();
            let flags = if more & 1 == 0 { flag::RD } else { flag::CD };
            let mut query = upstream_query(
                flags,
                &question,
                more & 2 != 0,
                more & 4 != 0,
                false,
                Vec::new(),
            );
            set_id(&mut query, u16::from(more >> 6));
            query
        };
        let client = (client, id(&message).unwrap_or(0));
        let origin = Origin {
            client: &client,
            from: [192, 168, 1, client.0].into(),
            asked: (how & 0x40 != 0).then(|| ([192, 168, 1, 1], 53).into()),
            tcp: how & 0x20 != 0,
        };
        let mut out = Vec::new();
        match self.forwarder.query(self.now, &origin, &message, &mut out) {
            Outcome::Answered => assert_eq!(id(&out), id(&message)),
            Outcome::Waiting => self.waiting.entry(client).or_default().push(self.now),
            Outcome::Dropped => assert!(out.is_empty()),
        }
    }

    /// Time passes, and what is due on the way is done in time.
    fn let_pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.forwarder.next_deadline().filter(|at| *at <= end) {
            self.pass(deadline);
        }
        self.now = end;
    }

    fn pass(&mut self, deadline: Instant) {
        self.now = self.now.max(deadline);
        self.forwarder.tick(self.now);
        let next = self.forwarder.next_deadline();
        assert!(next.is_none_or(|next| next > self.now), "due, and not done");
        self.effects();
        self.check();
    }

    fn effects(&mut self) {
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
                    assert_eq!(fresh, self.stream.len() < before);
                    self.stream.push((attempt, message));
                }
                Effect::EndUdp { attempt } => {
                    let at = self.udp.iter().position(|(other, _)| *other == attempt);
                    self.udp.swap_remove(at.expect("ended what was not open"));
                }
                Effect::EndStream { attempt, .. } => {
                    let at = self.stream.iter().position(|(other, _)| *other == attempt);
                    self.stream
                        .swap_remove(at.expect("ended what was not open"));
                }
                Effect::Learn { addrs, .. } => assert!(!addrs.is_empty()),
                Effect::Tell(_) => {}
                Effect::Reply { client, message } => self.reply(client, &message),
            }
        }
    }

    fn reply(&mut self, client: Client, message: &[u8]) {
        assert_eq!(id(message), Some(client.1));
        let since = self
            .waiting
            .get_mut(&client)
            .expect("an answer nobody waits for");
        // Of several queries of one client with one ID, the longest wait is assumed.
        let first = since.remove(0);
        assert!(
            self.now <= first + LONGEST,
            "waited for {:?}",
            self.now - first
        );
        if since.is_empty() {
            self.waiting.remove(&client);
        }
    }

    fn check(&mut self) {
        let stats = self.forwarder.stats();
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        assert_eq!(stats.waiting, waiting);
        assert!(waiting <= MAX_QUERIES && stats.flights <= waiting + MAX_TASKS);
        assert!(stats.cache.bytes <= CACHE_BYTES);
        assert!(self.forwarder.query_log().lines().len() <= 10);
        assert_eq!(self.forwarder.next_deadline().is_some(), stats.flights > 0);
    }
}

/// A message in answer to the query `sent`: bytes as they come, or behind its question, or one
/// record, or none.
fn answer(how: u8, sent: &[u8], bytes: &mut Bytes<'_>) -> Vec<u8> {
    if how < 16 {
        return bytes.some().to_vec();
    }
    // The OPT record of ours is always the same, with padding behind it or not.
    let end = 12
        + sent[12..]
            .windows(5)
            .position(|five| five[0] == 0)
            .unwrap_or(0)
        + 5;
    let mut message = sent[..end.min(sent.len())].to_vec();
    message[2] |= 0x80;
    message[6..12].fill(0);
    let code = [0, 0, 0, 2, 3, 5, 1, 4][usize::from(how & 7)];
    message[3] = 0x80 | code;
    if how & 0x80 != 0 {
        message[2] |= 2;
    }
    match how >> 4 & 7 {
        1 => {
            message[7..12].copy_from_slice(&[1, 0, 1, 0, 1]);
            message.extend(bytes.some());
        }
        2 => {}
        _ => {
            // A record of the type asked for, for A and AAAA an address.
            let kind = [message[end - 4], message[end - 3]];
            let ttl = bytes.byte();
            let data = match kind[1] {
                28 => [&[0x20, 1][..], &[0; 13], &[ttl]].concat(),
                _ => vec![192, 0, 2, bytes.byte() % 12],
            };
            message[7] = 1;
            message.extend([0xc0, 12]);
            message.extend(kind);
            message.extend([0, 1, 0, 0, 0, ttl, 0, data.len() as u8]);
            message.extend(data);
        }
    }
    message
}
