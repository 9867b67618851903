//! Messages on a stream, each behind two bytes of length (RFC 1035, 4.2.2). Pure.

use std::io;

/// Room for small messages, kept for the life of a connection.
const SMALL: usize = 512;

/// Bytes read from a stream, cut into messages.
pub struct Frames {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that came from the stream.
    filled: usize,
    /// Bytes of these that are used up.
    used: usize,
    longest: usize,
}

impl Frames {
    /// Messages of at most `longest` bytes.
    pub fn new(longest: usize) -> Self {
        Self {
            buffer: vec![0; SMALL.min(longest + 2)],
            filled: 0,
            used: 0,
            longest,
        }
    }

    /// The next message, if all of it is there. An error when it is too long or empty: the
    /// peer does not speak DNS.
    #[expect(clippy::should_implement_trait, reason = "what it gives is lent")]
    pub fn next(&mut self) -> io::Result<Option<&mut [u8]>> {
        let rest = self.filled - self.used;
        let Some(length) = self.length() else {
            return Ok(None);
        };
        if length == 0 || length > self.longest {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if rest < 2 + length {
            return Ok(None);
        }
        let start = self.used + 2;
        self.used = start + length;
        Ok(Some(&mut self.buffer[start..start + length]))
    }

    /// Whether a message has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        self.filled > self.used
    }

    /// Where bytes from the stream go next, never empty: for the whole of the message that has
    /// begun. [`Self::next`] must have said that no message is there.
    pub fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.used..self.filled, 0);
        self.filled -= self.used;
        self.used = 0;
        let wanted = 2 + self.length().unwrap_or(0);
        if self.filled == 0 && self.buffer.len() > SMALL {
            self.buffer = vec![0; SMALL];
        } else if wanted > self.buffer.len() {
            self.buffer.resize(wanted, 0);
        }
        &mut self.buffer[self.filled..]
    }

    /// So many bytes came into [`Self::room`].
    pub fn came(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.buffer.len());
    }

    /// Length of the next message.
    fn length(&self) -> Option<usize> {
        match self.buffer[self.used..self.filled] {
            [high, low, ..] => Some(u16::from_be_bytes([high, low]).into()),
            _ => None,
        }
    }
}

/// Appends a message of at most 65,535 bytes with its length.
pub fn append(message: &[u8], out: &mut Vec<u8>) {
    out.extend((message.len() as u16).to_be_bytes());
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_they_arrive() {
        let messages: Vec<Vec<u8>> = [1, 2, 500, 511, 512, 4000, 3]
            .iter()
            .map(|length| vec![7; *length])
            .collect();
        let mut stream = Vec::new();
        messages
            .iter()
            .for_each(|message| append(message, &mut stream));
        for piece in [1, 2, 3, 100, 513, 10_000] {
            let mut frames = Frames::new(4000);
            let (mut sent, mut got) = (0, Vec::new());
            while sent < stream.len() {
                let room = frames.room();
                let count = room.len().min(piece).min(stream.len() - sent);
                room[..count].copy_from_slice(&stream[sent..sent + count]);
                sent += count;
                frames.came(count);
                while let Some(message) = frames.next().unwrap() {
                    got.push(message.to_vec());
                }
            }
            assert_eq!(got, messages, "in pieces of {piece}");
            assert!(!frames.is_partial());
        }
    }

    #[test]
    fn a_length_out_of_bounds_is_an_error() {
        for length in [[0, 0], [0x0f, 0xa1]] {
            let mut frames = Frames::new(4000);
            frames.room()[..2].copy_from_slice(&length);
            frames.came(2);
            assert!(frames.is_partial() && frames.next().is_err());
        }
    }
}
