//! The OPT record (RFC 6891): what clients say in theirs, and ours.

use super::{EDNS_UDP, rtype};

/// Length of an OPT record without options.
pub(super) const OPT_LEN: usize = 11;

/// Queries over an encrypted transport are a multiple of so many bytes (RFC 8467, 4.1).
pub const PAD_TO: usize = 128;

/// Option code of an Extended DNS Error (RFC 8914, 2).
const EXTENDED_ERROR: u16 = 15;

/// Option code of padding (RFC 7830, 3).
const PADDING: u16 = 12;

/// The OPT record of a query. Options are hop by hop (RFC 6891, 6.1.2) and we know none of
/// them, so client subnets and cookies are dropped here: nothing of one client reaches an
/// upstream, and answers never depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// UDP payload that the sender can take, bytes.
    pub udp: u16,
    /// Version; we speak 0.
    pub version: u8,
    /// DNSSEC records wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// Whether there were options.
    pub options: bool,
}

/// Extended DNS Error: why an answer is what it is (RFC 8914, 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ede {
    /// 0: too much is going on.
    Other,
    /// 3: nobody answered, this is what was known before.
    StaleAnswer,
    /// 4: the answer is ours, by configuration.
    Forged,
    /// 13: an upstream failed a moment ago and was not asked again.
    CachedError,
    /// 14: we are starting.
    NotReady,
    /// 15: a rule says that there shall be no answer.
    Blocked,
    /// 18: this client may not ask this.
    Prohibited,
    /// 19: nobody answered, and before there was no such name.
    StaleNxdomain,
    /// 22: no upstream answered.
    NoReachableAuthority,
    /// 23: the network refused.
    NetworkError,
}

impl Ede {
    /// Every one of them, in the order of the codes.
    pub const ALL: [Self; 10] = [
        Self::Other,
        Self::StaleAnswer,
        Self::Forged,
        Self::CachedError,
        Self::NotReady,
        Self::Blocked,
        Self::Prohibited,
        Self::StaleNxdomain,
        Self::NoReachableAuthority,
        Self::NetworkError,
    ];

    /// INFO-CODE.
    pub fn code(self) -> u16 {
        match self {
            Self::Other => 0,
            Self::StaleAnswer => 3,
            Self::Forged => 4,
            Self::CachedError => 13,
            Self::NotReady => 14,
            Self::Blocked => 15,
            Self::Prohibited => 18,
            Self::StaleNxdomain => 19,
            Self::NoReachableAuthority => 22,
            Self::NetworkError => 23,
        }
    }

    /// EXTRA-TEXT: ASCII, at most 64 bytes, so that an error with the longest question fits into
    /// 512 bytes.
    pub fn text(self) -> &'static str {
        match self {
            Self::Other => "too many queries wait",
            Self::StaleAnswer | Self::StaleNxdomain => "no upstream answered in time",
            Self::Forged => "answered by the configuration",
            Self::CachedError => "an upstream failed a moment ago",
            Self::NotReady => "not ready",
            Self::Blocked => "blocked by a rule",
            Self::Prohibited => "no server for this name",
            Self::NoReachableAuthority => "no upstream answered",
            Self::NetworkError => "no upstream could be reached",
        }
    }
}

/// Appends an OPT record of ours without options; `extended` are the upper bits of the response
/// code.
pub(super) fn append_opt(extended: u8, dnssec: bool, out: &mut Vec<u8>) {
    let [size, more] = EDNS_UDP.to_be_bytes();
    let dnssec = if dnssec { 0x80 } else { 0 };
    let kind = rtype::OPT as u8;
    out.extend([0, 0, kind, size, more, extended, 0, dnssec, 0, 0, 0]);
}

/// Adds an error to the OPT record without options that `out` ends with, in `room` bytes more:
/// whole, or without its text, or not at all. Errors give way to records (RFC 8914, 3).
pub(super) fn append_ede(ede: Ede, room: usize, out: &mut Vec<u8>) {
    let text = match room {
        0..6 => return,
        room if room < 6 + ede.text().len() => "",
        _ => ede.text(),
    };
    append_option(EXTENDED_ERROR, 2 + text.len(), out);
    out.extend(ede.code().to_be_bytes());
    out.extend(text.as_bytes());
}

/// Pads the message `out`, which ends with an OPT record without options.
pub(super) fn pad(out: &mut Vec<u8>) {
    let bare = out.len() + 4;
    let zeros = bare.next_multiple_of(PAD_TO) - bare;
    append_option(PADDING, zeros, out);
    out.resize(bare + zeros, 0);
}

/// The head of an option with `length` bytes of data, in the OPT record without options that
/// `out` ends with.
fn append_option(code: u16, length: usize, out: &mut Vec<u8>) {
    let rdlength = out.len() - 2;
    super::put_word(out, rdlength, (4 + length) as u16);
    out.extend(code.to_be_bytes());
    out.extend((length as u16).to_be_bytes());
}
