//! What goes on the wire, read by hickory-proto: errors that say why, ages, padding, hints.

use std::net::IpAddr;

use dae::dns::cache::Key;
use dae::dns::wire::{
    Aging, Answer, Asker, Ede, PAD_TO, Query, Question, Stored, flag, rcode, upstream_query, walk,
};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS};
use hickory_proto::rr::{Name, RData, Record};
use proptest::prelude::*;

use crate::messages::{answer, edns_query, query};

/// An upstream's answer in words to `name A`, walked.
fn walked(name: &str, words: &str) -> Answer {
    let bytes = answer(&query(0, name, "A"), words).to_vec().unwrap();
    walk(&bytes, &Question::of(name, 1).unwrap()).unwrap()
}

/// What the client that sent `asked` gets.
fn reply(asked: &Message, tcp: bool, write: impl FnOnce(&Asker<'_>, &mut Vec<u8>)) -> Vec<u8> {
    let asked = asked.to_vec().unwrap();
    let (mut lower, mut out) = (Vec::new(), Vec::new());
    let query = Query::parse(&asked, &mut lower).unwrap();
    write(&Asker::of(&query, tcp), &mut out);
    out
}

/// Code and text of the Extended DNS Error in a message.
fn ede_of(message: &Message) -> Option<(u16, String)> {
    let edns = message.extensions().as_ref()?;
    let Some(EdnsOption::Unknown(15, data)) = edns.option(EdnsCode::Unknown(15)) else {
        return None;
    };
    let (code, text) = data.split_first_chunk().unwrap();
    Some((
        u16::from_be_bytes(*code),
        String::from_utf8(text.to_vec()).unwrap(),
    ))
}

#[test]
fn errors_say_why_to_those_who_speak_edns() {
    // As registered (RFC 8914, 4).
    let codes = [0, 3, 4, 13, 14, 15, 18, 19, 22, 23];
    assert_eq!(Ede::ALL.map(Ede::code), codes);
    let longest = [["a".repeat(63).as_str(); 3].join("."), "b".repeat(61)].join(".");
    for ede in Ede::ALL {
        assert!((1..=64).contains(&ede.text().len()) && ede.text().is_ascii());
        let why = Some((ede.code(), ede.text().to_owned()));
        let client = edns_query(9, &longest, "A", 512, true);
        let error = reply(&client, false, |asker, out| {
            asker.error(rcode::SERVFAIL, Some(ede), out);
        });
        assert!(error.len() <= 512);
        let error = Message::from_vec(&error).unwrap();
        assert_eq!((error.id(), u16::from(error.response_code())), (9, 2));
        assert_eq!(ede_of(&error), why);
        assert!(error.extensions().as_ref().unwrap().flags().dnssec_ok);

        let stored = walked("www.example", "A:300:192.0.2.1").stored;
        let client = edns_query(9, "www.example", "A", 1232, false);
        let good = reply(&client, false, |asker, out| {
            asker.answer(&stored, Aging::Stale, Some(ede), out);
        });
        let good = Message::from_vec(&good).unwrap();
        assert_eq!((good.answers().len(), ede_of(&good)), (1, why));

        let plain = query(9, "www.example", "A");
        let with = reply(&plain, false, |asker, out| {
            asker.answer(&stored, Aging::Stale, Some(ede), out);
        });
        let without = reply(&plain, false, |asker, out| {
            asker.answer(&stored, Aging::Stale, None, out);
        });
        assert_eq!(with, without, "no OPT record, no option");
    }
}

#[test]
fn ttls_count_down_or_are_those_of_a_stale_answer() {
    let words = "aa A:300:192.0.2.1 A:7:192.0.2.2 SOA:900:60 +A:20:192.0.2.9";
    let stored = walked("www.example", words).stored;
    for (aging, ttls, authoritative) in [
        (Aging::New, [300, 7, 900, 20], true),
        (Aging::Aged(0), [300, 7, 900, 20], false),
        (Aging::Aged(8), [292, 0, 892, 12], false),
        (Aging::Aged(u32::MAX), [0; 4], false),
        (Aging::Stale, [30; 4], false),
    ] {
        let client = edns_query(9, "www.example", "A", 1232, false);
        let got = reply(&client, false, |asker, out| {
            asker.answer(&stored, aging, None, out);
        });
        let got = Message::from_vec(&got).unwrap();
        let records = got.answers().iter().chain(got.name_servers());
        let records: Vec<u32> = records.chain(got.additionals()).map(Record::ttl).collect();
        assert_eq!(records, ttls, "{aging:?}");
        assert_eq!(got.authoritative(), authoritative, "{aging:?}");
    }
}

#[test]
fn a_fixed_ttl_replaces_that_of_positive_answers() {
    let words = "@www.example:CNAME:9:a.example A:0:192.0.2.1 SOA:900:60 +A:20:192.0.2.9";
    for (fixed, life) in [(3600, Some(3600)), (0, None), (100_000, Some(86_400))] {
        let mut got = walked("www.example", words);
        got.fix_ttl(fixed);
        assert_eq!((got.life, got.ttl), (life, fixed));
        let client = query(9, "www.example", "A");
        let bytes = reply(&client, true, |asker, out| {
            asker.answer(&got.stored, Aging::New, None, out);
        });
        let message = Message::from_vec(&bytes).unwrap();
        let ttls = |records: &[Record]| records.iter().map(Record::ttl).collect::<Vec<_>>();
        assert_eq!(ttls(message.answers()), [fixed, fixed]);
        assert_eq!(ttls(message.name_servers()), [900]);
        assert_eq!(ttls(message.additionals()), [20]);
    }
    for words in [
        "nxdomain SOA:900:60",
        "CNAME:9:a.example SOA:900:60",
        "servfail",
    ] {
        let (mut got, before) = (walked("www.example", words), walked("www.example", words));
        got.fix_ttl(5);
        assert_eq!(
            (&got.stored, got.life),
            (&before.stored, before.life),
            "{words}"
        );
    }
    let mut cut = walked("www.example", "tc A:300:192.0.2.1");
    cut.fix_ttl(60);
    assert_eq!(
        (cut.life, cut.ttl),
        (None, 60),
        "truncated: still nobody keeps it"
    );
}

/// RDATA of an HTTPS record: priority 1, root as target.
fn service(params: &[(u16, &[u8])]) -> Vec<u8> {
    let mut data = vec![0, 1, 0];
    for (key, value) in params {
        data.extend(key.to_be_bytes());
        data.extend((value.len() as u16).to_be_bytes());
        data.extend(*value);
    }
    data
}

/// The addresses in an answer with an A record and one of `kind` with this data.
fn addresses(kind: u16, data: &[u8]) -> Vec<IpAddr> {
    let question = Question::of("www.example", kind).unwrap();
    let mut message = upstream_query(0, &question, false, false, false, Vec::new());
    (message[2], message[7]) = (0x80, 2);
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    message.extend([0xc0, 12, 0, kind as u8, 0, 1, 0, 0, 0, 60]);
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
    let got = walk(&message, &question).unwrap();
    // Passed on as it came, whatever it is.
    assert_eq!(&got.stored.wire()[4..], &message[4..]);
    let mut addresses = got.addresses;
    assert_eq!(addresses.remove(0).to_string(), "192.0.2.1");
    addresses.to_vec()
}

#[test]
fn broken_service_records_have_no_hints() {
    let (four, six) = ([192, 0, 2, 7, 192, 0, 2, 8], [0x20; 16]);
    let good = service(&[(1, b"\x02h2"), (4, &four), (6, &six), (9, b"?")]);
    for kind in [64, 65] {
        let found: Vec<String> = addresses(kind, &good)
            .iter()
            .map(|a| a.to_string())
            .collect();
        let last = "2020:2020:2020:2020:2020:2020:2020:2020";
        assert_eq!(found, ["192.0.2.7", "192.0.2.8", last]);
        // From whole to empty: only an end between two parameters leaves hints.
        for cut in 0..good.len() {
            let found = addresses(kind, &good[..cut]).len();
            let expected = match cut {
                22 => 2,
                42 => 3,
                _ => 0,
            };
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
    let alias = [&[0, 0][..], &good[2..]].concat();
    // Against the rules, yet clients read it.
    let pointer = [&[0, 1, 0xc0, 12][..], &good[3..]].concat();
    assert_eq!(addresses(65, &pointer).len(), 3);
    for (data, what) in [
        (service(&[(4, &four[..7])]), "half an address"),
        (service(&[(4, &four), (6, &[])]), "no address"),
        (
            service(&[(4, &four), (6, &six[..15])]),
            "a good one and a broken one",
        ),
        (service(&[(6, &six), (4, &four)]), "descending"),
        (service(&[(4, &four), (4, &four)]), "twice"),
        (alias, "alias mode"),
        (vec![0, 1, 64], "a label that does not exist"),
    ] {
        assert!(addresses(65, &data).is_empty(), "{what}");
    }
    // Of another type, class or section, the same bytes are no hints.
    assert!(addresses(16, &good).is_empty());
}

#[test]
fn options_of_clients_go_no_further() {
    let subnet = EdnsOption::Subnet(ClientSubnet::new([192, 0, 2, 0].into(), 24, 0));
    let options = [
        ("client subnet (RFC 7871)", subnet),
        ("cookie (RFC 7873)", EdnsOption::Unknown(10, vec![7; 8])),
        ("keepalive (RFC 7828)", EdnsOption::Unknown(11, vec![])),
        ("padding (RFC 7830)", EdnsOption::Unknown(12, vec![0; 100])),
        ("unknown", EdnsOption::Unknown(65_001, b"secret".to_vec())),
    ];
    let stored = walked("www.example", "A:300:192.0.2.1").stored;
    let bare = edns_query(9, "www.example", "A", 1232, true);
    let answer_to = |client: &Message| {
        reply(client, false, |asker, out| {
            asker.answer(&stored, Aging::New, None, out);
        })
    };
    let upstream_of = |query: &Query<'_>| {
        upstream_query(
            query.flags,
            &query.question.to_owned(),
            true,
            query.dnssec_ok(),
            false,
            Vec::new(),
        )
    };
    for (what, option) in options {
        let mut client = bare.clone();
        let edns = client.extensions_mut().as_mut().unwrap();
        edns.options_mut().insert(option);
        assert_eq!(answer_to(&client), answer_to(&bare), "{what}: the answer");
        let (with, without) = (client.to_vec().unwrap(), bare.to_vec().unwrap());
        let (mut lower, mut other) = (Vec::new(), Vec::new());
        let with = Query::parse(&with, &mut lower).unwrap();
        let without = Query::parse(&without, &mut other).unwrap();
        assert!(with.edns.unwrap().options && !without.edns.unwrap().options);
        assert_eq!(
            upstream_of(&with),
            upstream_of(&without),
            "{what}: what is sent on"
        );
        let key = |query: &Query<'_>| {
            let key = Key::new(
                &query.question,
                query.dnssec_ok(),
                query.flags & flag::CD != 0,
            );
            (key.question.to_vec(), key.flags)
        };
        assert_eq!(key(&with), key(&without), "{what}: the key in the cache");
    }
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-z][a-z0-9]{0,40}", 1..6).prop_map(|labels| labels.join("."))
}

