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

use crate::base::limits::MIB;
use crate::base::number::index;
use crate::base::position::Position;
use crate::base::time::Time;

/// Counts the bytes ever appended to one log.
pub type Offset = u64;

#[derive(Debug, Default)]
pub struct Log {
    end: Offset,
    buffer: Option<Box<Buffer>>,
}

const _: () = assert!(size_of::<Log>() == 16, "there are two for each channel");

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
    /// The offset of the first byte that is still there.
    start: Offset,
    bytes: Vec<u8>,
    /// How many bytes at the front of `bytes` belong to dropped frames.
    dropped: usize,
    frames: VecDeque<Frame>,
}

/// Buffers of logs that are empty at present, so that a channel that speaks now and then allocates nothing.
///
/// Bounded by bytes, not by count: one read may bring messages of hundreds of channels, and each wants a buffer at once.
#[derive(Debug, Default)]
pub struct Spares {
    #[allow(clippy::vec_box)]
    // A log holds a box, so that an empty one is 16 bytes; the box moves to and fro whole.
    buffers: Vec<Box<Buffer>>,
    /// The sum of what the buffers hold in memory; at most `SPARES_BYTES_MAX`.
    bytes: usize,
}

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
        let start = self.end;
        let buffer = self.buffer.get_or_insert_with(|| {
            let mut buffer = spares.take();
            buffer.start = start;
            buffer
        });
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
        self.buffer.as_ref().map_or(self.end, |buffer| buffer.start)
    }

    /// The offset behind the last byte.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// How many bytes the frames have together.
    pub fn len(&self) -> usize {
        index(self.end - self.start())
    }

    pub fn is_empty(&self) -> bool {
        self.start() == self.end
    }

    /// The bytes from `from` to `to`, both between `start` and `end`.
    // Hot: once per flush of a connection.
    pub fn slice(&self, from: Offset, to: Offset) -> &[u8] {
        assert!(self.start() <= from && from <= to && to <= self.end, "a slice of a log lies within it");
        match &self.buffer {
            None => &[],
            Some(buffer) => {
                let first = buffer.dropped + index(from - buffer.start);
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

    /// Whether no frame has bytes on both sides of `offset`, which lies within the log.
    pub fn is_boundary(&self, offset: Offset) -> bool {
        offset == self.start()
            || offset == self.end()
            || self.frame_at(offset - 1).is_some_and(|frame| frame.end == offset)
    }

    /// The frame that ends at `offset` or before, last of these; none at the start.
    pub fn frame_before(&self, offset: Offset) -> Option<&Frame> {
        let frames = &self.buffer.as_ref()?.frames;
        frames.get(frames.partition_point(|frame| frame.end <= offset).checked_sub(1)?)
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
        let mut start = if first == 0 { self.start() } else { frames[first - 1].end };
        frames.range(first..).map(move |frame| {
            let from = std::mem::replace(&mut start, frame.end);
            (frame, self.slice(from, frame.end))
        })
    }

    /// Drops the first frame; returns it with its length.
    pub fn drop_first(&mut self, spares: &mut Spares) -> Option<(Frame, usize)> {
        let buffer = self.buffer.as_mut()?;
        let frame = buffer.frames.pop_front()?;
        let length = index(frame.end - buffer.start);
        buffer.start = frame.end;
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
        spares.give(self.buffer.take());
        length
    }
}

impl Spares {
    fn take(&mut self) -> Box<Buffer> {
        let Some(buffer) = self.buffers.pop() else { return Box::default() };
        self.bytes -= buffer.memory();
        buffer
    }

    fn give(&mut self, buffer: Option<Box<Buffer>>) {
        let Some(mut buffer) = buffer else { return };
        let memory = buffer.memory();
        if memory <= SPARE_BYTES_MAX && self.bytes + memory <= SPARES_BYTES_MAX {
            buffer.bytes.clear();
            buffer.frames.clear();
            buffer.dropped = 0;
            self.bytes += memory;
            self.buffers.push(buffer);
        }
    }
}

impl Buffer {
    /// What it takes up, whatever lies in it.
    fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.frames.capacity() * size_of::<Frame>()
    }
}

/// Of all spares of a shard, and of one: a log that was larger was one with laggards.
const SPARES_BYTES_MAX: usize = 4 * MIB;
const SPARE_BYTES_MAX: usize = MIB;

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
        assert_eq!(spares.buffers.len(), 1);
        assert!(spares.bytes > 0);
        let mut second = Log::default();
        second.append(Position(2), Time::ZERO, &mut spares, |bytes| bytes.extend_from_slice(b"two"));
        assert_eq!((spares.buffers.len(), spares.bytes), (0, 0));
        assert_eq!(second.slice(0, 3), b"two");
    }

    #[test]
    fn so_many_bytes_of_spares_are_kept_and_none_of_a_log_that_grew_out_of_measure() {
        let mut spares = Spares::default();
        let mut logs: Vec<Log> = (0..1_000).map(|_| Log::default()).collect();
        for log in &mut logs {
            let text = [b'x'; 10_000];
            log.append(Position(1), Time::ZERO, &mut spares, |bytes| bytes.extend_from_slice(&text));
        }
        logs.iter_mut().for_each(|log| assert_eq!(log.clear(&mut spares), 10_000));
        assert!((SPARES_BYTES_MAX - 11_000..=SPARES_BYTES_MAX).contains(&spares.bytes), "{}", spares.bytes);
        let mut spares = Spares::default();
        let large = vec![b'x'; SPARE_BYTES_MAX];
        logs[0].append(Position(2), Time::ZERO, &mut spares, |bytes| bytes.extend_from_slice(&large));
        logs[0].clear(&mut spares);
        assert_eq!((spares.buffers.len(), spares.bytes), (0, 0));
    }
}
