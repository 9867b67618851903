//! Messages from and to words.

use std::str::FromStr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// A query with RD set.
pub fn query(id: u16, name: &str, kind: &str) -> Message {
    let mut message = Message::new();
    message.set_id(id).set_recursion_desired(true);
    let kind = RecordType::from_str(kind).unwrap();
    // from_ascii keeps the case, from_str does not.
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// The same with EDNS.
pub fn edns_query(id: u16, name: &str, kind: &str, size: u16, dnssec_ok: bool) -> Message {
    let mut message = query(id, name, kind);
    let mut edns = Edns::new();
    edns.set_max_payload(size)
        .set_version(0)
        .set_dnssec_ok(dnssec_ok);
    message.set_edns(edns);
    message
}

/// The answer to a query in words: `tc`, `ad`, `aa`, `noopt`, a response code, and records:
/// `A:300:192.0.2.1`, `@other.example:A:300:192.0.2.1`, in the authority `SOA:900:60` (TTL and
/// MINIMUM), in the additional section `+A:300:192.0.2.2`; `A*40:300` is forty addresses.
pub fn answer(query: &Message, words: &str) -> Message {
    let mut message = query.clone();
    message
        .set_message_type(MessageType::Response)
        .set_op_code(OpCode::Query);
    message
        .set_recursion_available(true)
        .set_authentic_data(false);
    for word in words.split_whitespace() {
        match word {
            "tc" => drop(message.set_truncated(true)),
            "ad" => drop(message.set_authentic_data(true)),
            "aa" => drop(message.set_authoritative(true)),
            "noopt" => *message.extensions_mut() = None,
            _ if word.contains(':') => add_records(&mut message, word),
            _ => drop(message.set_response_code(code(word))),
        }
    }
    message
}

fn code(word: &str) -> ResponseCode {
    match word {
        "noerror" => ResponseCode::NoError,
        "formerr" => ResponseCode::FormErr,
        "servfail" => ResponseCode::ServFail,
        "nxdomain" => ResponseCode::NXDomain,
        "notimp" => ResponseCode::NotImp,
        "refused" => ResponseCode::Refused,
        _ => panic!("{word:?} is no word of an answer"),
    }
}

fn add_records(message: &mut Message, word: &str) {
    let (additional, word) = match word.strip_prefix('+') {
        Some(word) => (true, word),
        None => (false, word),
    };
    let asked = message.queries().first().unwrap().name().clone();
    let (name, word) = match word.strip_prefix('@') {
        Some(word) => {
            let (name, word) = word.split_once(':').unwrap();
            (Name::from_ascii(name).unwrap(), word)
        }
        None => (asked, word),
    };
    let mut parts = word.splitn(3, ':');
    let (kind, ttl) = (
        parts.next().unwrap(),
        parts.next().unwrap().parse().unwrap(),
    );
    let data = parts.next().unwrap_or("");
    let (kind, count) = kind.split_once('*').unwrap_or((kind, "1"));
    for number in 0..count.parse::<u8>().unwrap() {
        let data = match kind {
            "A" if data.is_empty() => RData::A(A::new(192, 0, 2, number)),
            "A" => RData::A(A(data.parse().unwrap())),
            "AAAA" => RData::AAAA(AAAA(data.parse().unwrap())),
            "CNAME" => RData::CNAME(CNAME(Name::from_ascii(data).unwrap())),
            "TXT" => RData::TXT(TXT::new(vec![data.to_owned()])),
            "SOA" => {
                let zone = Name::from_ascii("soa.example").unwrap();
                RData::SOA(SOA::new(
                    zone.clone(),
                    zone,
                    1,
                    2,
                    3,
                    4,
                    data.parse().unwrap(),
                ))
            }
            _ => panic!("no record type {kind:?}"),
        };
        let soa = kind == "SOA";
        let record = Record::from_rdata(name.clone(), ttl, data);
        match (soa, additional) {
            (true, _) => message.add_name_server(record),
            (_, true) => message.add_additional(record),
            _ => message.add_answer(record),
        };
    }
}

/// A message in words: ID, response code, flags, question as written, records, EDNS.
pub fn describe(bytes: &[u8]) -> String {
    let message = match Message::from_vec(bytes) {
        Ok(message) => message,
        Err(error) => return format!("broken: {error}"),
    };
    let code = format!("{:?}", message.response_code()).to_lowercase();
    let mut words = vec![format!("id={}", message.id()), code];
    let flags = [
        ("tc", message.truncated()),
        ("aa", message.authoritative()),
        ("ad", message.authentic_data()),
        ("cd", message.checking_disabled()),
        ("no-rd", !message.recursion_desired()),
        ("no-ra", !message.recursion_available()),
        ("no-qr", message.message_type() != MessageType::Response),
    ];
    words.extend(
        flags
            .iter()
            .filter(|(_, set)| *set)
            .map(|(word, _)| (*word).to_owned()),
    );
    for question in message.queries() {
        assert_eq!(question.query_class(), DNSClass::IN);
        let name = question.name().to_ascii();
        words.push(format!(
            "{} {}",
            name.trim_end_matches('.'),
            question.query_type()
        ));
    }
    let records = message.answers().iter().chain(message.name_servers());
    words.extend(records.map(record));
    words.extend(
        message
            .additionals()
            .iter()
            .map(|additional| format!("+{}", record(additional))),
    );
    if let Some(edns) = message.extensions() {
        let dnssec = if edns.flags().dnssec_ok { "+do" } else { "" };
        words.push(format!("edns={}{dnssec}", edns.max_payload()));
        let errors = edns.options().get_all(EXTENDED_ERROR.into());
        words.extend(errors.iter().map(|error| extended_error(error)));
    }
    words.join(" ")
}

/// Option code of padding (RFC 7830).
const PADDING: u16 = 12;

/// Option code of an Extended DNS Error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// `ede=3`; what it says in words is for people.
fn extended_error(option: &EdnsOption) -> String {
    let bytes = Vec::<u8>::try_from(option).unwrap();
    format!("ede={}", u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn record(record: &Record) -> String {
    let data = match record.data() {
        RData::SOA(soa) => soa.minimum().to_string(),
        data => data.to_string().trim_end_matches('.').to_owned(),
    };
    format!("{}:{}:{data}", record.record_type(), record.ttl())
}

/// The question of an upstream's query: name, type and what matters of its flags.
pub fn describe_query(bytes: &[u8]) -> String {
    let message = Message::from_vec(bytes).unwrap();
    let question = message.queries().first().unwrap();
    let name = question.name().to_ascii();
    let mut words = format!("{} {}", name.trim_end_matches('.'), question.query_type());
    assert!(message.authentic_data());
    for (word, set) in [
        (" no-rd", !message.recursion_desired()),
        (" cd", message.checking_disabled()),
        (" no-edns", message.extensions().is_none()),
        (
            " do",
            message
                .extensions()
                .as_ref()
                .is_some_and(|edns| edns.flags().dnssec_ok),
        ),
    ] {
        words.push_str(if set { word } else { "" });
    }
    for (code, option) in message
        .extensions()
        .iter()
        .flat_map(|e| e.options().as_ref())
    {
        let bytes = Vec::<u8>::try_from(option).unwrap();
        let code = u16::from(*code);
        assert!(
            code == PADDING && bytes.iter().all(|byte| *byte == 0),
            "option {code}"
        );
        words.push_str(" padded");
    }
    if words.ends_with(" padded") {
        words.push_str(&format!("={}", bytes.len()));
    }
    words
}
