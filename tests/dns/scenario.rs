//! Text scenarios: `tests/dns/scenarios/*.txt`, the forwarder with a fake clock.
//!
//! A file begins with a configuration up to a line `---`. Then a line is an event, and the
//! lines with `>` behind it are the effects of it and of the time up to the next event:
//!
//! ```text
//! start                                             everything anew, the clock at 0
//! MS ask CLIENT NAME TYPE [id=N] [edns=SIZE] [do] [cd] [ad] [nord] [tcp] [server=ADDR]
//!        [from=ADDR] [version=N] [ecs] [cookie]     the last three with edns only
//! MS many COUNT CLIENT NAME TYPE ...                the same so often, # in CLIENT, NAME and
//!                                                   what follows is the number
//! MS udp ATTEMPT ANSWER | MS stream ATTEMPT ANSWER  answers as in messages.rs; also
//!                                                   wrong-id, wrong-question, garbage, broken, bare-formerr
//! MS udp ATTEMPT failed | full                      the same of streams
//! MS udp all ANSWER                                 to every attempt that waits, which ends it
//! MS pass                                           nothing but time
//! MS settings                                       the configuration down to the next ---
//! MS log                                            the query log
//! MS stats [WORD...]                                counters that are not zero, or those named
//! > MS EFFECT
//! ```
//! Before `start` and at the end of a file time passes until nobody waits. Attempts are
//! numbered in the order of their first packet: a1, a2. Clients are told apart by their names;
//! without `from` they are at 192.168.1.2. With `BLESS=1` the effects are written into the
//! files, to be read with care.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dae::config::Config;
use dae::dns::attempt::{AttemptId, Fault};
use dae::dns::forward::{Effect, Forwarder, News, Origin, Outcome};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;

use crate::messages::{answer, describe, describe_query, edns_query, query};

/// Of more effects at once than this, only so many are shown.
const MANY: usize = 40;
const SHOWN: usize = 4;

struct Play {
    forwarder: Forwarder<String>,
    start: Instant,
    now: Duration,
    config: Config,
    attempts: Vec<AttemptId>,
    queries: HashMap<AttemptId, Vec<u8>>,
    text: String,
}

impl Play {
    fn new(config: &str) -> Self {
        let config = parse(config);
        let ourselves = config.dns.listen.clone();
        let start = Instant::now();
        Self {
            forwarder: Forwarder::new(&config, ourselves, start),
            start,
            now: Duration::ZERO,
            config,
            attempts: Vec::new(),
            queries: HashMap::new(),
            text: String::new(),
        }
    }

