//! The mirror of `bpf/dae.h`: the bytes of every map. Sizes and offsets are asserted here at
//! compile time, and `tests/bpf_abi.rs` holds them against the compiled object.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `DAE_RULES`: also the index of the default's verdict and counter.
pub const RULES: u32 = crate::rules::MAX_RULES as u32;
/// `DAE_VECTORS`.
pub const VECTORS: u32 = crate::rules::image::MAX_VECTORS as u32;
/// `DAE_TABLE_SRC`.
pub const TABLE_SRC: usize = 0;
/// `DAE_TABLE_DST`.
pub const TABLE_DST: usize = 1;
/// `DAE_TABLE_NAME`.
pub const TABLE_NAME: usize = 2;
/// `DAE_TABLE_MAC`.
pub const TABLE_MAC: usize = 3;
/// `DAE_TABLE_INTERFACE`.
pub const TABLE_INTERFACE: usize = 4;
/// `DAE_TABLE_SRC_PORT`.
pub const TABLE_SRC_PORT: usize = 5;
/// `DAE_TABLE_DST_PORT`.
pub const TABLE_DST_PORT: usize = 6;
/// `DAE_HOST_NAMELESS`.
pub const HOST_NAMELESS: u16 = 0xffff;
/// `DAE_HOST_OWN`.
pub const HOST_OWN: u32 = 0x1_0000;
/// `DAE_PORT_DNS`, on top of [`crate::rules::image::kind`].
pub const PORT_DNS: usize = 4;
/// `DAE_DIRECT`.
pub const DIRECT: u8 = 0;
/// `DAE_BLOCK`.
pub const BLOCK: u8 = 1;
/// `DAE_PROXY`.
pub const PROXY: u8 = 2;

/// `enum dae_count`: why a packet that no rule decided passed, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Count {
    /// `DAE_COUNT_DEFAULT`: no rule matched.
    Default = RULES,
    /// `DAE_COUNT_DNS`.
    Dns,
    /// `DAE_COUNT_LOCAL`.
    Local,
    /// `DAE_COUNT_GROUPCAST`.
    Groupcast,
    /// `DAE_COUNT_OTHER`.
    Other,
    /// `DAE_COUNT_MIDSTREAM`.
    Midstream,
    /// `DAE_COUNT_RESUMED`.
    Resumed,
    /// `DAE_COUNT_FRAGMENT`.
    Fragment,
    /// `DAE_COUNT_FAIL_OPEN`.
    FailOpen,
    /// `DAE_COUNT_FLOW_FULL`.
    FlowFull,
    /// `DAE_COUNT_FAIL_CLOSED`.
    FailClosed,
}

/// `DAE_COUNTERS`.
pub const COUNTERS: u32 = Count::FailClosed as u32 + 1;

/// `struct dae_vector`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Vector {
    /// Lowest rules first.
    pub word: [u64; 4],
}

/// `struct dae_node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Node {
    /// By four bits of the address: an index into `vectors`, or [`NODE_INNER`] and the index
    /// of the next node.
    pub child: [u32; 16],
}

/// `DAE_NODE_INNER`.
pub const NODE_INNER: u32 = 0x8000_0000;

/// `struct dae_net6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Net6 {
    /// Bits that count.
    pub prefix_len: u32,
    /// Network order.
    pub addr: [u8; 16],
}

/// `struct dae_addr`: network order, IPv4 as ::ffff:a.b.c.d.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C, align(4))]
pub struct Addr(pub [u8; 16]);

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(addr: Ipv4Addr) -> Self {
        Self(addr.to_ipv6_mapped().octets())
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        Ipv6Addr::from(addr.0).to_canonical()
    }
}

/// `struct dae_mac`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct MacKey {
    /// The address.
    pub addr: [u8; 6],
    /// Zero.
    pub pad: [u8; 2],
}

/// `struct dae_ports`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Ports {
    /// Ports 4k to 4k+3.
    pub vector: [u16; 4],
}

/// `struct dae_verdict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct VerdictValue {
    /// The packet's new mark, 0 leaves it alone.
    pub mark: u32,
    /// Index into `Config::outbounds`.
    pub outbound: u16,
    /// [`DIRECT`], [`BLOCK`] or [`PROXY`].
    pub action: u8,
    /// Zero.
    pub pad: u8,
}

