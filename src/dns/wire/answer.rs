//! Walks an upstream's message, once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::query::Question;
use super::reply::Stored;
use super::{CLASS_IN, HEADER, flag, long, rcode, rtype, service, skip_name, word};

/// Longest life of a positive answer, seconds (RFC 8767, 4 suggests a cap of days).
const MAX_LIFE: u32 = 86_400;

/// Bounds of the life of a negative answer, seconds (RFC 2308, 5 asks for an upper one).
const NEGATIVE_LIFE: (u32, u32) = (1, 300);

/// Life of an upstream's SERVFAIL, seconds (RFC 9520, 3.2: at least one).
const SERVFAIL_LIFE: u32 = 1;

/// Addresses that an answer tells. Most tell a few; only longer lists are allocated.
pub type Addresses = SmallVec<[IpAddr; 4]>;

/// An upstream's answer, understood as far as we need it.
#[derive(Debug)]
pub struct Answer {
    /// The message, ready to be sent many times.
    pub stored: Stored,
    /// Response code.
    pub rcode: u8,
    /// TC was set: the answer is whole over TCP only.
    pub truncated: bool,
    /// How long it may be cached, seconds; None: not at all.
    pub life: Option<u32>,
    /// All A and AAAA records of the answer section, and the address hints of its HTTPS and
    /// SVCB records.
    pub addresses: Addresses,
    /// NOERROR with a record of the type asked for.
    pub positive: bool,
    /// Smallest TTL of the answer section, seconds.
    pub ttl: u32,
}

impl Answer {
    /// Whether it tells of a failure, and not of records or their absence.
    pub fn is_error(&self) -> bool {
        !matches!(self.rcode, rcode::NOERROR | rcode::NXDOMAIN)
    }

    /// Gives the records of a positive answer this TTL, seconds, whatever the upstream said; its
    /// life is the same. 0: whoever waits for it may use it once, and nobody keeps it (RFC 2181,
    /// 8). Negative answers keep what their SOA says (RFC 2308), errors what they have; other
    /// sections keep their TTLs, which count down to 0 and stay there.
    pub fn fix_ttl(&mut self, ttl: u32) {
        if self.positive {
            self.stored.set_answer_ttl(ttl);
            self.ttl = ttl;
            if !self.truncated {
                self.life = Some(ttl.min(MAX_LIFE)).filter(|life| *life > 0);
            }
        }
    }
}

/// Why a message is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Wrong question, or no response: it may come from somebody who guesses.
    Foreign,
    /// It belongs to the question and makes no sense.
    Broken,
    /// FORMERR or NOTIMP without EDNS: perhaps the server does not know EDNS (RFC 6891, 7).
    NoEdns,
}

/// What one walk over the records gathers.
#[derive(Default)]
struct Walk {
    /// Where the message ends that we keep: before the OPT record.
    end: usize,
    /// Records kept, by section.
    counts: [u16; 3],
    /// Offsets of the TTLs of the records kept.
    ttls: SmallVec<[u16; 16]>,
    addresses: Addresses,
    /// Smallest TTL of the answer section, and of all sections.
    answer_ttl: Option<u32>,
    smallest: Option<u32>,
    /// Smaller of TTL and MINIMUM of the authority's SOA (RFC 2308, 5).
    negative: Option<u32>,
    /// The answer section has a record of the type asked for.
    positive: bool,
    /// Upper bits of the response code, of the OPT record.
    extended: Option<u8>,
}

/// Reads the answer to a query with this question. Whether the ID is that of a query is for
/// those to judge who chose it.
pub fn walk(message: &[u8], question: &Question) -> Result<Answer, Unfit> {
    let header: &[u8; HEADER] = message.first_chunk().ok_or(Unfit::Foreign)?;
    if message.len() > usize::from(u16::MAX) {
        return Err(Unfit::Foreign);
    }
    let flags = u16::from_be_bytes([header[2], header[3]]);
    if flags & flag::QR == 0 || flags & flag::OPCODE != 0 {
        return Err(Unfit::Foreign);
    }
    let code = (flags & flag::RCODE) as u8;
    let refused_form = matches!(code, rcode::FORMERR | rcode::NOTIMP);
    // A server that could not read the query may leave the question out, and nothing else.
    if header[4..6] == [0, 0] && code != rcode::NOERROR {
        return Err(if refused_form {
            Unfit::NoEdns
        } else {
            Unfit::Broken
        });
    }
    if header[4..6] != [0, 1] || !asks(message, question) {
        return Err(Unfit::Foreign);
    }
    let walk = records(message, question).ok_or(Unfit::Broken)?;
    match walk.extended {
        None if refused_form => return Err(Unfit::NoEdns),
        None | Some(0) => {}
        Some(_) => return Err(Unfit::Broken),
    }
    let truncated = flags & flag::TC != 0;
    Ok(Answer {
        stored: Stored::new(message, walk.end, walk.counts, &walk.ttls, question),
        rcode: code,
        truncated,
        life: if truncated { None } else { walk.life(code) },
        positive: code == rcode::NOERROR && walk.positive,
        addresses: walk.addresses,
        ttl: walk.answer_ttl.unwrap_or(0),
    })
}

