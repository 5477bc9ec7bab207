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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(stream: &str) -> Vec<(String, String, String)> {
        let (mut parser, mut events) = (Parser::new("", 1_000), Vec::new());
        parser.feed(stream.as_bytes(), &mut events).unwrap();
        events.into_iter().map(|event| (event.event, event.data, event.id)).collect()
    }

    fn event(event: &str, data: &str, id: &str) -> (String, String, String) {
        (event.to_owned(), data.to_owned(), id.to_owned())
    }

    /// The examples of the specification, section 9.2.6.
    #[test]
    fn the_specifications_examples_are_read_as_it_says() {
        assert_eq!(parsed("data: YHOO\ndata: +2\ndata: 10\n\n"), [event("message", "YHOO\n+2\n10", "")]);
        assert_eq!(
            parsed(
                ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"
            ),
            [
                event("message", "first event", "1"),
                event("message", "second event", ""),
                event("message", " third event", "")
            ]
        );
        assert_eq!(
            parsed("data\n\ndata\ndata\n\ndata:"),
            [event("message", "", ""), event("message", "\n", "")]
        );
        assert_eq!(
            parsed("data:test\n\ndata: test\n\n"),
            [event("message", "test", ""), event("message", "test", "")]
        );
    }

    #[test]
    fn any_line_end_ends_a_line_and_a_byte_order_mark_is_taken_away_once() {
        for stream in
            ["data: a\n\n", "data: a\r\r", "data: a\r\n\r\n", "data: a\r\n\n", "\u{feff}data: a\n\n"]
        {
            assert_eq!(parsed(stream), [event("message", "a", "")], "{stream:?}");
        }
        assert_eq!(parsed("\n\u{feff}data: a\n\n"), []);
    }

    #[test]
    fn a_block_without_data_is_no_event_but_its_id_stays() {
        let (mut parser, mut events) = (Parser::new("old", 1_000), Vec::new());
        parser.feed(b"event: x\nid: 7", &mut events).unwrap();
        assert_eq!(parser.last_event_id(), "old");
        parser.feed(b"\nretry: 250\n\ndata: a\nid: 8\0\nretry: 1x\n\n", &mut events).unwrap();
        assert_eq!(parser.last_event_id(), "7");
        assert_eq!(parser.retry(), Some(Duration::from_millis(250)));
        assert_eq!(events, [Event { event: "message".into(), data: "a".into(), id: "7".into() }]);
    }

    #[test]
    fn invalid_utf_8_is_replaced_as_a_browser_does() {
        let (mut parser, mut events) = (Parser::new("", 1_000), Vec::new());
        parser.feed(b"data: a\xff\xe2\x82b\xf0\x9f\n\n", &mut events).unwrap();
        assert_eq!(events[0].data, "a\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn a_block_is_bounded_whether_it_has_line_ends_or_not() {
        for stream in [b"data: 5678\n".repeat(200), vec![b'd'; 1_001]] {
            let (mut parser, mut events) = (Parser::new("", 1_000), Vec::new());
            assert_eq!(parser.feed(&stream, &mut events), Err(BlockTooLarge));
        }
    }
}
