//! Names and addresses of the configuration (`config dns_host`), answered without asking
//! anybody. Pure.

use std::collections::HashMap;
use std::net::IpAddr;

use super::wire::{CLASS_IN, Question, Stored, rtype};

/// TTL of the answers, seconds.
const TTL: u32 = 300;

/// Answers by name in wire form. There are as many entries as the configuration has names and
/// addresses.
#[derive(Debug, Default)]
pub struct Hosts {
    by_name: HashMap<Box<[u8]>, Host>,
}

/// What is known of one name.
#[derive(Debug)]
struct Host {
    /// By type; at most three.
    answers: Vec<(u16, Stored)>,
    /// The answer for other types: the name exists, and nothing of that type.
    nothing: Stored,
}

impl Hosts {
    /// From names and their addresses. Of an address that several names have, the first is its
    /// name. A name that cannot be on the wire is left out, and so are addresses that find no
    /// room in a message.
    pub fn new<'a>(hosts: impl IntoIterator<Item = (&'a str, &'a [IpAddr])>) -> Self {
        let mut all = Self::default();
        for (name, addrs) in hosts {
            let data = |v4: bool| addrs.iter().filter(move |addr| addr.is_ipv4() == v4);
            let data = |v4: bool| data(v4).map(|addr| octets(*addr)).collect::<Vec<_>>();
            all.add(name, rtype::A, &data(true));
            all.add(name, rtype::AAAA, &data(false));
            let Some(question) = Question::of(name, rtype::A) else {
                continue;
            };
            for addr in addrs {
                all.add(&reverse(*addr), rtype::PTR, &[question.name().into()]);
            }
        }
        all
    }

    fn add(&mut self, name: &str, kind: u16, data: &[Vec<u8>]) {
        let Some(question) = Question::of(name, kind) else {
            return;
        };
        let host = self
            .by_name
            .entry(question.name().into())
            .or_insert_with(|| Host {
                answers: Vec::new(),
                nothing: Stored::of(&question, TTL, &[]),
            });
        if !data.is_empty() && host.answer(kind).is_none() {
            let answer = Stored::of(&question, TTL, data);
            host.answers.push((kind, answer));
        }
    }

    /// The answer to a question, for an [`super::wire::Asker`] with the same question; None when
    /// the configuration does not know the name.
    pub fn lookup<B: AsRef<[u8]>>(&self, question: &Question<B>) -> Option<&Stored> {
        if self.by_name.is_empty() || question.qclass() != CLASS_IN {
            return None;
        }
        let host = self.by_name.get(question.name())?;
        let answer = match question.qtype() {
            // Any one of them will do (RFC 8482, 4.1).
            rtype::ANY => host.answers.first().map(|(_, answer)| answer),
            kind => host.answer(kind),
        };
        Some(answer.unwrap_or(&host.nothing))
    }
}

impl Host {
    fn answer(&self, kind: u16) -> Option<&Stored> {
        let mut answers = self.answers.iter();
        answers
            .find(|(own, _)| *own == kind)
            .map(|(_, answer)| answer)
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().into(),
        IpAddr::V6(addr) => addr.octets().into(),
    }
}

/// The name under which an address is asked for (RFC 1035, 3.5; RFC 3596, 2.5).
fn reverse(addr: IpAddr) -> String {
    let backwards = octets(addr).into_iter().rev();
    match addr {
        IpAddr::V4(_) => {
            backwards.map(|byte| format!("{byte}.")).collect::<String>() + "in-addr.arpa"
        }
        IpAddr::V6(_) => {
            let nibbles = backwards.map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    }
}
