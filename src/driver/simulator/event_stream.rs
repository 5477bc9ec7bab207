//! `text/event-stream` read as the specification says (WHATWG HTML, 9.2.5 and 9.2.6), and nothing beside: a second
//! parser, which shares no line with the one that courier's tools use, so that a mistake would have to be made twice.
//!
//! Takes the bytes of a stream in any pieces and gives its blocks. Stricter than a browser in one point: a field that
//! courier never sends is reported, for it is what bytes in the wrong place look like.

/// What a blank line ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The event that a page's listener sees, if the block has data.
    pub(super) event: Option<Event>,
    /// The last event id from here on; empty for none.
    pub(super) id: String,
    /// The fields that stand in the block, in order, each by its first letter.
    pub(super) fields: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) data: String,
}

#[derive(Debug)]
pub(super) struct EventStream {
    line: Vec<u8>,
    /// True exactly if the last byte was a CR: an LF behind it is of the same line end.
    was_cr: bool,
    is_first_line: bool,
    data: String,
    kind: String,
    id: String,
    fields: String,
}

impl EventStream {
    /// At the beginning of a stream, for a client whose last event id is this.
    pub(super) fn new(last_id: &str) -> Self {
        Self {
            line: Vec::new(),
            was_cr: false,
            is_first_line: true,
            data: String::new(),
            kind: String::new(),
            id: last_id.to_owned(),
            fields: String::new(),
        }
    }

    /// The next bytes, and the blocks that are complete with them; an error says what is no event stream of courier's.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Block>, String> {
        let mut blocks = Vec::new();
        for &byte in bytes {
            let is_second_half = byte == b'\n' && std::mem::take(&mut self.was_cr);
            match byte {
                _ if is_second_half => {}
                b'\r' | b'\n' => {
                    self.was_cr = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    blocks.extend(self.end_line(&line)?);
                }
                _ => {
                    self.was_cr = false;
                    self.line.push(byte);
                }
            }
        }
        Ok(blocks)
    }

    /// Whether nothing has come since the last blank line.
    pub(super) fn is_between_blocks(&self) -> bool {
        self.line.is_empty() && self.fields.is_empty()
    }

    fn end_line(&mut self, line: &[u8]) -> Result<Option<Block>, String> {
        let is_first = std::mem::take(&mut self.is_first_line);
        let line = std::str::from_utf8(line).map_err(|_| format!("no UTF-8: {}", line.escape_ascii()))?;
        let line = if is_first { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        if line.is_empty() {
            return Ok(Some(self.dispatch()));
        }
        let (field, value) = match line.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            // A comment.
            "" => return Ok(None),
            "event" => value.clone_into(&mut self.kind),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {}
            _ => return Err(format!("a field that courier does not send: {line:?}")),
        }
        self.fields.push_str(&field[..1]);
        Ok(None)
    }

    fn dispatch(&mut self) -> Block {
        let (mut data, mut kind) = (std::mem::take(&mut self.data), std::mem::take(&mut self.kind));
        let has_data = data.pop().is_some();
        if kind.is_empty() {
            "message".clone_into(&mut kind);
        }
        let event = has_data.then_some(Event { kind, data });
        Block { event, id: self.id.clone(), fields: std::mem::take(&mut self.fields) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> Option<Event> {
        Some(Event { kind: kind.to_owned(), data: data.to_owned() })
    }

    #[test]
    fn the_examples_of_the_specification_are_read_as_it_says() {
        let stream =
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        for size in [1, 2, 7, stream.len()] {
            let mut parser = EventStream::new("");
            let blocks: Vec<Block> =
                stream.chunks(size).flat_map(|bytes| parser.feed(bytes).unwrap()).collect();
            let events: Vec<_> = blocks.into_iter().map(|block| (block.event, block.id)).collect();
            let expected = [
                (None, ""),
                (event("message", "first event"), "1"),
                (event("message", "second event"), ""),
                (event("message", " third event"), ""),
            ];
            assert_eq!(events, expected.map(|(event, id)| (event, id.to_owned())));
            assert!(parser.is_between_blocks());
        }
        let mut parser = EventStream::new("7");
        let blocks = parser.feed(b"data\r\n\r\ndata\rdata\r\rdata:").unwrap();
        let events: Vec<_> = blocks.into_iter().map(|block| block.event).collect();
        assert_eq!(events, [event("message", ""), event("message", "\n")]);
        assert!(!parser.is_between_blocks(), "what the stream's end cuts is not dispatched");
    }

    #[test]
    fn what_courier_never_sends_is_reported() {
        for stream in [&b"dat: x\n"[..], b"retry: soon\n", b"17\n", b"\xff\n"] {
            assert!(EventStream::new("").feed(stream).is_err(), "{}", stream.escape_ascii());
        }
    }
}
