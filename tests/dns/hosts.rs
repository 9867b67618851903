//! Names of the configuration, asked by hickory-proto.

use std::net::{IpAddr, Ipv6Addr};

use dae::dns::hosts::Hosts;
use dae::dns::wire::{Aging, Asker, Query};
use hickory_proto::op::Message;
use hickory_proto::rr::Name;
use proptest::prelude::*;

use crate::messages::{describe, query};

/// The answer to `name type` in words, over TCP; empty when the hosts do not know the name.
fn ask(hosts: &Hosts, name: &str, kind: &str) -> String {
    let message = query(7, name, kind).to_vec().unwrap();
    let mut lower = Vec::new();
    let query = Query::parse(&message, &mut lower).unwrap();
    let Some(stored) = hosts.lookup(&query.question) else {
        return String::new();
    };
    let mut out = Vec::new();
    Asker::of(&query, true).answer(stored, Aging::New, None, &mut out);
    describe(&out)
}

fn addrs(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|addr| addr.parse().unwrap()).collect()
}

#[test]
fn names_and_addresses_of_the_configuration() {
    let nas = addrs(&["192.168.1.2", "fd00::2", "192.168.1.3"]);
    let printer = addrs(&["192.168.1.3"]);
    let hosts = Hosts::new([("nas.home", &*nas), ("printer.home", &*printer)]);
    for (name, kind, expected) in [
        (
            "nas.home",
            "A",
            "id=7 noerror nas.home A A:300:192.168.1.2 A:300:192.168.1.3",
        ),
        (
            "NAS.Home",
            "AAAA",
            "id=7 noerror NAS.Home AAAA AAAA:300:fd00::2",
        ),
        ("printer.home", "AAAA", "id=7 noerror printer.home AAAA"),
        ("printer.home", "MX", "id=7 noerror printer.home MX"),
        (
            "printer.home",
            "ANY",
            "id=7 noerror printer.home ANY A:300:192.168.1.3",
        ),
        ("other.home", "A", ""),
        ("below.nas.home", "A", ""),
        ("home", "A", ""),
        (
            "2.1.168.192.in-addr.arpa",
            "PTR",
            "id=7 noerror 2.1.168.192.in-addr.arpa PTR PTR:300:nas.home",
        ),
        (
            "3.1.168.192.IN-ADDR.arpa",
            "PTR",
            "id=7 noerror 3.1.168.192.IN-ADDR.arpa PTR PTR:300:nas.home",
        ),
        (
            "2.1.168.192.in-addr.arpa",
            "A",
            "id=7 noerror 2.1.168.192.in-addr.arpa A",
        ),
        ("4.1.168.192.in-addr.arpa", "PTR", ""),
    ] {
        assert_eq!(ask(&hosts, name, kind), expected, "{name} {kind}");
    }
    let chaos = [
        &[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..],
        b"\x03nas\x04home\0\0\x01\0\x03",
    ]
    .concat();
    let mut lower = Vec::new();
    let chaos = Query::parse(&chaos, &mut lower).unwrap();
    assert!(
        hosts.lookup(&chaos.question).is_none(),
        "only of the Internet"
    );
    assert_eq!(ask(&Hosts::default(), "nas.home", "A"), "");
}

#[test]
fn as_many_addresses_as_a_message_holds() {
    let many: Vec<IpAddr> = (0..5000u32)
        .map(|n| Ipv6Addr::from(u128::from(n)).into())
        .collect();
    let hosts = Hosts::new([("many.home", &*many)]);
    let message = query(7, "many.home", "AAAA").to_vec().unwrap();
    let mut lower = Vec::new();
    let query = Query::parse(&message, &mut lower).unwrap();
    let mut out = Vec::new();
    let stored = hosts.lookup(&query.question).unwrap();
    Asker::of(&query, true).answer(stored, Aging::New, None, &mut out);
    assert!((65_000..65_536).contains(&out.len()));
    let records = Message::from_vec(&out).unwrap().answers().len();
    assert_eq!(records, (65_535 - 27) / 28);
}

proptest! {
    /// Every address has the name that hickory-proto asks for, and leads back.
    #[test]
    fn addresses_lead_back_to_names(octets: [u8; 16], v4: bool) {
        let addr: IpAddr = if v4 {
            let [a, b, c, d, ..] = octets;
            [a, b, c, d].into()
        } else {
            octets.into()
        };
        let hosts = Hosts::new([("host.home", &[addr][..])]);
        let name = Name::from(addr).to_ascii();
        let name = name.trim_end_matches('.');
        let expected = format!("id=7 noerror {name} PTR PTR:300:host.home");
        prop_assert_eq!(ask(&hosts, name, "PTR"), expected);
    }
}
