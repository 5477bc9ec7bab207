//! Server-Sent Events as the swarm reads them: any bytes in, cut at any place; messages of the run out.
//!
//! Not a general parser: a stream of messages that are all of one known length is checked by stride. A block that
//! starts with `data: ` and our payload is taken whole by comparing it where it must lie; only what remains (an `id:`
//! line before or behind it) is looked through for the end of its line. Everything else (the first block, heartbeats,
//! CR LF) goes line by line.
//!
//! Invariant: `carry` is the beginning of one block, shorter than `BLOCK_BYTES_MAX` and the payload together; empty
//! when reads end where blocks end, which is the rule.

use crate::payload::{Payload, Stamp};

/// One subscriber's stream.
#[derive(Debug, Default)]
pub struct EventReader {
    carry: Vec<u8>,
}

/// What a stream said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Message(Stamp),
    /// The server says that messages are missing (`event: courier-gap`).
    GapStated,
    /// A block of comments alone: a heartbeat.
    Beat,
    /// Another block without data: `retry:`, `id:`.
    Setting,
    /// Data that is no message of this run, or a message that was altered.
    Foreign,
}

/// The stream makes no sense any more: a block is longer than any of ours can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndlessBlock;

impl EventReader {
    /// Takes `bytes`; `on_event` gets each event, and all bytes of its block.
    // Hot: once per read; per message one comparison of the payload and a look at each byte of what follows it.
    pub fn read(
        &mut self,
        bytes: &[u8],
        payload: &Payload,
        mut on_event: impl FnMut(Event, &[u8]),
    ) -> Result<(), EndlessBlock> {
        if self.carry.is_empty() {
            let rest = blocks(bytes, payload, &mut on_event);
            self.carry.extend_from_slice(rest);
        } else {
            self.carry.extend_from_slice(bytes);
            // Only a line end can complete a block: a long message in many reads is looked through once, not each time.
            if !bytes.contains(&b'\n') {
                return self.bounded(payload);
            }
            let taken = self.carry.len() - blocks(&self.carry, payload, &mut on_event).len();
            self.carry.drain(..taken);
        }
        if self.carry.is_empty() && self.carry.capacity() > 0 {
            // Thousands of streams were cut once or twice; what they needed for that is not kept.
            self.carry = Vec::new();
        }
        self.bounded(payload)
    }

    /// The beginning of the block that is not whole yet.
    pub fn carry(&self) -> &[u8] {
        &self.carry
    }

    /// The carry, and what would have made it whole, was read otherwise: the next byte begins a block.
    pub fn skip_to_block(&mut self) {
        self.carry = Vec::new();
    }

    fn bounded(&self, payload: &Payload) -> Result<(), EndlessBlock> {
        if self.carry.len() > payload.bytes() + BLOCK_BYTES_MAX { Err(EndlessBlock) } else { Ok(()) }
    }
}

/// What a block may have besides the payload.
const BLOCK_BYTES_MAX: usize = 4_096;
const DATA: &[u8] = b"data: ";

/// Takes every whole block; returns the beginning of the one that is not there yet.
fn blocks<'a>(mut bytes: &'a [u8], payload: &Payload, on_event: &mut impl FnMut(Event, &[u8])) -> &'a [u8] {
    while !bytes.is_empty() {
        let taken = match by_stride(bytes, payload) {
            Some((stamp, length)) => {
                on_event(Event::Message(stamp), &bytes[..length]);
                length
            }
            None => match by_lines(bytes, payload) {
                Some((event, length)) => {
                    on_event(event, &bytes[..length]);
                    length
                }
                None => break,
            },
        };
        bytes = &bytes[taken..];
    }
    bytes
}

/// The block at the front if it is whole and begins with a payload of this run; its stamp and length.
fn by_stride(bytes: &[u8], payload: &Payload) -> Option<(Stamp, usize)> {
    // nchan's `id:` line stands before the data, others' behind it.
    let lead_bytes = match bytes.first()? {
        b'i' => bytes.iter().position(|&byte| byte == b'\n')? + 1,
        _ => 0,
    };
    let data = bytes[lead_bytes..].strip_prefix(DATA)?;
    let (data, after) = data.split_at_checked(payload.bytes())?;
    let (&b'\n', tail) = after.split_first()? else { return None };
    // Behind the payload's own line end: an empty line at once, or the `id:` line and then the empty one. Another
    // `data:` or an `event:` line changes what the block means, and that is read line by line.
    let tail_bytes = match tail.first()? {
        b'\n' => 1,
        b'i' => {
            let line = tail.iter().position(|&byte| byte == b'\n')?;
            if tail.get(line + 1) != Some(&b'\n') {
                return None;
            }
            line + 2
        }
        _ => return None,
    };
    Some((payload.read(data)?, lead_bytes + DATA.len() + payload.bytes() + 1 + tail_bytes))
}

