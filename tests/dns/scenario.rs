//! Text scenarios: `tests/dns/scenarios/*.txt`, the forwarder with a fake clock.
//!
//! A file begins with a configuration up to a line `---`. Then a line is an event, and the
//! lines with `>` behind it are the effects of it and of the time up to the next event:
//!
//! ```text
//! MS ask CLIENT NAME TYPE [id=N] [edns=SIZE] [do] [cd] [nord] [tcp] [server=ADDR]
//! MS udp FLIGHT ANSWER | MS tcp FLIGHT ANSWER     answers as in messages.rs; also
//!                                                 wrong-id, wrong-question, garbage, broken, bare-formerr
//! MS udp FLIGHT failed | MS tcp FLIGHT failed
//! MS pass                                         nothing but time
//! > MS EFFECT
//! ```
//! Flights are numbered in the order of their first packet: f1, f2. With `BLESS=1` the effects
//! are written into the files, to be read with care.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::dns::flight::FlightId;
use dae::dns::forward::{Effect, Forwarder, Outcome};
use hickory_proto::op::{Message, ResponseCode};

use crate::messages::{answer, describe, describe_query, edns_query, query};

struct Play {
    forwarder: Forwarder<String>,
    start: Instant,
    now: Duration,
    flights: Vec<FlightId>,
    queries: HashMap<FlightId, Vec<u8>>,
    text: String,
}

impl Play {
    fn new(config: &str) -> Self {
        let config = match Config::parse("scenario", config.as_bytes()) {
            Ok(config) => config,
            Err(problems) => panic!("{problems:#?}"),
        };
        let mut id = 1000;
        let ids = Box::new(move || {
            id += 1;
            id
        });
        let ourselves = config.dns.listen.clone();
        Self {
            forwarder: Forwarder::new(&config, ourselves, ids),
            start: Instant::now(),
            now: Duration::ZERO,
            flights: Vec::new(),
            queries: HashMap::new(),
            text: String::new(),
        }
    }

    fn event(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let time = Duration::from_millis(words[0].parse().expect("a time first"));
        self.pass(time);
        writeln!(self.text, "{line}").unwrap();
        match words[1] {
            "ask" => self.ask(words[2], &words[3..]),
            "udp" | "tcp" => self.bring(words[1], words[2], &words[3..].join(" ")),
            "pass" => {}
            other => panic!("no event {other:?}"),
        }
        self.effects();
    }

    fn pass(&mut self, until: Duration) {
        while let Some(deadline) = self.forwarder.next_deadline()
            && deadline <= self.start + until
        {
            self.now = deadline - self.start;
            self.forwarder.tick(deadline);
            self.effects();
        }
        self.now = until;
    }

    fn ask(&mut self, client: &str, words: &[&str]) {
        let value = |key: &str| {
            words
                .iter()
                .find_map(|word| word.strip_prefix(key).and_then(|w| w.strip_prefix('=')))
        };
        let has = |word: &str| words.contains(&word);
        let id = value("id").map_or(7, |id| id.parse().unwrap());
        let mut message = match value("edns") {
            Some(size) => edns_query(id, words[0], words[1], size.parse().unwrap(), has("do")),
            None => query(id, words[0], words[1]),
        };
        message
            .set_checking_disabled(has("cd"))
            .set_recursion_desired(!has("nord"));
        message.set_authentic_data(has("ad"));
        let asked: Option<SocketAddr> = value("server").map(|addr| addr.parse().unwrap());
        let mut out = Vec::new();
        let bytes = message.to_vec().unwrap();
        let (now, client) = (self.start + self.now, client.to_owned());
        match self
            .forwarder
            .query(now, &client, &bytes, has("tcp"), asked, &mut out)
        {
            Outcome::Answered => self.effect(&format!("now {client} {}", reply(&out))),
            Outcome::Waiting => {}
            Outcome::Dropped => self.effect(&format!("dropped {client}")),
        }
    }