/// Whether the message has this question, in any case.
fn asks(message: &[u8], question: &Question) -> bool {
    let wanted = question.as_bytes();
    let Some(got) = message.get(HEADER..HEADER + wanted.len()) else {
        return false;
    };
    let (name, kind) = wanted.split_at(wanted.len() - 4);
    // Nearly all servers send back what they got.
    got == wanted || got.ends_with(kind) && got[..name.len()].eq_ignore_ascii_case(name)
}

/// Walks all records; None when one is broken. What stands behind the OPT record is left out:
/// names may not point forward, so cutting there is safe, and additional records are a
/// courtesy.
fn records(message: &[u8], question: &Question) -> Option<Walk> {
    let mut at = HEADER + question.as_bytes().len();
    let mut walk = Walk {
        end: at,
        ..Walk::default()
    };
    for section in 0..3 {
        for _ in 0..word(message, 6 + 2 * section)? {
            let fields = skip_name(message, at)?;
            let data = fields + 10;
            let end = data + usize::from(word(message, fields + 8)?);
            let record = Record {
                section,
                kind: word(message, fields)?,
                class: word(message, fields + 2)?,
                ttl: long(message, fields + 4)?,
                message: message.get(..end)?,
                start: data,
            };
            if record.kind == rtype::OPT {
                if section != 2 {
                    return None;
                }
                walk.extended.get_or_insert((record.ttl >> 24) as u8);
            } else if walk.extended.is_none() {
                walk.take(&record, question.qtype())?;
                walk.ttls.push(u16::try_from(fields + 4).ok()?);
                walk.counts[section] += 1;
                walk.end = end;
            }
            at = end;
        }
    }
    Some(walk)
}

struct Record<'a> {
    /// 0 answer, 1 authority, 2 additional.
    section: usize,
    kind: u16,
    class: u16,
    ttl: u32,
    /// The message up to the record's end.
    message: &'a [u8],
    /// Where the record's data begins.
    start: usize,
}

impl Record<'_> {
    fn data(&self) -> &[u8] {
        &self.message[self.start..]
    }
}

impl Walk {
    /// Notes what a record says; None when an address or SOA has the wrong size.
    fn take(&mut self, record: &Record<'_>, qtype: u16) -> Option<()> {
        let ttl = real_ttl(record.ttl);
        keep_smallest(&mut self.smallest, ttl);
        if record.section == 0 {
            keep_smallest(&mut self.answer_ttl, ttl);
            self.positive |= record.kind == qtype || qtype == rtype::ANY;
            match (record.class, record.kind) {
                (CLASS_IN, rtype::A) => {
                    let octets: [u8; 4] = record.data().try_into().ok()?;
                    self.addresses.push(Ipv4Addr::from(octets).into());
                }
                (CLASS_IN, rtype::AAAA) => {
                    let octets: [u8; 16] = record.data().try_into().ok()?;
                    self.addresses.push(Ipv6Addr::from(octets).into());
                }
                (CLASS_IN, rtype::SVCB | rtype::HTTPS) => {
                    service::hints(record.message, record.start, &mut self.addresses);
                }
                _ => {}
            }
        } else if record.section == 1 && record.kind == rtype::SOA {
            // Two names of a byte or more, then five numbers, MINIMUM last (RFC 1035, 3.3.13).
            let data = record.data();
            let minimum = data.len().checked_sub(4).filter(|at| *at >= 18)?;
            let minimum = real_ttl(long(data, minimum)?);
            keep_smallest(&mut self.negative, minimum.min(ttl));
        }
        Some(())
    }

    /// How long the answer may be cached.
    fn life(&self, code: u8) -> Option<u32> {
        let smallest = self.smallest.unwrap_or(0);
        match code {
            rcode::NOERROR if self.positive => Some(smallest.min(MAX_LIFE)).filter(|l| *l > 0),
            rcode::NOERROR | rcode::NXDOMAIN => {
                let (least, most) = NEGATIVE_LIFE;
                Some(self.negative?.min(smallest).clamp(least, most))
            }
            rcode::SERVFAIL => Some(SERVFAIL_LIFE),
            _ => None,
        }
    }
}

/// A TTL with its highest bit set means zero (RFC 2181, 8).
pub(super) fn real_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

fn keep_smallest(smallest: &mut Option<u32>, value: u32) {
    *smallest = Some(smallest.map_or(value, |old| old.min(value)));
}
