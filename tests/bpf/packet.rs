//! Packets, byte by byte: well-formed ones around a flow, and ways to spoil them.

use std::net::{IpAddr, SocketAddr};

use dae::rules::{Flow, Mac, Proto};
use proptest::collection::vec;
use proptest::prelude::*;

use super::model::Link;

/// How a packet is dressed and spoilt.
#[derive(Debug, Clone)]
pub struct Shape {
    pub destination: Destination,
    /// VLAN tags, outermost first: 0x8100 or 0x88a8.
    pub tags: Vec<u16>,
    /// IPv4: words of options. IPv6: extension headers by type, with their length field.
    pub extras: Vec<(u8, u8)>,
    pub fragment: Fragment,
    /// TCP flags.
    pub flags: u8,
    /// A transport that is neither TCP nor UDP.
    pub other_proto: Option<u8>,
    /// The destination address is replaced.
    pub address: Address,
    pub payload: u8,
    pub spoil: Spoil,
    /// A minute passes before it.
    pub minute: bool,
}

/// Whom the Ethernet header names.
#[derive(Debug, Clone, Copy)]
pub enum Destination {
    Us,
    Other,
    Multicast,
    Broadcast,
}

#[derive(Debug, Clone, Copy)]
pub enum Fragment {
    No,
    First,
    Later,
    /// IPv6: a fragment header around a whole packet.
    Atomic,
}

#[derive(Debug, Clone, Copy)]
pub enum Address {
    Flow,
    /// Multicast, broadcast, loopback, unspecified, IPv4 in IPv6: by number.
    Special(u8),
}

/// What is wrong with it.
#[derive(Debug, Clone)]
pub enum Spoil {
    Nothing,
    /// So many bytes are missing at the end.
    Cut(u8),
    /// A byte, by its place as a share of the headers, is another.
    Flip(u8, u8),
    /// The IP header's length field is off by so much.
    Length(i8),
    /// The length field is zero, as GRO leaves it.
    NoLength,
    /// No packet at all, but these bytes behind the Ethernet header.
    Garbage(Vec<u8>),
}

/// Shapes, most of them plain.
pub fn shape() -> impl Strategy<Value = Shape> + Clone {
    let destination = prop_oneof![
        12 => Just(Destination::Us),
        1 => Just(Destination::Other),
        1 => Just(Destination::Multicast),
        1 => Just(Destination::Broadcast),
    ];
    let tags = prop_oneof![
        12 => Just(vec![]),
        3 => Just(vec![0x8100]),
        1 => Just(vec![0x88a8]),
        1 => Just(vec![0x88a8, 0x8100]),
    ];
    let extension = (
        proptest::sample::select(vec![0u8, 0, 43, 43, 51, 51, 60, 60, 60, 58]),
        0..4u8,
    );
    let extras = prop_oneof![6 => Just(vec![]), 3 => vec(extension, 1..8)];
    let fragment = prop_oneof![
        12 => Just(Fragment::No),
        1 => Just(Fragment::First),
        1 => Just(Fragment::Later),
        1 => Just(Fragment::Atomic),
    ];
    let flags = proptest::sample::select(vec![
        0x02u8, 0x02, 0x02, 0x10, 0x12, 0x18, 0x04, 0x11, 0x03, 0xc2, 0,
    ]);
    let other = prop_oneof![20 => Just(None), 1 => any::<u8>().prop_map(Some)];
    let address =
        prop_oneof![12 => Just(Address::Flow), 1 => any::<u8>().prop_map(Address::Special)];
    let spoil = prop_oneof![
        24 => Just(Spoil::Nothing),
        2 => any::<u8>().prop_map(Spoil::Cut),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(at, byte)| Spoil::Flip(at, byte)),
        1 => any::<i8>().prop_map(Spoil::Length),
        1 => Just(Spoil::NoLength),
        1 => vec(any::<u8>(), 0..80).prop_map(Spoil::Garbage),
    ];
    let minute = prop_oneof![40 => Just(false), 1 => Just(true)];
    (
        (destination, tags, extras, fragment),
        (flags, other, address, 0..40u8),
        (spoil, minute),
    )
        .prop_map(
            |(
                (destination, tags, extras, fragment),
                (flags, other_proto, address, payload),
                (spoil, minute),
            )| Shape {
                destination,
                tags,
                extras,
                fragment,
                flags,
                other_proto,
                address,
                payload,
                spoil,
                minute,
            },
        )
}

/// The bytes of a packet of `flow`. BPF_PROG_TEST_RUN wants at least 14, and a whole IP header
/// behind an Ethernet header that promises one; what is shorter gets a VLAN tag here.
pub fn build(flow: &Flow, shape: &Shape, link: Link, own: Mac) -> Vec<u8> {
    let mut bytes = Vec::new();
    let v6 = flow.dst.is_ipv6();
    if link == Link::Ether {
        let destination = match shape.destination {
            Destination::Us => own.0,
            Destination::Other => [2, 9, 9, 9, 9, 9],
            Destination::Multicast => [1, 0, 0x5e, 0, 0, 1],
            Destination::Broadcast => [0xff; 6],
        };
        bytes.extend(destination);
        bytes.extend(flow.src_mac.map_or([6, 0, 0, 0, 0, 1], |mac| mac.0));
        for tag in &shape.tags {
            bytes.extend(tag.to_be_bytes());
            bytes.extend([0, 7]);
        }
        bytes.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    }
    let l3 = bytes.len();
    if let Spoil::Garbage(garbage) = &shape.spoil {
        bytes.extend(garbage);
    } else if v6 {
        ipv6(&mut bytes, flow, shape);
    } else {
        ipv4(&mut bytes, flow, shape);
    }
    spoil(&mut bytes, l3, v6, &shape.spoil);
    bytes.resize(bytes.len().max(14), 0);
    let promised = match bytes[12..14] {
        [0x08, 0x00] => 34,
        [0x86, 0xdd] => 54,
        _ => 0,
    };
    if bytes.len() < promised {
        bytes.splice(12..12, [0x81, 0x00, 0, 7]);
    }
    bytes
}

