//! The recent frames of one channel: on a shard what its subscriptions are still owed, in the reader its history.
//!
//! Frames lie one behind the other, so that any run of them is one slice and one send. An offset counts every byte
//! that was ever appended and is never reused, so a cursor that was lapped is recognised by being below `start`.
//! Knows nothing of sockets, protocols or bounds: the owner decides what to drop.
//!
//! Invariants: `end - start` is the sum of the lengths of `frames`; offsets and positions rise from front to back; a
//! log without frames owns no buffer. Cost: append is one copy, O(1) amortised, without allocation once its buffer is
//! warm; dropping from the front moves the rest at most once per half of the buffer.

use std::collections::VecDeque;

use crate::base::number::index;
use crate::base::position::Position;
use crate::base::time::Time;

/// Counts the bytes ever appended to one log.
pub type Offset = u64;

#[derive(Debug, Default)]
pub struct Log {
    start: Offset,
    end: Offset,
    buffer: Option<Box<Buffer>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub position: Position,
    /// Where the frame ends; it starts where the one before it ends, or at the log's start.
    pub end: Offset,
    pub at: Time,
}

/// Storage of a log that has frames.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// How many bytes at the front of `bytes` belong to dropped frames.
    dropped: usize,
    frames: VecDeque<Frame>,
}

/// Buffers of logs that are empty at present, so that a channel that speaks now and then allocates nothing.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)] // A log holds a box, so that an empty one is 24 bytes; the box moves to and fro whole.
pub struct Spares(Vec<Box<Buffer>>);

impl Log {
    /// Appends one frame, whose bytes `write` puts behind what is there; returns its length.
    // Hot: once per message, wire format and shard.
    pub fn append(
        &mut self,
        position: Position,
        at: Time,
        spares: &mut Spares,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let buffer = self.buffer.get_or_insert_with(|| spares.take());
        debug_assert!(buffer.frames.back().is_none_or(|last| last.position < position), "positions rise");
        let before = buffer.bytes.len();
        write(&mut buffer.bytes);
        let length = buffer.bytes.len() - before;
        self.end += length as u64;
        buffer.frames.push_back(Frame { position, end: self.end, at });
        length
    }

    /// The offset of the first byte that is still there.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// How many bytes the frames have together.
    pub fn len(&self) -> usize {
        index(self.end - self.start)
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes from `from` to `to`, both between `start` and `end`.
    // Hot: once per flush of a connection.
    pub fn slice(&self, from: Offset, to: Offset) -> &[u8] {
        assert!(self.start <= from && from <= to && to <= self.end, "a slice of a log lies within it");
        match &self.buffer {
            None => &[],
            Some(buffer) => {
                let first = buffer.dropped + index(from - self.start);
                &buffer.bytes[first..first + index(to - from)]
            }
        }
    }

    pub fn frames(&self) -> impl DoubleEndedIterator<Item = &Frame> + ExactSizeIterator {
        self.buffer.as_ref().map_or_else(|| EMPTY.iter(), |buffer| buffer.frames.iter())
    }

    /// The first frame.
    pub fn first(&self) -> Option<&Frame> {
        self.buffer.as_ref()?.frames.front()
    }

    /// The last frame.
    pub fn last(&self) -> Option<&Frame> {
        self.buffer.as_ref()?.frames.back()
    }

    /// The frame that has the byte at `offset`; none at the end.
    pub fn frame_at(&self, offset: Offset) -> Option<&Frame> {
        let frames = &self.buffer.as_ref()?.frames;
        frames.get(frames.partition_point(|frame| frame.end <= offset))
    }

    /// The frames whose bytes start at `offset` or later, each with where it starts.
    pub fn frames_from(&self, offset: Offset) -> impl Iterator<Item = (Offset, &Frame)> {
        let frames = self.buffer.as_ref().map_or(&EMPTY, |buffer| &buffer.frames);
        let first = frames.partition_point(|frame| frame.end <= offset);
        let mut start = offset;
        frames.range(first..).map(move |frame| (std::mem::replace(&mut start, frame.end), frame))
    }

    /// The frames after `position`, each with its bytes.
    pub fn after(&self, position: Position) -> impl Iterator<Item = (&Frame, &[u8])> {
        let frames = self.buffer.as_ref().map_or(&EMPTY, |buffer| &buffer.frames);
        let first = frames.partition_point(|frame| frame.position <= position);
        let mut start = if first == 0 { self.start } else { frames[first - 1].end };
        frames.range(first..).map(move |frame| {
            let from = std::mem::replace(&mut start, frame.end);
            (frame, self.slice(from, frame.end))
        })
    }

    /// Drops the first frame; returns it with its length.
    pub fn drop_first(&mut self, spares: &mut Spares) -> Option<(Frame, usize)> {
        let buffer = self.buffer.as_mut()?;
        let frame = buffer.frames.pop_front()?;
        let length = index(frame.end - self.start);
        self.start = frame.end;
        buffer.dropped += length;
        if buffer.frames.is_empty() {
            spares.give(self.buffer.take());
        } else if buffer.dropped > buffer.bytes.len() / 2 {
            buffer.bytes.drain(..buffer.dropped);
            buffer.dropped = 0;
        }
        Some((frame, length))
    }

    /// Drops every frame; returns how many bytes that were.
    pub fn clear(&mut self, spares: &mut Spares) -> usize {
        let length = self.len();
        self.start = self.end;
        spares.give(self.buffer.take());
        length
    }
}

impl Spares {
    fn take(&mut self) -> Box<Buffer> {
        self.0.pop().unwrap_or_default()
    }