fn hints() -> impl Strategy<Value = (Vec<[u8; 4]>, Vec<[u8; 16]>)> {
    (
        prop::collection::vec(any::<[u8; 4]>(), 0..4),
        prop::collection::vec(any::<[u8; 16]>(), 0..4),
    )
}

fn https((v4, v6): &(Vec<[u8; 4]>, Vec<[u8; 16]>), target: &str) -> RData {
    let alpn = SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()]));
    let mut params = vec![(SvcParamKey::Alpn, alpn)];
    if !v4.is_empty() {
        let list = IpHint(v4.iter().map(|octets| A((*octets).into())).collect());
        params.push((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(list)));
    }
    if !v6.is_empty() {
        let list = IpHint(v6.iter().map(|octets| AAAA((*octets).into())).collect());
        params.push((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(list)));
    }
    RData::HTTPS(HTTPS(SVCB::new(
        1,
        Name::from_ascii(target).unwrap(),
        params,
    )))
}

fn message_of(stored: &Stored, client: &Message, ede: Option<Ede>) -> (usize, Message) {
    let bytes = reply(client, false, |asker, out| {
        asker.answer(stored, Aging::New, ede, out);
    });
    (bytes.len(), Message::from_vec(&bytes).unwrap())
}

proptest! {
    /// An error takes the room that is left: records and TC are the same without it.
    #[test]
    fn an_error_gives_way_to_records(
        count in 0u8..60,
        text in 0usize..40,
        size in 512u16..1400,
        ede in prop::sample::select(&Ede::ALL[..]),
    ) {
        let words = format!("A*{count}:300 TXT:9:{} SOA:900:60", "x".repeat(text));
        let stored = walked("www.example", &words).stored;
        let client = edns_query(9, "www.example", "A", size, false);
        let (bare, without) = message_of(&stored, &client, None);
        let (full, with) = message_of(&stored, &client, Some(ede));
        prop_assert_eq!(with.answers(), without.answers());
        prop_assert_eq!(with.name_servers(), without.name_servers());
        prop_assert_eq!(with.truncated(), without.truncated());
        prop_assert!(full <= usize::from(size));
        let expected = match usize::from(size) - bare {
            0..6 => None,
            room if room < 6 + ede.text().len() => Some((ede.code(), String::new())),
            _ => Some((ede.code(), ede.text().to_owned())),
        };
        prop_assert_eq!(ede_of(&with), expected);
    }

    #[test]
    fn padded_queries_have_lengths_that_tell_little(name in name(), edns: bool, dnssec: bool) {
        let question = Question::of(&name, 1).unwrap();
        let [plain, padded] = [false, true]
            .map(|pad| upstream_query(flag::RD, &question, edns, dnssec, pad, Vec::new()));
        let message = Message::from_vec(&padded).unwrap();
        prop_assert_eq!(message.id(), 0);
        prop_assert_eq!(message.queries()[0].name().to_ascii(), format!("{name}."));
        let Some(options) = message.extensions() else {
            prop_assert!(!edns && plain == padded);
            return Ok(());
        };
        prop_assert!(edns && options.flags().dnssec_ok == dnssec);
        prop_assert_eq!(padded.len() % PAD_TO, 0);
        // 4 bytes of option and 0 to 127 zeros.
        prop_assert!((plain.len() + 4..plain.len() + 4 + PAD_TO).contains(&padded.len()));
        let zeros = vec![0; padded.len() - plain.len() - 4];
        prop_assert_eq!(
            options.option(EdnsCode::Padding),
            Some(&EdnsOption::Unknown(12, zeros))
        );
        let plain = Message::from_vec(&plain).unwrap();
        prop_assert!(plain.extensions().as_ref().unwrap().options().as_ref().is_empty());
    }

    #[test]
    fn hints_are_addresses(first in hints(), second in hints(), target in "|other\\.example") {
        let sent = query(0, "www.example", "HTTPS");
        let mut message = answer(&sent, "A:300:192.0.2.1");
        let owner = Name::from_ascii("www.example").unwrap();
        let mut expected = vec![IpAddr::from([192, 0, 2, 1])];
        for hints in [&first, &second] {
            let data = https(hints, &target);
            message.add_answer(Record::from_rdata(owner.clone(), 300, data.clone()));
            message.add_additional(Record::from_rdata(owner.clone(), 300, data));
            expected.extend(hints.0.iter().map(|octets| IpAddr::from(*octets)));
            expected.extend(hints.1.iter().map(|octets| IpAddr::from(*octets)));
        }
        let question = Question::of("www.example", 65).unwrap();
        let got = walk(&message.to_vec().unwrap(), &question).unwrap();
        prop_assert_eq!(got.addresses.to_vec(), expected);
        prop_assert!(got.positive);
    }

    /// Any data of a service record: it is passed on, nothing panics, and if there are hints the
    /// other implementation sees the same.
    #[test]
    fn odd_service_records_do_no_harm(
        hints in hints(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut data = service(&[
            (1, b"\x02h2"),
            (4, hints.0.as_flattened()),
            (6, hints.1.as_flattened()),
        ]);
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        let found = addresses(65, &data);
        let mut message = upstream_query(0, &Question::of("a", 65).unwrap(), false, false, false, Vec::new());
        (message[2], message[7]) = (0x80, 1);
        message.extend([0xc0, 12, 0, 65, 0, 1, 0, 0, 0, 60]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(&data);
        if let Ok(theirs) = Message::from_vec(&message)
            && let RData::HTTPS(https) = theirs.answers()[0].data()
            && https.svc_priority() > 0
        {
            let params = https.svc_params().iter();
            let theirs: Vec<IpAddr> = params.flat_map(|(_, value)| match value {
                SvcParamValue::Ipv4Hint(list) => list.0.iter().map(|a| a.0.into()).collect(),
                SvcParamValue::Ipv6Hint(list) => list.0.iter().map(|a| a.0.into()).collect(),
                _ => Vec::new(),
            }).collect();
            prop_assert!(found == theirs || found.is_empty(), "{found:?} {theirs:?}");
        }
    }
}