/// The block at the front if it is whole; what it says, and its length.
fn by_lines(bytes: &[u8], payload: &Payload) -> Option<(Event, usize)> {
    let mut data: Option<&[u8]> = None;
    let (mut is_gap, mut is_foreign, mut is_beat, mut at) = (false, false, bytes.starts_with(b":"), 0);
    loop {
        let end = at + bytes[at..].iter().position(|&byte| byte == b'\n')?;
        let line = &bytes[at..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at = end + 1;
        if line.is_empty() {
            break;
        }
        is_beat &= line.starts_with(b":");
        if let Some(value) = field(line, b"data") {
            is_foreign |= data.is_some(); // Our payloads are one line.
            data = Some(value);
        } else if field(line, b"event") == Some(b"courier-gap") {
            is_gap = true;
        }
    }
    let event = match data.map(|data| payload.read(data)) {
        None if is_beat => Event::Beat,
        None => Event::Setting,
        Some(_) if is_gap => Event::GapStated,
        Some(Some(stamp)) if !is_foreign => Event::Message(stamp),
        Some(_) => Event::Foreign,
    };
    Some((event, at))
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD_BYTES: usize = 50;

    fn stamp(sequence: u64) -> Stamp {
        Stamp { sequence, due_nanos: 1_000 + sequence }
    }

    fn text(sequence: u64) -> String {
        let mut bytes = Vec::new();
        Payload::new(PAYLOAD_BYTES).write(stamp(sequence), &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    /// The stream as courier sends it.
    fn stream(sequences: &[u64]) -> String {
        let frames = sequences.iter().map(|&n| format!("data: {}\nid: epoch.{n}\n\n", text(n)));
        format!("retry: 2000\nid: epoch.0\n\n{}", frames.collect::<String>())
    }

    fn read(chunks: &[&[u8]]) -> Vec<Event> {
        let (mut reader, mut events) = (EventReader::default(), Vec::new());
        for chunk in chunks {
            let on_event = |event, _: &[u8]| events.extend((event != Event::Setting).then_some(event));
            reader.read(chunk, &Payload::new(PAYLOAD_BYTES), on_event).unwrap();
        }
        assert!(reader.carry.is_empty(), "every stream of these tests ends where a block ends");
        events
    }

    fn messages(sequences: &[u64]) -> Vec<Event> {
        sequences.iter().map(|&sequence| Event::Message(stamp(sequence))).collect()
    }

    #[test]
    fn frames_are_read_whatever_the_number_of_digits_of_their_ids() {
        let sequences = [8, 9, 10, 99, 100, 1_000_000];
        assert_eq!(read(&[stream(&sequences).as_bytes()]), messages(&sequences));
    }

    #[test]
    fn a_stream_cut_at_any_two_places_reads_the_same() {
        let stream = stream(&[9, 10, 11]) + ":\n\n" + &stream(&[12]);
        let bytes = stream.as_bytes();
        let expected = [messages(&[9, 10, 11]), vec![Event::Beat], messages(&[12])].concat();
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let events = read(&[&bytes[..first], &bytes[first..second], &bytes[second..]]);
                assert_eq!(events, expected, "cut at {first} and {second}");
            }
        }
        assert_eq!(read(&bytes.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn other_servers_shapes_are_read_too() {
        for (shape, frame) in [
            ("id first", format!("id: 1:0\ndata: {}\n\n", text(3))),
            ("no id", format!("data: {}\n\n", text(3))),
            ("no space", format!("data:{}\n\n", text(3))),
            ("carriage returns", format!("data: {}\r\nid: 7\r\n\r\n", text(3))),
            ("named", format!("event: message\ndata: {}\nid: 7\n\n", text(3))),
            ("named after", format!("data: {}\nevent: message\n\n", text(3))),
        ] {
            assert_eq!(read(&[frame.as_bytes()]), messages(&[3]), "{shape}");
        }
    }

    #[test]
    fn blocks_without_data_say_nothing() {
        let beats = [Event::Beat, Event::Beat];
        assert_eq!(read(&[b":\n\n:heartbeat\n\nretry: 2000\nid: e.1\n\n:x\nid\n\n"]), beats);
        assert_eq!(read(&[b"retry: 2000\n: not alone\n\n"]), []);
    }

    #[test]
    fn a_block_without_data_is_handed_on_whole() {
        let mut blocks = Vec::new();
        let stream = b"retry: 2000\nid: e.1\n\n:\n\nid: e.2\n\n";
        let payload = Payload::new(PAYLOAD_BYTES);
        EventReader::default()
            .read(stream, &payload, |event, block| blocks.push((event, block.to_vec())))
            .unwrap();
        let expected = [
            (Event::Setting, b"retry: 2000\nid: e.1\n\n".to_vec()),
            (Event::Beat, b":\n\n".to_vec()),
            (Event::Setting, b"id: e.2\n\n".to_vec()),
        ];
        assert_eq!(blocks, expected);
    }

    #[test]
    fn an_altered_message_is_not_one_of_ours() {
        let altered = stream(&[3]).replace("abc", "abd");
        assert_eq!(read(&[altered.as_bytes()]), [Event::Foreign]);
        let doubled = format!("data: {0}\ndata: {0}\n\n", text(3));
        assert_eq!(read(&[doubled.as_bytes()]), [Event::Foreign]);
        assert_eq!(read(&[b"data: hello\n\n"]), [Event::Foreign]);
    }

    #[test]
    fn a_stated_gap_is_told_from_messages() {
        let gap = b"event: courier-gap\ndata: {\"reason\":\"upstream-down\"}\nid: epoch.9\n\n";
        assert_eq!(read(&[gap]), [Event::GapStated]);
    }

    #[test]
    fn a_block_without_end_is_given_up() {
        let mut reader = EventReader::default();
        let payload = Payload::new(PAYLOAD_BYTES);
        let result = (0..100).try_for_each(|_| reader.read(&[b'x'; 100], &payload, |_, _| {}));
        assert_eq!(result, Err(EndlessBlock));
    }
}
