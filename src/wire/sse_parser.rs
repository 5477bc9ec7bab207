//! A parser of `text/event-stream`, written from the specification (WHATWG HTML, 9.2.5 and 9.2.6), not from our own
//! encoder: `courier subscribe` reads with it, the tests and the simulator judge with it.
//!
//! Incremental: bytes in, events out, cut anywhere. Bounded: a block that grows beyond the limit is an error. It does
//! not connect, reconnect or know what an id means.

use std::time::Duration;

#[derive(Debug)]
pub struct Parser {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// True exactly if the last byte was a CR, so that an LF now belongs to it.
    after_carriage_return: bool,
    /// True until the first line has ended: a byte order mark is taken away there.
    at_start: bool,
    data: String,
    event: String,
    last_event_id: String,
    /// What `last_event_id` becomes at the end of the block.
    next_event_id: String,
    retry: Option<Duration>,
    block_bytes_max: usize,
}

/// An event as a page's listener sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `message` if the stream did not name another.
    pub event: String,
    pub data: String,
    /// The last id of the stream up to here.
    pub id: String,
}

/// A block, or a line, is larger than the parser's bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockTooLarge;

impl Parser {
    /// A parser at the beginning of a stream. `last_event_id` is the one of the stream before, empty for none.
    pub fn new(last_event_id: &str, block_bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            after_carriage_return: false,
            at_start: true,
            data: String::new(),
            event: String::new(),
            last_event_id: last_event_id.to_owned(),
            next_event_id: last_event_id.to_owned(),
            retry: None,
            block_bytes_max,
        }
    }

    /// Takes the next bytes of the stream and appends the events that are complete with them.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), BlockTooLarge> {
        let mut rest = bytes;
        if self.after_carriage_return && !rest.is_empty() {
            self.after_carriage_return = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
            self.extend_line(&rest[..end])?;
            events.extend(self.end_line());
            match &rest[end..] {
                [b'\r'] => {
                    self.after_carriage_return = true;
                    rest = &[];
                }
                [b'\r', b'\n', behind @ ..] | [_, behind @ ..] => rest = behind,
                [] => rest = &[],
            }
        }
        self.extend_line(rest)
    }

    /// The id to send as `Last-Event-ID`: that of the last block that ended.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// How long to wait before a reconnect, if the stream said so.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn extend_line(&mut self, part: &[u8]) -> Result<(), BlockTooLarge> {
        if self.data.len() + self.line.len() + part.len() > self.block_bytes_max {
            return Err(BlockTooLarge);
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        // Line ends are no part of any longer sequence of UTF-8, so that decoding line by line is decoding the stream.
        let decoded = String::from_utf8_lossy(&line);
        let text = if std::mem::take(&mut self.at_start) {
            decoded.strip_prefix('\u{feff}').unwrap_or(&decoded)
        } else {
            &decoded
        };
        if text.is_empty() {
            return self.end_block();
        }
        match text.split_once(':') {
            Some(("", _)) => {}
            Some((field, value)) => self.take_field(field, value.strip_prefix(' ').unwrap_or(value)),
            None => self.take_field(text, ""),
        }
        None
    }

    fn take_field(&mut self, field: &str, value: &str) {
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.next_event_id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
    }

    fn end_block(&mut self) -> Option<Event> {
        self.next_event_id.clone_into(&mut self.last_event_id);
        let mut data = std::mem::take(&mut self.data);
        let event = std::mem::take(&mut self.event);
        // The data buffer ends with the LF of its last line; an empty buffer is a block without data: no event.
        data.pop()?;
        let event = if event.is_empty() { "message".to_owned() } else { event };
        Some(Event { event, data, id: self.last_event_id.clone() })
    }
}