    fn bring(&mut self, leg: &str, flight: &str, words: &str) {
        let number: usize = flight[1..].parse().unwrap();
        let flight = self.flights[number - 1];
        let now = self.start + self.now;
        let query = Message::from_vec(&self.queries[&flight]).unwrap();
        let bytes = match words {
            "failed" if leg == "udp" => return self.forwarder.udp_failed(now, flight),
            "failed" => return self.forwarder.tcp_failed(now, flight),
            "wrong-id" => {
                let mut message = answer(&query, "A:300:203.0.113.66");
                message.set_id(query.id() ^ 1);
                message.to_vec().unwrap()
            }
            "wrong-question" => {
                let other = crate::messages::query(query.id(), "other.example", "A");
                answer(&other, "A:300:203.0.113.66").to_vec().unwrap()
            }
            "garbage" => vec![0xa5; 40],
            "broken" => {
                let mut bytes = answer(&query, "A:300:203.0.113.66").to_vec().unwrap();
                let cut = bytes.len() - 20;
                bytes.truncate(cut);
                bytes
            }
            "bare-formerr" => {
                let code = ResponseCode::FormErr;
                Message::error_msg(query.id(), query.op_code(), code)
                    .to_vec()
                    .unwrap()
            }
            words => answer(&query, words).to_vec().unwrap(),
        };
        match leg {
            "udp" => self.forwarder.udp_answer(now, flight, &bytes),
            _ => self.forwarder.tcp_answer(now, flight, &bytes),
        }
    }

    fn effects(&mut self) {
        while let Some(effect) = self.forwarder.next_effect() {
            let line = match effect {
                Effect::SendUdp {
                    flight,
                    server,
                    message,
                } => self.sent("udp", flight, server, message),
                Effect::SendTcp {
                    flight,
                    server,
                    message,
                } => self.sent("tcp", flight, server, message),
                Effect::EndUdp { flight } => format!("end-udp {}", self.name(flight)),
                Effect::EndTcp { flight, timed_out } => {
                    let why = if timed_out { " timed-out" } else { "" };
                    format!("end-tcp {}{why}", self.name(flight))
                }
                Effect::Learn { name, addrs, ttl } => {
                    let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
                    format!("learn {name} {ttl} {}", addrs.join(" "))
                }
                Effect::Failed { name, server } => format!("failed {name} {server}"),
                Effect::Reply { client, message } => format!("reply {client} {}", reply(&message)),
            };
            self.effect(&line);
        }
    }

    fn sent(&mut self, leg: &str, flight: FlightId, server: SocketAddr, bytes: Vec<u8>) -> String {
        let words = describe_query(&bytes);
        self.queries.insert(flight, bytes);
        format!("{leg} {} {server} {words}", self.name(flight))
    }

    fn name(&mut self, flight: FlightId) -> String {
        let known = self.flights.iter().position(|other| *other == flight);
        let place = known.unwrap_or_else(|| {
            self.flights.push(flight);
            self.flights.len() - 1
        });
        format!("f{}", place + 1)
    }

    fn effect(&mut self, line: &str) {
        writeln!(self.text, "> {} {line}", self.now.as_millis()).unwrap();
    }
}

/// Many records of one kind are counted.
fn reply(bytes: &[u8]) -> String {
    let words = describe(bytes);
    let answers = words.matches(" A:").count();
    if answers > 4 {
        let rest: Vec<&str> = words
            .split(' ')
            .filter(|word| !word.starts_with("A:"))
            .collect();
        return format!("{} ({answers} A, {} bytes)", rest.join(" "), bytes.len());
    }
    words
}

fn replay(text: &str) -> String {
    let (config, script) = text
        .split_once("---\n")
        .expect("a line --- behind the configuration");
    let mut play = Play::new(config);
    for line in script.lines().filter(|line| !line.starts_with('>')) {
        match line.trim() {
            "" => play.text.push('\n'),
            comment if comment.starts_with('#') => writeln!(play.text, "{comment}").unwrap(),
            event => play.event(event),
        }
    }
    assert_eq!(
        play.forwarder.next_deadline(),
        None,
        "a flight is left over: let time pass"
    );
    format!("{config}---\n{}", play.text)
}

#[test]
fn scenarios() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dns/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let played = replay(&text);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&file, played).unwrap();
        } else {
            let lines = text.lines().zip(played.lines()).enumerate();
            for (number, (wanted, got)) in lines {
                assert_eq!(wanted, got, "{}:{}", file.display(), number + 1);
            }
            assert_eq!(text, played, "{}", file.display());
        }
    }
}