    fn event(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let time = Duration::from_millis(words[0].parse().expect("a time first"));
        assert!(time >= self.now, "{line}: back in time");
        self.pass(time);
        writeln!(self.text, "{line}").unwrap();
        match words[1] {
            "ask" => self.ask(words[2], &words[3..]),
            "many" => self.ask_often(words[2].parse().unwrap(), &words[3..]),
            "udp" if words[2] == "all" => self.answer_all(&words[3..].join(" ")),
            "udp" | "stream" => self.bring(words[1], words[2], &words[3..].join(" ")),
            "pass" => {}
            "log" => self.log(),
            "stats" => self.stats(&words[2..]),
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

    fn ask_often(&mut self, count: usize, words: &[&str]) {
        let before = self.text.len();
        for number in 1..=count {
            let words = words.join(" ").replace('#', &number.to_string());
            let words: Vec<&str> = words.split(' ').collect();
            self.ask(words[0], &words[1..]);
        }
        let answers = self.text.split_off(before);
        let lines = answers.lines().count();
        let shown = if lines > MANY { SHOWN } else { lines };
        self.text.extend(answers.split_inclusive('\n').take(shown));
        if lines > shown {
            self.effect(&format!("and {} more", lines - shown));
        }
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
        if let Some(edns) = message.extensions_mut() {
            edns.set_version(value("version").map_or(0, |version| version.parse().unwrap()));
            if has("ecs") {
                edns.options_mut()
                    .insert(EdnsOption::Subnet("198.51.100.0/24".parse().unwrap()));
            }
            if has("cookie") {
                edns.options_mut()
                    .insert(EdnsOption::Unknown(10, vec![7; 8]));
            }
        }
        let asked: Option<SocketAddr> = value("server").map(|addr| addr.parse().unwrap());
        let mut out = Vec::new();
        let bytes = message.to_vec().unwrap();
        let (now, client) = (self.start + self.now, client.to_owned());
        let from: IpAddr = value("from").unwrap_or("192.168.1.2").parse().unwrap();
        let origin = Origin {
            client: &client,
            from,
            asked,
            tcp: has("tcp"),
        };
        match self.forwarder.query(now, &origin, &bytes, &mut out) {
            Outcome::Answered => self.effect(&format!("now {client} {}", reply(&out))),
            Outcome::Waiting => {}
            Outcome::Dropped => self.effect(&format!("dropped {client}")),
        }
    }

    fn answer_all(&mut self, words: &str) {
        for number in 1..=self.attempts.len() {
            self.bring("udp", &format!("a{number}"), words);
        }
    }

    fn bring(&mut self, leg: &str, attempt: &str, words: &str) {
        let number: usize = attempt[1..].parse().unwrap();
        let Some(&attempt) = self.attempts.get(number - 1) else {
            panic!("{}no attempt {attempt}", self.text);
        };
        let now = self.start + self.now;
        let query = Message::from_vec(&self.queries[&attempt]).unwrap();
        let fault = match words {
            "failed" => Some(Fault::Remote),
            "full" => Some(Fault::Local),
            _ => None,
        };
        if let Some(fault) = fault {
            return match leg {
                "udp" => self.forwarder.udp_failed(now, attempt, fault),
                _ => self.forwarder.stream_failed(now, attempt, fault),
            };
        }
        let bytes = match words {
            "wrong-id" => return self.forwarder.udp_foreign(now, attempt),
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
            "udp" => self.forwarder.udp_answer(now, attempt, &bytes),
            _ => self.forwarder.stream_answer(now, attempt, &bytes),
        }
    }

    fn effects(&mut self) {
        let mut lines = Vec::new();
        while let Some(effect) = self.forwarder.next_effect() {
            let line = match effect {
                Effect::SendUdp {
                    attempt,
                    addr,
                    message,
                    fresh,
                    ..
                } => {
                    let fresh = if fresh { " fresh" } else { "" };
                    self.sent("udp", attempt, addr, message) + fresh
                }
                Effect::SendStream {
                    attempt,
                    addr,
                    message,
                    fresh,
                    ..
                } => {
                    let fresh = if fresh { " fresh" } else { "" };
                    self.sent("stream", attempt, addr, message) + fresh
                }
                Effect::EndUdp { attempt } => format!("end-udp {}", self.name(attempt)),
                Effect::EndStream { attempt, timed_out } => {
                    let why = if timed_out { " timed-out" } else { "" };
                    format!("end-stream {}{why}", self.name(attempt))
                }
                Effect::Learn { name, addrs, ttl } => {
                    let count = addrs.len();
                    let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
                    match count {
                        0..5 => format!("learn {name} {ttl} {}", addrs.join(" ")),
                        _ => format!("learn {name} {ttl} ({count} addresses)"),
                    }
                }
                Effect::Tell(news) => match news {
                    News::Failed { name, upstream } => format!("failed {name} {upstream}"),
                    News::Withheld {
                        name,
                        upstream,
                        reason,
                    } => format!("withheld {name} {upstream} {reason}"),
                    News::Turned { upstream, turn } => format!("{upstream} {}", turn.as_str()),
                },
                Effect::Reply { client, message } => format!("reply {client} {}", reply(&message)),
            };
            lines.push(line);
        }
        let shown = if lines.len() > MANY {
            SHOWN
        } else {
            lines.len()
        };
        for line in &lines[..shown] {
            self.effect(line);
        }
        if lines.len() > shown {
            self.effect(&format!("and {} more", lines.len() - shown));
        }
    }

    fn sent(&mut self, leg: &str, attempt: AttemptId, addr: SocketAddr, bytes: Vec<u8>) -> String {
        let words = describe_query(&bytes);
        self.queries.insert(attempt, bytes);
        format!("{leg} {} {addr} {words}", self.name(attempt))
    }

    fn name(&mut self, attempt: AttemptId) -> String {
        let known = self.attempts.iter().position(|other| *other == attempt);
        let place = known.unwrap_or_else(|| {
            self.attempts.push(attempt);
            self.attempts.len() - 1
        });
        format!("a{}", place + 1)
    }

    /// Goes on with other settings.
    fn settings(&mut self, time: u64, text: &str) {
        self.pass(Duration::from_millis(time));
        let config = parse(text);
        self.forwarder.reconfigure(&self.config, &config);
        self.config = config;
        writeln!(self.text, "{time} settings\n{text}---").unwrap();
        self.effects();
    }

    fn log(&mut self) {
        let log = self.forwarder.query_log();
        let lines: Vec<String> = log
            .lines()
            .map(|line| serde_json::to_string(line).unwrap())
            .collect();
        for line in lines {
            self.effect(&line);
        }
    }

    fn stats(&mut self, wanted: &[&str]) {
        let stats = serde_json::to_value(self.forwarder.stats()).unwrap();
        let mut words = Vec::new();
        flatten("", &stats, &mut words);
        words.retain(|(key, _)| wanted.is_empty() || wanted.contains(&key.as_str()));
        let words: Vec<String> = words.iter().map(|(key, v)| format!("{key}={v}")).collect();
        self.effect(&words.join(" "));
    }

    /// Until nobody waits.
    fn finish(&mut self) {
        let before = self.text.trim_end_matches('\n').len() + 1;
        let blank = self.text.split_off(before.min(self.text.len()));
        while let Some(deadline) = self.forwarder.next_deadline() {
            self.now = self.now.max(deadline - self.start);
            self.forwarder.tick(deadline);
            self.effects();
        }
        self.text.push_str(&blank);
    }

    fn effect(&mut self, line: &str) {
        writeln!(self.text, "> {} {line}", self.now.as_millis()).unwrap();
    }
}

/// Keys and values that say something; those of upstreams behind their names.
fn flatten(prefix: &str, value: &serde_json::Value, words: &mut Vec<(String, String)>) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| *key != "bytes") {
                let dot = if value.is_object() { "." } else { "" };
                flatten(&format!("{prefix}{key}{dot}"), value, words);
            }
        }
        Value::Array(list) => {
            for value in list {
                let name = value["name"].as_str().unwrap_or_default();
                flatten(&format!("{name}."), value, words);
            }
        }
        Value::String(text) if text != "up" && !prefix.ends_with(".name") => {
            words.push((prefix.to_owned(), text.clone()));
        }
        Value::Number(number) if number.as_f64() != Some(0.0) => {
            words.push((prefix.to_owned(), number.to_string()));
        }
        Value::Bool(true) => words.push((prefix.to_owned(), "yes".to_owned())),
        _ => {}
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

fn parse(text: &str) -> Config {
    match Config::parse("scenario", text.as_bytes()) {
        Ok(config) => config,
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn replay(text: &str) -> String {
    let (config, script) = text
        .split_once("---\n")
        .expect("a line --- behind the configuration");
    let mut play = Play::new(config);
    let mut lines = script.lines().filter(|line| !line.starts_with('>'));
    while let Some(line) = lines.next() {
        match line.trim() {
            settings if settings.ends_with(" settings") => {
                let (time, _) = settings.split_once(' ').unwrap();
                let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "---").collect();
                play.settings(time.parse().unwrap(), &(text.join("\n") + "\n"));
            }
            "start" => {
                play.finish();
                let text = std::mem::take(&mut play.text) + "start\n";
                play = Play::new(config);
                play.text = text;
            }
            "" => play.text.push('\n'),
            comment if comment.starts_with('#') => writeln!(play.text, "{comment}").unwrap(),
            event => play.event(event),
        }
    }
    play.finish();
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