    fn give(&mut self, buffer: Option<Box<Buffer>>) {
        let Some(mut buffer) = buffer else { return };
        if self.0.len() < SPARES_MAX && buffer.bytes.capacity() <= SPARE_BYTES_MAX {
            buffer.bytes.clear();
            buffer.frames.clear();
            buffer.dropped = 0;
            self.0.push(buffer);
        }
    }
}

/// At most 64 spares of at most 64 KiB: 4 MiB a shard.
const SPARES_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 64 * 1_024;

static EMPTY: VecDeque<Frame> = VecDeque::new();

#[cfg(test)]
mod tests {
    use super::*;

    fn log(frames: &[(u64, &str)]) -> (Log, Spares) {
        let (mut log, mut spares) = (Log::default(), Spares::default());
        for &(position, text) in frames {
            log.append(Position(position), Time::ZERO, &mut spares, |bytes| {
                bytes.extend_from_slice(text.as_bytes())
            });
        }
        (log, spares)
    }

    #[test]
    fn any_run_of_frames_is_one_slice() {
        let (log, _) = log(&[(1, "one"), (3, "three"), (9, "nine")]);
        assert_eq!(log.slice(0, log.end()), b"onethreenine");
        assert_eq!(log.slice(3, 8), b"three");
        assert_eq!(log.slice(12, 12), b"");
    }

    #[test]
    fn a_frame_is_found_by_any_of_its_bytes() {
        let (log, _) = log(&[(1, "one"), (3, "three")]);
        for (offset, position) in [(0, 1), (2, 1), (3, 3), (7, 3)] {
            assert_eq!(log.frame_at(offset).unwrap().position, Position(position), "{offset}");
        }
        assert_eq!(log.frame_at(8), None);
    }

    #[test]
    fn offsets_go_on_when_frames_are_dropped() {
        let (mut log, mut spares) = log(&[(1, "one"), (3, "three"), (9, "nine")]);
        assert_eq!(log.drop_first(&mut spares).unwrap().1, 3);
        assert_eq!(log.drop_first(&mut spares).unwrap().0.position, Position(3));
        assert_eq!((log.start(), log.end()), (8, 12));
        assert_eq!(log.slice(8, 12), b"nine");
        assert_eq!(log.clear(&mut spares), 4);
        assert!(log.is_empty() && log.buffer.is_none());
        log.append(Position(10), Time::ZERO, &mut spares, |bytes| bytes.extend_from_slice(b"ten"));
        assert_eq!(log.slice(12, 15), b"ten");
    }

    #[test]
    fn the_frames_after_a_position_come_with_their_bytes() {
        let (mut log, mut spares) = log(&[(1, "one"), (3, "three"), (9, "nine")]);
        log.drop_first(&mut spares);
        for (after, expected) in
            [(0, vec!["three", "nine"]), (3, vec!["nine"]), (8, vec!["nine"]), (9, vec![])]
        {
            let found: Vec<&str> =
                log.after(Position(after)).map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect();
            assert_eq!(found, expected, "after {after}");
        }
        let starts: Vec<(u64, u64)> =
            log.frames_from(8).map(|(start, frame)| (start, frame.position.0)).collect();
        assert_eq!(starts, [(8, 9)]);
    }

    #[test]
    fn a_log_that_is_emptied_leaves_its_buffer_to_the_next() {
        let (mut first, mut spares) = log(&[(1, "one")]);
        first.clear(&mut spares);
        assert_eq!(spares.0.len(), 1);
        let mut second = Log::default();
        second.append(Position(2), Time::ZERO, &mut spares, |bytes| bytes.extend_from_slice(b"two"));
        assert!(spares.0.is_empty());
        assert_eq!(second.slice(0, 3), b"two");
    }
}