fn transport(flow: &Flow, shape: &Shape) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(flow.src_port.to_be_bytes());
    bytes.extend(flow.dst_port.to_be_bytes());
    let payload = usize::from(shape.payload);
    if flow.proto == Proto::Tcp {
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, shape.flags, 1, 0, 0, 0, 0, 0]);
    } else {
        bytes.extend((8 + payload as u16).to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.resize(bytes.len() + payload, 0xab);
    bytes
}

fn number(flow: &Flow, shape: &Shape) -> u8 {
    shape.other_proto.unwrap_or(match flow.proto {
        Proto::Tcp => 6,
        Proto::Udp => 17,
    })
}

fn ipv4(bytes: &mut Vec<u8>, flow: &Flow, shape: &Shape) {
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst) else {
        return;
    };
    let l4 = transport(flow, shape);
    let options = shape.extras.len();
    let total = (20 + 4 * options + l4.len()) as u16;
    bytes.extend([0x45 + options as u8, flow.dscp << 2]);
    bytes.extend(total.to_be_bytes());
    let offset: u16 = match shape.fragment {
        Fragment::No | Fragment::Atomic => 0x4000,
        Fragment::First => 0x2000,
        Fragment::Later => 0x0007,
    };
    bytes.extend([0, 1]);
    bytes.extend(offset.to_be_bytes());
    bytes.extend([64, number(flow, shape), 0, 0]);
    bytes.extend(src.octets());
    bytes.extend(match shape.address {
        Address::Flow => dst.octets(),
        Address::Special(which) => [
            [224, 0, 0, 251],
            [239, 1, 2, 3],
            [255; 4],
            [127, 0, 0, 1],
            [0; 4],
            [0, 1, 2, 3],
        ][usize::from(which) % 6],
    });
    bytes.resize(bytes.len() + 4 * options, 1);
    bytes.extend(l4);
}

fn ipv6(bytes: &mut Vec<u8>, flow: &Flow, shape: &Shape) {
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (flow.src, flow.dst) else {
        return;
    };
    // From the last header back, each naming the one behind it.
    let mut next = number(flow, shape);
    let mut rest = transport(flow, shape);
    let fragment: Option<u16> = match shape.fragment {
        Fragment::No => None,
        Fragment::First => Some(0x0001),
        Fragment::Later => Some(0x0048),
        Fragment::Atomic => Some(0x0006),
    };
    if let Some(offset) = fragment {
        let [high, low] = offset.to_be_bytes();
        rest.splice(..0, [next, 0, high, low, 0, 0, 0, 9]);
        next = 44;
    }
    for (kind, units) in &shape.extras {
        let len = if *kind == 51 {
            (usize::from(*units) + 2) * 4
        } else {
            (usize::from(*units) + 1) * 8
        };
        let mut header = vec![0; len];
        header[..2].copy_from_slice(&[next, *units]);
        rest.splice(..0, header);
        next = *kind;
    }
    bytes.extend([0x60 | flow.dscp >> 2, flow.dscp << 6, 0, 0]);
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(src.octets());
    bytes.extend(match shape.address {
        Address::Flow => dst.octets(),
        Address::Special(which) => special6(which),
    });
    bytes.extend(rest);
}

fn special6(which: u8) -> [u8; 16] {
    let addrs = ["ff02::fb", "ff0e::1", "::1", "::", "::ffff:10.0.0.1", "::2"];
    let addr: std::net::Ipv6Addr = addrs[usize::from(which) % addrs.len()].parse().unwrap();
    addr.octets()
}

fn spoil(bytes: &mut Vec<u8>, l3: usize, v6: bool, spoil: &Spoil) {
    let at = l3 + if v6 { 4 } else { 2 };
    let length = |bytes: &[u8]| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    match spoil {
        Spoil::Nothing | Spoil::Garbage(_) => {}
        Spoil::Cut(count) => {
            let cut = usize::from(*count) % (bytes.len() + 1);
            bytes.truncate(bytes.len() - cut);
        }
        Spoil::Flip(place, byte) => {
            let end = bytes.len().min(l3 + 64);
            // Not the addresses of the Ethernet header: those are another matter.
            let from = 12.min(l3);
            let place = from + usize::from(*place) % (end - from);
            bytes[place] = *byte;
        }
        Spoil::Length(off) => {
            let wrong = length(bytes).wrapping_add_signed((*off).into());
            bytes[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        }
        Spoil::NoLength => bytes[at..at + 2].fill(0),
    }
}

/// An IPv4 packet with a UDP datagram, its header checksum right, without one of UDP.
pub fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (src.ip(), dst.ip()) else {
        panic!("IPv4 only");
    };
    let total = 28 + payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let words = packet
        .chunks(2)
        .map(|it| u32::from(it[0]) << 8 | u32::from(it[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(src.port().to_be_bytes());
    packet.extend(dst.port().to_be_bytes());
    packet.extend((8 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}
