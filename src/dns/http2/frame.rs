//! Frames of HTTP/2 (RFC 9113, sections 4 and 6). Pure.

/// Bytes in front of every frame.
pub const HEADER: usize = 9;

/// Longest payload that a peer may send when nothing else is agreed on, and that it must take.
pub const LONGEST: usize = 16_384;

/// Bytes that a stream or connection may send when nothing else is agreed on.
pub const WINDOW: u32 = 65_535;

/// Largest window.
pub const LARGEST_WINDOW: i64 = 0x7fff_ffff;

/// Types of frames.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// Names of settings.
pub mod setting {
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
}

/// Reasons to end a stream or connection.
pub mod code {
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
}

/// What is in front of a frame's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the payload.
    pub length: usize,
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// 0: the connection as a whole.
    pub stream: u32,
}

impl Header {
    /// None while it is not all there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, d, e, f, g, ..] = *bytes else {
            return None;
        };
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff,
        })
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame; `payload` is no longer than [`LONGEST`].
pub fn append(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// Appends SETTINGS.
pub fn append_settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    append(kind::SETTINGS, 0, 0, &payload, out);
}

/// The settings of a frame, whose length is a multiple of six.
pub fn settings(payload: &[u8]) -> impl Iterator<Item = (u16, u32)> {
    payload.as_chunks::<6>().0.iter().map(|[a, b, c, d, e, f]| {
        let value = u32::from_be_bytes([*c, *d, *e, *f]);
        (u16::from_be_bytes([*a, *b]), value)
    })
}

/// The first four bytes of a payload as a number.
pub fn number(payload: &[u8]) -> Option<u32> {
    payload
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// What is left of a payload without padding and priority; None when it is too short for them.
pub fn content<'a>(header: &Header, mut payload: &'a [u8]) -> Option<&'a [u8]> {
    let mut padding = 0;
    if header.has(flag::PADDED) {
        let (&first, rest) = payload.split_first()?;
        (padding, payload) = (usize::from(first), rest);
    }
    if header.kind == kind::HEADERS && header.has(flag::PRIORITY) {
        payload = payload.get(5..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}
