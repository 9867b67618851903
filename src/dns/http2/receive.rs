//! What becomes of the frames that a server sends. Pure.

use super::frame::{self, Header, code, flag, kind, setting};
use super::{
    Client, Error, Event, Failure, Headers, LAST_STREAM, MAX_BODY, MAX_HEADERS, MAX_STREAMS, hpack,
};

impl Client {
    pub(super) fn take_frame(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        let continues = header.kind == kind::CONTINUATION;
        if self.headers.is_some() != continues {
            return Err(Error::Protocol);
        }
        let settings = header.kind == kind::SETTINGS && !header.has(flag::ACK);
        if !self.greeted && !settings {
            return Err(Error::Protocol);
        }
        match header.kind {
            kind::DATA => self.take_data(header, payload),
            kind::HEADERS | kind::CONTINUATION => self.take_headers(header, payload),
            kind::RST_STREAM => self.take_reset(header, payload),
            kind::SETTINGS => self.take_settings(header, payload),
            kind::PUSH_PROMISE => Err(Error::Protocol),
            kind::PING => {
                if header.stream != 0 {
                    return Err(Error::Protocol);
                }
                if payload.len() != 8 {
                    return Err(Error::Length);
                }
                if !header.has(flag::ACK) {
                    frame::append(kind::PING, flag::ACK, 0, payload, &mut self.out);
                }
                Ok(())
            }
            kind::GOAWAY => self.take_goaway(header, payload),
            kind::WINDOW_UPDATE => self.take_window(header, payload),
            // Priorities, and what was thought of later, is to be ignored.
            _ => Ok(()),
        }
    }

    /// An error when a frame is for a stream that never was.
    fn check_stream(&self, id: u32) -> Result<(), Error> {
        if id % 2 == 1 && id < self.next {
            return Ok(());
        }
        Err(Error::Protocol)
    }

    fn take_data(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        self.check_stream(header.stream)?;
        let content = frame::content(header, payload).ok_or(Error::Protocol)?;
        self.receivable -= payload.len() as i64;
        if self.receivable < 0 {
            return Err(Error::Window);
        }
        self.give_back(payload.len() - content.len());
        let Some(stream) = self.streams.get_mut(&header.stream) else {
            self.give_back(content.len());
            return Ok(());
        };
        if stream.head.is_none() {
            return Err(Error::Protocol);
        }
        if stream.body.len() + content.len() > MAX_BODY {
            self.give_back(content.len());
            self.fail(header.stream, Failure::Long);
            return Ok(());
        }
        stream.body.extend_from_slice(content);
        if header.has(flag::END_STREAM) {
            self.finish(header.stream);
        }
        Ok(())
    }

    fn take_headers(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        self.check_stream(header.stream)?;
        let mut headers = match self.headers.take() {
            // Only CONTINUATION comes here when there are any.
            Some(mut headers) => {
                if headers.stream != header.stream {
                    return Err(Error::Protocol);
                }
                headers.block.extend_from_slice(payload);
                headers
            }
            None => Headers {
                stream: header.stream,
                ends: header.has(flag::END_STREAM),
                block: frame::content(header, payload)
                    .ok_or(Error::Protocol)?
                    .to_vec(),
            },
        };
        if headers.block.len() > MAX_HEADERS {
            return Err(Error::Headers);
        }
        if !header.has(flag::END_HEADERS) {
            self.headers = Some(headers);
            return Ok(());
        }
        let head = self.decoder.answer(&std::mem::take(&mut headers.block))?;
        let Some(stream) = self.streams.get_mut(&headers.stream) else {
            return Ok(());
        };
        // 1xx come before the answer's own; what comes behind them are trailers.
        let is_interim = (100..200).contains(&head.status) && !headers.ends;
        if stream.head.is_none() && !is_interim {
            let failure = match head {
                hpack::Head { status: 200, .. } if head.is_dns => None,
                hpack::Head { status: 200, .. } => Some(Failure::Type),
                hpack::Head { status, .. } => Some(Failure::Status(status)),
            };
            stream.head = Some(head);
            if let Some(failure) = failure {
                self.fail(headers.stream, failure);
                return Ok(());
            }
        }
        if headers.ends {
            self.finish(headers.stream);
        }
        Ok(())
    }

    fn take_reset(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        self.check_stream(header.stream)?;
        let reason = frame::number(payload).filter(|_| payload.len() == 4);
        let reason = reason.ok_or(Error::Length)?;
        if let Some(stream) = self.remove(header.stream) {
            self.events.push_back(match reason {
                code::REFUSED_STREAM => Event::Refused(stream.tag),
                _ => Event::Failed(stream.tag, Failure::Reset(reason)),
            });
        }
        Ok(())
    }

    fn take_settings(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        if header.stream != 0 {
            return Err(Error::Protocol);
        }
        if header.has(flag::ACK) {
            return if payload.is_empty() {
                Ok(())
            } else {
                Err(Error::Length)
            };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Error::Length);
        }
        if !self.greeted {
            self.greeted = true;
            self.max_streams = MAX_STREAMS;
        }
        for (name, value) in frame::settings(payload) {
            match name {
                setting::MAX_CONCURRENT_STREAMS => self.max_streams = value.min(MAX_STREAMS),
                setting::INITIAL_WINDOW_SIZE => self.set_stream_window(value.into())?,
                setting::MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return Err(Error::Protocol);
                }
                // We send no longer frames than everybody takes.
                _ => {}
            }
        }
        frame::append(kind::SETTINGS, flag::ACK, 0, &[], &mut self.out);
        self.push_all();
        Ok(())
    }

    fn set_stream_window(&mut self, window: i64) -> Result<(), Error> {
        let change = window - self.stream_window;
        self.stream_window = window;
        for stream in self.streams.values_mut() {
            stream.window += change;
        }
        let largest = self.streams.values().map(|stream| stream.window).max();
        if window.max(largest.unwrap_or(0)) > frame::LARGEST_WINDOW {
            return Err(Error::Window);
        }
        Ok(())
    }

    fn take_goaway(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        if header.stream != 0 {
            return Err(Error::Protocol);
        }
        if payload.len() < 8 {
            return Err(Error::Length);
        }
        let last = frame::number(payload).ok_or(Error::Length)? & LAST_STREAM;
        self.over = true;
        let mut unseen: Vec<u32> = self.streams.keys().copied().collect();
        unseen.retain(|id| *id > last);
        unseen.sort_unstable();
        for id in unseen {
            if let Some(stream) = self.remove(id) {
                self.events.push_back(Event::Refused(stream.tag));
            }
        }
        Ok(())
    }

    fn take_window(&mut self, header: &Header, payload: &[u8]) -> Result<(), Error> {
        if payload.len() != 4 {
            return Err(Error::Length);
        }
        let more = frame::number(payload).ok_or(Error::Length)? & LAST_STREAM;
        if header.stream == 0 {
            self.window += i64::from(more);
            if more == 0 || self.window > frame::LARGEST_WINDOW {
                return Err(Error::Window);
            }
            self.push_all();
            return Ok(());
        }
        self.check_stream(header.stream)?;
        if let Some(stream) = self.streams.get_mut(&header.stream) {
            stream.window += i64::from(more);
            if more == 0 || stream.window > frame::LARGEST_WINDOW {
                self.fail(header.stream, Failure::Reset(0));
                return Ok(());
            }
            self.push(header.stream);
        }
        Ok(())
    }
}