/// `struct dae_flow_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKeyValue {
    /// The client.
    pub src: Addr,
    /// Where it wants to go.
    pub dst: Addr,
    /// Network order.
    pub src_port: [u8; 2],
    /// Network order.
    pub dst_port: [u8; 2],
    /// IPPROTO_TCP or IPPROTO_UDP.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// `struct dae_flow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct FlowValue {
    /// As of the verdict.
    pub mark: u32,
    /// `settings.epoch` when last used.
    pub epoch: u32,
    /// Index of `counters`.
    pub counter: u16,
    /// As of the verdict.
    pub outbound: u16,
    /// As of the verdict.
    pub action: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// `struct dae_settings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// See [`super::Datapath::advance_epoch`].
    pub epoch: u32,
    /// [`crate::net::DELIVER_MARK`].
    pub deliver_mark: u32,
    /// [`crate::net::OWN_MARK`].
    pub own_mark: u32,
    /// 1: port 53 is ours.
    pub dns: u32,
    /// 1: the kill switch is on.
    pub closed: u32,
    /// Host order; 0: none.
    pub port: [u16; 8],
    /// Bit by [`TABLE_SRC`] and its kin.
    pub asked: u32,
    /// By [`TABLE_SRC`] and its kin.
    pub miss: [u16; 8],
    /// By [`crate::rules::image::kind`].
    pub kind: [u16; 4],
    /// By DSCP.
    pub dscp: [u16; 64],
}

/// `struct dae_counter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[repr(C)]
pub struct Counter {
    /// Packets as they were on the wire, before the kernel merged them.
    pub packets: u64,
    /// Bytes with the link's header.
    pub bytes: u64,
}

/// What may stand in a map.
///
/// # Safety
/// Any bytes are a value, and no value has bytes that are not set.
pub unsafe trait Pod: Copy + 'static {}

// SAFETY: an integer.
unsafe impl Pod for u32 {}
// SAFETY: plain integers and arrays of them without padding (sizes are asserted below), valid
// for any bytes.
unsafe impl Pod for Vector {}
// SAFETY: as above.
unsafe impl Pod for Addr {}
// SAFETY: as above.
unsafe impl Pod for Net6 {}
// SAFETY: as above.
unsafe impl Pod for Node {}
// SAFETY: as above.
unsafe impl Pod for MacKey {}
// SAFETY: as above.
unsafe impl Pod for Ports {}
// SAFETY: as above.
unsafe impl Pod for VerdictValue {}
// SAFETY: as above.
unsafe impl Pod for FlowKeyValue {}
// SAFETY: as above.
unsafe impl Pod for FlowValue {}
// SAFETY: as above.
unsafe impl Pod for Settings {}
// SAFETY: as above.
unsafe impl Pod for Counter {}

const _: () = {
    assert!(size_of::<Vector>() == 32);
    assert!(size_of::<Addr>() == 16);
    assert!(size_of::<Net6>() == 20);
    assert!(size_of::<Node>() == 64);
    assert!(size_of::<MacKey>() == 8);
    assert!(size_of::<Ports>() == 8);
    assert!(size_of::<VerdictValue>() == 8);
    assert!(offset_of!(VerdictValue, outbound) == 4);
    assert!(offset_of!(VerdictValue, action) == 6);
    assert!(size_of::<FlowKeyValue>() == 40);
    assert!(offset_of!(FlowKeyValue, dst) == 16);
    assert!(offset_of!(FlowKeyValue, src_port) == 32);
    assert!(offset_of!(FlowKeyValue, dst_port) == 34);
    assert!(offset_of!(FlowKeyValue, proto) == 36);
    assert!(size_of::<FlowValue>() == 16);
    assert!(offset_of!(FlowValue, epoch) == 4);
    assert!(offset_of!(FlowValue, counter) == 8);
    assert!(offset_of!(FlowValue, outbound) == 10);
    assert!(offset_of!(FlowValue, action) == 12);
    assert!(size_of::<Settings>() == 192);
    assert!(offset_of!(Settings, dns) == 12);
    assert!(offset_of!(Settings, closed) == 16);
    assert!(offset_of!(Settings, port) == 20);
    assert!(offset_of!(Settings, asked) == 36);
    assert!(offset_of!(Settings, miss) == 40);
    assert!(offset_of!(Settings, kind) == 56);
    assert!(offset_of!(Settings, dscp) == 64);
    assert!(size_of::<Counter>() == 16);
};
